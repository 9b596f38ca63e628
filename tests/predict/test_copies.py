"""Degraded copies: what they are, and which verdicts do not outlast them."""

import io

import numpy as np
import pytest
from PIL import Image
from skimage import data

from lae_tf.metrics.verdict import NO_BOUNDS, ConformalBounds
from lae_tf.predict.copies import COPIES, degraded_copies, verdict_among_copies
from lae_tf.predict.images import predict_files


@pytest.fixture(scope="module")
def photograph():
    return np.ascontiguousarray(data.astronaut()[:97, :63])


def test_the_copies_are_those_that_their_names_say(photograph):
    compressed, scaled = degraded_copies(photograph)
    stored = io.BytesIO()
    Image.fromarray(photograph).save(stored, "JPEG", quality=90)
    by_pillow = np.asarray(Image.open(stored)).astype(int)
    assert compressed.shape == photograph.shape and np.abs(compressed - by_pillow).mean() < 1
    small = Image.fromarray(photograph).resize((47, 73), Image.Resampling.BOX)
    by_pillow = np.asarray(small.resize((63, 97), Image.Resampling.BILINEAR)).astype(int)
    assert scaled.shape == photograph.shape and np.abs(scaled - by_pillow).mean() < 4
    assert 1 < np.abs(scaled.astype(int) - photograph).mean() < 20


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 2)])
def test_tiny_images_have_copies(shape):
    for copy in degraded_copies(np.full((*shape, 3), 200, np.uint8)):
        assert copy.shape == (*shape, 3) and np.abs(copy.astype(int) - 200).max() <= 3


@pytest.mark.parametrize(
    ("verdict", "score", "copies", "expected"),
    [
        ("fake", 0.9, (0.6, 0.5), "fake"),
        ("fake", 0.9, (0.6, 0.49), "unsure"),
        ("real", 0.1, (0.49, 0.4), "real"),
        ("real", 0.1, (0.5, 0.4), "unsure"),
        ("unsure", 0.6, (0.6, 0.6), "unsure"),
        ("fake", 0.9, (), "fake"),
    ],
)
def test_a_verdict_stands_where_no_copy_has_another_label(verdict, score, copies, expected):
    assert verdict_among_copies(verdict, score, copies, 0.5) == expected


def test_files_are_scored_with_their_copies(trained_run, photograph, tmp_path):
    """Copies are made in the image's own size, and the image's own results stay what they are."""
    model = trained_run.load_model()
    paths = [str(tmp_path / name) for name in ("a.png", "bad.png", "b.png", "c.png")]
    images = {paths[0]: photograph, paths[2]: photograph[:40, :40], paths[3]: photograph[::-1, :50]}
    for path, image in images.items():
        Image.fromarray(image).save(path)
    (tmp_path / "bad.png").write_bytes(b"no image")
    plain, copied = (list(predict_files(model, paths, 2, copies=copies)) for copies in (False, True))
    assert [bool(one.error) for one in copied] == [False, True, False, False]
    for one, other in zip(plain, copied, strict=True):
        if not one.error:
            assert other.score == pytest.approx(one.score, abs=1e-5) and other.label == one.label
            np.testing.assert_allclose(other.attention, one.attention, atol=1e-4)
            seen = np.stack([model.preprocessor.resize(copy) for copy in degraded_copies(images[one.path])])
            assert other.copies == pytest.approx(model.predict_on_batch(seen)["score"][:, 0].tolist(), abs=1e-5)
            assert not one.copies
            record = other.record()
            assert tuple(record[f"score_{name}"] for name in COPIES) == other.copies
            assert set(record) - set(one.record()) == {"score_jpeg-90", "score_scale-3/4"}


def test_an_image_whose_copy_crosses_the_threshold_is_unsure(trained_run, photograph, tmp_path):
    model = trained_run.load_model()
    path = str(tmp_path / "a.png")
    Image.fromarray(photograph).save(path)
    for name, value in NO_BOUNDS._asdict().items():
        getattr(model.calibration, name).assign(value)
    (one,) = predict_files(model, [path], copies=True)
    scores = sorted({one.score, *one.copies})
    assert len(scores) == 3
    for threshold, verdict in ((scores[0] - 1e-3, "fake"), (np.mean(scores[:2]), "unsure"), (scores[2] + 1e-3, "real")):
        model.calibration.threshold.assign(threshold)
        (one,) = predict_files(model, [path], copies=True)
        assert one.verdict == verdict and one.label == ("fake" if one.score >= threshold else "real")
        (plain,) = predict_files(model, [path])
        assert plain.verdict == plain.label
    # What is unsure already stays so, though the copies agree.
    for name, value in ConformalBounds(0.0, 1.0, 0.1)._asdict().items():
        getattr(model.calibration, name).assign(value)
    (one,) = predict_files(model, [path], copies=True)
    assert one.verdict == "unsure" and one.label == "real"
