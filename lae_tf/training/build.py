"""From a configuration to a compiled model: the one place that knows both."""

from __future__ import annotations

import keras

from lae_tf.config.sections import Config, LossConfig, StageConfig
from lae_tf.errors import UsageError
from lae_tf.model.lae import LAE
from lae_tf.model.losses import ActivationLoss, AdversarialLoss, AlignmentLoss, DecisionLoss
from lae_tf.model.perceptual import FeatureMatchingLoss, VGG16PerceptualLoss

WARM_UP_SHARE = 0.05


def build_model(config: Config) -> LAE:
    """Return the model of a configuration, not compiled.

    Raises:
        UsageError: head, loss and size do not go together.
    """
    needs_discriminator = config.losses.adversarial != "none" or config.losses.perceptual == "discriminator"
    if (config.losses.decision == "activation") != (config.model.head == "split"):
        raise UsageError("losses.decision 'activation' and model.head 'split' go together; one was set alone.")
    try:
        return LAE(
            image_size=config.data.image_size,
            discriminator=needs_discriminator,
            dtype=config.hardware.precision,
            view=config.data.view,
            **config.model.model_dump(),
        )
    except ValueError as error:
        raise UsageError(f"model: {error}") from None


def compile_model(model: LAE, config: Config, stage: StageConfig, steps: int) -> None:
    """Compile for one stage of ``stage.epochs`` epochs of ``steps`` steps."""
    losses = config.losses
    weights = {
        "reconstruction": losses.reconstruction,
        "latent": losses.latent,
        "alignment": stage.alignment,
        "pixel": losses.pixel,
        "perceptual": losses.perceptual_weight,
        "adversarial": losses.adversarial_weight,
    }
    model.compile(
        optimizer_for(stage, steps),
        perceptual_loss=_perceptual_loss(losses),
        adversarial_loss=None if losses.adversarial == "none" else AdversarialLoss(losses.adversarial),
        latent_loss=_decision_loss(losses),
        alignment_loss=AlignmentLoss(losses.alignment, losses.alignment_positive_weight),
        loss_weights=weights,
        jit_compile=config.hardware.xla,
    )


def optimizer_for(stage: StageConfig, steps: int) -> keras.optimizers.Optimizer:
    """Return AdamW with warm-up and cosine decay over ``stage.epochs`` epochs of ``steps`` steps."""
    total = stage.epochs * steps
    warm_up = max(1, round(WARM_UP_SHARE * total))
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        decay_steps=max(1, total - warm_up),
        warmup_target=stage.learning_rate,
        warmup_steps=warm_up,
    )
    return keras.optimizers.AdamW(schedule, weight_decay=stage.weight_decay)


def _decision_loss(losses: LossConfig) -> keras.losses.Loss:
    if losses.decision == "activation":
        return ActivationLoss()
    return DecisionLoss(losses.focal_gamma if losses.decision == "focal" else 0.0, losses.label_smoothing)


def _perceptual_loss(losses: LossConfig) -> keras.losses.Loss | None:
    if losses.perceptual == "vgg16":
        return VGG16PerceptualLoss(losses.vgg16_weights)
    return FeatureMatchingLoss() if losses.perceptual == "discriminator" else None
