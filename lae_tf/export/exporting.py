"""One export from a run to a numbered version folder: built aside, held against the checkpoint, then renamed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lae_tf.data.views import require_view
from lae_tf.errors import LAEError, UsageError
from lae_tf.export.converters import calibration_images, write_onnx, write_tflite
from lae_tf.export.golden import golden_faces
from lae_tf.export.model_card import describe_model, write_model_card
from lae_tf.export.parity import Parity, check_parity, write_golden
from lae_tf.export.signatures import write_saved_model
from lae_tf.export.warmup import write_warmup
from lae_tf.files.atomic import building
from lae_tf.images.files import decode_image
from lae_tf.training.run import Run
from lae_tf.video.face_places import as_input

MODEL_NAME = "lae"
# Folder below OUT and largest difference of a score: float32 kernels of other runtimes add up in another
# order, and 8-bit arithmetic is an approximation.
FORMATS = {"savedmodel": (MODEL_NAME, 1e-5), "tflite": ("tflite", 1e-4), "onnx": ("onnx", 1e-4)}
INT8_TOLERANCE = 0.05
WINDOWS_TOLERANCE = 1e-4  # windows that stand out count by an exponential
_WARMUP_IMAGE = "jpeg-quality-75.jpg"


@dataclass(frozen=True)
class Export:
    """A published export.

    Attributes:
        path: its version folder.
        version: its number.
        parity: what the gate measured.
    """

    path: Path
    version: int
    parity: Parity


def export_run(
    run: Run, out: str | os.PathLike[str], version: int | None = None, form: str = "savedmodel", int8: bool = False
) -> Export:
    """Export a trained run to ``OUT/lae/N`` (SavedModel), ``OUT/tflite/N`` or ``OUT/onnx/N``.

    Args:
        run: the trained run.
        out: root of exports; made if it is missing.
        version: N; default: one more than the highest there is.
        form: a key of ``FORMATS``.
        int8: with ``tflite``, 8-bit convolutions calibrated on training images.

    Raises:
        UsageError: the version exists, or the options do not go together.
        ParityError: the export scores differently from the checkpoint. Nothing is left behind, as after
            every error.
    """
    if int8 and form != "tflite":
        raise UsageError(f"--int8 goes with --format tflite, not with {form}.")
    folder, tolerance = FORMATS[form]
    parent = Path(out) / folder
    if version is None:
        version = max(versions(parent), default=0) + 1
    target = parent / str(version)
    if target.exists():
        raise UsageError(f"{target} exists already; an export is never overwritten. Choose another --version.")
    model = run.load_model()
    if form != "savedmodel":
        require_view(model, f"an export as {form}, whose input has one size,")
    if model.view == "windows":
        tolerance = WINDOWS_TOLERANCE
    with _published(target) as work:
        # assets.extra is where TensorFlow Serving looks for warm-up records and leaves the rest alone.
        extra = work / "assets.extra" if form == "savedmodel" else work
        extra.mkdir(parents=True, exist_ok=True)
        golden = extra / "golden"
        write_golden(model, golden, INT8_TOLERANCE if int8 else tolerance, pixels=form != "savedmodel")
        if form == "savedmodel":
            path = work
            write_saved_model(model, path)
            image = (golden / _WARMUP_IMAGE).read_bytes()
            faces = None
            if model.view == "faces":
                faces = as_input([golden_faces(*decode_image(image, _WARMUP_IMAGE).shape[:2])])
            write_warmup(extra / "tf_serving_warmup_requests", MODEL_NAME, image, faces)
        elif form == "tflite":
            path = work / "model.tflite"
            write_tflite(model, path, calibration_images(run, model) if int8 else None)
        else:
            path = work / "model.onnx"
            write_onnx(model, path)
        parity = check_parity(path, golden)
        write_model_card(describe_model(run, version, f"{form} int8" if int8 else form, work, parity), extra)
    return Export(target, version, parity)


def versions(parent: Path) -> list[int]:
    """Return the version numbers below a model's folder, in order."""
    if not parent.is_dir():
        return []
    return sorted(int(entry.name) for entry in parent.iterdir() if entry.name.isascii() and entry.name.isdigit())


@contextlib.contextmanager
def _published(target: Path) -> Iterator[Path]:
    """Give a folder beside the target, and rename it to the target if all went well."""
    missing = [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{target.parent}: cannot be made ({error.strerror}).") from None
    try:
        with building(target) as work:  # servers that watch the parent take only numbers for versions
            yield work
            try:
                work.rename(target)
            except OSError as error:
                raise LAEError(f"{target}: cannot be published ({error.strerror}); nothing was exported.") from error
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError):  # not empty: someone else uses it
                folder.rmdir()
        raise
