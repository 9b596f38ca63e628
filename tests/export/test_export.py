"""One export of the shared run, made through the command line, held against the run itself."""

import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from PIL import Image
from skimage.data import astronaut
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import saved_model_pb2

from lae_tf.cli.export import command
from lae_tf.errors import LAEError, UsageError
from lae_tf.export import converters, exporting
from lae_tf.export.exporting import export_run, versions
from lae_tf.export.model_card import describe_model, write_model_card
from lae_tf.export.parity import Parity, ParityError, check_parity
from lae_tf.export.signatures import decide
from lae_tf.forge.degradations import jpeg
from lae_tf.metrics.verdict import NO_BOUNDS, ConformalBounds, verdicts_of
from lae_tf.model.gate import QualityStatistics
from lae_tf.model.self_correlation import SelfCorrelation
from lae_tf.predict.evidence import overlay_on_file
from lae_tf.predict.images import predict_files
from lae_tf.training.run import Run

NUMBERS = ("score", "logit", "threshold", "lowest_fake", "highest_real", "error_rate")
DECISION = {**dict.fromkeys(NUMBERS, tf.float32), "label": tf.string, "verdict": tf.string}
SIGNATURES = {
    "serving_default": ("image_bytes", tf.string, [-1], DECISION),
    "tensor": ("image", tf.float32, [-1, -1, -1, 3], DECISION),
    "tensor_uint8": ("image", tf.uint8, [-1, -1, -1, 3], DECISION),
    "explain": (
        "image_bytes",
        tf.string,
        [-1],
        {**DECISION, "heatmap_png_bytes": tf.string, "reconstruction_error": tf.float32},
    ),
}


@pytest.fixture(scope="module")
def facts(exported):
    """What `lae-tf export --json` printed."""
    return exported


@pytest.fixture(scope="module")
def version(facts):
    return Path(facts["path"])


@pytest.fixture(scope="module")
def golden(version):
    """The golden files' bytes and records."""
    record = json.loads((version / "assets.extra/golden/golden.json").read_text())
    return [((version / "assets.extra/golden" / image["file"]).read_bytes(), image) for image in record["images"]]


@pytest.fixture(scope="module")
def loaded(version):
    return tf.saved_model.load(str(version))


@pytest.fixture(scope="module")
def predictions(trained_run, version, golden):
    files = [str(version / "assets.extra/golden" / image["file"]) for _, image in golden]
    return list(predict_files(trained_run.load_model(), files))


def ask(loaded, signature, data):
    name = SIGNATURES[signature][0]
    return {key: value.numpy() for key, value in loaded.signatures[signature](**{name: tf.constant(data)}).items()}


def test_the_first_version_is_published_whole_and_alone(facts, version):
    assert (facts["version"], version.name, version.parent.name) == (1, "1", "lae")
    assert facts["golden_images"] >= 16
    assert facts["largest_difference"] <= facts["tolerance"] == 1e-5
    assert [entry.name for entry in version.parent.iterdir()] == ["1"]
    # A server under another account must be able to read it.
    assert version.stat().st_mode & 0o055 == 0o055


def test_signatures_have_their_names_dtypes_and_a_batch_dimension(version):
    graph = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes()).meta_graphs[0]
    assert set(graph.meta_info_def.tags) == {"serve"}
    assert SIGNATURES.keys() <= graph.signature_def.keys()
    for name, (key, dtype, shape, outputs) in SIGNATURES.items():
        signature = graph.signature_def[name]
        assert list(signature.inputs) == [key]
        assert signature.inputs[key].dtype == dtype.as_datatype_enum
        assert [dim.size for dim in signature.inputs[key].tensor_shape.dim] == shape
        assert {k: v.dtype for k, v in signature.outputs.items()} == {k: v.as_datatype_enum for k, v in outputs.items()}
        assert all([dim.size for dim in v.tensor_shape.dim] == [-1] for v in signature.outputs.values())


def test_it_scores_golden_files_as_the_checkpoint_does(loaded, golden, predictions):
    answer = ask(loaded, "serving_default", [data for data, _ in golden])
    np.testing.assert_allclose(answer["score"], [one.score for one in predictions], rtol=0, atol=1e-5)
    np.testing.assert_allclose(answer["logit"], [one.logit for one in predictions], rtol=1e-4, atol=1e-4)
    assert [label.decode() for label in answer["label"]] == [one.label for one in predictions]
    assert set(answer["threshold"]) == {np.float32(predictions[0].threshold)}
    assert [verdict.decode() for verdict in answer["verdict"]] == [one.verdict for one in predictions]
    for name, value in predictions[0].bounds._asdict().items():
        assert set(answer[name]) == {np.float32(value)}
    stored = [(image["score"], image["label"], image["verdict"]) for _, image in golden]
    assert stored == [(one.score, one.label, one.verdict) for one in predictions]


def test_both_labels_follow_the_threshold(loaded, tiny_manifest):
    files = sorted(tiny_manifest.parent.glob("val-*.png"))
    images = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files if "mask" not in file.name])
    answer = ask(loaded, "tensor_uint8", images)
    expected = np.where(answer["score"] >= answer["threshold"], b"fake", b"real")
    assert set(expected) == {b"fake", b"real"}
    assert answer["label"].tolist() == expected.tolist()


def test_the_graph_gives_every_verdict_as_the_package_does(trained_run):
    model, images = trained_run.load_model(), np.random.default_rng(0).uniform(0, 1, (40, 32, 32, 3)).astype(np.float32)
    scores = np.sort(decide(model, images)["score"].numpy())
    for lowest_fake, highest_real in ((scores[9], scores[29]), (scores[29], scores[9]), (0.0, 1.0), NO_BOUNDS[:2]):
        bounds = ConformalBounds(float(lowest_fake), float(highest_real), 0.125)
        for name, value in {"threshold": scores[19], **bounds._asdict()}.items():
            getattr(model.calibration, name).assign(value)
        answer = {name: value.numpy() for name, value in decide(model, images).items()}
        expected = verdicts_of(answer["score"], scores[19], bounds)
        assert [verdict.decode() for verdict in answer["verdict"]] == list(expected)
        assert set(answer["error_rate"]) == {0.125}


def test_pixels_score_as_files_do(loaded, golden):
    data = next(data for data, image in golden if image["file"] == "png-rgb.png")
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))[None]
    expected = ask(loaded, "serving_default", [data])["score"]
    np.testing.assert_allclose(ask(loaded, "tensor_uint8", pixels)["score"], expected, rtol=0, atol=1e-6)
    floats = (pixels / 255).astype(np.float32)
    np.testing.assert_allclose(ask(loaded, "tensor", floats)["score"], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(0, 8, 8, 3), (1, 0, 8, 3)])
def test_images_without_pixels_are_refused(loaded, shape):
    with pytest.raises(tf.errors.InvalidArgumentError, match="at least one image with pixels"):
        ask(loaded, "tensor", np.zeros(shape, np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(loaded, value):
    with pytest.raises(tf.errors.InvalidArgumentError, match="image must be finite"):
        ask(loaded, "tensor", np.full((1, 8, 8, 3), value, np.float32))


def test_explain_draws_the_attention_over_the_image(loaded, golden, predictions, trained_run, tmp_path):
    answer = ask(loaded, "explain", [data for data, _ in golden[:4]])
    outputs = trained_run.load_model()(np.stack([one.image for one in predictions[:4]]))
    for i, one in enumerate(predictions[:4]):
        heatmap = np.asarray(Image.open(io.BytesIO(answer["heatmap_png_bytes"][i])))
        assert heatmap.shape[:2] == one.size
        (tmp_path / "image").write_bytes(golden[i][0])
        difference = np.abs(heatmap.astype(int) - overlay_on_file(str(tmp_path / "image"), one.attention))
        # Predict enlarges the attention by a smoother curve.
        assert difference.mean() < 2 and (difference > 12).mean() < 0.02
        error = np.abs(one.image - np.asarray(outputs["reconstruction"][i])).mean()
        assert answer["reconstruction_error"][i] == pytest.approx(error, abs=1e-6)
        assert answer["score"][i] == pytest.approx(one.score, abs=1e-5)


def test_it_runs_in_a_session_as_in_the_server(version, golden):
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], str(version))
        signature = graph.signature_def["serving_default"]
        feed = signature.inputs["image_bytes"].name
        scores = session.run(signature.outputs["score"].name, {feed: [data for data, _ in golden]})
        np.testing.assert_allclose(scores, [image["score"] for _, image in golden], rtol=0, atol=1e-5)
        with pytest.raises(tf.errors.InvalidArgumentError, match="image_bytes at position 1 of the batch"):
            session.run(signature.outputs["score"].name, {feed: [golden[0][0], b"no image"]})


@pytest.mark.parametrize("signature", ["serving_default", "explain"])
def test_the_model_never_complains_before_the_decoder(loaded, golden, signature):
    damaged = golden[0][0][:2000]
    for _ in range(5):  # it would be a race
        with pytest.raises(tf.errors.InvalidArgumentError, match="position 0 of the batch: damaged"):
            ask(loaded, signature, [damaged])


def message_classes():
    """PredictionLog as TensorFlow Serving declares it, for TFRecords that it would read."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="oracle.proto", package="oracle", syntax="proto3")
    file.dependency.append(tensor_pb2.DESCRIPTOR.name)
    messages = {
        "PredictionLog": [("predict_log", 6, ".oracle.PredictLog")],
        "PredictLog": [("request", 1, ".oracle.PredictRequest")],
        "PredictRequest": [("model_spec", 1, ".oracle.ModelSpec"), ("inputs", 2, ".oracle.PredictRequest.InputsEntry")],
        "ModelSpec": [("name", 1, None), ("signature_name", 3, None)],
    }
    entry = [("key", 1, None), ("value", 2, ".tensorflow.TensorProto")]

    def add(message, fields):
        for name, number, kind in fields:
            label = field.LABEL_REPEATED if name == "inputs" else field.LABEL_OPTIONAL
            added = message.field.add(name=name, number=number, label=label)
            added.type = field.TYPE_MESSAGE if kind else field.TYPE_STRING
            if kind:
                added.type_name = kind

    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        add(message, fields)
        if name == "PredictRequest":
            nested = message.nested_type.add(name="InputsEntry")
            nested.options.map_entry = True
            add(nested, entry)
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("oracle.PredictionLog"))


def test_warm_up_records_replay(version, loaded):
    try:
        from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
    except ImportError:
        PredictionLog = message_classes()
    records = tf.data.TFRecordDataset(str(version / "assets.extra/tf_serving_warmup_requests"))
    seen = []
    for record in records.as_numpy_iterator():
        request = PredictionLog.FromString(record).predict_log.request
        assert request.model_spec.name == "lae"
        inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
        answer = loaded.signatures[request.model_spec.signature_name](**inputs)
        seen.append((request.model_spec.signature_name, len(answer["score"])))
    assert seen == [("serving_default", 1), ("serving_default", 32), ("explain", 1)]


def test_an_export_that_scores_differently_is_not_published(trained_run, tmp_path, monkeypatch):
    write = exporting.write_saved_model

    def write_another(model, path):
        model.calibration.temperature.assign(model.calibration.temperature * 1.01)
        write(model, path)

    monkeypatch.setattr(exporting, "write_saved_model", write_another)
    with pytest.raises(ParityError, match=r"scores differently from the checkpoint: \S+ alone is 0\.\d+, expected"):
        export_run(trained_run, tmp_path / "new" / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_cannot_be_loaded_is_an_error(version, tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"nothing")
    with pytest.raises(LAEError, match="cannot be loaded in a fresh process"):
        check_parity(tmp_path, version / "assets.extra/golden")


def test_versions_count_up_and_are_never_overwritten(trained_run, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "write_saved_model", lambda model, path: None)
    monkeypatch.setattr(exporting, "check_parity", lambda path, golden: Parity(1, 1e-5, 0.0))
    for name in ("3", "0010", "notes", ".12-x.tmp"):
        (tmp_path / "lae" / name).mkdir(parents=True)
    assert versions(tmp_path / "lae") == [3, 10]
    assert export_run(trained_run, tmp_path).version == 11
    assert export_run(trained_run, tmp_path, version=5).path == tmp_path / "lae" / "5"
    with pytest.raises(UsageError, match="5 exists already"):
        export_run(trained_run, tmp_path, version=5)
    assert versions(tmp_path / "lae") == [3, 5, 10, 11]


def test_a_version_that_appears_meanwhile_is_left_alone(trained_run, tmp_path, monkeypatch):
    def publish_another(path, golden):
        (tmp_path / "lae" / "1").mkdir()
        (tmp_path / "lae" / "1" / "saved_model.pb").write_bytes(b"theirs")
        return Parity(1, 1e-5, 0.0)

    monkeypatch.setattr(exporting, "write_saved_model", lambda model, path: None)
    monkeypatch.setattr(exporting, "check_parity", publish_another)
    with pytest.raises(LAEError, match="cannot be published"):
        export_run(trained_run, tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()] == [
        "lae/1/saved_model.pb"
    ]


def test_the_model_card_holds_the_facts(version, trained_run):
    card = json.loads((version / "assets.extra/model_card.json").read_text())
    page = (version / "assets.extra/MODEL_CARD.md").read_text()
    decision = trained_run.read_json("calibration.json")
    assert card["decision"] == decision
    assert f"{decision['threshold']:.6f}" in page
    assert f"at least **{decision['lowest_fake']:.6f}**" in page
    assert "at most 10 % of real images, and of fakes" in page
    assert card["evaluation"] is None
    assert "Not evaluated." in page
    assert card["data"]["mask_budget"] == trained_run.read_json("data.json")["mask_budget"]
    assert card["config"]["start"] == {"tune": "all"}  # the others may be paths
    assert str(trained_run.path.parent) not in json.dumps(card)
    digest = hashlib.sha256((version / "saved_model.pb").read_bytes()).hexdigest()
    assert card["sha256"]["saved_model.pb"] == digest
    assert digest in page
    assert "assets.extra/golden/png-rgb.png" in card["sha256"]


def test_the_model_card_shows_an_evaluation_of_this_decision_alone(trained_run, tmp_path):
    run = Run(tmp_path / "run")
    for name in ("config.yaml", "data.json", "environment.json", "calibration.json", "model.keras"):
        run.path.mkdir(exist_ok=True)
        (run.path / name).write_bytes((trained_run.path / name).read_bytes())
    row = {"method": "noise", "level": "image", "seen": "seen", "reals": 10, "fakes": 5, "accuracy": 0.9}
    row |= {"accuracy_low": 0.8, "accuracy_high": 0.95, "auroc": 0.97, "auroc_low": None, "auroc_high": None}
    row |= {"balanced_accuracy": None, "balanced_accuracy_low": None, "balanced_accuracy_high": None}
    threshold = run.read_json("calibration.json")["threshold"]
    report = {"threshold": threshold, "model_sha256": run.model_digest(), "table": [row, {**row, "level": "group"}]}
    run.write_json("report/evaluation.json", report)
    (tmp_path / "card").mkdir()

    def page():
        card = describe_model(run, 2, "savedmodel", tmp_path / "card", Parity(24, 1e-5, 1e-7))
        write_model_card(card, tmp_path / "card")
        return (tmp_path / "card" / "MODEL_CARD.md").read_text()

    assert page().count("| noise | seen | 10 | 5 | 0.900 [0.800, 0.950] | - | 0.970 |") == 1
    assert "first weights" not in page()
    begun_with = {"name": "mine", "sha256": "0f" * 32}
    run.write_json("data.json", {**run.read_json("data.json"), "begun_with": begun_with})
    assert f"those of the ready model `mine` (SHA-256 `{'0f' * 32}`)" in page()
    run.write_json("report/evaluation.json", {**report, "threshold": threshold + 0.01})
    assert "Not evaluated." in page()
    run.write_json("report/evaluation.json", {**report, "model_sha256": "of before more training"})
    assert "Not evaluated." in page()


def test_the_card_of_a_run_of_an_older_version_shows_its_decision(trained_run, tmp_path):
    """Its scores were sigmoid(logit / temperature), its threshold anywhere, its report named by that alone."""
    run = Run(tmp_path / "run")
    for name in ("config.yaml", "data.json", "environment.json", "model.keras"):
        run.path.mkdir(exist_ok=True)
        (run.path / name).write_bytes((trained_run.path / name).read_bytes())
    decision = {"temperature": 0.9931, "threshold": 0.731, "rule": "equal odds", "validation_images": 248}
    decision |= {"threshold_at_1pct_fpr": 0.9746, "threshold_at_5pct_fpr": 0.8962}
    run.write_json("calibration.json", decision)
    run.write_json("data.json", {k: v for k, v in run.read_json("data.json").items() if k != "begun_with"})
    run.write_json("report/evaluation.json", {"threshold": 0.731, "table": []})
    (tmp_path / "card").mkdir()
    write_model_card(describe_model(run, 2, "savedmodel", tmp_path / "card", Parity(24, 1e-5, 1e-7)), tmp_path / "card")
    page = (tmp_path / "card" / "MODEL_CARD.md").read_text()
    assert "at least **0.731000**" in page and "sigmoid((logit - 0.0000) / 0.9931)" in page
    assert "0.974600 calls at most 1 %" in page and "0.896200 calls at most 5 %" in page
    assert "Not evaluated." not in page and "first weights" not in page


@pytest.mark.parametrize(("int8", "tolerance"), [(False, 1e-4), (True, 0.05)])
def test_tflite_passes_the_gate(trained_run, tmp_path, int8, tolerance):
    export = export_run(trained_run, tmp_path, form="tflite", int8=int8)
    assert export.path == tmp_path / "tflite" / "1"
    assert export.parity.largest_difference <= export.parity.tolerance == tolerance
    if int8:
        assert export.parity.largest_difference > 1e-4  # else nothing was quantised
    assert (export.path / "MODEL_CARD.md").is_file()


def in_8_bits(layer, images, folder):
    """Return what a layer, beside a convolution that is quantised, gives for each image once it is converted."""
    kernel = tf.random.stateless_normal((3, 3, 3, 4), seed=(0, 1))

    def both(image):
        return {"found": layer(image), "convolved": tf.nn.conv2d(image, kernel, 1, "SAME")}

    module = tf.Module()
    module.layer = layer
    serve = tf.function(both, input_signature=[tf.TensorSpec((1, *images.shape[1:]), name="image")])
    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=["serving_default"])
    interpreter = tf.lite.Interpreter(model_content=converters._convert_to_int8(converter, images))
    runner = interpreter.get_signature_runner("serving_default")
    found = [runner(image=image[None]) for image in images]
    convolved = tf.nn.conv2d(images, kernel, 1, "SAME")
    assert np.abs(np.concatenate([one["convolved"] for one in found]) - convolved).max() > 1e-3  # it was quantised
    return np.concatenate([one["found"] for one in found])


def test_8_bits_leave_the_search_for_copies_exact(tmp_path):
    images = np.random.default_rng(0).uniform(size=(2, 64, 64, 3)).astype(np.float32)
    images[:, 40:56, 40:56] = images[:, 5:21, 5:21]
    expected = SelfCorrelation()(images)
    assert np.max(expected) > 0.9
    np.testing.assert_allclose(in_8_bits(SelfCorrelation(), images, tmp_path), expected, atol=1e-4)


def test_8_bits_leave_the_statistics_of_the_gate_exact(tmp_path):
    photograph = astronaut()[:64, 200:264]
    images = np.stack([photograph, jpeg(photograph, 90)]) / np.float32(255)
    np.testing.assert_allclose(
        in_8_bits(QualityStatistics(), images, tmp_path), QualityStatistics()(images), rtol=1e-4, atol=1e-4
    )


def test_onnx_passes_the_gate_or_names_its_extra(trained_run, tmp_path):
    try:
        import onnxruntime  # noqa: F401
        import tf2onnx  # noqa: F401
    except ImportError:
        with pytest.raises(LAEError, match=r"pip install '\.\[onnx\]'"):
            export_run(trained_run, tmp_path / "out", form="onnx")
        assert not (tmp_path / "out").exists()
        return
    assert export_run(trained_run, tmp_path, form="onnx").parity.largest_difference <= 1e-4


@pytest.mark.parametrize("arguments", [["--int8"], ["--format", "onnx", "--deploy", "somewhere"]])
def test_options_that_do_not_go_together_are_refused(trained_run, tmp_path, arguments):
    result = CliRunner().invoke(command, [str(trained_run.path), str(tmp_path / "out"), *arguments])
    assert isinstance(result.exception, UsageError)
    assert not (tmp_path / "out").exists()


def test_help_needs_no_tensorflow():
    code = "import sys, lae_tf.cli.export; print({'tensorflow', 'pandas', 'cv2', 'jinja2'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
