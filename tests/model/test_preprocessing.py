"""One way from a file to pixels: training, prediction, batches of bytes and arrays all see the same."""

import io

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image

from lae_tf.data.contract import COLUMNS
from lae_tf.data.manifest import Manifest
from lae_tf.data.pipeline import evaluation_dataset
from lae_tf.model.preprocessing import Preprocessor
from lae_tf.predict.images import _load

SIZE = 32


def picture(width, height, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


FILES = {
    "larger.png": lambda: (picture(90, 61), "PNG", {}),
    "smaller.png": lambda: (picture(20, 25), "PNG", {}),
    "exact.png": lambda: (picture(SIZE, SIZE), "PNG", {}),
    "photo.jpg": lambda: (picture(80, 64), "JPEG", {"quality": 80}),
    "grey.jpg": lambda: (picture(50, 40).convert("L"), "JPEG", {}),
    "alpha.png": lambda: (picture(33, 40).convert("RGBA"), "PNG", {}),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for name, make in FILES.items():
        image, kind, options = make()
        image.save(folder / name, kind, **options)
    return [str(folder / name) for name in FILES]


class Scorer:
    """What reading a file for prediction needs of a model."""

    preprocessor = Preprocessor(SIZE)
    view = "whole"


def test_three_ways_give_the_same_pixels(files):
    preprocessor = Preprocessor(SIZE)
    rows = [(path, "real", "", path, "", "test") for path in files]
    manifest = Manifest.from_frame(pd.DataFrame(rows, columns=list(COLUMNS)), "/")
    (batch,) = evaluation_dataset(manifest, preprocessor, len(files))
    training = batch["image"].numpy()
    data = [tf.io.read_file(path) for path in files]
    np.testing.assert_array_equal(training, [_load(Scorer, False, path).images[0] for path in files])
    arrays = [preprocessor.decode(one).numpy() for one in data]
    assert all(array.dtype == np.uint8 for array in arrays)
    np.testing.assert_array_equal(training, [preprocessor(array[None])[0] for array in arrays])


def test_floats_and_bytes_of_one_image_are_the_same():
    array = np.asarray(picture(50, 40))
    preprocessor = Preprocessor(SIZE)
    np.testing.assert_allclose(preprocessor(array[None]), preprocessor((array / 255.0)[None]), atol=1e-6)


@pytest.mark.parametrize("shape", [(None, SIZE, SIZE, 3), (None, None, None, 3), (1, None, SIZE, 3)])
def test_an_image_of_the_right_size_passes_unchanged(shape):
    array = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3), dtype=np.uint8)
    preprocessor = Preprocessor(SIZE)
    resize = tf.function(preprocessor.resize, input_signature=[tf.TensorSpec(shape, tf.uint8)])
    np.testing.assert_allclose(resize(array), array / np.float32(255), rtol=0, atol=1e-7)


@pytest.mark.parametrize("width, height", [(97, 61), (64, 64), (20, 24), (200, 20)])
def test_resizing_is_pillows_antialiased_bilinear(width, height):
    image = picture(width, height)
    inner = tuple(round(SIZE * length / max(width, height)) for length in (width, height))
    expected = np.asarray(image.resize(inner, Image.Resampling.BILINEAR)) / 255.0
    borders = [((SIZE - length) // 2, -(-(SIZE - length) // 2)) for length in inner[::-1]]
    expected = np.pad(expected, [*borders, (0, 0)], mode="reflect")
    found = Preprocessor(SIZE)(np.asarray(image)[None])[0].numpy()
    # Pillow rounds to a level after each of its two passes.
    assert np.abs(found - expected).max() < 2.5 / 255
    assert np.abs(found - expected).mean() < 0.5 / 255


def test_a_fine_pattern_becomes_grey_instead_of_aliasing():
    pattern = np.zeros((1, 128, 128, 3), np.uint8)
    pattern[:, ::2] = 255
    inside = Preprocessor(16)(pattern)[0, 2:-2].numpy()
    np.testing.assert_allclose(inside, 0.5, atol=0.01)


def test_values_stay_in_range():
    wild = np.random.default_rng(0).normal(0.5, 2.0, (1, 40, 40, 3)).astype(np.float32)
    found = Preprocessor(SIZE)(wild).numpy()
    assert found.min() >= 0.0 and found.max() <= 1.0 and found.dtype == np.float32


def test_sixteen_bits_become_eight(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65536, (SIZE, SIZE), dtype=np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(deep).save(buffer, "PNG")
    decoded = Preprocessor.decode(tf.constant(buffer.getvalue())).numpy()
    assert np.abs(decoded[..., 0].astype(int) - (deep >> 8)).max() <= 1


def test_the_layer_keeps_its_configuration():
    copy = Preprocessor.from_config(Preprocessor(48, name="pre").get_config())
    assert copy.image_size == 48 and copy.compute_output_shape((5, 9, 9, 3)) == (5, 48, 48, 3)
