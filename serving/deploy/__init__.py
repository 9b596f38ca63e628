"""Files to run an export under TensorFlow Serving: compose, Kubernetes, Prometheus, Grafana and Nginx."""

from __future__ import annotations

import os
from pathlib import Path

import jinja2

from lae_tf.errors import UsageError
from lae_tf.export.exporting import MODEL_NAME, versions
from lae_tf.export.warmup import MAX_BATCH_SIZE
from lae_tf.files.atomic import write_text
from lae_tf.serving.engine.config_files import DEFAULT_METRICS_PATH, read_model_config

MODELS_CONFIG = "models.config"
# Both load exports of either stack; the one of the stack's own release computes with the same kernels.
IMAGES = {"classic": "tensorflow/serving:2.15.1", "current": "tensorflow/serving:2.21.0"}
_TEMPLATES = Path(__file__).parent / "templates"


def check_deployment(directory: Path) -> None:
    """Make sure that :func:`write_deployment` can write there.

    Raises:
        UsageError: a ``models.config`` is there that it did not write, or cannot be read.
    """
    _stable_version(directory)


def write_deployment(directory: Path, model_root: Path, version: int, stack: str) -> dict[str, list[Path]]:
    """Write the files for a new version.

    The new version becomes ``canary``. ``stable`` stays what the ``models.config`` in place says, else it is the
    version before; the first version is both. Every other file that exists is kept, for it may have been edited.

    Args:
        directory: where; made if it is missing.
        model_root: folder with the numbered versions; the compose file mounts it.
        version: the new one.
        stack: ``classic`` or ``current``, chooses the server's release.

    Returns:
        ``written`` and ``kept`` files.
    """
    present = versions(model_root)
    stable = _stable_version(directory)
    if stable not in present:
        stable = max((number for number in present if number < version), default=version)
    models = os.path.relpath(model_root.resolve(), directory.resolve())
    values = {
        "name": MODEL_NAME,
        "image": IMAGES[stack],
        "models": Path(models).as_posix() if os.path.isabs(models) else f"./{Path(models).as_posix()}",
        "stable": stable,
        "canary": version,
        "max_batch_size": MAX_BATCH_SIZE,
        "batch_sizes": [2**power for power in range(MAX_BATCH_SIZE.bit_length())],
        "metrics_path": DEFAULT_METRICS_PATH,
    }
    environment = jinja2.Environment(  # noqa: S701 - configuration files, not HTML
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    result: dict[str, list[Path]] = {"written": [], "kept": []}
    directory.mkdir(parents=True, exist_ok=True)
    for template in sorted(environment.list_templates()):
        path = directory / template.removesuffix(".j2")
        if path.exists() and path.name != MODELS_CONFIG:
            result["kept"].append(path)
            continue
        write_text(path, environment.get_template(template).render(values))
        result["written"].append(path)
    return result


def _stable_version(directory: Path) -> int | None:
    """Return what the ``models.config`` in place calls stable, None where there is none."""
    path = directory / MODELS_CONFIG
    if not path.exists():
        return None
    configs = read_model_config(path)
    if [config.name for config in configs] != [MODEL_NAME]:
        names = ", ".join(config.name for config in configs)
        raise UsageError(
            f"{path} serves {names}; it would be rewritten for {MODEL_NAME} alone. Choose another --deploy."
        )
    return configs[0].labels.get("stable")
