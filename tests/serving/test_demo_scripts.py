"""What the demo page computes by itself: verdicts at another threshold, attention from a heatmap, regions."""

import itertools
import re

import numpy as np
import pytest

from lae_tf.metrics.verdict import ConformalBounds, verdict_of
from lae_tf.report.panels import overlay
from lae_tf.serving.rest.demo import DemoPage

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def run(driver, start_server):
    """Run a function of the page by its name."""
    driver.get(f"{start_server(demo=DemoPage(['half'], False)).url}/demo")
    return lambda function, *arguments: driver.execute_script(f"return {function}(...arguments)", *arguments)


def prediction(score, threshold=0.5, **bounds):
    return {"score": score, "label": "unread", "threshold": threshold, **bounds}


def test_verdicts_are_those_of_the_package(run):
    values = (0.0, 0.3, 0.5, 0.7, 1.0)
    for score, threshold, fakes, reals in itertools.product(values, repeat=4):
        bounds = ConformalBounds(fakes, reals, 0.1)
        said = run("decide", prediction(score, **bounds._asdict()), threshold)["verdict"]
        assert said == verdict_of(score, threshold, bounds), (score, threshold, bounds)


BOUNDS = {"lowest_fake": 0.3, "highest_real": 0.75, "error_rate": 0.1}


@pytest.mark.parametrize(
    ("given", "chosen", "reason"),
    [
        (prediction(0.9, **BOUNDS), None, "reaches the threshold 0.500 and is above 0.750, which 90 % of validation’s "
         "real images do not exceed."),
        (prediction(0.2, **BOUNDS), None, "is below the threshold 0.500 and is below 0.300, which 90 % of validation’s "
         "fakes reach."),
        (prediction(0.4, **BOUNDS), None, "is below the threshold 0.500, but is not below 0.300, which 90 % of "
         "validation’s fakes reach: at 10 % errors the model cannot tell."),
        (prediction(0.4, **BOUNDS), 0.35, "reaches your threshold 0.350, but is not above 0.750, which 90 % of "
         "validation’s real images do not exceed: at 10 % errors the model cannot tell."),
        (prediction([0.4]), None, "is below the threshold 0.500."),  # of an older version
        (prediction(0.4, **ConformalBounds()._asdict()), None, "is below the threshold 0.500."),
    ],
)  # fmt: skip
def test_the_reason_is_a_sentence(run, given, chosen, reason):
    score = np.ravel(given["score"])[0]
    assert run("decide", given, chosen)["reason"] == f"The score {score:.3f} {reason}"


@pytest.mark.parametrize(
    ("bounds", "unsure"),
    [((0.3, 0.75), [0.3, 0.75]), ((0.3, 0.4), [0.3, 0.5]), ((0.8, 0.2), [0.5, 0.5]), ((2.0, -1.0), [0.5, 0.5])],
)
def test_between_which_scores_it_is_unsure(run, bounds, unsure):
    lowest, highest = bounds
    decision = run("decide", prediction(0.6, lowest_fake=lowest, highest_real=highest, error_rate=0.1))
    assert [decision["from"], decision["to"]] == unsure


@pytest.mark.parametrize(
    ("numbers", "texts"),
    [
        ((0.49996, 0.5), ["0.49996", "0.50000"]),
        ((0.4994, 0.5), ["0.499", "0.500"]),
        ((0.5, 0.5), ["0.500", "0.500"]),
        ((0.731, 0.7312, 0.2), ["0.7310", "0.7312", "0.2000"]),
    ],
)
def test_a_score_is_written_on_its_side_of_the_others(run, numbers, texts):
    assert run("beside", *numbers) == texts


def test_the_attention_of_a_heatmap_is_found_again(run, driver):
    """Over any image: the heatmap is drawn by the package, on random colours."""
    rng = np.random.default_rng(0)
    attention = rng.random((16, 16))
    drawn = overlay(rng.random((16, 16, 3)), attention)
    pixels = np.dstack([drawn, np.full((16, 16), 255, np.uint8)]).ravel().tolist()
    found = driver.execute_script("return Array.from(attentionOf(arguments[0], SCALE))", pixels)
    difference = np.abs(np.reshape(found, (16, 16)) - attention)
    # The colours of the lowest are next to black.
    assert difference.max() < 0.06 and difference[attention > 0.1].max() < 0.02


def square(values):
    """Return a map as the page holds it."""
    return {"attention": values.ravel().tolist(), "columns": values.shape[1]}


def test_regions_of_a_map_of_the_images_shape_lie_all_over_it(run):
    """A map of 2 by 4 values of an image of 40 by 20: a value is 10 by 10 pixels, and there are no mirrors."""
    values = np.zeros((2, 4))
    values[0, 3] = 0.9
    (region,) = run("regionsOf", square(values), 40, 20, {"level": 0.5, "smallest": 0.02})
    assert region["box"] == [30, 0, 10, 10] and region["share"] == 1 / 8


def test_regions_are_in_pixels_of_the_image(run):
    """An image of 80 by 40 in a square of 8 by 8: rows 2 to 5 are the image, one value is 10 by 10 pixels."""
    values = np.zeros((8, 8))
    values[3:5, 1:3] = 0.9
    values[5, 3] = 0.65  # touches by a corner: (4 * 0.9 + 0.65) / 5 = 0.85
    values[0, 6] = 1.0  # in a mirror
    values[3, 6] = 0.8
    values[2, 0] = 0.5  # not above the level
    scale = {"level": 0.5, "smallest": 0.02}
    first, second = run("regionsOf", square(values), 80, 40, scale)
    assert first["box"] == [10, 10, 30, 30] and first["share"] == 5 / 32 and first["score"] == pytest.approx(0.85)
    assert second["box"] == [60, 10, 10, 10] and second["share"] == 1 / 32
    (only,) = run("regionsOf", square(values), 80, 40, {**scale, "smallest": 0.05})
    assert only == first


def test_values_belong_to_the_image_where_their_centres_are_in_it(run):
    """An image of 30 by 90 in a square of 8: its 2.67 columns lie on the two whose centres are inside."""
    (region,) = run("regionsOf", square(np.full((8, 8), 0.75)), 30, 90, {"level": 0.5, "smallest": 0.02})
    assert region["box"] == [4, 0, 22, 90] and region["share"] == pytest.approx(0.75)


def test_the_page_holds_everything(start_server):
    answer = start_server(demo=DemoPage(["half"], False)).ask("GET", "/demo")
    assert not re.search(rb"""(src|href)=["']?(https?:)?//""", answer.body)
