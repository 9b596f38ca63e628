"""What a comparison runs: the task, the budget that all models share, the models, the seeds."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator, model_validator

from lae_tf.comparison.peers import PEER_SIZES, PEER_VIEWS, PEERS
from lae_tf.config.section import Section, problem
from lae_tf.config.sections import Config, ConfigError
from lae_tf.config.yaml_values import read_yaml, set_key, shown
from lae_tf.data.manifest import Manifest
from lae_tf.errors import LAEError, UsageError

OWN = "lae"
EARLIER = "earlier terms"
_SHARED = {"seed", "output", "data.manifest", "data.train_methods", "data.image_size", "data.view"}


@dataclass(frozen=True)
class Cell:
    """One model with one seed.

    Attributes:
        model: name of ``lae``, of a peer or of an ablation.
        seed: of data order, augmentation and weights.
        peer: the peer's name; None for LAE and its ablations.
        config: resolved; peers take data, augmentation, input size, epochs and learning rate from it.
        earlier: whether the cell is taken as an earlier protocol left it, and never run.
    """

    model: str
    seed: int
    peer: str | None
    config: Config
    earlier: bool = False

    @property
    def name(self) -> str:
        return f"{self.model}-{self.seed}"

    @property
    def shown(self) -> str:
        """The model's name in tables, which tells a cell of an earlier protocol."""
        return f"{self.model} ({EARLIER})" if self.earlier else self.model


class Protocol(Section):
    """A task: train on some methods, test on all methods of the test split.

    Attributes:
        title: of the task.
        manifest: CSV or Parquet file, relative to the data root.
        train_methods: manipulations to train and validate on; all others of the test split are unseen.
        unseen_methods: these others by name, if the test split is to be held to them; a method that is spelt in two
            ways would otherwise be two.
        seeds: each gives every model a run of its own.
        models: ``lae`` and names of peers.
        training: sections of a run's configuration; LAE uses all of them, the peers ``data``, ``augment``, the sum
            of both stages' epochs, the learning rate and weight decay of ``pretrain``, and those that read masks
            ``align.annotated`` and ``align.real``. So peers get the same free forgeries (``data.self_forged``) and
            degradations (``augment.degrade``) as LAE. ``start.weights`` is null if it is not set, since no peer gets
            the photographs of a ready model.
        rate_epochs: of the short trainings, with the first seed, that choose each peer's learning rate among its own,
            a third and three times it, by AUROC on validation; 0 leaves it at its own.
        earlier: peers whose finished cells are taken as an earlier protocol left them, on other terms; they are not
            run, and are marked in every table.
        ablations: name -> ``{dotted key of the configuration: value}``; each is LAE with these changes.
        robustness_images: test images for the degradations, half real; 0 leaves robustness out.
        fast: values that replace those above when the comparison is asked to be fast; ``training`` key by key.
    """

    title: str
    manifest: str
    train_methods: Annotated[tuple[str, ...], Field(min_length=1)]
    unseen_methods: tuple[str, ...] = ()
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(min_length=1)] = (0, 1, 2)
    models: Annotated[tuple[str, ...], Field(min_length=1)] = (OWN, *PEERS)
    training: dict[str, Any] = Field(default_factory=dict)
    ablations: dict[str, dict[str, Any]] = Field(default_factory=dict)
    rate_epochs: int = Field(0, ge=0)
    earlier: tuple[str, ...] = ()
    robustness_images: int = Field(120, ge=0)
    fast: dict[str, Any] = Field(default_factory=dict)

    @field_validator("training")
    @classmethod
    def _sections(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name, section in values.items():
            if name in ("seed", "output"):
                raise ValueError(f"'{name}' belongs to the comparison; leave it out")
            if not isinstance(section, dict):
                raise ValueError(f"'{name}' must be a section with keys of its own, found {shown(section)}")
        for name in ("manifest", "train_methods"):
            if name in values.get("data", {}):
                raise ValueError(f"'data.{name}' belongs to the comparison; set '{name}' beside 'training' instead")
        return values

    @field_validator("ablations")
    @classmethod
    def _single_values(cls, values: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, changes in values.items():
            for key, value in changes.items():
                if "." not in key or isinstance(value, dict):  # would replace a whole section
                    raise ValueError(f"'{name}' sets '{key}'; write each value by its key, such as model.high_pass: no")
        return values

    @field_validator("fast")
    @classmethod
    def _fields(cls, values: dict[str, Any]) -> dict[str, Any]:
        unknown = sorted(values.keys() - cls.model_fields.keys() | values.keys() & {"fast"})
        if unknown:
            raise ValueError(f"'{unknown[0]}' is not a key of the protocol")
        training = values.get("training", {})
        if not isinstance(training, dict):
            raise ValueError(f"'training' must hold sections, found {shown(training)}")
        cls._sections(training)
        return values

    @field_validator("seeds", "models", "train_methods", "unseen_methods", "earlier")
    @classmethod
    def _once(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        repeated = sorted({value for value in values if values.count(value) > 1})
        if repeated:
            raise ValueError(f"{repeated[0]!r} is named twice")
        return values

    @model_validator(mode="after")
    def _check(self) -> Protocol:
        for name in self.models:
            if name != OWN and name not in PEERS:
                raise ValueError(f"model '{name}' is unknown; known are {', '.join((OWN, *PEERS))}")
        for name in self.ablations:
            if name == OWN or name in PEERS or not name.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"'{name}' cannot name an ablation; use letters, digits and dashes")
            shared = sorted(_SHARED & self.ablations[name].keys())
            if shared:
                raise ValueError(f"ablation '{name}' cannot change '{shared[0]}', which all models share")
        for name in self.earlier:
            if name not in PEERS or name not in self.models:
                raise ValueError(f"earlier names '{name}', which is no peer among the models")
        if self.robustness_images == 1:
            raise ValueError("robustness_images takes half real and half fake images, so 2 or more, or 0")
        return self

    @classmethod
    def read(cls, path: str | Path, fast: bool = False) -> Protocol:
        """Read a YAML file.

        Raises:
            UsageError: the file is missing or not YAML.
            ConfigError: unknown keys or bad values; all are listed.
        """
        path = Path(path)
        values = read_yaml(path, "manifest")
        try:
            protocol = cls.model_validate(values)
            if not fast:
                return protocol
            training = _merged(protocol.training, protocol.fast.get("training", {}))
            return cls.model_validate({**values, **protocol.fast, "training": training})
        except ValidationError as error:
            raise ConfigError(str(path), [problem(cls, details) for details in error.errors()]) from None

    def check_data(self, manifest: Manifest) -> None:
        """Refuse data on which the comparison would fail after the first training.

        Raises:
            UsageError: a training method that is not there; LAEError: a split that lacks what is compared.
        """
        seen = manifest.select(methods=self.train_methods)
        for split in ("train", "val", "test"):
            part = seen.select(split=split)
            fakes = int(part.is_fake.sum())
            if not 0 < fakes < len(part):
                raise LAEError(
                    f"{self.manifest}: split '{split}' has {len(part) - fakes} real images and {fakes} fakes of "
                    f"{', '.join(self.train_methods)}; the comparison needs both."
                )
        tested = set(manifest.select(split="test").frame["method"]) - {""}
        if tested <= set(self.train_methods):
            raise LAEError(
                f"{self.manifest}: split 'test' has no method but {', '.join(sorted(tested))}, which training sees; "
                "the comparison needs an unseen one."
            )
        unseen = tested - set(self.train_methods)
        if self.unseen_methods and unseen != set(self.unseen_methods):
            raise UsageError(
                f"{self.manifest}: the unseen methods of split 'test' are {', '.join(sorted(unseen))}; unseen_methods "
                f"names {', '.join(self.unseen_methods)}. Name the same, or leave it out to test on all."
            )

    def cells(self, data_root: str | Path, folder: Path) -> Iterator[Cell]:
        """Yield the cells seed by seed, so that a comparison cut short has seen every model.

        Args:
            data_root: folder that ``manifest`` is relative to.
            folder: of the comparison's results; cell ``x`` lives in ``folder/cells/x``.

        Raises:
            UsageError: the manifest is missing, or the image size or view is not one that every model takes.
            ConfigError: ``training`` or an ablation is not valid.
        """
        manifest = Path(data_root).resolve() / self.manifest
        if not manifest.is_file():
            raise UsageError(f"{manifest}: no such manifest; name the folder that holds '{self.manifest}' with --data.")
        for seed in self.seeds:
            for model in (*self.models, *self.ablations):
                values = copy.deepcopy(self.training)
                for key, value in self.ablations.get(model, {}).items():
                    set_key(values, key, value, subject=f"ablation {model}")
                data = {**values.get("data", {}), "manifest": str(manifest), "train_methods": self.train_methods}
                start = {"weights": None, **values.get("start", {})}
                output = str(folder / "cells" / f"{model}-{seed}" / "run")
                own = {"data": data, "start": start, "seed": seed, "output": output}
                config = Config.parse({**values, **own}, f"training of {model}")
                if config.pretrain.epochs + config.align.epochs == 0:
                    raise UsageError(f"training of {model}: pretrain.epochs and align.epochs are both 0.")
                if config.data.view not in PEER_VIEWS:
                    raise UsageError(
                        f"data.view is '{config.data.view}'; models are compared in {' or '.join(PEER_VIEWS)}."
                    )
                if model in PEERS and config.data.image_size not in PEER_SIZES:
                    raise UsageError(
                        f"data.image_size is {config.data.image_size}; {model} takes multiples of {PEER_SIZES.step} "
                        f"from {PEER_SIZES[0]} to {PEER_SIZES[-1]}."
                    )
                yield Cell(model, seed, model if model in PEERS else None, config, model in self.earlier)


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Replace values, section by section."""
    result = dict(values)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = _merged(result[key], value) if both else value
    return result
