"""Training from a configuration to a run: what it leaves, how it resumes, and what it refuses."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from tiny_dataset import make_config, write_dataset

from lae_tf.data.manifest import Manifest
from lae_tf.errors import LAEError, UsageError
from lae_tf.images.files import write_png
from lae_tf.model import load_model
from lae_tf.selection.select import select_round
from lae_tf.training.calibrate import fit_platt
from lae_tf.training.callbacks import Checkpoint
from lae_tf.training.fine_tuning import inherited
from lae_tf.training.run import Run
from lae_tf.training.stages import plan, train
from lae_tf.training.training_data import describe_data, limit_masks, training_manifest, validation_dataset

# --- a finished run ---------------------------------------------------------------------------------------


def test_the_run_directory_holds_everything(trained_run):
    found = {path.name for path in trained_run.path.iterdir()}
    assert found >= {
        "config.yaml",
        "environment.json",
        "data.json",
        "metrics.jsonl",
        "checkpoints",
        "model.keras",
        "calibration.json",
        "tensorboard",
    }
    assert not [path for path in trained_run.path.rglob("*") if ".tmp" in path.name]
    kept = sorted(path.name for path in trained_run.checkpoints.glob("*.keras"))
    assert kept == ["align-0004.keras", "align-best.keras", "pretrain-0006.keras", "pretrain-best.keras"]


def test_metrics_have_one_line_an_epoch(trained_run):
    rows = trained_run.read_metrics()
    assert [(row["stage"], row["epoch"]) for row in rows] == [("pretrain", i) for i in range(1, 7)] + [
        ("align", i) for i in range(1, 5)
    ]
    for name in ("loss", "auroc", "attention_iou", "reconstruction_loss", "latent_loss", "alignment_loss"):
        assert all(np.isfinite([row[name], row[f"val_{name}"]]).all() for row in rows)


def test_it_learned(trained_run):
    rows = trained_run.read_metrics()
    assert rows[5]["val_latent_loss"] < rows[0]["val_latent_loss"]
    assert max(row["val_auroc"] for row in rows) > 0.7


def test_tensorboard_has_scalars_and_panels(trained_run):
    for stage in ("pretrain", "align"):
        (file,) = (trained_run.tensorboard / stage).glob("events*")
        tags = {value.tag for event in tf.compat.v1.train.summary_iterator(str(file)) for value in event.summary.value}
        assert {"loss", "val_auroc"} <= tags
        assert any("attention" in tag for tag in tags)


def test_the_configuration_of_a_run_repeats_it(trained_run, tiny_config):
    assert trained_run.config == inherited(tiny_config)


def test_data_json_counts_what_was_trained_on(trained_run):
    data = trained_run.read_json("data.json")
    # 16 photographs, 8 annotated and 8 unlabelled fakes.
    assert data["counts"]["train"]["annotated"] == 8 and data["mask_budget"] == pytest.approx(8 / 32)
    assert set(data["counts"]) == {"train", "val"} and data["methods"] == ["colour", "noise"]
    assert data["begun_with"] is None  # no ready model has such networks


def test_the_model_carries_the_decision_that_validation_chose(trained_run, tiny_manifest):
    model, decision = trained_run.load_model(), trained_run.read_json("calibration.json")
    assert float(model.calibration.temperature) == pytest.approx(decision["temperature"], rel=1e-6)
    assert float(model.calibration.boundary) == decision["boundary"]
    assert float(model.calibration.threshold) == decision["threshold"] == 0.5
    assert model.calibration.bounds == pytest.approx(
        (decision["lowest_fake"], decision["highest_real"], decision["error_rate"])
    )
    assert float(model.attention_scale.level) == pytest.approx(decision["attention_level"], rel=1e-6)
    validation = Manifest.read(tiny_manifest).select(split="val")
    dataset = validation_dataset(validation, model, trained_run.config)
    batches = list(dataset)
    assert len(dataset) == len(batches)  # else Keras warns at the end of the first epoch
    outputs = [model.predict_on_batch(batch["image"]) for batch in batches]
    logits, scores = (np.concatenate([output[name][:, 0] for output in outputs]) for name in ("logit", "score"))
    labels = np.concatenate([batch["label"].numpy()[:, 0] for batch in batches])
    expected = fit_platt(logits.astype(np.float64), labels)
    assert (decision["boundary"], decision["temperature"]) == pytest.approx(expected, rel=1e-4)
    assert decision["validation_images"] == len(labels) >= len(validation)
    assert decision["validation_reals"] == (labels == 0).sum()
    # Ten images of each kind and their degraded copies, at 10 %: floor(21 / 10) = 2.
    assert (labels == 0).sum() == (labels == 1).sum() == 20 and decision["error_rate"] == 0.1
    assert decision["highest_real"] == pytest.approx(np.sort(scores[labels == 0])[-2], abs=1e-5)
    assert decision["lowest_fake"] == pytest.approx(np.sort(scores[labels == 1])[1], abs=1e-5)
    kept = pd.read_csv(trained_run.validation_scores)
    np.testing.assert_array_equal(kept["label"], labels)
    np.testing.assert_allclose(kept["score"], scores, atol=1e-5)


def test_the_best_epoch_is_kept(trained_run):
    rows = [row for row in trained_run.read_metrics() if row["stage"] == "align"]
    best = max(rows, key=lambda row: (round(row["val_auroc"], 4), -row["val_latent_loss"]))
    model = load_model(trained_run.checkpoints / "align-best.keras")
    validation = Manifest.read(trained_run.config.data.manifest).select(split="val")
    found = model.evaluate(validation_dataset(validation, model, trained_run.config), verbose=0, return_dict=True)
    assert found["latent_loss"] == pytest.approx(best["val_latent_loss"], rel=1e-4)


# --- interrupted and resumed ------------------------------------------------------------------------------


def start(config_path, *options):
    return subprocess.Popen(
        [sys.executable, "-m", "lae_tf.cli.main", "train", str(config_path), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        # A shell that runs the tests in the background has them, and this process, ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def end(process):
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def stop_when(process, run, stage, with_signal):
    """Send a signal as soon as the stage's start is saved: before the first epoch, or in the middle of it."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        state = run.read_json("checkpoints/state.json")
        if state and state["stage"] == stage:
            process.send_signal(with_signal)
            break
        time.sleep(0.002)
    return end(process)


def test_a_run_killed_and_interrupted_ends_like_one_left_alone(tmp_path, tiny_manifest):
    runs = {}
    for name in ("alone", "stopped"):
        config = make_config(
            tiny_manifest,
            tmp_path / name,
            data={"self_forged": 0.25},
            pretrain={"epochs": 4},
            align={"epochs": 6},  # long enough to be met by a signal
            hardware={"deterministic": True},
        )
        config.write(tmp_path / f"{name}.yaml")
        runs[name] = Run(tmp_path / name)
    alone = start(tmp_path / "alone.yaml", "--json")

    run = runs["stopped"]
    code, _, _ = stop_when(start(tmp_path / "stopped.yaml"), run, "pretrain", signal.SIGKILL)
    assert code == -signal.SIGKILL and run.read_json("checkpoints/state.json")["epochs"] < 4
    with run.metrics_path.open("a") as file:
        file.write('{"stage": "pretrain", "epo')  # as if the kill had torn a line

    code, _, err = stop_when(start(tmp_path / "stopped.yaml", "--resume"), run, "align", signal.SIGINT)
    assert code == 130
    assert err.rstrip().splitlines()[-1] == "Interrupted." and "Traceback" not in err
    assert f"Go on with:  lae-tf train {tmp_path / 'stopped.yaml'} --resume\n" in err
    assert not run.model_path.exists()
    with pytest.raises(UsageError, match="not trained yet"):
        run.load_model()

    code, _, err = end(start(tmp_path / "stopped.yaml", "--resume"))
    assert code == 0, err
    assert "pretrain" not in err  # the first stage is not begun again

    code, out, err = end(alone)
    assert code == 0, err
    report = json.loads(out)
    assert report["model"] == str(runs["alone"].model_path)
    assert report["decision"] == runs["alone"].read_json("calibration.json") == run.read_json("calibration.json")
    assert runs["alone"].read_metrics() == run.read_metrics()
    assert len(run.metrics_path.read_text().splitlines()) == 4 + 6
    for one, other in zip(*(runs[name].load_model().get_weights() for name in runs), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_run_stopped_in_its_first_epoch_goes_on_or_begins_anew(tmp_path, tiny_manifest, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    config = make_config(tiny_manifest, tmp_path / "run", pretrain={"epochs": 1}, align={"epochs": 0})
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("lae_tf.training.stages._fit", stop)
        train(config)
    run = Run(config.output)
    state = run.read_json("checkpoints/state.json")
    assert (state["stage"], state["epochs"], state["best"]) == ("pretrain", 0, None)
    start = load_model(run.checkpoints / state["checkpoint"]).get_weights()
    loaded = []
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("lae_tf.training.stages._fit", lambda *given: (loaded.extend(given[2].get_weights()), stop()))
        train(config, resume=True)
    for before, after in zip(start, loaded, strict=True):
        np.testing.assert_array_equal(before, after)
    # Nothing of worth is lost, so another configuration may take the folder.
    other = config.model_copy(update={"seed": 8})
    assert train(other, resume=True).config.seed == 8
    with pytest.raises(UsageError, match="already holds a run"):
        train(other)


def test_a_second_command_in_a_run_is_refused(tmp_path, tiny_manifest):
    config = make_config(tiny_manifest, tmp_path / "run")
    with Run(config.output).locked():
        for work in (lambda: train(config), lambda: select_round(Run(config.output), "2%", "random")):
            with pytest.raises(LAEError, match="run is being changed by another lae-tf command; wait until that ends"):
                work()
        assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
    (tmp_path / "run" / ".lock").touch()  # as a kill leaves it
    with Run(config.output).locked():
        pass
    assert not list((tmp_path / "run").iterdir())


def test_a_finished_run_resumes_to_itself(trained_run, tiny_config):
    before = trained_run.model_path.stat().st_mtime_ns
    assert train(tiny_config, resume=True).path == trained_run.path
    assert trained_run.model_path.stat().st_mtime_ns == before


def test_a_moved_run_resumes(trained_run, tmp_path):
    shutil.copytree(trained_run.path, tmp_path / "moved")
    config = trained_run.config.model_copy(update={"output": str(tmp_path / "moved")})
    assert train(config, resume=True).path == tmp_path / "moved"


def test_an_existing_run_is_not_overwritten(trained_run, lae_tf_command):
    code, _, err = lae_tf_command("train", trained_run.config_path)
    assert code == 2
    assert "already holds a run" in err and "--resume" in err and "Traceback" not in err


def test_a_changed_configuration_is_refused_and_the_change_named(trained_run, lae_tf_command):
    code, _, err = lae_tf_command("train", trained_run.config_path, "--resume", "--set", "align.epochs=9")
    assert code == 2 and "align.epochs was 4, now 9" in err


# --- what cannot be trained -------------------------------------------------------------------------------


def test_data_of_one_class_is_refused_before_anything_is_written(tmp_path, tiny_manifest):
    table = pd.read_csv(tiny_manifest, dtype=str, keep_default_na=False)
    table["path"] = [str(tiny_manifest.parent / name) for name in table["path"]]
    table["mask"] = ""
    table[(table["split"] != "val") | (table["label"] == "real")].to_csv(tmp_path / "m.csv", index=False)
    with pytest.raises(LAEError, match="split 'val' has 0 fake and 10 real images"):
        train(make_config(tmp_path / "m.csv", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "sections, message",
    [
        ({"data": {"batch_size": 33}}, "32 training images are fewer than one batch of 33"),
        ({"data": {"image_size": 34}}, "multiple of 4, the stride"),
        ({"pretrain": {"epochs": 0}, "align": {"epochs": 0}}, "nothing to train"),
        ({"model": {"attention": "cam", "head": "split"}, "losses": {"decision": "activation"}}, "linear head"),
        ({"losses": {"decision": "activation"}}, "go together"),
    ],
)
def test_a_run_that_cannot_begin_can_begin_anew(tmp_path, tiny_manifest, sections, message):
    """The cause is mended in the configuration, so the failed attempt must not claim the folder for the old one."""
    with pytest.raises(LAEError, match=message):
        train(make_config(tiny_manifest, tmp_path / "run", **sections))
    Run.create(make_config(tiny_manifest, tmp_path / "run"))


def test_a_damaged_image_is_named(tmp_path):
    manifest = write_dataset(tmp_path, {"train": (8, 1, 2), "val": (2, 1, 0)})
    (tmp_path / "train-3.png").write_bytes((tmp_path / "train-3.png").read_bytes()[:200])
    with pytest.raises(LAEError, match=r"train-3\.png"):
        train(make_config(manifest, tmp_path / "run"))


def test_a_mask_that_marks_nothing_is_named(tmp_path):
    """Its values are those of a class map, 0 and 2, which stand below half of the range."""
    manifest = write_dataset(tmp_path, {"train": (8, 1, 2), "val": (2, 1, 0)})
    table = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    name = table["mask"][table["mask"] != ""].iloc[0]
    mask = np.zeros((20, 20), np.uint8)
    mask[:10] = 2
    write_png(tmp_path / name, mask)
    with pytest.raises(LAEError, match=rf"^masks: 1 problem\n.*{name} marks nothing.*leave the cell empty"):
        train(make_config(manifest, tmp_path / "run"))
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_unknown_methods_are_refused(tmp_path, tiny_manifest):
    config = make_config(tiny_manifest, tmp_path, data={"train_methods": ["noise", "nose"]})
    with pytest.raises(UsageError, match=r"\['nose'\].*\['colour', 'noise'\]"):
        training_manifest(config)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no run here"):
        Run.open(tmp_path)


# --- stages and data --------------------------------------------------------------------------------------


def test_without_masks_there_is_only_the_first_stage(tiny_manifest, tmp_path):
    config = make_config(tiny_manifest, tmp_path)
    part = Manifest.read(tiny_manifest).select(split="train")
    assert [stage.name for stage in plan(config, part)] == ["pretrain", "align"]
    bare = Manifest(part.frame.assign(mask=""), part.root)
    assert [stage.name for stage in plan(config, bare)] == ["pretrain"]
    skipped = make_config(tiny_manifest, tmp_path, pretrain={"epochs": 0})
    assert [stage.name for stage in plan(skipped, part)] == ["align"]


def test_training_sees_neither_test_images_nor_other_methods(tiny_manifest, tmp_path):
    config = make_config(tiny_manifest, tmp_path, data={"train_methods": ["noise"]})
    seen = training_manifest(config)
    assert set(seen.frame["split"]) == {"train", "val"}
    assert set(seen.frame["method"]) == {"", "noise"}
    assert describe_data(config, seen)["methods"] == ["noise"]


@pytest.mark.parametrize("share, expected", [(0.0, 0), (0.03, 0), (0.0313, 1), (0.1, 3), (1.0, 8)])
def test_masks_are_limited_to_a_share_of_all_training_images(tiny_manifest, share, expected):
    """Of 32 training images; masks of validation stay."""
    manifest = Manifest.read(tiny_manifest)
    limited = limit_masks(manifest, share, seed=0)
    state, split = limited.mask_state, limited.frame["split"].to_numpy()
    assert ((state == "annotated") & (split == "train")).sum() == expected
    assert ((state == "annotated") & (split == "val")).sum() == 10
    assert limited.frame["mask"].tolist() == limit_masks(manifest, share, seed=0).frame["mask"].tolist()


class SavedModel:
    """Writes what it is told to save, as a Keras model does."""

    stop_training = False

    def save(self, path):
        with open(path, "w") as file:
            file.write("weights")


def test_training_stops_when_it_no_longer_improves(tmp_path):
    run = Run(tmp_path)
    checkpoint = Checkpoint(run, "pretrain", patience=2, masks={})
    model = SavedModel()
    checkpoint.set_model(model)
    epochs = [(0.7, 0.5), (0.8, 0.6), (0.8, 0.7), (0.8, 0.61)]  # the second is best: ties go to the lower loss
    stopped = []
    for epoch, (auroc, loss) in enumerate(epochs):
        checkpoint.on_epoch_end(epoch, {"val_auroc": auroc, "val_latent_loss": loss})
        stopped.append(model.stop_training)
    assert stopped == [False, False, False, True]
    state = run.read_json("checkpoints/state.json")
    assert state["best"] == [0.8, -0.6] and state["stopped"] and state["epochs"] == 4
    assert {file.name for file in run.checkpoints.iterdir()} == {
        "state.json",
        "pretrain-best.keras",
        state["checkpoint"],
    }
    # A resumed run remembers how long it has waited.
    again = Checkpoint(run, "pretrain", patience=2, masks={}, state={**state, "waited": 1})
    again.set_model(model)
    again.on_epoch_end(4, {"val_auroc": 0.75, "val_latent_loss": 0.1})
    assert model.stop_training


def test_a_training_that_diverges_ends_at_once_and_says_so(tmp_path, tiny_manifest):
    config = make_config(tiny_manifest, tmp_path / "run", pretrain={"epochs": 3, "learning_rate": 1e30})
    with pytest.raises(LAEError, match=r"pretrain: training has diverged in epoch 1 .*lower the learning rate"):
        train(config)
    assert not (tmp_path / "run" / "model.keras").exists()


def test_corrected_masks_are_trained_on(tmp_path, lae_tf_command):
    """As many as before, but one of them is drawn anew."""
    manifest = write_dataset(tmp_path / "data", {"train": (8, 2, 2), "val": (4, 2, 0)})
    config = make_config(manifest, tmp_path / "run", pretrain={"epochs": 1}, align={"epochs": 1})
    run = train(config)
    code, _, err = lae_tf_command("train", run.config_path, "--resume")
    assert code == 0 and "Nothing to train" in err
    before = run.read_json("data.json")
    mask = next(iter(sorted((tmp_path / "data").glob("train-*-mask.png"))))
    write_png(mask, np.full((32, 32), 255, np.uint8))
    code, _, err = lae_tf_command("train", run.config_path, "--resume")
    assert code == 0 and "Nothing to train" not in err
    assert [stage["stage"] for stage in run.read_json("checkpoints/stages.json")] == ["pretrain", "align", "align-2"]
    assert run.read_json("data.json") == before  # the manifest is the same


def test_masks_drawn_while_a_stage_was_interrupted_get_a_stage_of_their_own(tmp_path, monkeypatch):
    """Stage 2 is stopped after the first of two epochs; what comes then has had one epoch at most."""
    manifest = write_dataset(tmp_path / "data", {"train": (8, 2, 2), "val": (4, 2, 0)})
    config = make_config(manifest, tmp_path / "run", pretrain={"epochs": 1}, align={"epochs": 2})
    save = Checkpoint.on_epoch_end

    def stop(self, epoch, logs=None):
        save(self, epoch, logs)
        if self.stage == "align":
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "on_epoch_end", stop)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    monkeypatch.setattr(Checkpoint, "on_epoch_end", save)
    mask = next(iter(sorted((tmp_path / "data").glob("train-*-mask.png"))))
    write_png(mask, np.full((32, 32), 255, np.uint8))
    run = train(config, resume=True)
    assert [row["stage"] for row in run.read_metrics()] == ["pretrain", "align", "align", "align-2", "align-2"]
    assert [stage["stage"] for stage in run.read_json("checkpoints/stages.json")] == ["pretrain", "align", "align-2"]


def test_output_is_a_path_and_no_yaml(tmp_path, tiny_manifest, lae_tf_command):
    config = make_config(tiny_manifest, tmp_path / "unused", pretrain={"epochs": 1}, align={"epochs": 0})
    config.write(tmp_path / "config.yaml")
    output = tmp_path / "my #1 run: \U0001f600"
    code, _, err = lae_tf_command("train", tmp_path / "config.yaml", "--output", output)
    assert code == 0, err
    assert (output / "model.keras").is_file()
