"""Face swaps and faces blended with themselves: exact masks, seeded, another's face in the right place."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import skimage.data
from click.testing import CliRunner

from lae_tf.cli.forge import command
from lae_tf.datasets.forging import ForgeOptions, forge_folder
from lae_tf.errors import ImageError, UsageError
from lae_tf.forge import METHODS, forge_image, generator
from lae_tf.forge.face_swap import DonorError, FaceSwapParameters, _maps, face_swap
from lae_tf.forge.self_blend import FaceSelfBlendParameters, self_blend_face
from lae_tf.images.files import read_image, read_mask, write_png
from lae_tf.video.landmarks import PARTS, face_region, find_landmarks

FACES = [name for name, method in METHODS.items() if method.needs_face]


@pytest.fixture(scope="module")
def face():
    """Eileen Collins' face with its surroundings, 128 pixels a side."""
    return cv2.resize(skimage.data.astronaut()[16:240, 112:336], (128, 128), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def donor(face):
    """The same face mirrored, turned, blue and on another place of a larger picture."""
    blue = np.clip(face[:, ::-1] * (0.6, 0.8, 1.2) + 10, 0, 255).astype(np.uint8)
    matrix = cv2.getRotationMatrix2D((64, 64), 12, 1.4) + np.array([[0, 0, 40], [0, 0, 25]])
    return cv2.warpAffine(blue, matrix, (210, 190), borderMode=cv2.BORDER_REFLECT)


@pytest.fixture(scope="module")
def scene():
    return cv2.resize(skimage.data.coffee(), (128, 128), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("method", FACES)
def test_exact_in_the_mask_seeded_and_on_the_face(face, donor, method):
    kept, donor_kept = face.copy(), donor.copy()
    forged, mask = forge_image(method, face, generator(1, method), donor)
    again, same_mask = forge_image(method, face, generator(1, method), donor)
    other, other_mask = forge_image(method, face, generator(2, method), donor)
    np.testing.assert_array_equal(forged, again)
    np.testing.assert_array_equal(mask, same_mask)
    assert (forged != other).any() and (mask != other_mask).any()
    for result, where in ((forged, mask), (other, other_mask)):
        assert result.dtype == where.dtype == np.uint8 and result.shape == face.shape
        assert set(np.unique(where)) == {0, 1}
        np.testing.assert_array_equal(result[where == 0], face[where == 0])
        # what the mask covers has changed nearly everywhere, not only somewhere
        assert (result != face).any(axis=2)[where > 0].mean() > 0.8
        hull = cv2.dilate(face_region(find_landmarks(face), "face", 128, 128), np.ones((17, 17), np.uint8))
        assert not where[hull == 0].any()
    np.testing.assert_array_equal(face, kept)
    np.testing.assert_array_equal(donor, donor_kept)


@pytest.mark.parametrize("align", ["triangles", "similarity"])
def test_a_donor_is_mapped_point_by_point(align):
    """For a similar triangulation both maps are the similarity itself: derived by hand."""
    target = np.array([[10, 10], [50, 12], [30, 60], [28, 30], [12, 50]], np.float32)
    turn = np.array([[0, -2], [2, 0]])  # a quarter turn and twice the size
    columns, rows = _maps((target @ turn.T + (200, 5)).astype(np.float32), target, 70, 70, align)
    for x, y in ((28, 30), (30, 40), (40, 20)):
        assert columns[y, x] == pytest.approx(-2 * y + 200, abs=1e-3)
        assert rows[y, x] == pytest.approx(2 * x + 5, abs=1e-3)
    assert np.isnan(columns[0, 0]) == (align == "triangles")  # outside the triangles


def test_triangles_give_the_donor_the_faces_own_shape():
    """Where the donor's shape is stretched, each landmark lies on its counterpart; a similarity leaves a distance."""
    target = np.array([[10, 10], [50, 10], [30, 60], [40, 20]], np.float32)
    source = target * (2, 1)
    for align, largest in (("triangles", 1e-3), ("similarity", 30)):
        columns, rows = _maps(source, target, 70, 70, align)
        distance = np.hypot(columns[20, 40] - 80, rows[20, 40] - 20)
        assert distance <= largest
    assert distance > 1


def test_swapping_a_face_with_itself_gives_it_back(face):
    params = FaceSwapParameters(blend="hard")
    forged, mask = face_swap(face, np.random.default_rng(1), face, params)
    assert mask.mean() > 0.1 and np.abs(forged.astype(int) - face).max() <= 2


@pytest.mark.parametrize("method", ["face-swap", "face-swap-feather", "face-swap-multiband"])
def test_the_donors_face_arrives_upright_in_the_faces_colours(face, donor, method):
    """The donor is this face mirrored, so undoing the mirror gives nearly what lies below; its blue is gone."""
    chosen = METHODS[method]
    params = replace(chosen.params, parts=("face",), elastic=0.0)
    forged, mask = chosen.function(face, np.random.default_rng(3), donor, params)
    core = cv2.erode(mask, np.ones((9, 9), np.uint8)) > 0
    before, after = face[core].astype(float), forged[core].astype(float)
    assert np.abs(after.mean(axis=0) - before.mean(axis=0)).max() < 25
    points, found = find_landmarks(face), find_landmarks(forged)
    eyes = np.linalg.norm(points[33] - points[263])
    assert np.linalg.norm(found - points, axis=1).mean() < 0.12 * eyes
    # another's face, not this one
    assert np.abs(after - before).mean() > 3


@pytest.mark.parametrize("part", PARTS)
def test_self_blending_stays_about_its_part(face, part):
    params = FaceSelfBlendParameters(parts=(part,), elastic=0.0)
    _, mask = self_blend_face(face, np.random.default_rng(4), None, params)
    region = face_region(find_landmarks(face), part, 128, 128)
    assert mask[region > 0].mean() > 0.9
    assert not mask[cv2.dilate(region, np.ones((19, 19), np.uint8)) == 0].any()


@pytest.mark.parametrize("method", FACES)
def test_an_image_without_a_face_is_refused(scene, face, method):
    with pytest.raises(ImageError, match="no face found") as caught:
        forge_image(method, scene, np.random.default_rng(0), face)
    assert not isinstance(caught.value, DonorError)


def test_a_donor_without_a_face_is_told_apart(scene, face):
    with pytest.raises(DonorError, match="no face found in the donor"):
        forge_image("face-swap", face, np.random.default_rng(0), scene)


@pytest.mark.parametrize("method", FACES)
def test_a_face_cut_off_by_the_border(face, donor, method):
    cut = np.ascontiguousarray(face[:92, 24:])
    forged, mask = forge_image(method, cut, generator(0, method), donor)
    np.testing.assert_array_equal(forged[mask == 0], cut[mask == 0])


@pytest.fixture
def portraits(tmp_path, face, donor, scene):
    for name, image in {"a": face, "b": donor, "c": face[:, ::-1], "cup": scene}.items():
        write_png(tmp_path / "real" / f"{name}.png", np.ascontiguousarray(image))
    return tmp_path / "real"


def test_a_folder_passes_over_donors_without_a_face_and_reports_images_without_one(portraits, tmp_path):
    result = forge_folder(
        portraits, tmp_path / "out", ["face-swap"], 2, progress=False, options=ForgeOptions(splits=(1, 0, 0))
    )
    assert result.problems == [f"{portraits / 'cup.png'}: no face found"]
    fakes = result.manifest.select(label="fake").frame
    assert sorted(fakes["group"]) == ["a", "b", "c"]
    for row in fakes.itertuples():
        forged, mask, original = read_image(row.path), read_mask(row.mask), read_image(portraits / f"{row.group}.png")
        np.testing.assert_array_equal(forged[mask == 0], original[mask == 0])
    forge_folder(
        portraits,
        tmp_path / "again",
        ["face-swap"],
        2,
        progress=False,
        options=ForgeOptions(splits=(1, 0, 0), workers=1),
    )
    first, again = (
        {path.name: path.read_bytes() for path in (tmp_path / out / "face-swap").iterdir()} for out in ("out", "again")
    )
    assert first == again  # whatever the workers


def test_no_donor_with_a_face_is_reported(tmp_path, face, scene):
    write_png(tmp_path / "real" / "face.png", face)
    write_png(tmp_path / "real" / "cup.png", scene)
    result = forge_folder(
        tmp_path / "real",
        tmp_path / "out",
        ["face-swap", "copy-move"],
        0,
        progress=False,
        options=ForgeOptions(splits=(1, 0, 0)),
    )
    assert len(result.problems) == 2
    assert any("face.png: face-swap found no face in 10 images drawn" in problem for problem in result.problems)


def test_the_command_makes_face_methods_only_when_asked(tmp_path, face, scene):
    write_png(tmp_path / "real" / "face.png", face)
    write_png(tmp_path / "real" / "cup.png", scene)
    arguments = [str(tmp_path / "real"), str(tmp_path / "out"), "--splits", "1", "0", "0", "--json", "--methods"]
    result = CliRunner().invoke(command, [*arguments, "self-blend-face,self-blend"])
    assert result.exit_code == 1
    printed = json.loads(result.stdout)
    assert printed["problems"] == [f"{tmp_path / 'real' / 'cup.png'}: no face found"]
    assert printed["counts"]["train"]["fake"] == 3
    default = next(option.default for option in command.params if option.name == "methods")
    assert not set(default.split(",")) & set(FACES)


def test_faces_stands_for_the_methods_that_need_one(tmp_path, face, donor):
    for name, image in {"a": face, "b": donor}.items():
        write_png(tmp_path / "real" / f"{name}.png", image)
    arguments = [str(tmp_path / "real"), str(tmp_path / "out"), "--splits", "1", "0", "0", "--methods", "faces"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "out" / "masks").iterdir()) == sorted(FACES)
    wrong = CliRunner().invoke(command, [*arguments[:1], str(tmp_path / "x"), "--methods", "face-swp"])
    assert isinstance(wrong.exception, UsageError) and "did you mean 'face-swap'" in str(wrong.exception)
