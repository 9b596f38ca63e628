"""The quickstart's data: photographs never cross splits, unseen methods are never trained on, masks are few."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np

from lae_tf import quickstart
from lae_tf.annotation.surroundings import read_surroundings
from lae_tf.config.sections import Config
from lae_tf.data.manifest import Manifest
from lae_tf.images.files import read_image
from lae_tf.training.training_data import training_manifest


def test_data_contract(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(quickstart, "TILES_PER_PHOTOGRAPH", 12)
    path = quickstart.make_data(tmp_path, seed=0)
    frame = Manifest.read(path).frame
    assert (frame.groupby("group")["split"].nunique() == 1).all()
    assert frame[frame["split"] == "test"]["group"].nunique() >= 2
    trained_on = set(frame[frame["split"] != "test"]["method"]) - {""}
    assert trained_on == set(quickstart.SEEN)
    assert set(frame[frame["split"] == "test"]["method"]) - {""} == {*quickstart.SEEN, *quickstart.UNSEEN}

    # Every image, forged or not, lies where its photograph is said to have been cut.
    cuts = read_surroundings(path.parent)
    assert set(map(str, cuts)) == set(frame["path"])
    real = frame[frame["label"] == "real"].iloc[7]["path"]
    cut = cuts[Path(real)]
    pixels = read_image(cut.source)[cut.top : cut.top + cut.height, cut.left : cut.left + cut.width]
    np.testing.assert_array_equal(read_image(real), pixels)

    written = path.stat().st_mtime_ns
    assert quickstart.make_data(tmp_path, seed=0).stat().st_mtime_ns == written

    (tmp_path / "config.yaml").write_text((resources.files("lae_tf.configs") / "quickstart.yaml").read_text())
    used = training_manifest(Config.read(tmp_path / "config.yaml"))
    assert 0 < used.mask_budget() < 0.03
