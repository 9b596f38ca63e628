"""The JSON files of a run directory that code reads again, and what must be in them: a run may come from a stranger."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from lae_tf.config.yaml_values import shown
from lae_tf.errors import UsageError
from lae_tf.files.json_files import read_json

STAGES_FILE = "checkpoints/stages.json"
"""One record for each stage that is done."""
STATE_FILE = "checkpoints/state.json"
"""How far the last stage has come, and the checkpoint that holds it."""

# Both become parts of file names.
_Stage = Annotated[str, Field(pattern=r"^[a-z]+(-\d+)?$")]
_File = Annotated[str, Field(pattern=r"^[a-z]+(-\d+)*\.keras$")]
_Number = Annotated[float, Field(allow_inf_nan=False)]


class _StageRecord(BaseModel):
    stage: _Stage
    annotated: int
    masks: str | None = None  # runs of older versions have none


class _State(BaseModel):
    stage: _Stage
    annotated: int | None = None  # as above
    masks: str | None = None
    epochs: Annotated[int, Field(ge=0)]
    checkpoint: _File
    best: Annotated[list[_Number], Field(min_length=2, max_length=2)] | None
    waited: int
    stopped: bool


class _BegunWith(BaseModel):
    name: str
    sha256: str


class _Data(BaseModel):
    manifest: str
    sha256: str
    counts: dict[str, dict[str, int]]
    methods: list[str]
    mask_budget: _Number
    begun_with: _BegunWith | None = None  # as above


class _Decision(BaseModel):
    threshold: _Number
    rule: str
    validation_images: int


class _Folder(BaseModel):
    folder: str
    counts: dict[str, dict[str, int]]
    forged: list[str]
    left_out: list[str]


class _Scores(BaseModel):
    auroc: _Number | None
    accuracy: _Number | None


class _Compared(BaseModel):
    images: int
    before: _Scores
    after: _Scores


class _FineTuning(BaseModel):
    run: str
    tune: str
    model_sha256: str
    old_validation: _Compared | None
    old_validation_problem: str
    new_validation: _Compared
    forgotten: bool | None


class _Environment(BaseModel):
    stack: str
    tensorflow: str
    keras: str


class _Evaluation(BaseModel):
    threshold: _Number
    table: list[dict[str, str | float | None]]
    manifests: list[str] | None = None  # reports of older versions do not name them


class _Epoch(BaseModel):
    stage: _Stage
    epoch: int


_EXPECTED: dict[str, TypeAdapter] = {
    STAGES_FILE: TypeAdapter(list[_StageRecord]),
    STATE_FILE: TypeAdapter(_State),
    "data.json": TypeAdapter(_Data),
    "calibration.json": TypeAdapter(_Decision),
    "environment.json": TypeAdapter(_Environment),
    "fine_tuning.json": TypeAdapter(_FineTuning),
    "folder.json": TypeAdapter(_Folder),
    "evaluation.json": TypeAdapter(_Evaluation),
    "metrics.jsonl": TypeAdapter(list[_Epoch]),
}


def read_record(path: Path, name: str) -> Any:
    """Read a JSON file of a run.

    Args:
        path: the file.
        name: of it below the run; a name that no other code knows is read as it is.

    Raises:
        UsageError: it cannot be read, is not JSON, or lacks something.
    """
    value = read_json(path)
    require(value, path, name)
    return value


def require(value: Any, path: Path, name: str) -> None:
    """Check what a file of a run holds.

    Raises:
        UsageError: something is missing or of another kind; says where.
    """
    if name not in _EXPECTED:
        return
    try:
        _EXPECTED[name].validate_python(value)
    except ValidationError as error:
        details = error.errors(include_url=False)[0]
        where = ".".join(map(shown, details["loc"])) or "the file"
        raise UsageError(
            f"{path}: is damaged: {where}: {details['msg']}; found {shown(details['input'])}. Restore the file."
        ) from None
