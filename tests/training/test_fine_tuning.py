"""Beginning with a trained run: which weights move, what the run decides, and whether forgetting is told."""

import shutil

import keras
import numpy as np
import pytest
from tiny_dataset import write_dataset

from lae_tf.config.sections import Config, ConfigError, StartConfig
from lae_tf.data.manifest import Manifest
from lae_tf.errors import UsageError
from lae_tf.model import load_model
from lae_tf.model.lae import LAE
from lae_tf.model.tuning import PARTS, set_tuned
from lae_tf.model.weight_names import named_weights
from lae_tf.presets.finding import open_preset
from lae_tf.training import fine_tuning
from lae_tf.training.fine_tuning import RATE_SHARE, compare_with_start, forgotten, inherited, new_model
from lae_tf.training.run import Run
from lae_tf.training.stages import train
from lae_tf.training.training_data import begun_with, validation_dataset

# --- the part that is trained -----------------------------------------------------------------------------


def batch_of(size=32):
    rng = np.random.default_rng(0)
    label = np.array([[0.0], [1.0]], np.float32)
    mask = np.zeros((2, size, size, 1), np.float32)
    mask[1, 8:20, 8:20] = 1
    image = rng.uniform(0, 1, (2, size, size, 3)).astype(np.float32)
    return {"image": image, "label": label, "mask": mask, "mask_weight": np.ones((2, 1), np.float32)}


@pytest.mark.parametrize("part, trunk", [*((part, "none") for part in PARTS), ("last", "efficientnet-lite0")])
def test_only_the_part_moves_also_after_saving(tmp_path, part, trunk):
    keras.utils.set_random_seed(0)
    model = LAE(image_size=32, widths=(4, 6, 8), blocks=0, trunk=trunk, trunk_weights=None)
    set_tuned(model, part)
    model.compile(keras.optimizers.AdamW(1e-2, weight_decay=0.1), loss_weights={"alignment": 1.0}, run_eagerly=True)
    model.train_on_batch(batch_of())
    model.save(str(tmp_path / "model.keras"))
    model = load_model(tmp_path / "model.keras")
    assert model.tuned == part and int(model.optimizer.iterations) == 1
    model.run_eagerly = True  # two steps are not worth a graph
    layers = {layer.name: layer for layer in [*model.decoder.layers, model.head]}
    for layer in model.encoder.layers:
        for piece in layer.layers if layer.name in ("fine", "robust") else [layer]:
            # Both experts mix their features.
            layers[f"{piece.name} of robust" if layer.name == "robust" else piece.name] = piece
    before = {name: layer.get_weights() for name, layer in layers.items() if layer.weights}
    model.train_on_batch(batch_of())
    after = {name: layer.get_weights() for name, layer in layers.items() if layer.weights}
    moved = {name for name in before if not all(map(np.array_equal, before[name], after[name]))}
    expected = {
        "all": set(before),
        "last": {name for name in before if name.startswith(("stage2_", "mix_", "trunk_mix_", "gate"))}
        | {layer.name for layer in model.decoder.layers if layer.weights}
        | {model.head.name},
        "head": {model.head.name},
    }[part]
    assert moved == expected and (part == "head" or "mix_conv" in moved)


def test_an_unknown_part_is_refused():
    with pytest.raises(ValueError, match=r"tuned is one of all, last, head\. Received 'decoder'"):
        LAE(image_size=16, widths=(4, 8), blocks=0, trunk="none", tuned="decoder")


# --- what the run decides ---------------------------------------------------------------------------------


def begun(run, manifest, output, **values):
    """A configuration as a user writes it: what it does not set, the run decides."""
    start = {"run": str(run.path), **values.pop("start", {})}
    data = {"manifest": str(manifest), "batch_size": 8, "self_forged": 0, **values.pop("data", {})}
    return Config.parse({"output": str(output), "data": data, "start": start, **values})


def test_model_size_and_rates_come_from_the_run(trained_run, tiny_manifest, tmp_path):
    config = inherited(begun(trained_run, tiny_manifest, tmp_path / "new", align={"learning_rate": 0.5}))
    old = trained_run.config
    assert config.model == old.model and config.data.image_size == old.data.image_size
    assert config.losses == old.losses and config.output == str(tmp_path / "new")
    assert config.pretrain.learning_rate == pytest.approx(RATE_SHARE * old.pretrain.learning_rate)
    assert config.align.learning_rate == 0.5
    assert inherited(config) == config
    written = Config.parse(config.model_dump(mode="json"))
    assert inherited(written) == config


@pytest.mark.parametrize(
    "values, message",
    [
        ({"model": {"widths": [4, 8]}}, r"model.widths is \(4, 8\) here and \(8, 8, 16\) there"),
        ({"data": {"image_size": 64}}, "data.image_size is 64 here and 32 there"),
        ({"losses": {"decision": "focal"}}, "losses.decision is 'focal' here and 'bce' there"),
    ],
)
def test_what_conflicts_is_refused(trained_run, tiny_manifest, tmp_path, values, message):
    with pytest.raises(UsageError, match=f"decides what begins with it, but {message}: leave it out"):
        train(begun(trained_run, tiny_manifest, tmp_path / "new", **values))
    assert not (tmp_path / "new").exists()


def test_a_run_that_is_not_trained_and_the_run_itself_are_refused(trained_run, tiny_manifest, tmp_path):
    with pytest.raises(UsageError, match="cannot begin with itself"):
        train(begun(trained_run, tiny_manifest, trained_run.path))
    shutil.copytree(trained_run.path, tmp_path / "half", ignore=shutil.ignore_patterns("model.keras"))
    with pytest.raises(UsageError, match="not trained yet"):
        train(begun(Run(tmp_path / "half"), tiny_manifest, tmp_path / "new"))


# --- forgetting -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "before, after, expected", [(0.9, 0.87, True), (0.9, 0.89, False), (0.8, 0.9, False), (None, 0.9, None)]
)
def test_forgetting_is_a_fall_of_more_than_two_points(before, after, expected):
    assert forgotten({"before": {"auroc": before}, "after": {"auroc": after}}) is expected
    assert forgotten(None) is None


def test_tuning_records_both_validations_before_and_after(trained_run, tmp_path):
    manifest = write_dataset(tmp_path / "data", {"train": (8, 4, 0), "val": (6, 3, 0)}, seed=9)
    stages = {"pretrain": {"epochs": 1}, "align": {"epochs": 1}}
    epochs = []
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: epochs.append(logs["val_auroc"]))
    config = begun(trained_run, manifest, tmp_path / "new", start={"tune": "head"}, **stages)
    run = train(config, callbacks=[callback])
    assert len(epochs) == 2 and epochs == pytest.approx([row["val_auroc"] for row in run.read_metrics()])
    old, new = trained_run.load_model(), run.load_model()
    for one, two in zip(old.encoder.get_weights(), new.encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert any((a != b).any() for a, b in zip(old.head.get_weights(), new.head.get_weights(), strict=True))
    record = run.read_json("fine_tuning.json")
    assert record["tune"] == "head" and record["old_validation_problem"] == ""
    for name, source, settings in (
        ("old_validation", trained_run.config.data.manifest, trained_run.config),
        ("new_validation", manifest, run.config),
    ):
        part = Manifest.read(source).select(split="val")
        expected = compare_with_start((old, new), validation_dataset(part, new, settings))
        assert record[name] == expected and expected["images"] == 2 * len(part)  # and degraded copies
    assert record["forgotten"] is forgotten(record["old_validation"])
    saved = run.model_path.stat().st_mtime_ns
    assert train(config, resume=True).model_path.stat().st_mtime_ns == saved


def test_images_that_are_gone_are_told_and_do_not_stop_training(trained_run, tiny_manifest, tmp_path):
    old = Run(shutil.copytree(trained_run.path, tmp_path / "old"))
    gone = old.config.model_copy(
        update={"data": old.config.data.model_copy(update={"manifest": str(tmp_path / "gone.csv")})}
    )
    gone.write(old.config_path)
    config = begun(old, tiny_manifest, tmp_path / "new", pretrain={"epochs": 1}, align={"epochs": 0})
    record = train(config).read_json("fine_tuning.json")
    assert record["old_validation"] is None and record["forgotten"] is None
    assert "gone.csv: no such manifest file" in record["old_validation_problem"]
    assert record["new_validation"]["after"]["auroc"] is not None


# --- the command ------------------------------------------------------------------------------------------


def test_the_command_shows_both_validations_and_warns(trained_run, tmp_path, lae_tf_command):
    manifest = write_dataset(tmp_path / "data", {"train": (8, 4, 0), "val": (6, 3, 0)}, seed=9)
    output = tmp_path / "new"
    settings = ("data.batch_size=8", "data.self_forged=0", "pretrain.epochs=1", "align.epochs=0")
    arguments = ["train", manifest, "--from", trained_run.path, "--tune", "head", "--output", output]
    arguments += [word for setting in settings for word in ("--set", setting)]
    code, out, err = lae_tf_command(*arguments)
    assert code == 0, err
    run = Run(output)
    assert run.config.start.run == str(trained_run.path.resolve()) and run.config.start.tune == "head"
    record = run.read_json("fine_tuning.json")
    rows = {line[:20].strip(): line[20:].split() for line in out.splitlines()}
    for title, found in (("the earlier run", record["old_validation"]), ("this run", record["new_validation"])):
        numbers = [found[when][metric] for metric in ("auroc", "accuracy") for when in ("before", "after")]
        assert rows[title] == [str(found["images"]), *(f"{number:.3f}" for number in numbers)]
    assert ("Warning: the model has forgotten" in err) is record["forgotten"]
    run.write_json("fine_tuning.json", {**record, "forgotten": True})
    code, out, err = lae_tf_command(*arguments, "--resume")
    assert code == 0 and "Nothing to train" in err and "Warning: the model has forgotten" in err


def test_a_part_to_tune_needs_a_run(tiny_manifest, lae_tf_command, tmp_path):
    code, _, err = lae_tf_command("train", tiny_manifest, "--tune", "head", "--output", tmp_path / "new")
    assert code == 2 and "name the run with --from" in err and not (tmp_path / "new").exists()


# --- a preset in the run's place --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def preset(trained_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("presets") / "mine"
    trained_run.load_model().save_to_preset(folder)
    return folder


def test_a_preset_decides_the_model_and_its_size(trained_run, preset, tiny_manifest, tmp_path):
    values = {"output": str(tmp_path / "new"), "data": {"manifest": str(tiny_manifest)}}
    config = inherited(Config.parse({**values, "start": {"preset": str(preset)}}))
    assert config.model == trained_run.config.model.model_copy(update={"trunk_weights": None})
    assert config.data.image_size == 32 and config.data.manifest == str(tiny_manifest)
    assert config.align.learning_rate == pytest.approx(RATE_SHARE * 1e-3)
    assert inherited(config) == config
    with pytest.raises(UsageError, match=r"mine decides what .* losses\.decision is 'focal' here and 'bce' there"):
        inherited(Config.parse({**values, "start": {"preset": str(preset)}, "losses": {"decision": "focal"}}))
    with pytest.raises(ConfigError, match="run and preset each name the model"):
        Config.parse({**values, "start": {"preset": str(preset), "run": str(trained_run.path)}})


@pytest.mark.parametrize("key", ["preset", "weights"])
def test_a_presets_folder_is_relative_to_the_configuration(preset, key):
    """An installed one goes before a folder of its name."""
    path = preset.parent / "config.yaml"
    (preset.parent / "lae-photo").mkdir(exist_ok=True)
    for name, expected in (("mine", str(preset.resolve())), ("lae-photo", "lae-photo")):
        path.write_text(f"data: {{manifest: m.csv}}\nstart: {{{key}: {name}}}\n")
        assert getattr(Config.read(path).start, key) == expected


# --- the weights of a new model ----------------------------------------------------------------------------


def test_a_new_model_begins_with_what_a_preset_knows(preset):
    """Its own settings stay, and at null it has weights of its own."""
    same = {"widths": [8, 8, 16], "blocks": 0, "trunk": "none"}
    values = {"data": {"manifest": "-", "image_size": 64}, "model": {**same, "lse_sharpness": 4.0}}
    known = open_preset(preset)
    for start, is_equal in ((str(preset), True), (None, False)):
        config = inherited(Config.parse({**values, "start": {"weights": start}}))
        model = new_model(config)
        assert model.image_size == 64 and model.head.sharpness == 4.0
        kernel = named_weights(model)["encoder/stem_conv/kernel"]
        assert np.array_equal(kernel, known.weights["encoder/stem_conv/kernel"]) is is_equal
        expected = {"name": "mine", "sha256": known.digest} if is_equal else None
        assert begun_with(config.start) == expected


def start_of(*, model=None, start=None):
    sections = {"model": model or {}, **({} if start is None else {"start": start})}
    return inherited(Config.parse({"data": {"manifest": "-"}, **sections})).start.weights


def test_the_default_is_taken_where_the_networks_are_the_same(monkeypatch):
    assert start_of() == "lae-photo" == start_of(model={"lse_sharpness": 3.0, "attention": "cam"})
    assert start_of(model={"widths": [16, 24, 32, 64]}) is None is start_of(model={"trunk": "none"})
    assert start_of(model={"trunk_weights": None}) is None is start_of(start={"weights": None})
    complete = Config.parse({"data": {"manifest": "-"}, "model": {"blocks": 2}}).model_dump(mode="json")
    assert inherited(Config.parse(complete)).start.weights is None
    monkeypatch.setattr(fine_tuning, "built_in", list)
    assert start_of() is None  # nothing is installed


def test_weights_that_were_asked_for_and_do_not_fit_are_refused(preset):
    values = {"widths": [8, 8, 16], "blocks": 2, "trunk": "none"}
    with pytest.raises(UsageError, match=r"mine is a model of another .* in which model\.blocks is 2; leave that"):
        start_of(model=values, start={"weights": str(preset)})
    with pytest.raises(UsageError, match=r"start\.weights: nowhere: no such preset.*or set start\.weights to null"):
        start_of(start={"weights": "nowhere"})
    with pytest.raises(ConfigError, match="run and weights each name the model"):
        start_of(start={"run": "runs/first", "weights": "mine"})


def test_runs_of_older_versions_began_without_a_ready_model():
    """Their configurations have every key that there was."""
    assert Config.parse({"data": {"manifest": "-"}, "start": {"run": None, "tune": "all"}}).start.weights == "lae-photo"
    older = {"run": None, "preset": None, "tune": "all"}
    assert Config.parse({"data": {"manifest": "-"}, "start": older}).start.weights is None


def test_a_run_that_goes_on_keeps_what_its_earlier_run_began_with(trained_run, tmp_path):
    earlier = Run(tmp_path / "earlier")
    shutil.copytree(trained_run.path, earlier.path)
    facts = {"name": "mine", "sha256": "0f" * 32}
    earlier.write_json("data.json", {**earlier.read_json("data.json"), "begun_with": facts})
    assert begun_with(StartConfig(run=str(earlier.path))) == facts
    assert begun_with(StartConfig(run=str(trained_run.path))) is None


def test_training_from_a_preset_says_what_cannot_be_looked_back_at(trained_run, preset, tmp_path, lae_tf_command):
    manifest = write_dataset(tmp_path / "data", {"train": (8, 4, 0), "val": (6, 3, 0)}, seed=9)
    settings = ("data.batch_size=8", "data.self_forged=0", "pretrain.epochs=1", "align.epochs=0")
    arguments = ["train", manifest, "--from", preset, "--tune", "head", "--output", tmp_path / "new"]
    code, out, err = lae_tf_command(*arguments, *(word for setting in settings for word in ("--set", setting)))
    assert code == 0, err
    assert f"What was forgotten is not known: the preset {preset.name} keeps no validation images" in err
    assert "the earlier run" not in out and "\nthis run " in out
    run = Run(tmp_path / "new")
    record = run.read_json("fine_tuning.json")
    assert record["run"] == preset.name and record["old_validation"] is None and record["forgotten"] is None
    assert run.config.start.preset == str(preset) and run.config.start.run is None
    for one, two in zip(trained_run.load_model().encoder.weights, run.load_model().encoder.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(two))
