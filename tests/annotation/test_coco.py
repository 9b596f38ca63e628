"""COCO: checked against pycocotools; polygons, both run-length codes and disconnected parts come back."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as cocotools
from pycocotools.coco import COCO

from lae_tf.annotation.coco import read_annotations, region
from lae_tf.annotation.export_tasks import export_tasks
from lae_tf.annotation.items import ImageNames
from lae_tf.annotation.round import Round
from lae_tf.errors import UsageError

HEIGHT, WIDTH = 20, 30
masks = arrays(np.uint8, (HEIGHT, WIDTH), elements=st.integers(0, 1)).filter(np.any)


@pytest.fixture(scope="module")
def items(run):
    return Round.open(run).items


@pytest.fixture(scope="module")
def read(items, tmp_path_factory):
    path = tmp_path_factory.mktemp("read") / "instances_default.json"

    def read(*annotations, names=("fake1.png", "fake2.png"), width=WIDTH, category="forged"):
        content = {
            "images": [
                {"id": 10 + n, "file_name": name, "height": HEIGHT, "width": width} for n, name in enumerate(names)
            ],
            "categories": [{"id": 1, "name": category}, {"id": 2, "name": "not a fake"}, {"id": 3, "name": "car"}],
            "annotations": [{"id": n, "category_id": 1, "image_id": 10, **a} for n, a in enumerate(annotations)],
        }
        path.write_text(json.dumps(content))
        problems = []
        drawings = {drawing.item.rank: drawing.mask for drawing in read_annotations(path, ImageNames(items), problems)}
        return drawings, problems

    return read


def compressed(mask):
    code = cocotools.encode(np.asfortranarray(mask))
    return {"size": list(code["size"]), "counts": code["counts"].decode("ascii")}


def rectangle(top, left, bottom, right):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


BOX = [3, 4, 15, 4, 15, 12, 3, 12]


@settings(max_examples=20)
@given(masks)
def test_regions_are_what_pycocotools_reads(mask):
    written = region(mask)
    code = cocotools.frPyObjects(written["segmentation"], HEIGHT, WIDTH)
    np.testing.assert_array_equal(cocotools.decode(code), mask)
    assert written["area"] == cocotools.area(code)
    assert written["bbox"] == cocotools.toBbox(code).tolist()


@settings(max_examples=20)
@given(masks, masks)
def test_run_length_codes_come_back_exactly(read, first, second):
    drawings, problems = read({"segmentation": region(first)["segmentation"]}, {"segmentation": compressed(second)})
    assert not problems
    np.testing.assert_array_equal(drawings[1], first | second)


def test_disconnected_polygons_of_one_region_are_united(read):
    drawings, problems = read({"segmentation": [BOX, [20, 15, 30, 15, 30, 20, 20, 20]]}, {"segmentation": [BOX]})
    assert not problems
    np.testing.assert_array_equal(drawings[1], rectangle(4, 3, 12, 15) | rectangle(15, 20, 20, 30))


def test_export_opens_in_pycocotools_with_the_attention(items, tmp_path, capsys):
    export_tasks(items, "coco", tmp_path / "out", attention=True)
    coco = COCO(tmp_path / "out" / "annotations.json")
    assert len(coco.imgs) == 3
    for rank, image in enumerate(coco.loadImgs(coco.getImgIds()), start=1):
        assert (tmp_path / "out" / "images" / image["file_name"]).is_file()
        (annotation,) = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        np.testing.assert_array_equal(coco.annToMask(annotation), rectangle(2, rank, 9, rank + 10))


def test_exported_names_find_their_images_again(items, tmp_path, read):
    export_tasks(items, "coco", tmp_path / "out", attention=False)
    content = json.loads((tmp_path / "out" / "annotations.json").read_text())
    assert content["annotations"] == []
    names = [image["file_name"] for image in content["images"]]
    drawings, problems = read(*({"segmentation": [BOX], "image_id": 10 + n} for n in range(3)), names=names)
    assert (sorted(drawings), problems) == ([1, 2, 3], [])


@pytest.mark.parametrize("name", ["fake1.png", "fake1.jpg", "data/fake1.png"])
def test_images_are_found_by_name_or_path(read, name):
    drawings, problems = read({"segmentation": [BOX]}, names=(name,))
    assert (list(drawings), problems) == ([1], [])


@pytest.mark.parametrize("name", ["ake1.png", "other/fake1.png", "1.png", "", "..", "../../etc/passwd"])
def test_other_names_are_problems(read, name):
    drawings, problems = read({"segmentation": [BOX]}, names=(name,))
    assert not drawings
    assert "not a selected image" in problems[0]


@pytest.mark.parametrize("name", ["data\\fake1.png", "C:\\x\\data\\fake1.png", "/x/data/fake1.png", "data%2Ffake1.png"])
def test_names_of_other_systems(read, name):
    drawings, problems = read({"segmentation": [BOX]}, names=(name,))
    assert (list(drawings), problems) == ([1], [])


@pytest.mark.parametrize("image", [10, "10", 10.0])
@pytest.mark.parametrize("category", [1, "1"])
def test_ids_are_numbers_or_text(read, image, category):
    drawings, problems = read({"segmentation": [BOX], "image_id": image, "category_id": category})
    assert not problems
    np.testing.assert_array_equal(drawings[1], rectangle(4, 3, 12, 15))


def test_a_polygon_without_a_list_around_it(read):
    drawings, _ = read({"segmentation": BOX})
    np.testing.assert_array_equal(drawings[1], rectangle(4, 3, 12, 15))


@pytest.mark.parametrize("width", [None, 0, str(WIDTH)])
def test_a_size_may_be_missing_or_text(read, width):
    assert list(read({"segmentation": [BOX]}, width=width)[0]) == [1]


def test_two_images_of_one_id_are_refused(items, tmp_path):
    images = [{"id": key, "file_name": f"fake{key}.png"} for key in (1, "1")]
    (tmp_path / "x.json").write_text(json.dumps({"images": images, "categories": [], "annotations": []}))
    with pytest.raises(UsageError, match="two images with the id 1"):
        list(read_annotations(tmp_path / "x.json", ImageNames(items), []))


def test_not_a_fake_of_any_shape_is_a_verdict(read):
    assert read({"category_id": 2, "bbox": [0, 0, 5, 5], "segmentation": []}) == ({1: None}, [])


def test_images_without_regions_are_left_out(read):
    assert read() == ({}, [])


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"segmentation": {"size": [WIDTH, HEIGHT], "counts": [600]}}, "size"),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": [599]}}, "599 pixels, expected 600"),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": None}}, "neither a list nor text"),
        ({"segmentation": [], "bbox": [1, 1, 5, 5]}, "without an outline"),
        ({"segmentation": [[1, 1, 5, 5]]}, "three points"),
        ({"segmentation": [[1, 1, 5, 5, 3]]}, "three points"),
        ({"segmentation": [BOX], "category_id": 3}, "car"),
        ({"segmentation": [BOX], "category_id": [1]}, "'?'"),
        ({"segmentation": [BOX], "image_id": 99}, "99"),
    ],
)
def test_a_region_that_cannot_be_used_is_a_problem(read, annotation, message):
    drawings, problems = read(annotation, {"image_id": 11, "segmentation": [BOX]})
    assert list(drawings) == [2]
    assert len(problems) == 1
    assert message in problems[0]


def test_another_size_is_a_problem(read):
    drawings, problems = read({"segmentation": [BOX]}, width=31)
    assert not drawings
    assert "31 x 20 pixels, the image has 30 x 20" in problems[0]


def test_a_file_without_our_category_is_refused(read):
    with pytest.raises(UsageError, match="no category 'forged'"):
        read({"segmentation": [BOX]}, category="person")


@pytest.mark.parametrize("content", ["{}", "[]", '{"images": 1, "categories": [], "annotations": []}', "no json"])
def test_another_file_is_refused(items, tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UsageError, match=r"x\.json: is not"):
        list(read_annotations(tmp_path / "x.json", ImageNames(items), []))
