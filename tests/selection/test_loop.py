"""The unattended study: it reveals only what was selected, compares fairly, and resumes without repeating."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tiny_dataset import make_config, write_dataset

from lae_tf.config.sections import Config
from lae_tf.data.manifest import Manifest
from lae_tf.errors import UsageError
from lae_tf.selection import loop
from lae_tf.selection.loop import Study, run_study

SPLITS = {"train": (16, 6, 4), "val": (8, 4, 0), "test": (8, 4, 0)}


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("study")
    manifest = write_dataset(folder / "data", SPLITS)
    config = make_config(
        manifest, folder / "out", data={"train_methods": ["noise"]}, pretrain={"epochs": 1}, align={"epochs": 1}
    )
    return Study(config, folder / "out", shares=(0.1, 0.5), strategies=("random",), seeds=(0,))


def test_study_end_to_end(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    table = run_study(study)
    # 16 real and 8 fake training images: 10 % are 2 masks, 50 % are 12, but only 6 fakes have one.
    assert table[["strategy", "masks"]].to_numpy().tolist() == [
        ["no masks", 0],
        ["random", 2],
        ["random", 6],
        ["all masks", 6],
    ]
    assert table["share"].tolist() == pytest.approx([0, 2 / 24, 6 / 24, 6 / 24])
    assert table["unseen_accuracy"].between(0, 1).all()
    for name, masks in (("pretrain", 0), ("no-masks", 0), ("random-1", 2), ("random-2", 6), ("all-masks", 6)):
        cell = Manifest.read(study.folder / "seed-0" / name / "manifest.csv").select(split="train")
        assert int((cell.mask_state == "annotated").sum()) == masks
    first = np.loadtxt(study.folder / "seed-0/random-1/revealed.csv", dtype=int)
    second = np.loadtxt(study.folder / "seed-0/random-2/revealed.csv", dtype=int)
    assert second[: len(first)].tolist() == first.tolist()
    assert (study.folder / "study.html").exists()
    # Without masks training takes as long as both stages do with them.
    longer = Config.read(study.folder / "seed-0/no-masks/run/config.yaml")
    assert (longer.pretrain.epochs, study.config.pretrain.epochs, study.config.align.epochs) == (2, 1, 1)
    # Noise is the one method that training saw.
    assert table["worst_auroc"].tolist() == table["seen_auroc"].tolist()
    assert table["seen_matched_pixel_auroc"].between(0, 1).all()

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a finished cell ran again")

    monkeypatch.setattr(loop, "train", never)
    monkeypatch.setattr(loop, "evaluate_run", never)
    pd.testing.assert_frame_equal(run_study(study), table)
    # What hides masks at random in training has no say in a study that hides them itself.
    data = study.config.data.model_copy(update={"mask_share": 0.1})
    hiding = replace(study, config=study.config.model_copy(update={"data": data}))
    pd.testing.assert_frame_equal(run_study(hiding), table)
    with pytest.raises(UsageError, match=r"other settings \(budgets was \[0\.1, 0\.5\], now \[0\.1, 0\.3\]\)"):
        run_study(replace(study, shares=(0.1, 0.3)))
    for twice in ({"seeds": (0, 0)}, {"strategies": ("random", "random")}):
        with pytest.raises(UsageError, match="is named twice"):
            run_study(replace(study, **twice))


@pytest.mark.parametrize("shares", [(0.2, 0.1), (0.0,), (1.5,)])
def test_budgets_must_increase(study: Study, shares: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="budgets must increase"):
        run_study(Study(study.config, study.folder, shares, ("random",), (0,)))
