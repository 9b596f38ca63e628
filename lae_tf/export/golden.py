"""Golden images: files of many kinds, made by code, on which an export must score as its checkpoint does."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from lae_tf.data.views import Square
from lae_tf.images.photographs import read_photograph

_ORIENTATION_TAG = 0x0112


def golden_files(image_size: int, in_windows: bool = False) -> dict[str, bytes]:
    """Return 24 image files by name: formats, colour modes, sizes and orientations that users send.

    Args:
        image_size: S of the model, so that one file needs no resizing.
        in_windows: for a model of windows, with two more of many windows and odd sides, and all of sizes of which it
            looks at every window.
    """
    crop = {name: _crop(name) for name in ("astronaut", "chelsea", "china", "coffee", "flower", "ihc", "rocket")}
    grey16 = np.asarray(crop["coffee"].convert("L")).astype(np.uint16) * 257
    large = (8 * image_size, 6 * image_size) if in_windows else (1024, 768)
    files = {
        "jpeg-quality-95.jpg": _encode(crop["astronaut"], "JPEG", quality=95, subsampling=0),
        "jpeg-quality-75.jpg": _encode(crop["flower"], "JPEG", quality=75),
        "jpeg-progressive.jpg": _encode(crop["china"], "JPEG", quality=60, progressive=True),
        "jpeg-grey.jpg": _encode(crop["chelsea"].convert("L"), "JPEG", quality=90),
        "jpeg-cmyk.jpg": _encode(crop["rocket"].convert("CMYK"), "JPEG", quality=90),
        "jpeg-large.jpg": _encode(crop["coffee"].resize(large), "JPEG", quality=85),
        "jpeg-narrow.jpg": _encode(crop["astronaut"].resize((301, 23)), "JPEG", quality=90),
        "png-rgb.png": _encode(crop["coffee"], "PNG"),
        "png-alpha.png": _encode(_with_alpha(crop["chelsea"]), "PNG"),
        "png-palette.png": _encode(crop["flower"].quantize(64), "PNG"),
        "png-grey.png": _encode(crop["ihc"].convert("L"), "PNG"),
        "png-grey-16-bit.png": _encode(Image.fromarray(grey16), "PNG"),
        "png-one-pixel.png": _encode(crop["ihc"].resize((1, 1)), "PNG"),
        "png-model-size.png": _encode(crop["china"].resize((image_size, image_size)), "PNG"),
        "bmp-rgb.bmp": _encode(crop["rocket"], "BMP"),
        "bmp-odd-width.bmp": _encode(crop["astronaut"].crop((0, 0, 97, 61)), "BMP"),
        "jpeg-upright-tag.jpg": _encode(crop["ihc"], "JPEG", quality=90, exif=_turned(1)),
    }
    for orientation in range(2, 9):
        name = ("astronaut", "china", "coffee")[orientation % 3]
        files[f"jpeg-orientation-{orientation}.jpg"] = _encode(
            crop[name], "JPEG", quality=92, exif=_turned(orientation)
        )
    if in_windows:
        tall, wide = (5 * image_size + 3, 7 * image_size + 1), (11 * image_size + 5, image_size + 9)
        files["jpeg-windows-tall.jpg"] = _encode(crop["china"].resize(tall), "JPEG", quality=85)
        files["png-windows-wide.png"] = _encode(crop["astronaut"].resize(wide), "PNG")
    return files


def golden_faces(height: int, width: int) -> list[Square]:
    """Return where faces are taken to lie in a golden image of a size: few of them show one, and a graph finds none."""
    large, small = (max(1, min(height, width) * share // 6) for share in (4, 3))
    return [Square((height - large) // 3, (width - large) // 3, large), Square(height - small, width - small, small)]


def _crop(name: str) -> Image.Image:
    """Cut the middle of a photograph, taller than wide, so that a missing turn shows."""
    image = Image.fromarray(read_photograph(name))
    left, top = (image.width - 180) // 2, (image.height - 240) // 2
    return image.crop((left, top, left + 180, top + 240))


def _with_alpha(image: Image.Image) -> Image.Image:
    image = image.copy()
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def _turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[_ORIENTATION_TAG] = orientation
    return exif


def _encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
