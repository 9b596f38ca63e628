"""The budget: annotated fakes over all training images, cumulative over rounds."""

from __future__ import annotations

from dataclasses import dataclass

from lae_tf.errors import UsageError

LIMIT = 0.03


@dataclass(frozen=True)
class Budget:
    """How many masks may be drawn, over all rounds together.

    Attributes:
        training_images: real and fake images of the training split.
        used: annotated fakes, and images selected in earlier rounds that still wait for their mask.
        total: masks allowed over all rounds.
    """

    training_images: int
    used: int
    total: int

    @property
    def left(self) -> int:
        """Masks that this round may ask for."""
        return max(0, self.total - self.used)

    @property
    def share(self) -> float:
        """What the total is of the training images."""
        return self.total / self.training_images


def require_no_mask_share(mask_share: float | None) -> None:
    """Refuse a run in which masks that people draw could not count.

    Args:
        mask_share: ``data.mask_share`` of its configuration.

    Raises:
        UsageError: it is set.
    """
    if mask_share is not None:
        raise UsageError(
            f"the run has data.mask_share = {mask_share:g}, which hides masks at random and would hide new ones too; "
            "train without it, on a manifest that names only the masks there are."
        )


def masks_of(share: float, training_images: int) -> int:
    """Return how many masks a share of the training images allows; 2.9 % of 1000 are 29, not 28 by rounding."""
    return int(share * training_images + 1e-9)


def parse_budget(text: str, training_images: int, used: int, allow_over: bool = False) -> Budget:
    """Read ``2%`` or a count as the total over all rounds.

    Raises:
        UsageError: not a budget, zero, nothing left of it, or above the limit of 3 % without ``allow_over``.
    """
    try:
        total = masks_of(float(text[:-1]) / 100, training_images) if text.endswith("%") else int(text)
    except (ValueError, OverflowError):
        raise UsageError(f"budget {text!r}: expected a share such as 2% or a number of masks such as 40.") from None
    if total <= 0:
        raise UsageError(f"budget {text} of {training_images} training images is {total} masks; expected at least 1.")
    if total >= LIMIT * training_images and not allow_over:
        raise UsageError(
            f"budget {text} is {total} of {training_images} training images, not under {100 * LIMIT:g} %; "
            "choose less, or add --allow-over-budget, which is recorded."
        )
    if total <= used:
        raise UsageError(
            f"budget {text} allows {total} masks over all rounds, and {used} are drawn or asked for already."
        )
    return Budget(training_images, used, total)
