"""Counts the pixels of a request before they are decoded, and refuses more than would fit into memory or time."""

from __future__ import annotations

import io

from PIL import BmpImagePlugin, GifImagePlugin, ImageFile, WebPImagePlugin

from lae_tf.serving.engine.signature import Tensors
from lae_tf.serving.errors import TooLarge, invalid
from lae_tf.serving.rest.request_body import Limits

ENCODED, TENSOR = "image_bytes", "image"  # how inputs that are images end
_MOST_MARKERS = 10_000  # that are passed over to find a JPEG's size
_JPEG = b"\xff\xd8"
_PNG = b"\x89PNG\r\n\x1a\n"
# What TensorFlow's decoders read, and WebP, which newer ones add. The classes are called directly: they read
# no more than the header, and Pillow's own pixel limit, which warns first, is another.
_FORMATS: tuple[tuple[bytes, type[ImageFile.ImageFile]], ...] = (
    (b"BM", BmpImagePlugin.BmpImageFile),
    (b"GIF8", GifImagePlugin.GifImageFile),
    (b"RIFF", WebPImagePlugin.WebPImageFile),
)


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
    size = _size(data)
    if size is None:
        raise invalid(f"Image {index} of input {name} has more than {_MOST_MARKERS} markers before its size")
    width, height = size
    if width * height > limits.image_pixels:
        raise invalid(
            f"Image {index} of input {name} has {width} x {height} pixels; this server accepts "
            f"{limits.image_pixels} pixels"
        )
    return size


def _size(data: bytes) -> tuple[int, int] | None:
    """Return width and height, (0, 0) where there is no header to read them from, None where it is out of reach."""
    if data.startswith(_PNG):
        # Not by Pillow, which refuses some damage that TensorFlow's decoder reads over.
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if data.startswith(_JPEG):
        return _jpeg_size(data)
    for magic, plugin in _FORMATS:
        if data.startswith(magic):
            try:
                return plugin(io.BytesIO(data)).size
            except Exception:
                # Pillow's plugins raise errors of many types for damaged headers.
                break
    return 0, 0


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height of a JPEG's frame header, found as libjpeg finds it: Pillow gives up where it goes on."""
    position = 2
    for _ in range(_MOST_MARKERS):
        position = data.find(b"\xff", position)
        marker = data[position + 1 : position + 2]
        if position < 0 or not marker or marker in b"\xda\xd9":  # no marker, pixels, or the end
            return 0, 0
        if marker == b"\xff":  # a fill byte
            position += 1
        elif marker == b"\x01" or b"\xd0" <= marker <= b"\xd8" or marker == b"\x00":  # nothing follows these
            position += 2
        elif b"\xc0" <= marker <= b"\xcf" and marker not in b"\xc4\xc8\xcc":
            height, width = data[position + 5 : position + 7], data[position + 7 : position + 9]
            return int.from_bytes(width, "big"), int.from_bytes(height, "big")
        else:
            position += 2 + max(2, int.from_bytes(data[position + 2 : position + 4], "big"))
    return None
