"""Decoding in the graph against Pillow and ``normalise``, and what it refuses."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lae_tf.export.decoding import decode_images, exif_orientation
from lae_tf.export.golden import golden_files
from lae_tf.images.files import normalise
from lae_tf.model.preprocessing import Preprocessor

SIZE = 48


@pytest.fixture(scope="module")
def preprocessor():
    return Preprocessor(SIZE)


@pytest.fixture(scope="module")
def decode(preprocessor):
    signature = [tf.TensorSpec((None,), tf.string)]
    function = tf.function(lambda data: decode_images(preprocessor, data), input_signature=signature, autograph=False)
    return lambda files: function(tf.constant(files, tf.string)).numpy()


@pytest.fixture(scope="module")
def orientation():
    function = tf.function(exif_orientation, input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
    return lambda data: int(function(tf.constant(data)))


def picture(height=31, width=53):
    rows, columns = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([rows * 4, columns * 3, (rows * columns) % 251], -1).astype(np.uint8))


def encode(kind, image=None, **options):
    buffer = io.BytesIO()
    (image or picture()).save(buffer, kind, **options)
    return buffer.getvalue()


def exif(value, tag=0x0112):
    tags = Image.Exif()
    tags[tag] = value
    return tags


def png_of_size(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def jpeg_of_size(width, height):
    data = bytearray(encode("JPEG"))
    start = data.find(b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def bmp_of_size(width, height):
    data = bytearray(encode("BMP"))
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


def webp_of_size(width, height):
    size = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + size + b"\0\0"


def test_every_golden_file_becomes_what_training_sees(decode, preprocessor):
    files = golden_files(SIZE)
    assert len(files) >= 16
    expected = [preprocessor.resize(preprocessor.decode(normalise(data, name))) for name, data in files.items()]
    # One grey level is 0.0039; the resizing kernels of graph and eager mode differ in the last bits.
    np.testing.assert_allclose(decode(list(files.values())), expected, rtol=0, atol=1e-6)


def exif_segment(value, order=">", count=1, tag=0x0112):
    """Return a segment by the EXIF standard: one entry of 16 bits in the first directory."""
    mark = b"MM" if order == ">" else b"II"
    return b"Exif\0\0" + mark + struct.pack(f"{order}HIHHHIHHI", 42, 8, count, tag, 3, 1, value, 0, 0)


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_is_read_in_both_byte_orders(orientation, value, order):
    data = encode("JPEG", exif=exif_segment(value, order))
    assert Image.open(io.BytesIO(data)).getexif().get(0x0112) == value
    assert orientation(data) == value


def test_orientation_is_found_behind_other_tags_and_segments(orientation):
    tags = exif(6)
    tags[0x010F] = "A maker"
    tags[0x0110] = "A model of camera"
    data = encode("JPEG", exif=tags, comment=b"before")
    assert orientation(data) == 6
    comment = b"\xff\xfe" + struct.pack(">H", 5002) + b"c" * 5000
    assert orientation(data[:2] + comment + data[2:]) == 6


def test_a_file_of_nothing_but_segments_is_given_up(orientation):
    """Among the first 64 segments EXIF is found; a server must not walk through millions."""
    data = encode("JPEG", exif=exif_segment(6))
    exif_first = data.index(b"\xff\xe1")
    for count, expected in ((60, 6), (70, 1)):
        assert orientation(data[:exif_first] + b"\xff\xe5\0\2" * count + data[exif_first:]) == expected


@pytest.mark.parametrize(
    "segment",
    [
        None,
        b"Exif\0\0",
        b"Exif\0\0MM",
        exif_segment(9),
        exif_segment(0),
        exif_segment(6, tag=0x0113),
        exif_segment(6, count=60000)[:-9],
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"http://ns.adobe.com/xap/1.0/\0<x/>",
    ],
)
def test_missing_and_senseless_tags_mean_upright(orientation, segment):
    data = encode("JPEG", exif=segment) if segment else encode("JPEG")
    assert orientation(data) == 1
    assert orientation(data[:30]) == 1


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"", "not a JPEG, PNG or 24-bit BMP image"),
        (b"B", "not a JPEG"),
        (b"<svg/>" * 20, "not a JPEG"),
        (encode("GIF"), "not a JPEG"),
        (encode("TIFF"), "not a JPEG"),
        (encode("BMP", picture().convert("P")), "not a JPEG"),
        (encode("JPEG")[:400], "damaged, truncated"),
        (encode("JPEG")[:3], "damaged, truncated"),
        (encode("PNG")[:-30], "damaged, truncated"),
        (encode("BMP")[:-30], "damaged, truncated"),
        (png_of_size(9000, 9000), "larger than 64000000 pixels"),
        (png_of_size(2**31 - 1, 2**31 - 1), "larger than 64000000 pixels"),
        (jpeg_of_size(65000, 65000), "larger than 64000000 pixels"),
        (bmp_of_size(9000, -9000), "larger than 64000000 pixels"),
        (bmp_of_size(9000, 9000), "larger than 64000000 pixels"),
        (webp_of_size(9000, 9000), "larger than 64000000 pixels"),
        (png_of_size(8000, 8000), "damaged, truncated"),  # exactly the limit, and without pixels
    ],
)
def test_bad_files_are_refused_by_position(decode, bad, reason):
    good = encode("PNG")
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"image_bytes at position 1 of the batch: {reason}"):
        decode([good, bad, good])


def test_all_bad_positions_are_named_and_an_empty_batch_is_refused(decode):
    with pytest.raises(tf.errors.InvalidArgumentError, match="position 0, 2 of the batch"):
        decode([b"x", encode("PNG"), b"y"])
    with pytest.raises(tf.errors.InvalidArgumentError, match="at least one image"):
        decode([])


def test_webp_is_decoded_as_pillow_does_or_refused(decode, preprocessor):
    data = encode("WEBP", quality=80)
    try:
        pixels = decode([data])
    except tf.errors.InvalidArgumentError as error:
        assert "position 0 of the batch: damaged, truncated, or of a kind that cannot be decoded here" in str(error)
        return
    expected = preprocessor.resize(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
    np.testing.assert_allclose(pixels[0], expected, rtol=0, atol=1e-6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["JPEG", "PNG", "BMP", "WEBP"]),
    cut=st.integers(0, 2000),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=8),
    data=st.binary(max_size=60),
)
def test_damaged_files_never_do_worse_than_a_refusal(decode, kind, cut, changes, data):
    options = {"exif": exif(6)} if kind == "JPEG" else {}
    broken = bytearray(encode(kind, **options)[:cut] + data)
    for place, value in changes:
        if place < len(broken):
            broken[place] = value
    try:
        pixels = decode([bytes(broken)])
    except tf.errors.InvalidArgumentError as error:
        assert "image_bytes at position 0 of the batch" in str(error)
    else:
        assert pixels.shape == (1, SIZE, SIZE, 3)
        assert ((pixels >= 0) & (pixels <= 1)).all()
