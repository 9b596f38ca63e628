"""Figures: what they draw is read back from the axes, and hostile names and gaps do not break them."""

import base64
import io

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image
from sklearn.metrics import auc, roc_auc_score

from lae_tf.errors import LAEError
from lae_tf.evaluation.examples import Look, example
from lae_tf.metrics.detection import Interval
from lae_tf.report.panels import contact_sheet, overlay, overlay_at_size
from lae_tf.report.plots import (
    bars_with_intervals,
    data_uri,
    dots_with_intervals,
    png,
    roc_curves,
    score_histogram,
    training_curves,
)

HOSTILE = r"_$\frac{a$ <b>&"


def decoded(figure) -> Image.Image:
    image = Image.open(io.BytesIO(png(figure, dpi=50)))
    image.load()
    assert image.format == "PNG" and len(set(image.convert("L").resize((16, 16)).tobytes())) > 1
    return image


def texts(figure) -> list[str]:
    """Everything a figure says, without what makes names harmless to the renderer."""
    found = [*figure.texts]
    for axes in figure.axes:
        found += [
            *axes.texts,
            axes.title,
            axes._left_title,
            axes.xaxis.label,
            *axes.get_xticklabels(),
            *axes.get_yticklabels(),
        ]
        found += axes.get_legend().get_texts() if axes.get_legend() else []
    return [text.get_text().replace("\u200a", "").replace(r"\$", "$") for text in found]


def test_roc_curves():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 80)
    scores = labels + rng.normal(0, 1, 80)
    figure = roc_curves(
        {"splice": (labels, scores), HOSTILE: (labels, -scores), "x": ([1, 1], [0, 1])}, dashed=[HOSTILE]
    )
    decoded(figure)
    said = texts(figure)
    assert f"splice: {roc_auc_score(labels, scores):.3f}" in said
    assert f"{HOSTILE}: {roc_auc_score(labels, -scores):.3f}" in said
    assert "x: one class only" in said
    _, splice, hostile, _ = figure.axes[0].lines
    assert splice.get_linestyle() == "-" and hostile.get_linestyle() == "--"
    assert auc(*splice.get_data()) == pytest.approx(roc_auc_score(labels, scores))


def test_training_curves_with_gaps_and_stages():
    history = [
        {"stage": "pretrain", "epoch": 1, "loss": 1.0, "val_loss": 1.1, "latent_loss": 0.7, "val_auroc": 0.5},
        {
            "stage": "pretrain",
            "epoch": 2,
            "loss": 0.8,
            "val_loss": float("nan"),
            "latent_loss": 0.6,
            "val_auroc": None,
        },
        {"stage": "align", "epoch": 1, "loss": 0.9, "alignment_loss": 0.4, "val_auroc": 0.8},
    ]
    figure = training_curves(history)
    decoded(figure)
    assert [axes._right_title.get_text() for axes in figure.axes] == [
        "loss",
        "terms of the loss",
        "validation",
    ]
    curves = {line.get_label(): line for axes in figure.axes for line in axes.lines}
    # Epochs count on through the stages; what is missing is a gap, not a zero.
    np.testing.assert_array_equal(curves["loss"].get_xdata(), [1, 2, 3])
    np.testing.assert_array_equal(curves["val_loss"].get_ydata(), [1.1, np.nan, np.nan])
    np.testing.assert_array_equal(curves["alignment"].get_ydata(), [np.nan, np.nan, 0.4])
    np.testing.assert_array_equal(curves["val_auroc"].get_ydata(), [0.5, np.nan, 0.8])
    assert "pretrain | align" in texts(figure)


def test_training_curves_of_nothing():
    png(training_curves([]), dpi=30)


def test_score_histogram_shows_shares_and_the_threshold():
    figure = score_histogram({"splice": [0.91, 0.92, 0.93, 0.1], HOSTILE: []}, [0.2] * 50, threshold=0.37)
    decoded(figure)
    first = figure.axes[0]
    heights = [bar.get_height() for bar in first.patches]
    assert max(heights[:40]) == pytest.approx(1) and sum(heights[40:]) == pytest.approx(1)
    assert [line.get_xdata()[0] for line in first.lines] == [0.37]
    assert {"splice", HOSTILE} <= set(texts(figure))


def test_bars_with_intervals():
    series = {
        "LAE": {"seen": Interval(0.9, 0.85, 0.93), "unseen": Interval(0.8, 0.7, 0.9)},
        HOSTILE: {"seen": Interval(0.7, np.nan, np.nan)},
    }
    figure = bars_with_intervals(series, "accuracy")
    decoded(figure)
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights[:3] == [0.9, 0.8, 0.7] and np.isnan(heights[3])
    whiskers = figure.axes[0].collections[0].get_segments()
    assert np.array(whiskers)[:, :, 1] == pytest.approx(np.array([[0.85, 0.93], [0.7, 0.9]]))


def test_dots_with_intervals():
    series = {
        "seen": {"none": Interval(0.9, 0.85, 0.93), HOSTILE: Interval(0.8, 0.7, 0.9)},
        "unseen": {"none": Interval(0.7, np.nan, np.nan), HOSTILE: Interval(np.nan, np.nan, np.nan)},
    }
    figure = dots_with_intervals(series, "AUROC")
    decoded(figure)
    first, second = figure.axes[0].containers
    assert first.lines[0].get_xdata().tolist() == [0.9, 0.8] and second.lines[0].get_xdata()[0] == 0.7
    whiskers = np.array(first.lines[2][0].get_segments())
    assert whiskers[:, :, 0] == pytest.approx(np.array([[0.85, 0.93], [0.7, 0.9]]))
    # The first category is on top, and within it the series lie below each other.
    places = [dots.lines[0].get_ydata() for dots in (first, second)]
    assert figure.axes[0].yaxis_inverted() and places[0][0] < places[1][0] < places[0][1]
    assert {"none", HOSTILE} <= set(texts(figure))


def test_a_whole_comparison_can_be_told_apart():
    """Ten models: more than there are colours."""
    names = [f"model {i}" for i in range(10)]
    lines = roc_curves({name: ([0, 1], [0.2, 0.8]) for name in names}).axes[0].get_legend().get_lines()
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 10
    dots = dots_with_intervals({name: {"none": Interval(0.5, 0.4, 0.6)} for name in names}, "AUROC").axes[0].containers
    assert len({(dot.lines[0].get_color(), dot.lines[0].get_marker()) for dot in dots}) == 10
    bars = bars_with_intervals({name: {"splice": Interval(0.5, 0.4, 0.6)} for name in names}, "accuracy")
    looks = {(bar.get_facecolor(), bar.get_hatch()) for bar in bars.axes[0].patches}
    assert len(looks) == 10


def test_overlay():
    image = np.full((4, 6, 3), 0.6, np.float32)
    attention = np.zeros((4, 6))
    attention[0] = np.linspace(0, 1, 6)
    drawn = overlay(image, attention)
    assert drawn.shape == (4, 6, 3) and drawn.dtype == np.uint8
    # No attention leaves the image's grey; full attention is bright yellow: red and green far above blue.
    assert (drawn[1:] == 153).all()
    assert drawn[0, 5, 0] > 200 and drawn[0, 5, 1] > 200
    # It brightens steadily in the upper half of the scale, so that grey printing keeps the order.
    luminance = drawn[0] @ [0.299, 0.587, 0.114]
    assert (np.diff(luminance[2:]) > 0).all()
    np.testing.assert_array_equal(overlay(image[..., :1], attention[..., None]), drawn)


def test_overlay_at_size_is_the_overlay_of_the_enlarged_map():
    image = np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)
    before = image.copy()
    drawn = overlay_at_size(image, np.array([[0.0, 1.0]]))
    np.testing.assert_array_equal(drawn, overlay(image / np.float32(255), np.tile([0, 0.25, 0.75, 1], (6, 1))))
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    ("image", "attention"), [((4, 4, 3), (2, 8)), ((4, 4, 3), (4, 5)), ((4, 4), (4, 4)), ((4, 4, 4), (4, 4))]
)
def test_overlay_refuses_other_shapes(image, attention):
    with pytest.raises(LAEError, match=r"found \(4, 4"):
        overlay(np.zeros(image), np.zeros(attention))


def test_examples_say_what_was_found_and_what_is_true():
    image, attention = np.random.default_rng(0).uniform(size=(8, 8, 3)), np.full((8, 8, 1), 0.4)
    ones, zeros = np.ones((8, 8, 1), np.uint8), np.zeros((8, 8))
    looks = [
        Look(image, image, attention, ones, 0.9, 1, "splice"),
        Look(image, image, attention, None, 0.3, 1, HOSTILE),
        Look(image, None, None, zeros, 0.2, 0, "real"),
        Look(image, None, attention, zeros, 0.5, 0),
        Look(image, None, attention, None, 0.5, None, "mine.png", path="a/mine.png"),
    ]
    shown = [example(look, threshold=0.5) for look in looks]
    assert [(one.title, one.tone) for one in shown] == [
        ("fake (splice), score 0.90 ≥ 0.50: called fake, correct", "right"),
        (f"fake ({HOSTILE}), score 0.30 < 0.50: called real, missed", "wrong"),
        ("real, score 0.20 < 0.50: called real, correct", "right"),
        ("real, score 0.50 ≥ 0.50: called fake, false alarm", "wrong"),
        ("mine.png  score 0.50 ≥ 0.50: called fake", ""),
    ]
    assert shown[-1].note == "a/mine.png"
    absent = [shot.absent for one in shown for shot in one.shots if shot.png is None]
    assert absent.count("not known") == 2 and absent.count("none") == 4
    assert {shot.caption for one in shown for shot in one.shots} == {"input", "reconstruction", "attention", "mask"}
    # A mask of ones is white, one of zeros is black.
    masks = [Image.open(io.BytesIO(shown[i].shots[2].png)) for i in (0, 2)]
    assert [set(mask.tobytes()) for mask in masks] == [{255}, {0}]


def test_contact_sheet():
    images = [np.full((4, 4, 3), 0.2), np.full((4, 4), 200, np.uint8), np.zeros((4, 4, 1))]
    figure = contact_sheet(images, ["a", HOSTILE, "c"], columns=2)
    decoded(figure)
    assert len(figure.axes) == 4 and sum(bool(axes.images) for axes in figure.axes) == 3
    assert {"a", HOSTILE, "c"} <= set(texts(figure))
    long = contact_sheet(images, ["x" * 60, "folder/" * 9 + "name.png", "c"], columns=2)
    assert max(map(len, texts(long))) <= 22 and any(text.endswith("/name.png") for text in texts(long))
    with pytest.raises(LAEError, match="one caption per image, found 3 and 2"):
        contact_sheet(images, ["a", "b"])


def test_contact_sheet_has_a_legend():
    images = [np.full((4, 4, 3), 0.2)] * 5
    figure = contact_sheet(images, list("abcde"), "Attention, from none to full. " * 6, columns=3)
    decoded(figure)
    (scale,) = [axes for axes in figure.axes if [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "1"]]
    colours = scale.images[0].get_array()[0]
    # From the grey of the image to bright yellow, as `overlay` lays it.
    assert colours[0].tolist() == [128] * 3 and colours[-1, 0] > 200 and colours[-1, 1] > 200
    assert "Attention, from none to full." in " ".join(text.get_text() for text in figure.findobj(Text))


def test_png_is_repeatable_and_fits_a_page():
    one, other = (png(score_histogram({"a": [0.1, 0.9]}, [0.2], 0.5)) for _ in range(2))
    assert one == other
    kind, _, content = data_uri(one).partition(",")
    assert kind == "data:image/png;base64" and base64.b64decode(content) == one
