"""Refuses images that would fill the memory when decoded, by the size in their header."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from PIL import BmpImagePlugin, GifImagePlugin, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from lae_tf.serving.errors import invalid

SUFFIX = "image_bytes"
# What TensorFlow's decoders read, and WebP, which newer ones add. The classes are called directly: they read
# no more than the header, and Pillow's own pixel limit, which warns first, is another.
_FORMATS: tuple[tuple[bytes, type[ImageFile.ImageFile]], ...] = (
    (b"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
    (b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    (b"BM", BmpImagePlugin.BmpImageFile),
    (b"GIF8", GifImagePlugin.GifImageFile),
    (b"RIFF", WebPImagePlugin.WebPImageFile),
)


def check_images(inputs: Mapping[str, np.ndarray], max_pixels: int) -> None:
    """Check the encoded images in inputs whose name ends in ``image_bytes``.

    Bytes that are no image pass: the graph refuses them with its own error.

    Args:
        inputs: a signature's inputs.
        max_pixels: largest allowed width times height.

    Raises:
        ServingError: INVALID_ARGUMENT, an image of more pixels.
    """
    for name, value in inputs.items():
        if value.dtype != object or not name.endswith(SUFFIX):
            continue
        for index, data in enumerate(value.ravel().tolist()):
            width, height = _size(data)
            if width * height > max_pixels:
                raise invalid(
                    f"Image {index} of input {name} has {width} x {height} pixels; this server accepts "
                    f"{max_pixels} pixels"
                )


def _size(data: bytes) -> tuple[int, int]:
    for magic, plugin in _FORMATS:
        if data.startswith(magic):
            try:
                return plugin(io.BytesIO(data)).size
            except Exception:
                # Pillow's plugins raise errors of many types for damaged headers.
                break
    return 0, 0
