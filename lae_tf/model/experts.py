"""The encoder as two experts: one for pixels as they were stored, one for what is left after compression.

The faint traces by which a forgery is found in stored pixels do not survive JPEG, and an encoder that is trained on
both unlearns them. So the fine expert is trained on images as they are stored, the robust one, the trunk, on what may
have become of them, and a gate weighs their features (a mixture of experts, Jacobs et al. 1991; experts and gate are
our definition).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lae_tf.config.model import ModelConfig
from lae_tf.model.gate import build_gate, gate_loss
from lae_tf.model.networks import build_fine_encoder, build_trunk_encoder
from lae_tf.model.shapes import Shape
from lae_tf.runtime import addons

Batch = dict[str, tf.Tensor]


@keras.saving.register_keras_serializable("lae_tf")
class Mixture(keras.layers.Layer):
    """Weighs two feature maps, (B, h, w, C) each, by the gate's logit q (B, 1): g fine + (1 - g) robust.

    g = largest_share sigmoid(q + readiness). Both numbers are fitted on validation, not trained (ours): how much more
    the fine expert tells of stored images than the robust one depends on the task. Training keeps q low by what a
    degraded image weighs.

    Two more numbers give degraded images a slope and a boundary of their own (ours): less is known of them, and
    compression makes real ones look a little forged. From the head's logit s of "fake" d (flattened s + withheld) is
    taken, d = sigmoid(-(q + readiness)).
    """

    def build(self, input_shape: list[Shape]) -> None:
        self.largest_share = addons.fitted_scalar(self, "largest_share", 0.8)
        self.readiness = addons.fitted_scalar(self, "readiness", 2.0)
        self.flattened = addons.fitted_scalar(self, "flattened", 0.0)
        self.withheld = addons.fitted_scalar(self, "withheld", 0.0)
        self.built = True

    def share(self, logit: tf.Tensor) -> tf.Tensor:
        """Return g, float32, from logits of any shape."""
        return self.largest_share * tf.sigmoid(logit + self.readiness)

    def temper(self, decision: tf.Tensor, logit: tf.Tensor) -> tf.Tensor:
        """Return the logits of "fake", float32, from the head's ``decision`` and the gate's ``logit``, of one shape."""
        degraded = tf.sigmoid(-(logit + self.readiness))
        return decision - degraded * (self.flattened * decision + self.withheld)

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        logit, fine, robust = inputs
        share = tf.cast(self.share(tf.cast(logit, tf.float32)), fine.dtype)[:, :, None, None]
        return share * fine + (1 - share) * robust

    def compute_output_shape(self, input_shape: list[Shape]) -> Shape:
        return input_shape[1]

    def assign(self, **chosen: float) -> None:
        """Take what validation chose: any of the numbers, by name."""
        for name, value in chosen.items():
            getattr(self, name).assign(value)

    def load_own_variables(self, store: Any) -> None:
        saved = {name: store[name] for name in store.keys()}  # noqa: SIM118 - a store is no mapping
        of_before = {str(at): np.float32(value) for at, value in enumerate(MIXTURE_OF_BEFORE.values())}
        super().load_own_variables({**of_before, **saved} if len(saved) in (0, 2) else saved)


MIXTURE_OF_BEFORE = {"largest_share": 1.0, "readiness": 0.0, "flattened": 0.0, "withheld": 0.0}
"""What models have that were saved before these numbers were fitted, the last two of them later than the others."""


def build_encoder(image_size: int, config: ModelConfig) -> keras.Model:
    """Build the encoder: (B, S, S, 3) to features (B, S / stride, S / stride, widths[-1]).

    Args:
        image_size: S in pixels, a multiple of ``config.size_step``.
        config: of the model; without a trunk the fine expert stands alone.

    Raises:
        LAEError: the trunk's weights cannot be had.
    """
    if config.trunk == "none":
        return build_fine_encoder(image_size, config, name="encoder")
    image = keras.Input((image_size, image_size, 3), name="image")
    fine, robust = build_fine_encoder(image_size, config, name="fine"), build_trunk_encoder(image_size, config)
    gate = build_gate(image_size)
    features = Mixture(name="mixture")([gate(image), fine(image), robust(image)])
    return keras.Model(image, features, name="encoder")


def train_experts(encoder: keras.Model, batch: Batch) -> tuple[Batch, tf.Tensor, tf.Tensor]:
    """Give each expert its own view of a batch.

    Args:
        encoder: of :func:`build_encoder`, with a trunk.
        batch: of B images, with ``degraded``, what may have become of ``image``; where it is missing, nothing has.
            ``stored`` tells which of these the gate shall take for images as they were stored; where it is missing,
            those that equal ``image``.

    Returns:
        The batch of 2 B images that the experts saw, the fine one's first; their features (2 B, h, w, C); and the
        gate's cross-entropy, a scalar.
    """
    images, degraded = batch["image"], batch.get("degraded", batch["image"])
    fine, robust, gate = (encoder.get_layer(name) for name in ("fine", "robust", "gate"))
    features = tf.concat([fine(images, training=True), robust(degraded, training=True)], axis=0)
    equal = tf.reduce_all(tf.equal(images, degraded), axis=(1, 2, 3))[:, None]
    loss = gate_loss(batch.get("stored", tf.cast(equal, tf.float32)), gate(degraded, training=True))
    known: dict[str, Any] = {name: tf.concat([part, part], axis=0) for name, part in batch.items()}
    return {**known, "image": tf.concat([images, degraded], axis=0)}, features, loss


NEGLIGIBLE = 1e-5
"""Share below which the fine expert is not asked (ours): features of about 1 change by less, logits by 1e-5."""


def features_of(encoder: keras.Model, images: tf.Tensor) -> tf.Tensor:
    """Return an encoder's features, for prediction alone, asking the fine expert only about images where it counts.

    Images that the gate is sure to be degraded take a third of the time of the whole encoder.

    Args:
        encoder: of :func:`build_encoder`, with a trunk.
        images: float32 (B, S, S, 3).

    Returns:
        (B, h, w, C), within ``NEGLIGIBLE`` of the encoder's own.
    """
    robust = encoder.get_layer("robust")
    features = _with_fine(encoder, images, robust(images, training=False))
    return tf.ensure_shape(features, encoder.output_shape)  # graphs that loop over windows ask for it


def describing(encoder: keras.Model) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Return a function that says, beside an encoder's features, what the trunk makes of an image.

    Args:
        encoder: of :func:`build_encoder`, with a trunk.

    Returns:
        A function of images, float32 (B, S, S, 3), which gives :func:`features_of` them and a description (B, D), the
        mean over locations of the trunk's two outputs. The robust expert is asked about every image for it.
    """
    robust = encoder.get_layer("robust")
    outputs = robust.get_layer("trunk_outputs").output
    trunk = keras.Model(robust.input, [robust.output, keras.layers.GlobalAveragePooling2D()(outputs)])

    def describe(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features, description = trunk(images, training=False)
        return _with_fine(encoder, images, features), description

    return describe


def ask_apart(encoder: keras.Model, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the features of the fine and of the robust expert (B, h, w, C), and the gate's logit (B, 1)."""
    fine, robust, gate = (encoder.get_layer(name)(images, training=False) for name in ("fine", "robust", "gate"))
    return fine, robust, gate


def temper(encoder: keras.Model, decision: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Return the logits (B, 1) from the head's, which are others where images (B, S, S, 3) look degraded.

    A graph that asks the encoder too computes the gate's statistics once.
    """
    gate, mixture = (encoder.get_layer(name) for name in ("gate", "mixture"))
    return mixture.temper(decision, gate(images, training=False))


def _with_fine(encoder: keras.Model, images: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
    """Return the mixture of the robust expert's features of images with the fine one's, where these count."""
    fine, gate, mixture = (encoder.get_layer(name) for name in ("fine", "gate", "mixture"))
    share = mixture.share(gate(images, training=False))[:, :, None, None]
    places = tf.where(share[:, 0, 0, 0] > NEGLIGIBLE)
    rest = (1.0 - share) * tf.cast(features, tf.float32)

    def ask() -> tf.Tensor:
        asked = tf.cast(fine(tf.gather(images, places[:, 0]), training=False), tf.float32)
        return tf.tensor_scatter_nd_add(rest, places, tf.gather(share, places[:, 0]) * asked)

    # Not every layer can do with no image at all.
    return tf.cond(tf.size(places) > 0, ask, lambda: rest)
