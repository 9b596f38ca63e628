"""A JPEG's header, found in files that Pillow wrote and in ones with what libjpeg passes over."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lae_tf.images.headers import MOST_MARKERS, HiddenHeaderError, JpegFrame, jpeg_frame, reader_of


def jpeg(width=7, height=5, **options):
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@given(st.integers(1, 300), st.integers(1, 300), st.booleans())
def test_size_and_kind_are_those_that_were_written(width, height, progressive):
    frame = jpeg_frame(jpeg(width, height, progressive=progressive))
    assert frame == JpegFrame(0xC2 if progressive else 0xC0, 8, height, width, is_plain=True)


@pytest.mark.parametrize("stray", [b"\0\0", b"\xff\x01", b"\xff\xd0", b"\xff\x00", b"\xff\xe0\0\1"])
def test_what_libjpeg_passes_over_is_passed_over_and_noted(stray):
    data = jpeg()
    frame = jpeg_frame(data[:2] + stray + data[2:])
    assert frame is not None and (frame.width, frame.height) == (7, 5) and not frame.is_plain


def test_fill_bytes_are_plain():
    data = jpeg()
    assert jpeg_frame(data[:2] + b"\xff\xff" + data[2:]) == jpeg_frame(data)


def test_a_file_without_header_has_none():
    assert jpeg_frame(b"\xff\xd8\xff\xd9") is None and jpeg_frame(b"\xff\xd8") is None


def test_a_header_out_of_reach_is_refused():
    data = jpeg()
    with pytest.raises(HiddenHeaderError):
        jpeg_frame(data[:2] + b"\xff\xe0\0\2" * MOST_MARKERS + data[2:])


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(noise):
    jpeg_frame(b"\xff\xd8" + noise)


def test_a_sound_is_no_picture():
    assert reader_of(b"RIFF\0\0\0\0WAVE") is None and reader_of(b"RIFF\0\0\0\0WEBP") is not None
