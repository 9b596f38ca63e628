"""The run directory: everything a training run reads, writes and leaves behind."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lae_tf.config.sections import Config
from lae_tf.errors import UsageError
from lae_tf.files.atomic import write_text
from lae_tf.files.locking import locked
from lae_tf.metrics.decision import Threshold
from lae_tf.training.records import STAGES_FILE, STATE_FILE, read_record, require

if TYPE_CHECKING:
    from lae_tf.model.lae import LAE


class Run:
    """A folder with a fixed layout; docs/guides/formats.md describes every file.

    Args:
        path: the folder; :meth:`create` makes one, :meth:`open` takes one that exists.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.config_path = self.path / "config.yaml"
        self.model_path = self.path / "model.keras"
        self.metrics_path = self.path / "metrics.jsonl"
        self.validation_scores = self.path / "validation_scores.csv"
        self.checkpoints = self.path / "checkpoints"
        self.image_cache = self.path / "image_cache"
        self.tensorboard = self.path / "tensorboard"
        self.report = self.path / "report"
        self.rounds = self.path / "rounds"

    @classmethod
    def create(cls, config: Config, resume: bool = False) -> Run:
        """Make the run's folder and store the resolved configuration and the environment.

        Raises:
            UsageError: the folder already holds a run and ``resume`` is False, or holds a run of another
                configuration.
        """
        run = cls(config.output)
        begun = run.has_begun
        if run.config_path.exists() and (begun or resume):
            if not resume:
                raise UsageError(f"{run.path} already holds a run; add --resume to go on, or choose another output.")
            # The folder may have been moved, or be named in another way.
            old, new = (each.model_dump(mode="json", exclude={"output"}) for each in (run.config, config))
            changed = differences(old, new)
            if changed and begun:
                raise UsageError(
                    f"{run.path} was made with another configuration ({'; '.join(changed)}); "
                    "restore it, or choose another output."
                )
            if not changed:
                return run
        if not begun:
            run.clear()
        run.path.mkdir(parents=True, exist_ok=True)
        from lae_tf.runtime.environment import describe

        run.write_json("environment.json", describe())
        config.write(run.config_path)
        return run

    @property
    def has_begun(self) -> bool:
        """Whether an epoch is finished: a start that failed, or was interrupted, leaves nothing worth keeping."""
        if self.model_path.exists() or (self.path / STAGES_FILE).exists():
            return True
        state = self.read_json(STATE_FILE)
        return state is not None and state["epochs"] > 0

    def clear(self) -> None:
        """Remove what a start left that has not come to the end of an epoch."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)
        self.config_path.unlink(missing_ok=True)

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Return an existing run.

        Raises:
            UsageError: the folder is missing or holds no run.
        """
        run = cls(path)
        if not run.config_path.is_file():
            raise UsageError(f"{path}: no run here; expected a folder that 'lae-tf train' made (with config.yaml).")
        return run

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from changing the run meanwhile: training, selecting, importing masks.

        Raises:
            LAEError: another one is at it.
        """
        refusal = f"{self.path} is being changed by another lae-tf command; wait until that ends, or end it."
        with locked(self.path / ".lock", refusal):
            yield

    @property
    def config(self) -> Config:
        """The run's resolved configuration."""
        return Config.read(self.config_path)

    def load_model(self, threshold: Threshold | None = None) -> LAE:
        """Load the trained model, not compiled: to predict, not to train.

        Args:
            threshold: in place of the model's.

        Raises:
            UsageError: training has not finished.
        """
        if not self.model_path.is_file():
            raise UsageError(f"{self.path}: not trained yet (no model.keras); {self._how_to_finish}.")
        from lae_tf.model import load_model

        model = load_model(self.model_path, compile=False)
        if threshold is not None:
            model.calibration.threshold.assign(threshold.value)
        return model

    @property
    def _how_to_finish(self) -> str:
        config, output = (shlex.quote(str(place)) for place in (self.path / "config.yaml", self.path))
        return f"finish the run with 'lae-tf train {config} --output {output} --resume'"

    def model_digest(self) -> str:
        """Return the SHA-256 of the trained model's file."""
        return hashlib.sha256(self.model_path.read_bytes()).hexdigest()

    def read_json(self, name: str) -> Any:
        """Read a JSON file of the run, or return None where it is not there.

        Raises:
            UsageError: the file is damaged.
        """
        path = self.path / name
        return read_record(path, name) if path.is_file() else None

    def require_json(self, name: str) -> Any:
        """Read a JSON file that every trained run has.

        Raises:
            UsageError: the file is missing or damaged.
        """
        value = self.read_json(name)
        if value is None:
            raise UsageError(f"{self.path}: has no {name}; {self._how_to_finish}, or restore the file.")
        return value

    def round_numbers(self) -> list[int]:
        """Return the numbers of the rounds of selection, rising; other folders among them are passed over."""
        names = (folder.name for folder in self.rounds.glob("[1-9]*"))
        return sorted(int(name) for name in names if name.isascii() and name.isdecimal())

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file of the run atomically."""
        write_text(self.path / name, json.dumps(value, indent=2), durable=True)

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return one dict per finished epoch: stage, epoch, training and validation metrics.

        Raises:
            UsageError: the file is damaged.
        """
        if not self.metrics_path.is_file():
            return []
        try:
            lines = self.metrics_path.read_text(encoding="utf-8").splitlines(keepends=True)
            # A kill may have torn the last line; its epoch is repeated.
            rows: list[dict[str, Any]] = [json.loads(line) for line in lines if line.endswith("\n")]
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{self.metrics_path}: is damaged ({error}). Restore the file.") from None
        require(rows, self.metrics_path, self.metrics_path.name)
        return rows


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Return what differs between two nested settings, one phrase for each key."""
    changed = []
    for key in new:
        before, after = old.get(key), new[key]
        if isinstance(before, dict) and isinstance(after, dict):
            changed += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            changed.append(f"{prefix}{key} was {before!r}, now {after!r}")
    return changed
