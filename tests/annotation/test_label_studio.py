"""Label Studio: what is exported fits together, and both kinds of export come back pixel by pixel."""

import json
import xml.etree.ElementTree as ElementTree
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from lae_tf.annotation.export_tasks import export_tasks
from lae_tf.annotation.items import ImageNames
from lae_tf.annotation.label_studio import brush_region, read_export
from lae_tf.annotation.round import Round
from lae_tf.errors import ProblemsError, UsageError
from lae_tf.masks.rle import decode_brush

HEIGHT, WIDTH = 20, 30
masks = arrays(np.uint8, (HEIGHT, WIDTH), elements=st.integers(0, 1))


@pytest.fixture(scope="module")
def items(run):
    return Round.open(run).items


@pytest.fixture(scope="module")
def folder(items, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "to draw"
    export_tasks(items, "label-studio", folder, attention=True)
    return folder


@pytest.fixture(scope="module")
def urls(folder):
    return [task["data"]["image"] for task in json.loads((folder / "tasks.json").read_text())]


@pytest.fixture(scope="module")
def read(items, tmp_path_factory):
    path = tmp_path_factory.mktemp("read") / "export.json"

    def read(tasks):
        path.write_text(json.dumps(tasks))
        problems = []
        drawings = {drawing.item.rank: drawing.mask for drawing in read_export(path, ImageNames(items), problems)}
        return drawings, problems

    return read


def full(url, *results, **fields):
    return {"id": 5, "data": {"image": url}, "annotations": [{"result": list(result), **fields} for result in results]}


def minimal(url, **tags):
    return {"id": 5, "annotation_id": 9, "image": url, "updated_at": "2026-01-01", **tags}


def flat(region):
    """A region as JSON-MIN has it: the value's fields beside the size."""
    size = {name: region[name] for name in ("original_width", "original_height", "image_rotation")}
    return {**region["value"], **size}


def polygon(*points):
    return {
        "type": "polygonlabels",
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "image_rotation": 0,
        "value": {"points": list(points), "polygonlabels": ["forged"]},
    }


REFUSED = {"type": "choices", "value": {"choices": ["not a fake"]}}


def test_urls_lead_to_copies_of_the_images(folder, urls, items):
    for url, item in zip(urls, items, strict=True):
        assert urlsplit(url).path == "/data/local-files/"
        copy = folder / parse_qs(urlsplit(url).query)["d"][0]
        assert Image.open(copy).tobytes() == Image.open(item.image).tobytes()


def test_predictions_fit_the_labelling_configuration_and_hold_the_attention(folder):
    tags = {tag.get("name"): tag for tag in ElementTree.parse(folder / "labeling_config.xml").iter() if tag.get("name")}
    for rank, task in enumerate(json.loads((folder / "tasks.json").read_text()), start=1):
        (prediction,) = task["predictions"]
        assert prediction["model_version"]
        (region,) = prediction["result"]
        assert tags[region["from_name"]].tag.lower() == region["type"] == "brushlabels"
        assert tags[region["from_name"]].get("toName") == region["to_name"]
        assert tags[region["to_name"]].get("value") == "$image"
        assert {label.get("value") for label in tags[region["from_name"]]} == set(region["value"]["brushlabels"])
        expected = np.zeros((HEIGHT, WIDTH), np.uint8)
        expected[2:9, rank : rank + 10] = 1
        assert (region["original_height"], region["original_width"]) == (HEIGHT, WIDTH)
        np.testing.assert_array_equal(decode_brush(region["value"]["rle"], HEIGHT, WIDTH), expected)


def test_without_attention_there_is_no_prediction(items, tmp_path):
    export_tasks(items, "label-studio", tmp_path / "out", attention=False)
    assert not any("predictions" in task for task in json.loads((tmp_path / "out" / "tasks.json").read_text()))


@settings(max_examples=20)
@given(masks, masks)
def test_both_exports_come_back_exactly(read, urls, first, second):
    regions = [brush_region(mask, "a") for mask in (first, second)]
    drawings, problems = read([full(urls[1], regions)])
    assert not problems
    np.testing.assert_array_equal(drawings[2], first | second)
    drawings, problems = read([minimal(urls[1], brush=[flat(region) for region in regions])])
    assert not problems
    np.testing.assert_array_equal(drawings[2], first | second)


def test_polygons_are_percentages_and_join_brush_strokes(read, urls):
    stroke = np.zeros((HEIGHT, WIDTH), np.uint8)
    stroke[0, 0] = 1
    # 10 to 50 % of 30 columns are 3 to 15, 20 to 60 % of 20 rows are 4 to 12.
    outline = polygon([10, 20], [50, 20], [50, 60], [10, 60])
    expected = stroke.copy()
    expected[4:12, 3:15] = 1
    for task in (
        full(urls[0], [brush_region(stroke, "a"), outline]),
        minimal(urls[0], brush=[flat(brush_region(stroke, "a"))], polygon=[flat(outline)]),
    ):
        drawings, problems = read([task])
        assert not problems
        np.testing.assert_array_equal(drawings[1], expected)


def test_not_a_fake_is_a_verdict_and_no_mask(read, urls):
    for task in (full(urls[0], [REFUSED]), minimal(urls[0], verdict="not a fake")):
        assert read([task]) == ({1: None}, [])


WORDS = [
    {"from_id": "a", "to_id": "b", "type": "relation", "direction": "right"},
    {"id": "a", "type": "textarea", "value": {"text": ["seam"], "format": "rle", "rle": [0]}},
    {"type": "rating", "value": {"rating": 3}},
    {"type": "number", "value": {"number": 3}},
    {"type": "choices", "value": {"choices": ["sure"]}},
    {"type": "taxonomy", "value": {"taxonomy": [["a", "b"]]}},
]


def test_results_without_an_outline_are_passed_over(read, urls):
    first, second = np.eye(HEIGHT, WIDTH, dtype=np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
    second[3:5, 2:4] = 1
    strokes = [brush_region(first, "a"), brush_region(second, "b")]
    drawings, problems = read([full(urls[0], [*strokes, *WORDS]), full(urls[1], [REFUSED, *WORDS])])
    assert not problems and drawings[2] is None
    np.testing.assert_array_equal(drawings[1], first | second)
    words = {"score": 3, "comment": ["a", "b"], "sure": "yes", "list": [1, {"x": 2}]}
    drawings, problems = read([minimal(urls[0], mine=[flat(stroke) for stroke in strokes], **words)])
    assert not problems
    np.testing.assert_array_equal(drawings[1], first | second)


def test_words_alone_decide_nothing(read, urls):
    drawings, problems = read([full(urls[0], WORDS)])
    assert not drawings and "neither a region nor" in problems[0]


def test_the_annotation_updated_last_counts(read, urls):
    one, two = np.eye(HEIGHT, WIDTH, dtype=np.uint8), np.ones((HEIGHT, WIDTH), np.uint8)
    annotations = [
        {"result": [brush_region(two, "a")], "updated_at": "2026-01-02T00:00:00Z"},
        {"result": [brush_region(one, "b")], "updated_at": "2026-01-01T00:00:00Z"},
        {"result": [REFUSED], "updated_at": "2026-01-03T00:00:00Z", "was_cancelled": True},
    ]
    drawings, problems = read([{"data": {"image": urls[0]}, "annotations": annotations}])
    assert not problems
    np.testing.assert_array_equal(drawings[1], two)


def test_tasks_that_nobody_annotated_are_left_out(read, urls):
    assert read([full(urls[0]), {"id": 6, "image": urls[1]}]) == ({}, [])


ONES = np.ones((HEIGHT, WIDTH), np.uint8)
STROKE = brush_region(ONES, "a")


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ({**STROKE, "original_width": 31}, "31 x 20 pixels, the image has 30 x 20"),
        ({**STROKE, "image_rotation": 90}, "rotated"),
        ({**STROKE, "value": {**STROKE["value"], "brushlabels": ["car"]}}, "car"),
        ({**STROKE, "value": {**STROKE["value"], "rle": STROKE["value"]["rle"][:-1]}}, "truncated"),
        ({**STROKE, "value": {**STROKE["value"], "rle": 10**12}}, "not a list of bytes"),
        ({**STROKE, "type": "rectanglelabels"}, "rectanglelabels"),
        ({"type": "brushlabels"}, "not as Label Studio writes it"),
        (polygon([0, 0], [50, 50]), "less than three points"),
    ],
)
def test_a_region_that_cannot_be_used_is_a_problem(read, urls, region, message):
    drawings, problems = read([full(urls[0], [region]), full(urls[1], [STROKE])])
    assert list(drawings) == [2]
    assert len(problems) == 1
    assert message in problems[0]


def test_regions_and_not_a_fake_contradict(read, urls):
    _, problems = read([full(urls[0], [STROKE, REFUSED]), full(urls[1], [])])
    assert ["both" in problems[0], "neither" in problems[1]] == [True, True]


def test_images_that_were_not_selected_are_problems(read):
    drawings, problems = read([full("/data/local-files/?d=images/0001-stranger.png", [STROKE])])
    assert not drawings
    assert "0001-stranger" in problems[0]
    assert "not a selected image" in problems[0]


def test_a_url_that_is_none_is_a_problem(read, urls):
    drawings, problems = read([full("http://[", [STROKE]), full(urls[1], [STROKE])])
    assert list(drawings) == [2]
    assert len(problems) == 1


def test_images_may_be_served_from_elsewhere(read):
    drawings, problems = read([full("https://host/d%61ta/fake1.png?size=2", [REFUSED])])
    assert (drawings, problems) == ({1: None}, [])


def test_uploaded_files_are_found_behind_the_prefix_of_label_studio(read, items):
    uploaded = f"/data/upload/7/3f2a8b1c-{items[0].name}.png"
    assert read([full(uploaded, [REFUSED])]) == ({1: None}, [])
    assert read([full("/data/upload/7/3f2a8b1c-fake2.png", [REFUSED])]) == ({2: None}, [])
    for other in ("3f2a8b1-fake2", "3f2a8b1g-fake2", "3f2a8b1c-3f2a8b1c-fake2", "3f2a8b1c-", "3f2a8b1c-ake2"):
        drawings, problems = read([full(f"/data/upload/7/{other}.png", [REFUSED])])
        assert (drawings, len(problems)) == ({}, 1)


@pytest.mark.parametrize("content", ["{}", "[1]", "not json", '"text"'])
def test_another_file_is_refused(items, tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UsageError, match=r"x\.json: is not"):
        list(read_export(tmp_path / "x.json", ImageNames(items), []))


def test_an_export_never_overwrites(items, tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(UsageError, match="choose a new folder"):
        export_tasks(items, "label-studio", tmp_path, attention=False)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_image_that_cannot_be_read_stops_the_export_before_it_begins(write_run, tmp_path):
    items = Round.open(write_run(tmp_path, reals=1)).items
    items[1].image.write_bytes(b"no image")
    with pytest.raises(ProblemsError, match=r"fake2\.png"):
        export_tasks(items, "label-studio", tmp_path / "out", attention=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "run"]
