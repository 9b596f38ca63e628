"""The one door to tensorflow-addons, or to its successors where it cannot be installed.

Everything that differs between the two stacks lives here:

=============================  ==========================  ==========================================
name                           classic (Python 3.10-3.11)  current (Python 3.12-3.13)
=============================  ==========================  ==========================================
``SpectralNormalization``      ``tfa.layers``              ``keras.layers``
``gaussian_filter2d``          ``tfa.image``               separable depthwise convolution, below
``SigmoidFocalCrossEntropy``   ``tfa.losses``              ``keras.losses.BinaryFocalCrossentropy``
``BatchNormalization``         ``keras.layers``            ``keras.layers``, by the fused kernel, below
=============================  ==========================  ==========================================

No other file of the package asks for a version.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

__all__ = [
    "KERAS_3",
    "KERAS_MAJOR",
    "STACK",
    "STACKS",
    "BatchNormalization",
    "SigmoidFocalCrossEntropy",
    "SpectralNormalization",
    "all_weights_loaded",
    "apply_gradients",
    "gaussian_filter2d",
    "global_policy",
    "policy_scope",
    "scale_loss",
    "synchronize_normalization",
    "weight_name",
]

KERAS_MAJOR = keras.__version__.partition(".")[0]
KERAS_3 = int(KERAS_MAJOR) >= 3
STACK = "current" if KERAS_3 else "classic"
STACKS = {
    "classic": "TensorFlow 2.15, Keras 2.15 and tensorflow-addons, for Python 3.10 and 3.11",
    "current": "TensorFlow 2.21 and Keras 3.15, for Python 3.12 and 3.13",
}


def _gaussian_filter2d(image: tf.Tensor, filter_shape: int = 3, sigma: float = 1.0) -> tf.Tensor:
    """Blur images (B, H, W, C) as ``tfa.image.gaussian_filter2d`` does: same kernel, of odd size, and same padding.

    Borders are reflected without repeating the edge pixel; two one-dimensional depthwise convolutions do it.
    """
    radius = filter_shape // 2
    offsets = tf.range(-radius, radius + 1, dtype=tf.float32)
    kernel = tf.nn.softmax(-tf.square(offsets) / (2.0 * tf.square(tf.cast(sigma, tf.float32))))
    channels = tf.shape(image)[-1]
    kernel = tf.tile(tf.cast(kernel, image.dtype)[:, None, None, None], [1, 1, channels, 1])
    padded = tf.pad(image, [[0, 0], [radius, radius], [radius, radius], [0, 0]], mode="REFLECT")
    rows = tf.nn.depthwise_conv2d(padded, kernel, [1, 1, 1, 1], "VALID")
    return tf.nn.depthwise_conv2d(rows, tf.transpose(kernel, [1, 0, 2, 3]), [1, 1, 1, 1], "VALID")


class _SigmoidFocalCrossEntropy(keras.losses.Loss):
    """Focal loss with tensorflow-addons' signature: sum over the last axis, one value a sample.

    FL = -alpha_t (1 - p_t)^gamma log p_t (Lin et al. 2017, arXiv 1708.02002, equation 5).
    """

    def __init__(
        self,
        from_logits: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        reduction: str = "none",
        name: str = "sigmoid_focal_crossentropy",
    ):
        super().__init__(reduction=reduction, name=name)
        self.from_logits, self.alpha, self.gamma = from_logits, alpha, gamma

    def call(self, y_true: Any, y_pred: Any) -> Any:
        y_pred = tf.convert_to_tensor(y_pred)
        y_true = tf.cast(y_true, y_pred.dtype)
        losses = keras.losses.binary_focal_crossentropy(
            y_true[..., None],
            y_pred[..., None],
            apply_class_balancing=True,
            alpha=self.alpha,
            gamma=self.gamma,
            from_logits=self.from_logits,
        )
        return tf.reduce_sum(losses, axis=-1)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {**config, "from_logits": self.from_logits, "alpha": self.alpha, "gamma": self.gamma}


@keras.saving.register_keras_serializable("lae_tf")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras' batch normalisation of images (B, H, W, C) by TensorFlow's fused kernel, as Keras 2 has it.

    Keras 3 writes it as eight operations, each of which goes through memory, forth and back: a training step takes a
    sixth longer. Of other inputs, or over several replicas, it is Keras' own. Saved files hold a layer's weights below
    the name of its class, which therefore is Keras' too.
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: Any = None) -> tf.Tensor:
        if not KERAS_3 or self.synchronized or len(inputs.shape) != 4:
            return super().call(inputs, training=training, mask=mask)
        learns = bool(training) and self.trainable
        moving = [] if learns else [self.moving_mean, self.moving_variance]
        y, *batch = tf.compat.v1.nn.fused_batch_norm(
            inputs,
            *map(tf.convert_to_tensor, (self.gamma, self.beta, *moving)),
            epsilon=self.epsilon,
            is_training=learns,
        )
        if learns:
            for average, value in zip((self.moving_mean, self.moving_variance), batch, strict=True):
                average.assign(average * self.momentum + value * (1.0 - self.momentum))
        return y


SpectralNormalization: Any
SigmoidFocalCrossEntropy: Any
gaussian_filter2d: Any
if KERAS_3:
    SpectralNormalization = keras.layers.SpectralNormalization
    gaussian_filter2d = _gaussian_filter2d
    SigmoidFocalCrossEntropy = _SigmoidFocalCrossEntropy
else:
    with warnings.catch_warnings():
        # tensorflow-addons announces its end of life on import; this module exists because of it.
        warnings.simplefilter("ignore")
        import tensorflow_addons as tfa

    SpectralNormalization = tfa.layers.SpectralNormalization
    gaussian_filter2d = tfa.image.gaussian_filter2d
    SigmoidFocalCrossEntropy = tfa.losses.SigmoidFocalCrossEntropy


def scale_loss(optimizer: Any, loss: tf.Tensor) -> tf.Tensor:
    """Scale a loss before the tape differentiates it, where the optimizer scales losses (mixed_float16)."""
    if KERAS_3:
        return optimizer.scale_loss(loss)
    return optimizer.get_scaled_loss(loss) if hasattr(optimizer, "get_scaled_loss") else loss


def apply_gradients(optimizer: Any, gradients: list[tf.Tensor], variables: list[Any]) -> None:
    """Undo the loss scaling where the stack leaves that to the caller, and update the variables."""
    if not KERAS_3 and hasattr(optimizer, "get_unscaled_gradients"):
        gradients = optimizer.get_unscaled_gradients(gradients)
    optimizer.apply_gradients(zip(gradients, variables, strict=True))


def synchronize_normalization(layer: Any) -> None:
    """Let a built batch normalisation take its statistics over all replicas.

    The fused kernel, whose moving variance alone has Bessel's correction, cannot.
    """
    layer.synchronized = True
    if not KERAS_3:
        layer.fused = False


def fitted_scalar(layer: Any, name: str, value: float) -> Any:
    """Add a float32 scalar to a layer that is fitted, not trained, and that no precision policy casts."""
    autocast = {"autocast" if KERAS_3 else "experimental_autocast": False}
    start = keras.initializers.Constant(value)
    return layer.add_weight(name=name, shape=(), dtype="float32", initializer=start, trainable=False, **autocast)


def weight_name(variable: Any) -> str:
    """Return a variable's own name within its layer, as Keras 3 calls it; Keras 2 has ``LAYER/NAME:0``."""
    if KERAS_3:
        return str(variable.name)
    name = str(variable.name).rpartition("/")[2].partition(":")[0]
    return name.removeprefix("depthwise_")  # of a depthwise convolution's kernel


@contextlib.contextmanager
def all_weights_loaded() -> Iterator[None]:
    """Load a model within: weights that its file lacks raise, as Keras 3 only warns where they are in nested lists.

    Keras 3 also warns of layers that a file of the classic stack names under ``layers`` alone, not by their depth too.
    """
    missing = "Skipping nested container"
    with warnings.catch_warnings():
        warnings.filterwarnings("error", missing)
        warnings.filterwarnings("ignore", f"{missing} at '.*/_operations_by_depth/")
        yield


def global_policy() -> Any:
    """Return Keras' global precision policy."""
    return keras.config.dtype_policy() if KERAS_3 else keras.mixed_precision.global_policy()


@contextlib.contextmanager
def policy_scope(policy: Any) -> Iterator[None]:
    """Create layers under a precision policy, whatever the global one is."""
    assign = keras.config.set_dtype_policy if KERAS_3 else keras.mixed_precision.set_global_policy
    before = global_policy()
    assign(policy)
    try:
        yield
    finally:
        assign(before)
