"""The models that are served: finds versions, loads and unloads them, and answers which one a request means.

A new version is loaded and warmed up beside the old one, takes over when it is ready, and never does so when its
load fails. Requests hold the version that they began with, so none is dropped by a swap.
"""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lae_tf.errors import LAEError
from lae_tf.serving.engine.config_files import ModelConfig, VersionPolicy
from lae_tf.serving.engine.loaded_model import WARMUP_FILE, LoadedModel, load_warm
from lae_tf.serving.errors import Code, ServingError, from_exception, invalid

logger = logging.getLogger(__name__)

LARGEST_VERSION = 2**63 - 1
Loader = Callable[[str, int, Path], LoadedModel]
Fingerprint = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class VersionStatus:
    """What the status document says of a version: LOADING, AVAILABLE, UNLOADING or END."""

    version: int
    state: str
    error: ServingError | None = None
    fingerprint: Fingerprint = ()


class _Served:
    """One model: its configuration, the versions in memory and the status of each version ever seen."""

    def __init__(self, config: ModelConfig):
        self.config = config
        # Replaced as a whole, never changed in place: readers need no lock.
        self.loaded: Mapping[int, LoadedModel] = {}
        self.statuses: Mapping[int, VersionStatus] = {}

    def set_status(self, status: VersionStatus) -> None:
        self.statuses = {**self.statuses, status.version: status}


class ModelManager:
    """Serves the versions that each model's policy asks for.

    Args:
        configs: the models; names are unique.
        load: makes a LoadedModel of a version's directory.
    """

    def __init__(self, configs: Iterable[ModelConfig], load: Loader = load_warm):
        self._models = {config.name: _Served(config) for config in configs}
        self._load = load
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None

    def start(self, poll_seconds: float) -> None:
        """Load every model, then look for new versions in the background.

        Args:
            poll_seconds: time between two looks; 0 never looks again.

        Raises:
            LAEError: a model of which no version can be served.
        """
        self.poll()
        for model in self._models.values():
            if not model.loaded:
                raise LAEError(_why_nothing(model))
        if poll_seconds:
            self._watcher = threading.Thread(
                target=self._watch, args=(poll_seconds,), name="lae-tf-versions", daemon=True
            )
            self._watcher.start()

    def close(self) -> None:
        """Stop looking for new versions."""
        self._stop.set()
        if self._watcher:
            self._watcher.join()

    def _watch(self, poll_seconds: float) -> None:
        while not self._stop.wait(poll_seconds):
            try:
                self.poll()
            except Exception:
                # A file system that fails for a while must not end the watch, nor the serving.
                logger.exception("Looking for new versions failed; the versions in memory stay.")

    def poll(self) -> None:
        """Look at each model's directory once, and load and unload versions as its policy says."""
        for model in self._models.values():
            self._update(model)

    def _update(self, model: _Served) -> None:
        found = _find_versions(model.config.base_path)
        policy = model.config.policy
        if not found and not policy.specific:
            return  # A directory that vanished for a moment must not end the service.
        wanted = self._load_wanted(model, found, policy)
        if not wanted:
            return
        gone = [version for version in model.loaded if version not in wanted]
        if not gone:
            return
        for version in gone:
            model.set_status(VersionStatus(version, "UNLOADING"))
        model.loaded = {version: model.loaded[version] for version in wanted}
        for version in gone:
            model.set_status(VersionStatus(version, "END"))
            logger.info("Unloaded %s version %d.", model.config.name, version)
        # A SavedModel's functions and variables refer to each other.
        gc.collect()

    def _load_wanted(self, model: _Served, found: Mapping[int, Path], policy: VersionPolicy) -> set[int]:
        """Load what the policy asks for; where a newest version fails, the one before it stays or steps in."""
        candidates: Sequence[int] = sorted(found, reverse=True)
        limit = len(candidates) if policy.all else policy.latest
        if policy.specific:
            candidates, limit = policy.specific, len(policy.specific)
        ready: set[int] = set()
        for version in candidates:
            if len(ready) >= limit:
                break
            path = found.get(version)
            if version in model.loaded and path is not None:
                ready.add(version)
            elif path is None:
                if version in model.loaded:
                    continue  # It serves on unless another takes over, and its directory may come back.
                missing = f"No directory for version {version} below {model.config.base_path}"
                model.set_status(VersionStatus(version, "END", ServingError(Code.NOT_FOUND, missing)))
            elif self._try_load(model, version, path):
                ready.add(version)
        return ready

    def _try_load(self, model: _Served, version: int, path: Path) -> bool:
        name = model.config.name
        before = model.statuses.get(version)
        fingerprint = _fingerprint(path)
        if before and before.error and before.fingerprint == fingerprint:
            return False  # It failed, and nothing has changed since.
        status = VersionStatus(version, "LOADING", fingerprint=fingerprint)
        model.set_status(status)
        try:
            loaded = self._load(name, version, path)
        except Exception as error:
            failure = from_exception(error)
            model.set_status(replace(status, state="END", error=failure))
            logger.error("%s version %d cannot be served: %s", name, version, failure)
            return False
        model.loaded = {**model.loaded, version: loaded}
        model.set_status(replace(status, state="AVAILABLE"))
        logger.info("Serving %s version %d from %s.", name, version, path)
        return True

    def get(self, name: str, version: int | None = None, label: str | None = None) -> LoadedModel:
        """Return the version that a request means: the one it names, or the largest number.

        Raises:
            ServingError: INVALID_ARGUMENT for an unknown label, NOT_FOUND for an unknown model or version.
        """
        model = self._models.get(name)
        if label is not None:
            if model is None or label not in model.config.labels:
                raise invalid(f"Unrecognized servable version label: {label}")
            version = model.config.labels[label]
        loaded = model.loaded if model else {}
        chosen = max(loaded, default=None) if version is None else version
        if chosen is None or chosen not in loaded:
            what = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise ServingError(Code.NOT_FOUND, f"Servable not found for request: {what}")
        return loaded[chosen]

    def statuses(self, name: str, version: int | None = None) -> list[VersionStatus]:
        """Return the status of one version, or of all, the newest first.

        Raises:
            ServingError: NOT_FOUND, an unknown model or version.
        """
        statuses = self._models[name].statuses if name in self._models else {}
        if not statuses:
            raise ServingError(Code.NOT_FOUND, f"Could not find any versions of model {name}")
        if version is None:
            return [statuses[number] for number in sorted(statuses, reverse=True)]
        if version not in statuses:
            raise ServingError(Code.NOT_FOUND, f"Could not find version {version} of model {name}")
        return [statuses[version]]

    def loaded_versions(self) -> dict[str, list[int]]:
        """Return the versions in memory, by model."""
        return {name: sorted(model.loaded) for name, model in self._models.items()}


def _find_versions(base_path: Path) -> dict[int, Path]:
    """Return the directories whose names are numbers, as TensorFlow Serving reads them."""
    try:
        entries = sorted(base_path.iterdir())
    except OSError:
        return {}
    return {
        int(entry.name): entry
        for entry in entries
        if entry.name.isascii()
        and entry.name.isdigit()
        and len(entry.name) < 20
        and int(entry.name) <= LARGEST_VERSION
        and entry.is_dir()
    }


def _fingerprint(path: Path) -> Fingerprint:
    """Tell whether a directory has changed: names, times and sizes of what a load reads."""
    facts = []
    for file in (path / "saved_model.pb", *sorted(path.glob("variables/*")), path / WARMUP_FILE):
        try:
            facts.append((file.name, file.stat().st_mtime_ns, file.stat().st_size))
        except OSError:
            continue
    return tuple(facts)


def _why_nothing(model: _Served) -> str:
    failed = [status for status in model.statuses.values() if status.error]
    if not failed:
        return (
            f"No version of model {model.config.name!r} found: {model.config.base_path} must hold a "
            "directory whose name is a number, with a SavedModel in it."
        )
    newest = max(failed, key=lambda status: status.version)
    return f"Model {model.config.name!r} cannot be served: version {newest.version}: {newest.error}"
