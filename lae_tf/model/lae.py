"""The Locality-aware AutoEncoder as a Keras model with its own training step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from lae_tf.model import attention as attention_maps
from lae_tf.model.calibration import AttentionScale, Calibration
from lae_tf.model.discriminator import PatchDiscriminator
from lae_tf.model.head import EvidenceHead, SplitLatentHead
from lae_tf.model.losses import ActivationLoss, AlignmentLoss, DecisionLoss, PixelLoss
from lae_tf.model.networks import BACKBONES, build_backbone_encoder, build_decoder, build_encoder
from lae_tf.model.objective import DEFAULT_WEIGHTS, Objective
from lae_tf.model.preprocessing import Preprocessor
from lae_tf.model.steps import judge, learn
from lae_tf.runtime import addons

HEADS = ("lse", "gap", "split")
ATTENTIONS = ("grad_cam", "cam")


@keras.saving.register_keras_serializable("lae_tf")
class LAE(keras.Model):
    """Locality-aware AutoEncoder (Du et al. 2020, arXiv 1909.05999; the equations are in docs/method.md).

    An encoder gives feature maps F, a head the logit s of "fake", a decoder the reconstruction, and the
    attention A says where s comes from. Training ties A to the mask of the forged region.

    Called on images float32 (B, S, S, 3) in [0, 1], or on a batch dict that holds them as ``image``, it
    returns a dict:

    ==================  =====================  ============================================================
    ``score``           float32 (B, 1)         P(fake), calibrated: fake from 0.5 on
    ``logit``           float32 (B, 1)         s
    ``attention``       float32 (B, S, S)      T(A) in [0, 1], resized; forged above 0.5, as validation chose
    ``reconstruction``  float32 (B, S, S, 3)   in [0, 1]
    ``latent``          float32 (B, C)         z = GAP(F)
    ==================  =====================  ============================================================

    Training batches are dicts ``image``, ``label`` (B, 1) with 1 = fake, ``mask`` (B, S, S, 1) in {0, 1},
    ``mask_weight`` (B, 1): 1 where the mask is known (annotated fakes, and real images), 0 where it is not.

    Args:
        image_size: S in pixels, a multiple of the stride.
        widths: channels of the encoder's stem and stages, two or more; the stride is 2 ** (len(widths) - 1).
        blocks: residual blocks per stage.
        high_pass: give the stem fixed high-pass residuals beside RGB.
        contrast: let every stage see how far its features are from their mean over the image.
        self_correlation: give the stem a map of what the image repeats beside RGB.
        backbone: None for the encoder above, or a key of ``networks.BACKBONES``, which takes the last of ``widths``
            alone and sees RGB alone.
        backbone_weights: None, a weights file, or ``imagenet``.
        backbone_stride: stride at which the backbone is cut.
        head: pooling of the evidence, ``lse`` or ``gap``, or ``split`` for ForensicTransfer's latent.
        lse_sharpness: r of the log-mean-exp pooling.
        attention: ``grad_cam`` or ``cam`` (closed form, linear heads only).
        attention_slope: w of T(A) = sigmoid(w (A - t)).
        attention_threshold: t of T. A pixel is forged far more rarely than an image is fake; with t = 2 evidence of 0,
            where the decision is open, is 12 % attention, and alignment does not pull every logit towards real.
        discriminator: add the patch discriminator that adversarial and feature-matching losses need.
        dtype: precision policy, for example ``mixed_bfloat16``; the default is Keras' global policy. Head,
            attention, losses and metrics compute in float32 under every policy.

    Example:
        >>> model = LAE(image_size=64)
        >>> model.compile(loss_weights={"alignment": 1.0})
        >>> model.fit(dataset)  # doctest: +SKIP
    """

    def __init__(
        self,
        image_size: int = 128,
        widths: Sequence[int] = (24, 48, 96, 128),
        blocks: int = 1,
        high_pass: bool = True,
        contrast: bool = True,
        self_correlation: bool = True,
        backbone: str | None = None,
        backbone_weights: str | None = None,
        backbone_stride: int = 8,
        head: str = "lse",
        lse_sharpness: float = 2.0,
        attention: str = "grad_cam",
        attention_slope: float = 1.0,
        attention_threshold: float = 2.0,
        discriminator: bool = False,
        dtype: Any = None,
        **kwargs: Any,
    ):
        # The networks follow the policy; what the model itself computes stays float32, so nothing is cast here.
        super().__init__(dtype=dtype or addons.global_policy(), autocast=False, **kwargs)
        stride = backbone_stride if backbone else 2 ** (len(widths) - 1)
        if image_size <= 0 or image_size % stride:
            raise ValueError(f"image_size must be a multiple of the stride {stride}. Received {image_size!r}.")
        if stride < 2:
            raise ValueError(f"widths must be those of the stem and of at least one stage. Received {tuple(widths)!r}.")
        if head not in HEADS:
            raise ValueError(f"head must be one of {HEADS}. Received instead {head!r}.")
        if attention not in ATTENTIONS:
            raise ValueError(f"attention must be one of {ATTENTIONS}. Received instead {attention!r}.")
        if attention == "cam" and head == "split":
            raise ValueError("attention 'cam' needs a linear head ('lse' or 'gap'). Received head 'split'.")
        if backbone is not None and backbone not in BACKBONES:
            raise ValueError(f"backbone must be one of {tuple(BACKBONES)}. Received instead {backbone!r}.")
        if backbone and (stride < 2 or stride & (stride - 1)):
            raise ValueError(f"backbone_stride must be a power of two. Received instead {backbone_stride!r}.")

        # === Layers ===
        self.preprocessor = Preprocessor(image_size, name="preprocessor")
        grid = image_size // stride
        doublings = stride.bit_length() - 1
        decoder_widths = [max(16, widths[-1] // 2**step) for step in range(1, doublings)]
        with addons.policy_scope(self.dtype_policy):
            if backbone:
                self.encoder = build_backbone_encoder(image_size, backbone, stride, widths[-1], backbone_weights)
            else:
                self.encoder = build_encoder(image_size, widths, blocks, high_pass, contrast, self_correlation)
            self.decoder = build_decoder(grid, widths[-1], decoder_widths)
        self.head = SplitLatentHead(name="head") if head == "split" else EvidenceHead(head, lse_sharpness, name="head")
        self.head.build((None, grid, grid, widths[-1]))
        self.discriminator = PatchDiscriminator(name="discriminator") if discriminator else None
        if self.discriminator is not None:
            self.discriminator.build((None, image_size, image_size, 3))
        self.calibration = Calibration(name="calibration")
        self.calibration.build()
        self.attention_scale = AttentionScale(name="attention_scale")
        self.attention_scale.build()

        # === Config ===
        self.image_size = image_size
        self.widths = tuple(widths)
        self.blocks = blocks
        self.high_pass = high_pass
        self.contrast = contrast
        self.self_correlation = self_correlation
        self.backbone = backbone
        self.backbone_weights = backbone_weights
        self.backbone_stride = backbone_stride
        self.head_kind = head
        self.lse_sharpness = lse_sharpness
        self.attention_kind = attention
        self.attention_slope = attention_slope
        self.attention_threshold = attention_threshold
        # All weights exist now; nothing waits for a first call.
        self.built = True

    def build(self, input_shape: Any = None) -> None:
        self.built = True

    # --- forward -------------------------------------------------------------------------------------

    def forward(self, images: Any, training: bool) -> dict[str, Any]:
        """One pass, shared by training, testing, prediction and export.

        Returns features (B, h, w, C), latent, logit, map_logits (B, h, w) and reconstruction, all float32.
        """
        features = tf.cast(self.encoder(images, training=training), tf.float32)
        if self.attention_kind == "cam":
            evidence = attention_maps.cam(self.head.kernel, features)
        else:
            evidence = attention_maps.grad_cam(self.head, features)
        if self.head_kind != "split":
            # The evidence of a location includes the head's bias, which no gradient with respect to F shows.
            evidence += tf.cast(self.head.bias, tf.float32)
        return {
            "features": features,
            "latent": tf.reduce_mean(features, axis=(1, 2)),
            "logit": self.head(features),
            "map_logits": attention_maps.to_map_logits(evidence, self.attention_slope, self.attention_threshold),
            "reconstruction": tf.cast(self.decoder(features, training=training), tf.float32),
        }

    def call(self, inputs: Any, training: bool = False) -> dict[str, Any]:
        images = inputs["image"] if isinstance(inputs, dict) else inputs
        outputs = self.forward(images, training=bool(training))
        attention = attention_maps.resize_map(tf.sigmoid(outputs["map_logits"]), self.image_size, self.image_size)
        return {
            "score": self.calibration(outputs["logit"]),
            "logit": outputs["logit"],
            "attention": self.attention_scale(attention),
            "reconstruction": outputs["reconstruction"],
            "latent": outputs["latent"],
        }

    # --- compile -------------------------------------------------------------------------------------

    def compile(
        self,
        optimizer: Any = None,
        *,
        pixel_loss: Any = None,
        perceptual_loss: Any = None,
        adversarial_loss: Any = None,
        latent_loss: Any = None,
        alignment_loss: Any = None,
        loss_weights: dict[str, float] | None = None,
        discriminator_optimizer: Any = None,
        loss: Any = None,
        **kwargs: Any,
    ) -> None:
        """Take the losses by role.

        Args:
            optimizer: of encoder, head and decoder; default ``AdamW()``.
            pixel_loss: image against reconstruction, default ``PixelLoss()``.
            perceptual_loss: ``VGG16PerceptualLoss``, ``FeatureMatchingLoss`` or None.
            adversarial_loss: ``AdversarialLoss`` or None.
            latent_loss: ``DecisionLoss()`` by default; ``ActivationLoss()`` with head ``split``.
            alignment_loss: attention against mask, default ``AlignmentLoss()``.
            loss_weights: any of reconstruction (l1), latent (l2), alignment (l3), pixel (b1), perceptual (b2)
                and adversarial (b3); those left out keep ``objective.DEFAULT_WEIGHTS``.
            discriminator_optimizer: default ``Adam(2e-4, beta_1=0.5)``.
            **kwargs: ``run_eagerly``, ``jit_compile`` (off by default: slower on CPUs), ``steps_per_execution``.
        """
        if loss is not None:
            raise ValueError(
                "LAE takes its losses by role: compile(pixel_loss=, perceptual_loss=, adversarial_loss=, "
                f"latent_loss=, alignment_loss=, loss_weights=). Received instead loss={loss!r}."
            )
        unknown = set(loss_weights or {}) - set(DEFAULT_WEIGHTS)
        if unknown:
            raise ValueError(f"loss_weights knows {sorted(DEFAULT_WEIGHTS)}. Received instead {sorted(unknown)}.")
        super().compile(optimizer=optimizer or keras.optimizers.AdamW(), **{"jit_compile": False, **kwargs})
        self.objective = Objective(
            pixel=pixel_loss or PixelLoss(),
            latent=latent_loss or (ActivationLoss() if self.head_kind == "split" else DecisionLoss()),
            alignment=alignment_loss or AlignmentLoss(),
            perceptual=perceptual_loss,
            adversarial=adversarial_loss,
            weights={**DEFAULT_WEIGHTS, **(loss_weights or {})},
        )
        self.objective.check(self.head_kind, self.discriminator is not None)
        if self.discriminator is not None:
            self.discriminator_optimizer = keras.optimizers.get(
                discriminator_optimizer or keras.optimizers.Adam(2e-4, beta_1=0.5)
            )
            self.discriminator_optimizer.build(self.discriminator.trainable_variables)
        self.term_means = {
            name: keras.metrics.Mean(name=name) for name in self.objective.tracked(self.discriminator is not None)
        }
        self.decision_metrics = [
            keras.metrics.BinaryAccuracy(name="accuracy"),
            keras.metrics.AUC(name="auroc", num_thresholds=500),
        ]
        self.attention_iou = keras.metrics.Mean(name="attention_iou")

    @property
    def metrics(self) -> list[Any]:
        if not getattr(self, "term_means", None):
            return []
        return [*self.term_means.values(), *self.decision_metrics, self.attention_iou]

    @property
    def autoencoder_variables(self) -> list[Any]:
        """The weights ``optimizer`` updates: all but the discriminator's, which has an optimizer of its own."""
        parts = (self.encoder, self.head, self.decoder)
        return [variable for part in parts for variable in part.trainable_variables]

    # --- steps ---------------------------------------------------------------------------------------

    def train_step(self, data: dict[str, Any]) -> dict[str, Any]:
        learn(self, _batch(data))
        return {metric.name: metric.result() for metric in self.metrics}

    def test_step(self, data: dict[str, Any]) -> dict[str, Any]:
        judge(self, _batch(data))
        trained = "discriminator_loss"  # nothing updates it here
        return {metric.name: metric.result() for metric in self.metrics if metric.name != trained}

    # --- saving --------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "dtype": self.dtype_policy.name,
            "image_size": self.image_size,
            "widths": list(self.widths),
            "blocks": self.blocks,
            "high_pass": self.high_pass,
            "contrast": self.contrast,
            "self_correlation": self.self_correlation,
            "backbone": self.backbone,
            "backbone_weights": None,  # the saved file holds the weights
            "backbone_stride": self.backbone_stride,
            "head": self.head_kind,
            "lse_sharpness": self.lse_sharpness,
            "attention": self.attention_kind,
            "attention_slope": self.attention_slope,
            "attention_threshold": self.attention_threshold,
            "discriminator": self.discriminator is not None,
        }

    def get_compile_config(self) -> dict[str, Any] | None:
        if not getattr(self, "term_means", None):
            return None
        serialize = keras.saving.serialize_keras_object
        roles = ("pixel", "perceptual", "adversarial", "latent", "alignment")
        losses = {f"{role}_loss": getattr(self.objective, role) for role in roles}
        config = {"optimizer": self.optimizer, **losses}
        if self.discriminator is not None:
            config["discriminator_optimizer"] = self.discriminator_optimizer
        serialized = {name: serialize(value) for name, value in config.items() if value is not None}
        return {**serialized, "loss_weights": dict(self.objective.weights)}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        weights = config["loss_weights"]
        deserialize = keras.saving.deserialize_keras_object
        self.compile(**{k: deserialize(v) for k, v in config.items() if k != "loss_weights"}, loss_weights=weights)
        self.optimizer.build(self.autoencoder_variables)


def _batch(data: Any) -> dict[str, Any]:
    """Return the batch's dict, which Keras wraps in a tuple where it was given as x alone."""
    batch, _, _ = keras.utils.unpack_x_y_sample_weight(data)
    if not isinstance(batch, dict):
        raise TypeError(
            "LAE trains on dicts with image, label, mask and mask_weight, as lae_tf.data.pipeline makes them. "
            f"Received instead: {type(batch).__name__}"
        )
    return batch
