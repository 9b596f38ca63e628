"""From a folder to a trained run: what is found, forged, kept and refused."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_dataset import forge, make_config, photograph

from lae_tf.data.manifest import Manifest
from lae_tf.datasets import DEFAULT_FORGERIES
from lae_tf.datasets.training_folder import manifest_path, prepare_folder
from lae_tf.errors import UsageError
from lae_tf.images.files import write_png
from lae_tf.training.run import Run

SMALL = [
    "model.trunk=none",
    "model.widths=[4, 8]",
    "model.blocks=0",
    "data.image_size=32",
    "data.batch_size=8",
    "data.self_forged=0",
    "pretrain.epochs=1",
    "align.epochs=1",
]


def write_reals(folder, count=12):
    rng = np.random.default_rng(0)
    for number in range(count):
        write_png(folder / f"trip{number % 2}" / f"{number}.png", photograph(rng))


@pytest.fixture
def sorted_folder(tmp_path):
    """Six real images at two depths; two methods, fakes of three images each, one of them with masks."""
    rng = np.random.default_rng(1)
    folder = tmp_path / "photos"
    for number in range(6):
        image = photograph(rng)
        write_png(folder / "real" / ("" if number % 2 else "deep/er") / f"{number}.png", image)
        method = "gan" if number < 3 else "splice"
        forged, mask = forge(image, "noise", rng)
        write_png(folder / "fake" / method / f"{number}.png", forged)
        if method == "splice":
            write_png(folder / "masks" / method / f"{number}.png", mask)
    return folder


def config_for(tmp_path, **sections):
    output = tmp_path / "run"
    return make_config(manifest_path(output), output, **sections)


def test_real_and_fake_become_a_manifest_with_methods_and_masks(sorted_folder, tmp_path):
    prepared = prepare_folder(sorted_folder, config_for(tmp_path), progress=False)
    manifest = Manifest.read(prepared.manifest)
    assert prepared.manifest == str(tmp_path / "run" / "data" / "manifest.csv") and prepared.forged == []
    assert sorted(manifest.frame["method"]) == [""] * 6 + ["gan"] * 3 + ["splice"] * 3
    masked = manifest.frame[manifest.frame["mask"] != ""]
    assert sorted(masked["mask"]) == [str(sorted_folder / f"masks/splice/{number}.png") for number in (3, 4, 5)]
    assert set(masked["method"]) == {"splice"}
    for split in ("train", "val"):
        part = manifest.select(split=split)
        assert 0 < part.is_fake.sum() < len(part)
    assert prepared.counts == manifest.counts() and sum(part["annotated"] for part in prepared.counts.values()) == 3
    assert [sentence for sentence in prepared.left_out if "gan" in sentence and "no mask" in sentence]


@pytest.mark.parametrize("place", ["", "real"])
def test_real_images_alone_are_forged_in_the_run(tmp_path, place):
    write_reals(tmp_path / "photos" / place)
    prepared = prepare_folder(tmp_path / "photos", config_for(tmp_path), progress=False)
    manifest = Manifest.read(prepared.manifest)
    assert prepared.forged == list(DEFAULT_FORGERIES)
    assert set(manifest.frame["method"]) == {"", *DEFAULT_FORGERIES}
    assert (manifest.mask_state != "unlabelled").all() and (~manifest.is_fake).sum() == 12
    assert all(path.startswith(str(tmp_path / "run" / "data")) for path in manifest.frame["path"])
    assert set(prepared.counts) == {"train", "val", "test"}


def test_two_photographs_are_enough_for_two_splits(tmp_path):
    write_reals(tmp_path / "photos", 2)
    assert set(prepare_folder(tmp_path / "photos", config_for(tmp_path), progress=False).counts) == {"train", "val"}


def only_fakes(folder):
    shutil.rmtree(folder / "real")


def one_real(folder):
    shutil.rmtree(folder / "real" / "deep")
    for number in (3, 5):
        (folder / "real" / f"{number}.png").unlink()


def one_photograph(folder):
    shutil.rmtree(folder)
    write_reals(folder, 1)


def no_images(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def unsaid(folder):
    (folder / "fake").rename(folder / "gan")


@pytest.mark.parametrize(
    "change, message",
    [
        (only_fakes, "holds 0 real and 6 fake images"),
        (one_real, "holds 1 real and 6 fake images; training and validation need both kinds each"),
        (one_photograph, "holds 1 real image; training and validation need images of their own"),
        (no_images, "holds no image"),
        (unsaid, r"holds real/ and gan/, and nothing says whether these are fakes; move fakes to fake/METHOD/"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_and_nothing_written(sorted_folder, tmp_path, change, message):
    change(sorted_folder)
    with pytest.raises(UsageError, match=message) as refused:
        prepare_folder(sorted_folder, config_for(tmp_path), progress=False)
    assert refused.value.exit_code == 2 and len(str(refused.value).splitlines()) == 1
    assert not (tmp_path / "run").exists()


def begin(run):
    """Leave what a run has after its first epoch."""
    run.checkpoints.mkdir(parents=True)
    state = {"stage": "pretrain", "epochs": 1, "checkpoint": "pretrain-0001.keras", "best": None}
    run.write_json("checkpoints/state.json", {**state, "waited": 0, "stopped": False})


def test_a_run_that_has_begun_keeps_its_manifest(sorted_folder, tmp_path):
    config = config_for(tmp_path)
    first = prepare_folder(sorted_folder, config, progress=False)
    begin(Run(config.output))
    frame = Manifest.read(first.manifest).frame
    frame.loc[frame["method"] == "gan", "mask"] = str(sorted_folder / "masks/splice/3.png")  # as if drawn since
    Manifest.from_frame(frame, tmp_path).write(first.manifest)
    kept = Path(first.manifest).read_bytes()
    with pytest.raises(UsageError, match="already holds a run; add --resume"):
        prepare_folder(sorted_folder, config, progress=False)
    assert prepare_folder(sorted_folder, config, resume=True, progress=False) == first
    assert Path(first.manifest).read_bytes() == kept
    with pytest.raises(UsageError, match=f"was made of {sorted_folder}, not of {tmp_path}"):
        prepare_folder(tmp_path, config, resume=True, progress=False)
    (tmp_path / "run" / "folder.json").unlink()
    with pytest.raises(UsageError, match="not made of a folder; go on with its configuration"):
        prepare_folder(sorted_folder, config, resume=True, progress=False)


def lae_tf(*arguments, cwd):
    command = [sys.executable, "-m", "lae_tf.cli.main", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ, "PYTHONWARNINGS": ""})


def test_one_command_leads_from_photographs_to_a_run_that_predicts(tmp_path):
    write_reals(tmp_path / "photos", 8)
    settings = [word for value in SMALL for word in ("--set", value)]
    done = lae_tf("train", "photos", "--output", "run", *settings, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "No fake/ in photos: its images are taken for real, and forged by splice, copy-move" in done.stdout
    assert "Next:  lae-tf evaluate run " + str(tmp_path / "run/data/manifest.csv") in done.stdout
    table = [line.split() for line in done.stdout.splitlines() if line.startswith(("train ", "val ", "test "))]
    counts = Manifest.read(tmp_path / "run" / "data" / "manifest.csv").counts()
    keys = ("real", "fake", "annotated", "groups")
    assert table == [[split, *(str(numbers[key]) for key in keys)] for split, numbers in counts.items()]
    again = lae_tf("train", "photos", "--output", "run", "--resume", "--json", *settings, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    facts = json.loads(again.stdout)
    assert facts["folder"]["counts"] == counts and facts["folder"]["forged"] == list(DEFAULT_FORGERIES)
    assert "Nothing to train" in again.stderr
