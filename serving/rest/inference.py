"""From a request's body to a signature and its inputs: the checks before a run, in TensorFlow Serving's order.

Nothing here needs TensorFlow or the model itself, so that it can be done in another process.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from lae_tf.serving.engine.signature import DEFAULT_SIGNATURE, Signature, Tensors
from lae_tf.serving.errors import ServingError, invalid
from lae_tf.serving.rest import example_json, tensor_json
from lae_tf.serving.rest.face_finding import with_faces
from lae_tf.serving.rest.image_limit import count_pixels
from lae_tf.serving.rest.request_body import Limits
from lae_tf.video.face_places import FACES

# The model's signatures, or why there is no model: told once the body has been parsed as far as TensorFlow Serving
# parses it first.
Found = Mapping[str, Signature] | ServingError


class Prepared(NamedTuple):
    """A request that is ready to run.

    Attributes:
        signature: its name.
        inputs: of the signature.
        form: of a :predict request, and so of its answer.
        pixels: of each row of the inputs, where they are images.
    """

    signature: str
    inputs: Tensors
    form: tensor_json.Format = tensor_json.Format.ROW
    pixels: tuple[int, ...] = ()


def prepare(verb: str, body: bytes, found: Found, limits: Limits) -> Prepared:
    """Prepare a request of a verb: predict, classify or regress.

    Raises:
        ServingError: what is wrong with the request, or the model is not served.
    """
    document = tensor_json.parse_object(body)
    if verb == "predict":
        return _prepare_predict(document, found, limits)
    name = tensor_json.signature_name(document) or DEFAULT_SIGNATURE
    examples = example_json.to_examples(document)
    signatures = _signatures(found)
    if name not in signatures:
        raise invalid(f"No signature was found with the name: {name}")
    check = example_json.check_classify if verb == "classify" else example_json.check_regress
    check(signatures[name])
    return Prepared(name, {"inputs": examples})


def _prepare_predict(document: dict[str, object], found: Found, limits: Limits) -> Prepared:
    given = tensor_json.signature_name(document)
    signatures = _signatures(found)
    name = given or DEFAULT_SIGNATURE
    if name not in signatures:
        raise invalid(f'Serving signature name: "{name}" not found in signature def')
    signature = signatures[name]
    if not signature.inputs:
        raise invalid(f"Failed to get input map for signature: {given or 'DEFAULT'}")
    looks = FACES in signature.inputs and not _says_faces(document)
    wanted = {name: dtype for name, dtype in signature.inputs.items() if not looks or name != FACES}
    inputs, form = tensor_json.to_tensors(document, wanted)
    pixels = count_pixels(inputs, limits)
    return Prepared(name, with_faces(inputs, pixels) if looks else inputs, form, pixels)


def looks_for_faces(found: Found) -> bool:
    """Tell whether preparing a request may take looking for faces."""
    return not isinstance(found, ServingError) and any(FACES in one.inputs for one in found.values())


def _says_faces(document: dict[str, object]) -> bool:
    """Tell whether a request, right or wrong, says where faces are."""
    given = [document.get("inputs")]
    if isinstance(instances := document.get("instances"), list):
        given += instances
    return any(isinstance(one, dict) and FACES in one for one in given)


def _signatures(found: Found) -> Mapping[str, Signature]:
    if isinstance(found, ServingError):
        raise found
    return found
