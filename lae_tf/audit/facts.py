"""One pass over the files of a manifest: what can be said of each without looking at the others.

Images are read in small portions and let go; about one kilobyte of numbers stays for each.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pandas as pd
from PIL import Image, JpegImagePlugin
from scipy.fft import dctn
from tqdm import tqdm

from lae_tf.data.manifest import Manifest
from lae_tf.errors import ImageError
from lae_tf.images.files import read_image, read_mask

_MASK_COLUMNS = ("mask_width", "mask_height", "mask_share", "mask_between")
THUMBNAIL = 8  # pixels a side
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP")
_PORTION = 64  # images in progress at once
_LARGEST_CROP = 512  # pixels a side that sharpness is measured on
_IJG_SUM = 3688  # of the luminance table in the JPEG standard's annex K, which libjpeg calls quality 50
_FLAT = 2.0  # standard deviation of grey levels below which a picture shows nothing


def read_facts(manifest: Manifest, progress: bool = True) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """Measure every image and mask of a manifest.

    Args:
        manifest: validated.
        progress: show a progress bar on stderr.

    Returns:
        A table with the manifest's columns and those of :func:`image_facts` and :func:`mask_facts`, one row per image
        that could be read, and (file, problem) for each image or mask that could not.
    """
    parts: list[pd.DataFrame] = []
    problems: list[tuple[str, str]] = []
    pairs = zip(manifest.frame["path"], manifest.frame["mask"], strict=True)
    with (
        ThreadPoolExecutor() as pool,
        tqdm(total=len(manifest), desc="read", unit="image", disable=not progress) as bar,
    ):
        for portion in _portions(pairs):
            rows = []
            for (path, _), (facts, found) in zip(portion, pool.map(_measure, portion), strict=True):
                problems += found
                if facts:
                    rows.append({"path": path, **facts})
                bar.update()
            if rows:
                parts.append(pd.DataFrame(rows))  # a tenth of the dictionaries' size
    if not parts:
        return pd.DataFrame(), problems
    table = manifest.frame.merge(pd.concat(parts, ignore_index=True), on="path", how="inner")
    return table.reindex(columns=[*table.columns, *(name for name in _MASK_COLUMNS if name not in table)]), problems


def image_facts(path: str) -> dict[str, object]:
    """Measure an image file.

    Args:
        path: an image file.

    Returns:
        Numbers: ``bytes``, ``bytes_per_pixel``; ``is_jpeg``, ``is_png``, ``progressive``, ``subsampling``, ``exif``,
        ``icc``; ``jpeg_quality`` (on libjpeg's scale, estimated from the luminance table; 0 for other formats),
        ``luma_dc``, ``chroma_sum``, ``tables``; ``width``, ``height``, ``aspect``, ``pixels``; ``red``, ``green``,
        ``blue``, ``saturation`` (means) and ``contrast`` in levels; ``laplacian``, ``gradient``, ``noise`` in levels;
        ``blockiness`` (how much larger steps are on the grid of 8 pixels than off it). Further ``digest`` (of the
        pixels), ``hash`` (63-bit perceptual hash, or -1 where the picture is flat) and ``thumbnail`` (uint8, (192,)).

    Raises:
        ImageError: the file cannot be used.
    """
    image = read_image(path)
    height, width = image.shape[:2]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA)
    size = os.path.getsize(path)
    return {
        "bytes": size,
        "bytes_per_pixel": size / (height * width),
        **_file_facts(path),
        "width": width,
        "height": height,
        "aspect": width / height,
        "pixels": height * width,
        **{name: float(small[..., i].mean()) for i, name in enumerate(("red", "green", "blue"))},
        "saturation": float((small.max(axis=2).astype(int) - small.min(axis=2)).mean()),
        "contrast": float(grey.std()),
        **_sharpness(grey),
        "digest": hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()[:32],
        "hash": perceptual_hash(grey),
        "thumbnail": cv2.resize(small, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).ravel(),
    }


def mask_facts(path: str) -> dict[str, object]:
    """Measure a mask file: ``mask_width``, ``mask_height``, ``mask_share`` (forged) and ``mask_between`` (neither
    extreme), both shares in [0, 1].

    Raises:
        ImageError: the file cannot be used.
    """
    mask = read_mask(path)
    with Image.open(path, formats=_FORMATS) as file:
        values = np.asarray(file if file.mode in ("1", "L", "I", "F") or file.mode[0] == "I" else file.convert("RGB"))
    between = (values > values.min()) & (values < values.max())
    return {
        "mask_width": mask.shape[1],
        "mask_height": mask.shape[0],
        "mask_share": float(mask.mean()),
        "mask_between": float(between.mean()),
    }


def perceptual_hash(grey: np.ndarray) -> int:
    """Return the signs of an image's lowest frequencies around their median (pHash).

    Args:
        grey: uint8 (H, W).

    Returns:
        63 bits (the picture's mean is left out), or -1 for a flat picture.
    """
    if grey.std() < _FLAT:
        return -1
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    lowest = dctn(small)[:8, :8].ravel()[1:]
    bits = lowest > np.median(lowest)
    return int(sum(1 << i for i in np.flatnonzero(bits).tolist()))


def _portions(pairs: Iterator[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    while portion := list(itertools.islice(pairs, _PORTION)):
        yield portion


def _measure(pair: tuple[str, str]) -> tuple[dict[str, object], list[tuple[str, str]]]:
    path, mask = pair
    problems = []
    facts: dict[str, object] = {}
    try:
        facts = image_facts(path)
    except ImageError as error:
        problems.append((path, str(error)))
    try:
        facts = {**facts, **mask_facts(mask)} if mask and facts else facts
    except ImageError as error:
        problems.append((mask, str(error)))
    return facts, problems


def _file_facts(path: str) -> dict[str, float]:
    # read_image has accepted the file, so the header is sound, and of a format that is safe to open
    with Image.open(path, formats=_FORMATS) as file:
        tables = {}
        if is_jpeg := isinstance(file, JpegImagePlugin.JpegImageFile):
            tables = {key: list(table) for key, table in file.quantization.items()}
        luma = tables.get(0, [])
        scale = 100 * sum(luma) / _IJG_SUM
        quality = 0.0 if not luma else 100 - scale / 2 if scale <= 100 else 5000 / scale
        return {
            "is_jpeg": float(is_jpeg),
            "is_png": float(file.format == "PNG"),
            "progressive": float(bool(file.info.get("progressive"))),
            "subsampling": float(JpegImagePlugin.get_sampling(file)) if is_jpeg else -1.0,
            "exif": float("exif" in file.info),
            "icc": float("icc_profile" in file.info),
            "jpeg_quality": quality,
            "luma_dc": float(luma[0]) if luma else 0.0,
            "chroma_sum": float(sum(tables.get(1, []))),
            "tables": float(len(tables)),
        }


def _sharpness(grey: np.ndarray) -> dict[str, float]:
    # the crop starts on the grid of 8 pixels, or blockiness would look between its lines
    top, left = ((max(0, side - _LARGEST_CROP) // 2) // 8 * 8 for side in grey.shape)
    crop = grey[top : top + _LARGEST_CROP, left : left + _LARGEST_CROP].astype(np.float32)
    across, down = np.abs(np.diff(crop, axis=1)), np.abs(np.diff(crop, axis=0))
    laplacian = cv2.Laplacian(crop, cv2.CV_32F)
    return {
        "laplacian": math.log1p(float(laplacian.std())),
        "gradient": float(across.mean() + down.mean()) / 2 if across.size and down.size else 0.0,
        # of a Laplacian of white noise with deviation 1: 20 ** 0.5; the median does not see edges
        "noise": float(np.median(np.abs(laplacian))) / 0.6745 / math.sqrt(20),
        "blockiness": _blockiness(across.mean(axis=0)) + _blockiness(down.mean(axis=1)),
    }


def _blockiness(steps: np.ndarray) -> float:
    """Return the logarithm of the mean step on the grid of 8 pixels over that beside it."""
    on_grid = np.arange(len(steps)) % 8 == 7
    if len(steps) < 16:
        return 0.0
    return math.log((float(steps[on_grid].mean()) + 0.1) / (float(steps[~on_grid].mean()) + 0.1))
