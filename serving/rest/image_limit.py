"""Counts the pixels of a request before they are decoded, and refuses more than would fit into memory or time."""

from __future__ import annotations

import io

from PIL import TiffImagePlugin

from lae_tf.images.headers import JPEG_START, MOST_MARKERS, PNG_START, HiddenHeaderError, jpeg_frame, reader_of
from lae_tf.serving.engine.signature import Tensors
from lae_tf.serving.errors import TooLarge, invalid
from lae_tf.serving.rest.request_body import Limits

ENCODED, TENSOR = "image_bytes", "image"  # how inputs that are images end


def count_pixels(inputs: Tensors, limits: Limits) -> tuple[int, ...]:
    """Check the images of a request, encoded (``image_bytes``) or as tensors (``image``), and count their pixels.

    Bytes that are no image count nothing: the graph refuses them with its own error.

    Args:
        inputs: a signature's inputs.
        limits: of the images' number, of each one's width times height, and of all pixels together.

    Returns:
        Pixels of each row of the inputs; empty where no input is a batch of images.

    Raises:
        ServingError: INVALID_ARGUMENT, too many images, one of more pixels, or a JPEG that hides how many it has.
        TooLarge: more pixels than one request may have.
    """
    rows: tuple[int, ...] = ()
    total = 0
    for name, value in inputs.items():
        encoded = value.dtype == object and name.endswith(ENCODED)
        if not encoded and not (value.ndim == 4 and name.endswith(TENSOR)):
            continue
        count = value.size if encoded else len(value)
        if count > limits.images:
            raise invalid(f"Input {name} has {count} images; this server accepts {limits.images} a request")
        if encoded:
            sizes = (_checked_size(index, name, data, limits) for index, data in enumerate(value.ravel().tolist()))
            pixels = tuple(width * height for width, height in sizes)
        else:
            pixels = (value.shape[1] * value.shape[2],) * count
        total += sum(pixels)
        rows = pixels if not rows else tuple(map(sum, zip(rows, pixels, strict=False)))
    if total > limits.request_pixels:
        raise TooLarge(
            f"The images of this request have {total} pixels together; this server accepts {limits.request_pixels} "
            "a request. Send fewer or smaller images."
        )
    return rows


def _checked_size(index: int, name: str, data: bytes, limits: Limits) -> tuple[int, int]:
    try:
        width, height = size = _size(data)
    except HiddenHeaderError:
        raise invalid(f"Image {index} of input {name} has more than {MOST_MARKERS} markers before its size") from None
    if width * height > limits.image_pixels:
        raise invalid(
            f"Image {index} of input {name} has {width} x {height} pixels; this server accepts "
            f"{limits.image_pixels} pixels"
        )
    return size


def _size(data: bytes) -> tuple[int, int]:
    """Return width and height, (0, 0) where there is no header to read them from."""
    if data.startswith(PNG_START):
        # Not by Pillow, which refuses some damage that TensorFlow's decoder reads over.
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if data.startswith(JPEG_START):
        frame = jpeg_frame(data)
        return (frame.width, frame.height) if frame else (0, 0)
    reader = reader_of(data)
    if reader is None or reader is TiffImagePlugin.TiffImageFile:  # which TensorFlow does not decode
        return 0, 0
    try:
        # It reads no more than the header; Pillow's own pixel limit, which warns first, is another.
        return reader(io.BytesIO(data)).size
    except Exception:  # Pillow's plugins raise errors of many types for damaged headers
        return 0, 0
