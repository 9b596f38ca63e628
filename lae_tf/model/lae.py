"""The Locality-aware AutoEncoder as a Keras model with its own training step."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lae_tf.config.model import ModelConfig
from lae_tf.model import attention as attention_maps
from lae_tf.model.batches import Batch, check_arrays, to_batch, to_images
from lae_tf.model.calibration import AttentionScale, Calibration
from lae_tf.model.discriminator import PatchDiscriminator
from lae_tf.model.experts import Mixture, build_encoder, features_of, temper, train_experts
from lae_tf.model.head import build_head
from lae_tf.model.losses import ActivationLoss, AdversarialLoss, AlignmentLoss, DecisionLoss, PixelLoss
from lae_tf.model.networks import build_decoder
from lae_tf.model.objective import DEFAULT_WEIGHTS, Objective
from lae_tf.model.preprocessing import Preprocessor
from lae_tf.model.preset import build_from, preset_of
from lae_tf.model.shapes import Shape
from lae_tf.model.tuning import set_tuned
from lae_tf.model.window_pooling import WindowPooling
from lae_tf.presets.finding import open_preset
from lae_tf.presets.folder import write_preset
from lae_tf.runtime import addons

VIEWS = ("whole", "faces", "windows", "stretched")
_EAGER_ANSWERS = 8  # batches that are answered before a graph is traced, which takes seconds


@keras.saving.register_keras_serializable("lae_tf")
class LAE(keras.Model):
    """Locality-aware AutoEncoder (Du et al. 2020, arXiv 1909.05999; the equations are in docs/method.md).

    An encoder gives feature maps F, a head the logit s of "fake", a decoder the reconstruction, and the
    attention A says where s comes from. Training ties A to the mask of the forged region.

    Called on images (B, S, S, 3), floats in [0, 1] or uint8, or on a batch dict that holds them as ``image``,
    it returns a dict:

    ==================  =====================  ============================================================
    ``score``           float32 (B, 1)         P(fake), calibrated: fake from 0.5 on
    ``logit``           float32 (B, 1)         s, tempered where an image looks degraded
    ``attention``       float32 (B, S, S)      T(A) in [0, 1], resized; forged above 0.5, as validation chose
    ``reconstruction``  float32 (B, S, S, 3)   in [0, 1]
    ``latent``          float32 (B, C)         z = GAP(F)
    ==================  =====================  ============================================================

    Training batches are dicts ``image``, ``label`` (B, 1) with 1 = fake, ``mask`` (B, S, S, 1) in {0, 1},
    ``mask_weight`` (B, 1): 1 where the mask is known (annotated fakes, and real images), 0 where it is not. With
    ``degraded``, of the shape of ``image``, training also shows what may have become of the images on their way, and
    ``stored`` (B, 1) is 1 where that still has the pixels that were stored.
    ``fit(images, labels)``, with masks or without, does as well: :mod:`lae_tf.model.batches`.

    Args:
        image_size: S in pixels, a multiple of the stride, and of 16 with a trunk.
        discriminator: add the patch discriminator that adversarial and feature-matching losses need.
        dtype: precision policy, for example ``mixed_bfloat16``; the default is Keras' global policy. Head,
            attention, losses and metrics compute in float32 under every policy.
        tuned: which weights are trained, see :func:`lae_tf.model.tuning.set_tuned`.
        view: what the model sees of an image of another size (docs/guides/views.md): ``whole``, ``faces``,
            ``windows``; ``stretched``, of models of before, is the whole without its aspect.
        **arguments: any field of :class:`lae_tf.config.model.ModelConfig`, where the hyperparameters and their
            defaults stand, and what ``keras.Model`` takes.

    Raises:
        ValueError: a hyperparameter is out of range, or some do not go together.

    Example:
        >>> model = LAE(image_size=64)
        >>> model.compile(loss_weights={"alignment": 1.0})
        >>> model.fit(dataset)  # doctest: +SKIP
    """

    def __init__(
        self,
        image_size: int = 128,
        discriminator: bool = False,
        dtype: Any = None,
        tuned: str = "all",
        view: str = "whole",
        **arguments: Any,
    ):
        given = {name: arguments.pop(name) for name in ModelConfig.model_fields if name in arguments}
        # The networks follow the policy; what the model itself computes stays float32, so nothing is cast here.
        super().__init__(dtype=dtype or addons.global_policy(), autocast=False, **arguments)
        config = ModelConfig.of(given)
        if view not in VIEWS:
            raise ValueError(f"view must be one of {VIEWS}. Received instead {view!r}.")
        if image_size <= 0 or image_size % config.size_step:
            whose = "the stride" if config.size_step == config.stride else "the trunk's stride"
            raise ValueError(f"image_size must be a multiple of {config.size_step}, {whose}. Received {image_size!r}.")

        # === Layers ===
        self.preprocessor = Preprocessor(image_size, stretch=view == "stretched", name="preprocessor")
        grid, channels = image_size // config.stride, config.widths[-1]
        doublings = config.stride.bit_length() - 1
        decoder_widths = [max(16, channels // 2**step) for step in range(1, doublings)]
        with addons.policy_scope(self.dtype_policy):
            self.encoder = build_encoder(image_size, config)
            self.decoder = build_decoder(grid, channels, decoder_widths)
        self.head = build_head(config.head, config.lse_sharpness)
        self.head.build((None, grid, grid, channels))
        self.discriminator = PatchDiscriminator(name="discriminator") if discriminator else None
        if self.discriminator is not None:
            self.discriminator.build((None, image_size, image_size, 3))
        self.calibration = Calibration(name="calibration")
        self.calibration.build()
        self.attention_scale = AttentionScale(name="attention_scale")
        self.attention_scale.build()
        if view == "windows":
            self.window_pooling = WindowPooling(name="window_pooling")
            self.window_pooling.build()

        # === Config ===
        self.image_size = image_size
        self.view = view
        self.hyperparameters = config
        self._decision: Any = None
        self._eager_answers = 0
        set_tuned(self, tuned)
        # All weights exist now; nothing waits for a first call.
        self.built = True

    def build(self, input_shape: Shape | None = None) -> None:
        self.built = True

    @property
    def stride(self) -> int:
        """How many pixels a value of ``map_logits`` stands for."""
        return self.hyperparameters.stride

    @property
    def mixture(self) -> Mixture | None:
        """What weighs the experts; None without a trunk."""
        return None if self.hyperparameters.trunk == "none" else self.encoder.get_layer("mixture")

    @property
    def localises(self) -> bool:
        """Whether the map says where: always, which not every peer's does."""
        return True

    # --- forward -------------------------------------------------------------------------------------

    def forward(self, images: tf.Tensor, training: bool) -> dict[str, tf.Tensor]:
        """One pass, shared by training, testing, prediction and export.

        Returns features (B, h, w, C), latent, logit, map_logits (B, h, w) and reconstruction, all float32.
        """
        return self.interpret(self.encoder(images, training=training), training, None if training else images)

    def interpret(self, features: tf.Tensor, training: bool, images: tf.Tensor | None) -> dict[str, tf.Tensor]:
        """What :meth:`forward` returns, from the encoder's features (B, h, w, C).

        The logit is that of images (B, S, S, 3) as they look, stored or degraded; without them, as in training, the
        head's.
        """
        features = tf.cast(features, tf.float32)
        return {
            "features": features,
            "latent": tf.reduce_mean(features, axis=(1, 2)),
            **self._decide(features, training, images),
            "reconstruction": tf.cast(self.decoder(features, training=training), tf.float32),
        }

    def temper(self, decision: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        """Return the logits (B, 1) from the head's, which are others where images (B, S, S, 3) look degraded."""
        return decision if self.mixture is None else temper(self.encoder, decision, images)

    def _decide(self, features: tf.Tensor, training: bool, images: tf.Tensor | None) -> dict[str, tf.Tensor]:
        config = self.hyperparameters
        # A linear head's gradient is known in closed form: without a tape, which not every runtime can take.
        in_closed_form = config.head != "split" and (config.attention == "cam" or not training)
        if in_closed_form:
            evidence = attention_maps.cam(self.head.kernel, features)
        else:
            evidence = attention_maps.grad_cam(self.head, features)
        if config.head != "split":
            # The evidence of a location includes the head's bias, which no gradient with respect to F shows.
            evidence += tf.cast(self.head.bias, tf.float32)
        map_logits = attention_maps.to_map_logits(evidence, config.attention_slope, config.attention_threshold)
        logit = self.head(features)
        return {"logit": logit if images is None else self.temper(logit, images), "map_logits": map_logits}

    def decide_on_batch(self, images: Any) -> tuple[np.ndarray, np.ndarray]:
        """Say of images (B, S, S, 3), uint8 or floats in [0, 1], only what a decision takes, without reconstruction.

        Returns:
            The logits, float32 (B,), and those of the attention, (B, h, w), on the grid of the features.
        """
        logit, map_logits = self.decision_of(tf.convert_to_tensor(images))
        return np.asarray(logit)[:, 0], np.asarray(map_logits)

    def score_on_batch(self, images: Any) -> dict[str, np.ndarray]:
        """Return ``score``, ``logit`` and ``attention`` of images (B, S, S, 3) as a call does, and nothing else.

        Without a reconstruction, at which no one looks who asks for scores.
        """
        logit, map_logits = self.decision_of(tf.convert_to_tensor(images))
        return {name: np.asarray(value) for name, value in self._judge(logit, map_logits).items()}

    def decision_of(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Say the same in tensors, the logits as (B, 1): a call of one function, however often it stands in a graph."""
        if self._decision is None:
            self._decision = tf.function(self._decision_of, reduce_retracing=True, autograph=False)
        if tf.executing_eagerly() and self._eager_answers < _EAGER_ANSWERS:
            # Who asks about one photograph, in windows too, has the answer before a graph would be traced.
            self._eager_answers += 1
            return self._decision_of(images)
        found: tuple[tf.Tensor, tf.Tensor] = self._decision(images)
        return found

    def _decision_of(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images = to_images(images, self.image_size)
        decided = self._decide(self._features_to_predict(images), training=False, images=images)
        return decided["logit"], decided["map_logits"]

    def _features_to_predict(self, images: tf.Tensor) -> tf.Tensor:
        if self.hyperparameters.trunk == "none":
            return tf.cast(self.encoder(images, training=False), tf.float32)
        return features_of(self.encoder, images)

    def forward_to_predict(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return what :meth:`forward` does, for prediction alone: the fine expert is asked only where it counts."""
        return self.interpret(self._features_to_predict(images), training=False, images=images)

    def _judge(self, logit: tf.Tensor, map_logits: tf.Tensor) -> dict[str, tf.Tensor]:
        attention = attention_maps.resize_map(tf.sigmoid(map_logits), self.image_size, self.image_size)
        return {"score": self.calibration(logit), "logit": logit, "attention": self.attention_scale(attention)}

    def _outputs(self, found: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        judged = self._judge(found["logit"], found["map_logits"])
        return {**judged, "reconstruction": found["reconstruction"], "latent": found["latent"]}

    def call(self, inputs: tf.Tensor | Batch, training: bool = False) -> dict[str, tf.Tensor]:
        return self._outputs(self.forward(to_images(inputs, self.image_size), training=bool(training)))

    # --- compile -------------------------------------------------------------------------------------

    def compile(  # noqa: PLR0913 - Keras' own way: losses by role
        self,
        optimizer: keras.optimizers.Optimizer | str | None = None,
        *,
        pixel_loss: keras.losses.Loss | None = None,
        perceptual_loss: keras.losses.Loss | None = None,
        adversarial_loss: keras.losses.Loss | None = None,
        latent_loss: keras.losses.Loss | None = None,
        alignment_loss: keras.losses.Loss | None = None,
        loss_weights: dict[str, float] | None = None,
        discriminator_optimizer: keras.optimizers.Optimizer | str | None = None,
        loss: object = None,
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
            latent=latent_loss or (ActivationLoss() if self.hyperparameters.head == "split" else DecisionLoss()),
            alignment=alignment_loss or AlignmentLoss(),
            perceptual=perceptual_loss,
            adversarial=adversarial_loss,
            weights={**DEFAULT_WEIGHTS, **(loss_weights or {})},
        )
        self.objective.check(self.hyperparameters.head, self.discriminator is not None)
        # All weights exist, so a step, which else would make the optimizer's, need not be traced twice.
        self.optimizer.build(self.autoencoder_variables)
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
    def metrics(self) -> list[keras.metrics.Metric]:
        if not getattr(self, "term_means", None):
            return []
        return [*self.term_means.values(), *self.decision_metrics, self.attention_iou]

    @property
    def autoencoder_variables(self) -> list[tf.Variable]:
        """The weights ``optimizer`` updates: all but the discriminator's, which has an optimizer of its own."""
        parts = (self.encoder, self.head, self.decoder)
        return [variable for part in parts for variable in part.trainable_variables]

    # --- steps ---------------------------------------------------------------------------------------

    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        check_arrays(x, y, self.image_size)
        return super().fit(x, y, *args, **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        check_arrays(x, y, self.image_size)
        return super().evaluate(x, y, *args, **kwargs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        check_arrays(x["image"] if isinstance(x, dict) else x, None, self.image_size)
        return super().predict(x, *args, **kwargs)

    def predict_step(self, data: Any) -> dict[str, tf.Tensor]:
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        if self.jit_compile:  # how many images the fine expert is asked about depends on them, which XLA cannot compile
            return self(x, training=False)
        return self._outputs(self.forward_to_predict(to_images(x, self.image_size)))

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        self.train_batch(to_batch(data, self.image_size))
        return {metric.name: metric.result() for metric in self.metrics}

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        self.evaluate_batch(to_batch(data, self.image_size))
        trained = "discriminator_loss"  # nothing updates it here
        return {metric.name: metric.result() for metric in self.metrics if metric.name != trained}

    def train_batch(self, batch: Batch) -> None:
        """Update weights and metrics on one batch, or on one replica's part of it."""
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        variables = self.autoencoder_variables
        with tf.GradientTape() as tape:
            if self.hyperparameters.trunk == "none":
                batch = {**batch, "image": batch.get("degraded", batch["image"])}
                outputs = self.forward(batch["image"], training=True)
                terms = self.objective.terms(batch, outputs, self.discriminator)
            else:
                batch, features, gate_loss = train_experts(self.encoder, batch)
                outputs = self.interpret(features, training=True, images=None)
                terms = self.objective.terms(batch, outputs, self.discriminator)
                terms["loss"] += gate_loss
            # Replicas sum their gradients, so each contributes its share of the mean.
            scaled = addons.scale_loss(self.optimizer, terms["loss"] / replicas)
        addons.apply_gradients(self.optimizer, tape.gradient(scaled, variables), variables)
        if self.discriminator is not None:
            loss, gradients = self.discriminator.loss_and_gradients(
                batch["image"], outputs["reconstruction"], self.objective.adversarial or AdversarialLoss(), replicas
            )
            updates = zip(gradients, self.discriminator.trainable_variables, strict=True)
            self.discriminator_optimizer.apply_gradients(updates)
            terms["discriminator_loss"] = loss
        self._update_metrics(batch, outputs, terms)

    def evaluate_batch(self, batch: Batch) -> None:
        """Update metrics on one batch, or on one replica's part of it."""
        # The last batch may leave a replica without images, and not every layer can do with none: it gets a blank
        # one, which counts for nothing.
        count = tf.shape(batch["image"])[0]
        blank = tf.maximum(0, 1 - count)
        filled = {name: tf.pad(part, [[0, blank], *[[0, 0]] * (len(part.shape) - 1)]) for name, part in batch.items()}
        outputs = self.forward(filled["image"], training=False)
        terms = self.objective.terms(filled, outputs, self.discriminator, count)
        self._update_metrics(batch, {name: part[:count] for name, part in outputs.items()}, terms)

    def _update_metrics(self, batch: Batch, outputs: dict[str, tf.Tensor], terms: dict[str, tf.Tensor]) -> None:
        count = tf.cast(tf.shape(batch["image"])[0], tf.float32)
        for name, mean in self.term_means.items():
            if name in terms:
                mean.update_state(terms[name], sample_weight=count)
        score = tf.sigmoid(outputs["logit"])
        for metric in self.decision_metrics:
            metric.update_state(batch["label"], score)
        fired = tf.sigmoid(outputs["map_logits"]) > 0.5
        forged = attention_maps.pool_mask(batch["mask"], fired.shape[1], fired.shape[2]) > 0.5
        annotated = tf.cast(batch["mask_weight"], tf.float32) * tf.cast(batch["label"], tf.float32)
        self.attention_iou.update_state(attention_maps.overlap(fired, forged), sample_weight=annotated[:, 0])

    # --- saving --------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "dtype": self.dtype_policy.name,
            "image_size": self.image_size,
            **self.hyperparameters.model_dump(mode="json"),
            "trunk_weights": None,  # the saved file holds the weights
            "discriminator": self.discriminator is not None,
            "tuned": self.tuned,
            "view": self.view,
        }

    @classmethod
    def from_preset(cls, source: str | os.PathLike[str]) -> LAE:
        """Return a ready model, not compiled: to predict, or to compile and train on. Nothing of a preset is run.

        Args:
            source: the name of a preset that is installed (``lae-tf models``), a folder, or ``hf://user/name``, with
                ``@revision`` if need be, which takes the extra ``hub``.

        Raises:
            LAEError: there is none, or it is damaged; says which file.
        """
        return build_from(cls, open_preset(source))

    def save_to_preset(self, folder: str | os.PathLike[str], card: str = "") -> None:
        """Write a preset: configuration, weights and calibration, which either stack opens; without the optimizer.

        Args:
            folder: is made.
            card: Markdown for README.md, which says what the model was trained on and how well it does.

        Raises:
            UsageError: the folder exists.
        """
        folder = Path(folder)
        write_preset(folder, preset_of(self, folder.resolve().name, card))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LAE:
        upgraded: Any = ModelConfig.of_older_versions
        return super().from_config({"view": "stretched", **upgraded(config)})

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
