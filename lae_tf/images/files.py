"""Image files of any origin, made safe for the TensorFlow graph.

The graph decodes JPEG and PNG; it knows no WebP (TensorFlow 2.15), no TIFF, no palettes in BMP, and no EXIF
orientation. What the graph cannot decode as it stands is re-encoded once, as PNG, through Pillow. So
training, prediction and an exported model see the same pixels, whatever the file.

Rules on both ways: alpha is dropped, not composited; 16 bits a channel become the upper 8; colour profiles
are ignored; of an animation only the first frame counts.
"""

from __future__ import annotations

import io
import os
import re
import stat
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin

from lae_tf.errors import ImageError, UsageError
from lae_tf.files.atomic import write_bytes
from lae_tf.images.headers import PNG_START, HiddenHeaderError, jpeg_frame, reader_of

MAX_PIXELS = 64_000_000
MAX_BYTES = 1 << 30
MAX_PNG_SIDE = 1_000_000  # libpng's own limit
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
"""Suffixes by which images are found in a folder; what a file really holds is told by its first bytes."""

_PNG_CHUNKS = {b"IHDR": "H", b"PLTE": "P", b"IDAT": "D", b"IEND": "E"}
_PNG_END = b"IEND\xaeB\x60\x82"
_ORIENTATION_TAG = 0x0112
_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def normalise(data: bytes, name: str) -> bytes:
    """Return an image file's bytes in a form that the graph decodes.

    Args:
        data: the file's content.
        name: what to call the file in errors.

    Returns:
        ``data`` itself if the graph decodes it to the right pixels (an upright JPEG or PNG), else the same
        image as a PNG: grey of 16 bits where it was that, of which the graph takes the upper 8, but
        :func:`read_mask` all; otherwise RGB of 8 bits.

    Raises:
        ImageError: not an image of a known format, damaged, empty, or over ``MAX_PIXELS``.
    """
    image = _decode(data, name)
    if _graph_decodes(data, image):
        return data
    return _encode_png(_sixteen_bits(image) if _has_sixteen_bits(image) else _to_rgb(image, name))


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an image file, upright.

    Returns:
        uint8 (H, W, 3), RGB in [0, 255].

    Raises:
        ImageError: as :func:`normalise`, or the file cannot be read.
    """
    name = os.fspath(path)
    return decode_image(read_bytes(name), name)


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Decode an image file's bytes as :func:`read_image` does; ``name`` is what to call the file in errors."""
    return np.array(_to_rgb(_decode(data, name), name))


def read_mask(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a mask file of any mode; a colour mask counts by its brightest channel.

    Files with the values 0 and 1, 0 and 255, and 0 and 65535 are all read, by the largest value found, not by
    the file's type: if it is 1 (or 0), forged is what exceeds 0; up to 255, what exceeds 127; else what exceeds
    32767. Half of the range, not 0, because JPEG leaves small values around what is black. Of 16 bits in three
    channels only the upper 8 count.

    Returns:
        uint8 (H, W), 1 where forged, 0 elsewhere.

    Raises:
        ImageError: as :func:`read_image`.
    """
    name = os.fspath(path)
    image = _upright(_decode(read_bytes(name), name))
    if image.mode not in ("1", "L", "I", "F") and not image.mode.startswith("I;16"):
        image = _drop_alpha(image, name)
    values = np.asarray(image)
    if values.ndim == 3:
        values = values.max(axis=2)
    top = values.max()
    threshold = 0 if top <= 1 else 127 if top <= 255 else 32767
    return (values > threshold).astype(np.uint8)


def read_mask_of(path: str | os.PathLike[str], size: tuple[int, ...]) -> np.ndarray:
    """Read a mask file as :func:`read_mask`, and bring it to its image's height and width by nearest neighbour."""
    mask = read_mask(path)
    if mask.shape == tuple(size):
        return mask
    return np.asarray(cv2.resize(mask, (size[1], size[0]), interpolation=cv2.INTER_NEAREST))


def write_png(path: str | os.PathLike[str], array: np.ndarray, durable: bool = False) -> None:
    """Write uint8 (H, W, 3) or (H, W), or uint16 (H, W), losslessly.

    Otherwise as :func:`lae_tf.files.atomic.write_bytes`.
    """
    write_bytes(path, _encode_png(Image.fromarray(array)), durable)


def write_jpeg(path: str | os.PathLike[str], image: np.ndarray, quality: int) -> None:
    """Write uint8 (H, W, 3) as JPEG of a quality from 1 to 100, colour at half resolution, as one step."""
    with io.BytesIO() as buffer:
        Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
        write_bytes(path, buffer.getvalue())


def reads_as_image(head: bytes) -> bool:
    """Whether a file's first bytes, 18 or more, are those of a format that is read here."""
    if head.startswith(b"BM"):  # two letters alone begin many a text: the size of the header that follows counts too
        return int.from_bytes(head[14:18], "little") in (12, 16, 40, 52, 56, 64, 108, 124)
    return reader_of(head) is not None


def printable(path: str) -> str:
    """Return a path as text that any encoder takes; bytes that are no text are escaped."""
    return path.encode("utf-8", "backslashreplace").decode()


def require_text(path: str) -> str:
    """Return a path that a manifest can hold.

    Raises:
        UsageError: its bytes are no UTF-8.
    """
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(f"{printable(path)}: its name is not UTF-8; rename the file.") from None
    return path


def status_of(path: str) -> os.stat_result:
    """Return the status of a regular file of at most ``MAX_BYTES``; anything else is an ImageError."""
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(f"{path}: cannot be read: {reason}") from error
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"{path}: is not a regular file, an image file is expected")
    if status.st_size > MAX_BYTES:
        raise ImageError(f"{path}: has {status.st_size} bytes, more than the limit of {MAX_BYTES}")
    return status


def read_bytes(path: str) -> bytes:
    """Return the content of a regular file of at most ``MAX_BYTES``; anything else is an ImageError."""
    status_of(path)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror}") from error


def _decode(data: bytes, name: str) -> ImageFile.ImageFile:
    """Decode completely, refusing what is too large before that."""
    if not data:
        raise ImageError(f"{name}: is empty, an image file is expected")
    reader = reader_of(data)
    if reader is None:
        raise ImageError(f"{name}: is not a JPEG, PNG, BMP, GIF, WebP or TIFF image")
    try:
        image = reader(io.BytesIO(data))
        width, height = image.size
    except Exception as error:  # Pillow's readers raise many types for a damaged file
        raise ImageError(f"{name}: is damaged: {_reason(error)}") from error
    if width * height > MAX_PIXELS:
        raise ImageError(f"{name}: has {width} x {height} pixels, more than the limit of {MAX_PIXELS}")
    if width * height == 0:
        raise ImageError(f"{name}: has no pixels ({width} x {height})")
    if max(width, height) > MAX_PNG_SIDE:
        raise ImageError(f"{name}: has {width} x {height} pixels, a side over the limit of {MAX_PNG_SIDE}")
    try:
        if reader is PngImagePlugin.PngImageFile:
            # load() stops at the last pixel, TensorFlow insists on the checksums and the end marker
            reader(io.BytesIO(data)).verify()
            if _PNG_END not in data:
                raise OSError("the end marker is missing")
        image.load()
    except Exception as error:
        raise ImageError(f"{name}: is damaged or truncated: {_reason(error)}") from error
    return image


def _reason(error: Exception) -> str:
    return str(error).strip() or type(error).__name__


def _graph_decodes(data: bytes, image: ImageFile.ImageFile) -> bool:
    """Whether the graph decodes a file to the pixels that Pillow makes of it; if not, it is re-encoded.

    It does so for an upright PNG whose chunks libpng accepts (see :func:`_plain_png`), and for an upright JPEG that

    - is Huffman-coded with 8 bits (see :func:`_huffman_coded`), as libjpeg in TensorFlow can decode nothing else,
    - has its end marker, without which TensorFlow refuses what Pillow completes,
    - is not CMYK, unless an Adobe marker is there: without it TensorFlow inverts the colours.

    Found by holding both decoders against each other. They differ by at most one level in CMYK with the marker.

    Args:
        data: the file's content.
        image: decoded from it by Pillow without an error.
    """
    if _orientation(image) != 1:
        return False
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        ends = data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda")
        return ends and _huffman_coded(data) and (image.mode != "CMYK" or "adobe" in image.info)
    return isinstance(image, PngImagePlugin.PngImageFile) and _plain_png(data)


def _plain_png(data: bytes) -> bool:
    """Whether a PNG has the chunks of the specification, in its order; Pillow reads over many a fault in them."""
    kinds, position = "", len(PNG_START)
    while position + 8 <= len(data) and not kinds.endswith("E"):
        name = data[position + 4 : position + 8]
        # Ancillary chunks have a small first letter; what is critical and unknown, libpng refuses.
        kinds += _PNG_CHUNKS.get(name, "a" if name[:1].islower() else "x")
        position += 12 + int.from_bytes(data[position : position + 4], "big")
    # No two runs of "a" in a row, which a file of many chunks would make the search try in every division.
    return re.fullmatch("Ha*Pa*D+a*E" if data[25] == 3 else "Ha*(?:Pa*)?D+a*E", kinds) is not None


def _huffman_coded(data: bytes) -> bool:
    """Whether a JPEG is baseline, extended or progressive (SOF0-2) with Huffman coding and 8 bits."""
    try:
        frame = jpeg_frame(data)
    except HiddenHeaderError:
        return False
    return frame is not None and frame.is_plain and frame.kind <= 0xC2 and frame.bits == 8


def _orientation(image: Image.Image) -> int:
    """EXIF (or XMP) orientation, 1-8; unreadable metadata counts as upright, as in other viewers."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        return 1
    return value if value in _ORIENTATIONS else 1


def _upright(image: Image.Image) -> Image.Image:
    orientation = _orientation(image)
    return image if orientation == 1 else image.transpose(_ORIENTATIONS[orientation])


def _has_sixteen_bits(image: ImageFile.ImageFile) -> bool:
    """Whether an image is grey with 16 bits; some versions of Pillow give such PNG files 32."""
    return image.mode.startswith("I;16") or (image.mode == "I" and isinstance(image, PngImagePlugin.PngImageFile))


def _sixteen_bits(image: ImageFile.ImageFile) -> Image.Image:
    return Image.fromarray(np.asarray(_upright(image)).astype(np.uint16))


def _to_rgb(image: ImageFile.ImageFile, name: str) -> Image.Image:
    upright = _upright(image)
    if _has_sixteen_bits(image):
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    if upright.mode in ("I", "F"):
        raise ImageError(f"{name}: holds 32-bit values, whose range is not known; save it with 8 or 16 bits a channel")
    return _drop_alpha(upright, name)


def _drop_alpha(image: Image.Image, name: str) -> Image.Image:
    try:
        # by way of RGBA a palette's transparency is dropped without a warning
        if image.mode in ("P", "PA"):
            image = image.convert("RGBA")
        return image.convert("RGB")
    except ValueError as error:
        raise ImageError(f"{name}: has the colour mode {image.mode}, which cannot become RGB") from error


def _encode_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()
