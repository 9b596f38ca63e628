"""A trained model to ask or to begin with: a run's, or a preset's; and how what it says is traced back to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lae_tf.metrics.decision import Threshold
from lae_tf.presets.finding import open_preset
from lae_tf.presets.folder import Preset
from lae_tf.training.run import Run

if TYPE_CHECKING:
    from lae_tf.model.lae import LAE

_DIGITS = 16


@dataclass(frozen=True)
class ModelSource:
    """A trained model on the disk.

    Attributes:
        origin: the run or the preset that holds it.
    """

    origin: Run | Preset

    @classmethod
    def of_run(cls, path: str) -> ModelSource:
        """Return a run's model; that it is trained is checked by :meth:`load`."""
        return cls(Run.open(path))

    @classmethod
    def of_preset(cls, source: str) -> ModelSource:
        """Return a preset's model, by name, folder or ``hf://user/name``."""
        return cls(open_preset(source))

    @property
    def name(self) -> str:
        """The preset's name, or the run's folder."""
        return self.run or self.origin.name  # type: ignore[union-attr]

    @property
    def run(self) -> str | None:
        """The run's folder; None of a preset, which keeps nothing of its training."""
        return str(self.origin.path) if isinstance(self.origin, Run) else None

    def load(self, threshold: Threshold | None = None) -> LAE:
        """Return the model, not compiled.

        Args:
            threshold: in place of the model's.
        """
        if isinstance(self.origin, Run):
            return self.origin.load_model(threshold)
        from lae_tf.model.lae import LAE
        from lae_tf.model.preset import build_from

        model = build_from(LAE, self.origin)
        if threshold is not None:
            model.calibration.threshold.assign(threshold.value)
        return model

    def record(self, model: LAE) -> dict[str, str]:
        """Return what tables and JSON name a model by.

        Args:
            model: as :meth:`load` gave it.

        Returns:
            ``model``, the run's or the preset's name; ``version`` of lae_tf that made it, empty where it is not known;
            ``digest``, the first 16 digits of the SHA-256 of the model's file or of the preset's weights; ``view``.
        """
        if isinstance(self.origin, Run):
            name, software = self.origin.path.resolve().name, self.origin.read_json("environment.json") or {}
            digest = self.origin.model_digest()
        else:
            name, software, digest = self.origin.name, self.origin.software, self.origin.digest
        view = str(getattr(model, "view", "whole"))
        return {"model": name, "version": software.get("lae_tf", ""), "digest": digest[:_DIGITS], "view": view}
