"""Maps that explain the logit of "fake", by several methods with one signature.

``attention`` is the model's own (docs/method.md); ``grad_cam``, ``grad_cam_pp``, ``score_cam`` and ``smoothgrad``
come from tf-keras-vis; ``reconstruction_error`` is what the decoder could not draw. ``random`` explains nothing: a
method that does not beat it is not to be trusted.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tf_keras_vis import ModelVisualization
from tf_keras_vis.gradcam import Gradcam
from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
from tf_keras_vis.saliency import Saliency
from tf_keras_vis.scorecam import Scorecam

from lae_tf.errors import UsageError
from lae_tf.model.attention import resize_map
from lae_tf.model.lae import LAE

Image = NDArray[np.float32]
SMOOTHGRAD_SAMPLES = 20
SMOOTHGRAD_NOISE = 0.1  # standard deviation, as a share of the image's range of values
FEATURES = "explained_features"
CONTROL = "random"


def functional_view(model: LAE) -> keras.Model:
    """Return the model's layers as a functional Keras model: images (B, S, S, 3) to (B, 2) float32.

    Column 1 is the head's logit s, column 0 is zero, so that a softmax over both gives sigmoid(s): Score-CAM of
    tf-keras-vis takes a softmax, which over a single output would always be 1. The layer ``FEATURES`` holds the
    last feature maps in float32. Weights are shared, not copied.
    """
    features = keras.layers.Activation("linear", dtype="float32", name=FEATURES)(model.encoder.outputs[0])
    logit = model.head(features)
    zero = keras.layers.Rescaling(0.0, dtype="float32")(logit)
    return keras.Model(model.encoder.inputs, keras.layers.Concatenate(dtype="float32")([zero, logit]))


class Explainer:
    """Explains images of one model.

    Args:
        model: a trained model.
        methods: names out of ``METHODS``, in the order wanted; all by default.

    Raises:
        UsageError: a method that does not exist.
    """

    def __init__(self, model: LAE, methods: Sequence[str] = ()):
        self.model = model
        self.view = functional_view(model)
        self.methods = tuple(dict.fromkeys(methods or METHODS))
        unknown = [name for name in self.methods if name not in METHODS]
        if unknown:
            raise UsageError(f"unknown method '{unknown[0]}'; expected any of {', '.join(METHODS)}.")

        self._graphs: dict[int | None, Any] = {}

    def score(self, images: Image, level: int | None = None) -> NDArray[np.float64]:
        """Return the calibrated P(fake) (B,) of images float32 (B, S, S, 3) in [0, 1].

        Args:
            images: as the model sees them.
            level: of models of the view ``windows``, the level of which they are windows, as
                :meth:`lae_tf.model.window_pooling.WindowPooling.of_part` takes it.
        """
        if level not in self._graphs:
            shape = (None, self.model.image_size, self.model.image_size, 3)
            # One trace for every batch size.
            signature = [tf.TensorSpec(shape, tf.float32)]
            judge = partial(self._judge, level=level)
            self._graphs[level] = tf.function(judge, input_signature=signature, autograph=False)
        return self._graphs[level](tf.constant(images)).numpy().astype(np.float64)

    def _judge(self, images: tf.Tensor, level: int | None) -> tf.Tensor:
        logits = self.model.temper(self.view([images])[:, 1:], images)[:, 0]
        if self.model.view == "windows":
            logits = self.model.window_pooling.of_part(logits, level)
        return self.model.calibration(logits)

    def maps(self, image: Image, seed: int | Sequence[int] = 0) -> dict[str, Image]:
        """Explain one image.

        Args:
            image: float32 (S, S, 3) in [0, 1].
            seed: of SmoothGrad's noise and of the random map.

        Returns:
            By method a map float32 (S, S) in [0, 1]. The attention is on its own scale; every other map is divided
            by its largest value, so that only its order and its proportions count.
        """
        maps = {}
        for name in self.methods:
            found = METHODS[name](self, image, np.random.default_rng(seed))
            if name != "attention":
                # A map may be zero everywhere, for example Grad-CAM where nothing speaks for "fake".
                found = found / max(float(np.max(found)), float(np.finfo(np.float32).tiny))
            maps[name] = np.clip(found, 0, 1).astype(np.float32)
        return maps

    def expand(self, grid: Any) -> Image:
        """Resize a map (h, w) to (S, S) as the model resizes its attention."""
        size = self.model.image_size
        return resize_map(tf.constant(np.asarray(grid, np.float32)[None]), size, size)[0].numpy()


def _logit(outputs: Any) -> Any:
    return outputs[:, 1]


def _class_activation_map(engine: type[ModelVisualization]) -> Callable[[Explainer, Image, Any], Image]:
    def explain(explainer: Explainer, image: Image, rng: np.random.Generator) -> Image:
        # Score-CAM predicts with Keras' progress bar on standard output.
        with contextlib.redirect_stdout(io.StringIO()):
            grid = engine(explainer.view, clone=False)(
                _logit,
                image[None],
                penultimate_layer=FEATURES,
                seek_penultimate_conv_layer=False,
                # Its own expansion puts the corners' centres onto the image's corners; ours is the attention's.
                expand_cam=False,
                normalize_cam=False,
            )
        return explainer.expand(grid[0])

    return explain


def _smoothgrad(explainer: Explainer, image: Image, rng: np.random.Generator) -> Image:
    with _global_numpy_seed(int(rng.integers(2**32))):
        saliency = Saliency(explainer.view, clone=False)(
            _logit,
            image[None],
            smooth_samples=SMOOTHGRAD_SAMPLES,
            smooth_noise=SMOOTHGRAD_NOISE,
            normalize_map=False,
        )
    return np.asarray(saliency)[0]


@contextlib.contextmanager
def _global_numpy_seed(seed: int) -> Iterator[None]:
    """Seed numpy's global generator, from which tf-keras-vis draws, and restore it afterwards."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)


def _attention(explainer: Explainer, image: Image, rng: np.random.Generator) -> Image:
    return explainer.model.predict_on_batch(image[None])["attention"][0]


def _reconstruction_error(explainer: Explainer, image: Image, rng: np.random.Generator) -> Image:
    reconstruction = explainer.model.predict_on_batch(image[None])["reconstruction"][0]
    return np.abs(image - reconstruction).mean(axis=-1)


def _random(explainer: Explainer, image: Image, rng: np.random.Generator) -> Image:
    """Draw uniform values on the grid of the feature maps: as coarse as an attention map, and without meaning."""
    height, width = explainer.model.encoder.output_shape[1:3]
    return explainer.expand(rng.random((height, width)))


METHODS: dict[str, Callable[[Explainer, Image, np.random.Generator], Image]] = {
    "attention": _attention,
    "grad_cam": _class_activation_map(Gradcam),
    "grad_cam_pp": _class_activation_map(GradcamPlusPlus),
    "score_cam": _class_activation_map(Scorecam),
    "smoothgrad": _smoothgrad,
    "reconstruction_error": _reconstruction_error,
    CONTROL: _random,
}
"""Name to function of an explainer, an image (S, S, 3) and a generator, which returns a map (S, S) >= 0."""
