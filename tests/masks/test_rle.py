"""Run-length codes: round trips, independent decoders and hand-derived bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as cocotools

from lae_tf.masks.rle import RLEError, compress, decode_brush, decode_coco, encode_brush, encode_coco

masks = st.tuples(st.integers(1, 24), st.integers(1, 24)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 1))
)


def bits(*fields: tuple[int, int]) -> list[int]:
    """Pack (value, width) fields into bytes, padded with zeros."""
    text = "".join(f"{value:0{width}b}" for value, width in fields)
    text += "0" * (-len(text) % 8)
    return [int(text[i : i + 8], 2) for i in range(0, len(text), 8)]


def header(elements: int, word: int = 8, sizes: tuple[int, ...] = (3, 4, 8, 16)) -> list[tuple[int, int]]:
    return [(elements, 32), (word - 1, 5), *((size - 1, 4) for size in sizes)]


def slow_brush(rle: list[int]) -> list[int]:
    """Decode rle-pack bit by bit, straight from its description."""
    text = "".join(f"{byte:08b}" for byte in rle)

    def take(count: int) -> int:
        nonlocal text
        value, text = int(text[:count], 2), text[count:]
        return value

    count, word = take(32), take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    out: list[int] = []
    while len(out) < count:
        repeated = take(1)
        length = take(sizes[take(2)]) + 1
        out += [take(word)] * length if repeated else [take(word) for _ in range(length)]
    return out


@given(masks)
def test_brush_round_trip(mask):
    rle = encode_brush(mask)
    assert all(0 <= byte <= 255 for byte in rle)
    np.testing.assert_array_equal(decode_brush(rle, *mask.shape), mask)
    assert slow_brush(rle) == np.repeat(255 * mask.ravel(), 4).tolist()


def test_brush_bits_by_hand():
    # Two untouched pixels (8 zero bytes: run size 3), then three forged ones (12 bytes of 255: run size 4).
    expected = bits(*header(20), (0b100, 3), (7, 3), (0, 8), (0b101, 3), (11, 4), (255, 8))
    assert encode_brush(np.array([[0, 0, 1, 1, 1]])) == expected


@pytest.mark.parametrize("pixels", [1, 2, 3, 4, 5, 63, 64, 65, 16383, 16384, 16385, 16386, 40000])
def test_brush_run_lengths_at_the_limits_of_each_size(pixels):
    mask = np.zeros((1, pixels + 3), np.uint8)
    mask[0, 1 : 1 + pixels] = 1
    rle = encode_brush(mask)
    assert slow_brush(rle) == np.repeat(255 * mask.ravel(), 4).tolist()
    np.testing.assert_array_equal(decode_brush(rle, *mask.shape), mask)


def test_brush_with_single_values_and_other_sizes():
    # What the front end writes: coloured pixels one by one. Only alpha counts: 0, then 7.
    fields = [*header(8, 8, (1, 2, 5, 9)), (0b010, 3), (7, 5), *((value, 8) for value in (9, 9, 9, 0, 0, 0, 0, 7))]
    np.testing.assert_array_equal(decode_brush(bits(*fields), 1, 2), [[0, 1]])


def test_brush_is_quick_on_large_masks():
    rng = np.random.default_rng(0)
    mask = (rng.random((200, 300)) > 0.5).astype(np.uint8)
    np.testing.assert_array_equal(decode_brush(encode_brush(mask), 200, 300), mask)


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ([], "truncated"),
        (encode_brush(np.ones((3, 4)))[:-2], "truncated"),
        (encode_brush(np.ones((4, 4))), "64 values, expected 48"),
        ([256] * 20, "list of bytes"),
        (["a"], "list of bytes"),
        (None, "list of bytes"),
        (bits(*header(48), (0b111, 3), (60000, 16), (1, 8)), "damaged"),
    ],
)
def test_damaged_brush(rle, message):
    with pytest.raises(RLEError, match=message):
        decode_brush(rle, 3, 4)


@given(masks)
def test_coco_round_trip_agrees_with_pycocotools(mask):
    height, width = mask.shape
    code = encode_coco(mask)
    np.testing.assert_array_equal(decode_coco(code["counts"], height, width), mask)
    compressed = cocotools.encode(np.asfortranarray(mask))["counts"].decode("ascii")
    np.testing.assert_array_equal(decode_coco(compressed, height, width), mask)
    np.testing.assert_array_equal(cocotools.decode(cocotools.frPyObjects(code, height, width)), mask)


def test_coco_compressed_large_mask():
    mask = (np.random.default_rng(1).random((300, 500)) > 0.9).astype(np.uint8)
    mask[50:250, 100:400] = 1
    compressed = cocotools.encode(np.asfortranarray(mask))["counts"].decode("ascii")
    np.testing.assert_array_equal(decode_coco(compressed, 300, 500), mask)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([1, 2], "covers 3 pixels, expected 12"),
        ([10**18, 1], "covers"),
        ([-3, 15], "whole numbers"),
        ([1.5, 10.5], "whole numbers"),
        (["1"], "whole numbers"),
        ("~~", "damaged"),
        ("P" * 30, "damaged"),
        ("P", "truncated"),
        ("ü", "damaged"),
    ],
)
def test_damaged_coco(counts, message):
    with pytest.raises(RLEError, match=message):
        decode_coco(counts, 3, 4)


def test_brush_of_the_upstream_encoder():
    # label_studio_sdk 2.1.2, converter.brush.encode_rle of the RGBA bytes of this mask
    upstream = [0, 0, 0, 60, 57, 27, 254, 23, 0, 183, 255, 132, 192, 35, 255, 0]
    mask = [[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 1]]
    np.testing.assert_array_equal(decode_brush(upstream, 3, 5), mask)
    # Upstream pads with a whole byte where ours ends.
    assert encode_brush(np.array(mask)) == upstream[:-1]


@given(masks)
def test_compressed_text_is_that_of_cocos_own_tools(mask):
    code = encode_coco(mask)
    text = compress(code["counts"])
    assert text == cocotools.encode(np.asfortranarray(mask))["counts"].decode()
    np.testing.assert_array_equal(decode_coco(text, *mask.shape), mask)


def test_compressed_text_by_hand():
    # 5; 1 + 32 with more to follow, then 1; 16 needs a second digit for its sign; 1 - 33 = -32: 0 and -1.
    assert compress([5, 33, 16, 1]) == "".join(map(chr, (53, 48 + 33, 49, 48 + 48, 48, 48 + 32, 48 + 31)))
