"""From a request's body to a model and its inputs: the checks that come before a run, in TensorFlow Serving's order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lae_tf.serving import example_json, tensor_json
from lae_tf.serving.batching import Tensors
from lae_tf.serving.errors import invalid
from lae_tf.serving.image_limit import check_images
from lae_tf.serving.loaded_model import DEFAULT_SIGNATURE, LoadedModel
from lae_tf.serving.request_body import Limits

# Looks the model up, once the body has been parsed as far as TensorFlow Serving parses it first.
GetModel = Callable[[], LoadedModel]


def prepare_predict(
    body: bytes, get_model: GetModel, limits: Limits
) -> tuple[LoadedModel, str, Tensors, tensor_json.Format]:
    """Prepare a :predict request.

    Returns:
        The model, the signature's name, its inputs and the form of the request and its answer.

    Raises:
        ServingError: what is wrong with the request, or the model is not served.
    """
    document = tensor_json.parse_object(body)
    given = tensor_json.signature_name(document)
    model = get_model()
    name = given or DEFAULT_SIGNATURE
    if name not in model.signatures:
        raise invalid(f'Serving signature name: "{name}" not found in signature def')
    signature = model.signatures[name]
    if not signature.inputs:
        raise invalid(f"Failed to get input map for signature: {given or 'DEFAULT'}")
    inputs, form = tensor_json.to_tensors(document, signature.inputs)
    check_images(inputs, limits)
    return model, name, inputs, form


def prepare_examples(verb: str, body: bytes, get_model: GetModel) -> tuple[LoadedModel, str, np.ndarray]:
    """Prepare a :classify or :regress request.

    Returns:
        The model, the signature's name and the serialized examples.

    Raises:
        ServingError: what is wrong with the request, or the model is not served.
    """
    document = tensor_json.parse_object(body)
    name = tensor_json.signature_name(document) or DEFAULT_SIGNATURE
    examples = example_json.to_examples(document)
    model = get_model()
    if name not in model.signatures:
        raise invalid(f"No signature was found with the name: {name}")
    check = example_json.check_classify if verb == "classify" else example_json.check_regress
    check(model.signatures[name])
    return model, name, examples
