"""What the first bytes of an image file say: its format, and how a JPEG is coded and how large it is."""

from __future__ import annotations

from typing import NamedTuple

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

JPEG_START, PNG_START = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MOST_MARKERS = 10_000
"""Markers of a JPEG that are passed over to find its frame header."""

# Pillow's classes are called directly: Image.open would also try formats that run other programs (EPS), and would warn
# of large images before they can be refused.
_FORMATS: tuple[tuple[tuple[bytes, ...], type[ImageFile.ImageFile]], ...] = (
    ((JPEG_START + b"\xff",), JpegImagePlugin.JpegImageFile),
    ((PNG_START,), PngImagePlugin.PngImageFile),
    ((b"BM",), BmpImagePlugin.BmpImageFile),
    ((b"GIF87a", b"GIF89a"), GifImagePlugin.GifImageFile),
    (TIFF_STARTS, TiffImagePlugin.TiffImageFile),
    ((b"RIFF",), WebPImagePlugin.WebPImageFile),
)


class HiddenHeaderError(ValueError):
    """A JPEG with more than ``MOST_MARKERS`` markers before its frame header."""


class JpegFrame(NamedTuple):
    """A JPEG's frame header.

    Attributes:
        kind: 0xC0 to 0xCF: baseline, extended, progressive and so on.
        bits: a channel.
        height, width: in pixels.
        is_plain: no stray bytes and no markers without a length stand before it.
    """

    kind: int
    bits: int
    height: int
    width: int
    is_plain: bool


def reader_of(data: bytes) -> type[ImageFile.ImageFile] | None:
    """Return Pillow's class for the format that a file begins like, None where it is none that is read."""
    reader = next((reader for starts, reader in _FORMATS if data.startswith(starts)), None)
    return None if reader is WebPImagePlugin.WebPImageFile and data[8:12] != b"WEBP" else reader


def jpeg_frame(data: bytes) -> JpegFrame | None:
    """Return a JPEG's frame header as libjpeg finds it, which goes on where Pillow gives up; None where there is none.

    Raises:
        HiddenHeaderError: it is out of reach.
    """
    position, is_plain = len(JPEG_START), True
    for _ in range(MOST_MARKERS):
        expected, position = position, data.find(b"\xff", position)
        is_plain = is_plain and position == expected
        marker = data[position + 1 : position + 2]
        if position < 0 or not marker or marker in b"\xda\xd9":  # no marker, pixels, or the end
            return None
        if marker == b"\xff":  # a fill byte
            position += 1
        elif marker == b"\x01" or b"\xd0" <= marker <= b"\xd8" or marker == b"\x00":  # nothing follows these
            position, is_plain = position + 2, False
        elif b"\xc0" <= marker <= b"\xcf" and marker not in b"\xc4\xc8\xcc":
            height, width = data[position + 5 : position + 7], data[position + 7 : position + 9]
            bits = data[position + 4] if len(data) >= position + 9 else 0
            return JpegFrame(marker[0], bits, int.from_bytes(height, "big"), int.from_bytes(width, "big"), is_plain)
        else:
            length = int.from_bytes(data[position + 2 : position + 4], "big")
            position, is_plain = position + 2 + max(2, length), is_plain and length >= 2
    raise HiddenHeaderError
