"""Builds pools in which it matters which fakes get a mask, from a folder of real images and fakes with masks.

Usage: python benchmarks/pools.py video|methods|windows DATA OUT [--seed SEED]

DATA holds manifest.csv with splits; OUT gets images, masks and a manifest, which benchmarks/pool_video.yaml,
pool_methods.yaml and pool_windows.yaml study by `lae-tf loop`.

video: 20 of the training fakes become videos, whose lengths fall as 1 / rank, 400 frames in all; a frame is a small
move, a change of light and JPEG. Every other image becomes one such frame.
methods: the method of DATA makes 70 % of the training fakes, five methods of `lae-tf forge` 12, 8, 5, 3 and 2 %. A
tenth of the real training images are none: half of them are fakes labelled real, half were edited as a whole.
windows: of each photograph that is trained on, one of two is there: itself or its forgery by DATA's first method, which
gives no window with a label until someone draws its mask. DATA is of `lae-tf forge PHOTOGRAPHS DATA --jpeg 75 95`;
OUT has a manifest alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from lae_tf.data.manifest import Manifest
from lae_tf.errors import ImageError
from lae_tf.files.atomic import write_text
from lae_tf.forge.methods import METHODS, forge_image, generator
from lae_tf.images.files import read_image, write_jpeg, write_png

VIDEOS, FRAMES = 20, 400
SHARES = {"splice": 0.12, "warp": 0.08, "smooth": 0.05, "inpaint-telea": 0.03, "recolour": 0.02}
MAIN_SHARE, WRONG_SHARE, TESTED = 0.7, 0.1, 60
Rows = list[dict[str, str]]


def video_pool(manifest: Manifest, out: Path, seed: int) -> Rows:
    """Write frames of every image, many of some training fakes, and return rows of a manifest."""
    frame = manifest.frame
    training = frame[(frame["split"] == "train") & (frame["label"] == "fake")]
    drawn = training.iloc[generator(seed, "videos").permutation(len(training))[:VIDEOS]]
    weights = 1 / np.arange(1, VIDEOS + 1)
    lengths = dict(zip(drawn.index, np.maximum(1, np.rint(FRAMES * weights / weights.sum())).astype(int), strict=True))
    rows: Rows = []
    for index, row in frame.drop(training.index.difference(drawn.index)).iterrows():
        image, mask = read_image(row["path"]), read_image(row["mask"])[..., 0] if row["mask"] else None
        for number in range(lengths.get(index, 1)):
            rng = generator(seed, "frame", row["path"], str(number))
            name = f"{row['split']}/{row['label']}/{index:05d}-{number:03d}"
            rows.append(_saved(out, name, _frame(image, mask, rng), row, int(rng.integers(70, 96))))
    return rows


def _frame(
    image: np.ndarray, mask: np.ndarray | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None]:
    height, width = image.shape[:2]
    move = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-4, 4), rng.uniform(0.97, 1.03))
    move[:, 2] += rng.uniform(-0.04, 0.04, 2) * (width, height)
    light = 255 * (np.arange(256) / 255) ** np.exp(rng.uniform(-0.15, 0.15)) * rng.uniform(0.9, 1.05)
    moved = cv2.warpAffine(image, move, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    moved = cv2.LUT(moved, np.clip(np.rint(light), 0, 255).astype(np.uint8))
    if mask is not None:
        mask = cv2.warpAffine(mask, move, (width, height), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101)
    return moved, mask


def methods_pool(manifest: Manifest, out: Path, seed: int) -> Rows:
    """Write forgeries by five methods beside the fakes there are, spoil a tenth of the reals, and return rows."""
    frame = manifest.frame
    rows: Rows = []
    for split, part in frame.groupby("split", sort=False):
        reals, fakes = part[part["label"] == "real"], part[part["label"] == "fake"]
        rng = generator(seed, "methods", str(split))
        sources = reals.iloc[rng.permutation(len(reals))]
        counts = {name: round(len(fakes) * share / MAIN_SHARE) for name, share in SHARES.items()}
        if split == "test":
            counts = dict.fromkeys(SHARES, TESTED)
        start = 0
        for method, count in counts.items():
            for index, row in sources.iloc[start : start + count].iterrows():
                forged = _forged(method, row["path"], reals, seed)
                if forged is not None:
                    fake = {**row, "label": "fake", "method": method}
                    rows.append(_saved(out, f"{split}/{method}/{index:05d}", forged, fake))
            start += 0 if split == "test" else count
        spoiled = (
            sources.iloc[start : start + round(WRONG_SHARE * len(reals))] if split == "train" else sources.iloc[:0]
        )
        for number, (index, row) in enumerate(spoiled.iterrows()):
            forged = _forged("splice", row["path"], reals, seed) if number % 2 else None
            image = forged[0] if forged is not None else _edited(read_image(row["path"]), seed, str(row["path"]))
            rows.append(_saved(out, f"{split}/spoiled/{index:05d}", (image, None), row))
        for index, row in part.drop(spoiled.index).iterrows():
            mask = read_image(row["mask"])[..., 0] if row["mask"] else None
            rows.append(_saved(out, f"{split}/{row['label']}/{index:05d}", (read_image(row["path"]), mask), row))
    return rows


def windows_pool(manifest: Manifest, out: Path, seed: int) -> Rows:
    """Return rows of the images there are: of training and validation a photograph or its fake, of test all."""
    frame = manifest.frame
    method = next(name for name in frame["method"] if name)
    groups = sorted(set(frame["group"]))
    forged = dict(zip(groups, generator(seed, "windows").random(len(groups)) < 0.5, strict=True))
    tested = frame["split"] == "test"
    is_forged = frame["group"].map(forged).to_numpy(bool)
    kept = np.where(is_forged, frame["method"] == method, frame["label"] == "real")
    chosen = frame[tested | kept]
    rows: Rows = chosen.astype(str).to_dict("records")
    return rows


def _forged(method: str, path: str, donors: pd.DataFrame, seed: int) -> tuple[np.ndarray, np.ndarray] | None:
    rng = generator(seed, method, path)
    donor = read_image(donors["path"].iloc[rng.integers(len(donors))]) if METHODS[method].needs_donor else None
    try:
        image, mask = forge_image(method, read_image(path), rng, donor)
    except ImageError:
        return None  # too flat
    return image, 255 * mask


def _edited(image: np.ndarray, seed: int, path: str) -> np.ndarray:
    """Change a whole image as people do: tone, and sharpening or denoising."""
    rng = generator(seed, "edited", path)
    table = 255 * (np.arange(256) / 255) ** np.exp(rng.uniform(-0.3, 0.3))
    toned = cv2.LUT(image, np.rint(table).astype(np.uint8))
    if rng.random() < 0.5:
        return cv2.bilateralFilter(toned, 5, 30, 3)
    return cv2.addWeighted(toned, 1.8, cv2.GaussianBlur(toned, (0, 0), 1.5), -0.8, 0)


def _saved(
    out: Path, name: str, pixels: tuple[np.ndarray, np.ndarray | None], row: dict[str, str], quality: int | None = None
) -> dict[str, str]:
    """Write an image, as PNG or as JPEG of a quality, and its mask; return a row of the manifest."""
    image, mask = pixels
    file = f"{name}.png" if quality is None else f"{name}.jpg"
    if quality is None:
        write_png(out / file, image)
    else:
        write_jpeg(out / file, image, quality)
    kept = {key: row[key] for key in ("label", "group", "method", "split")}
    if mask is None:
        return {"path": file, "mask": "", **kept}
    write_png(out / "masks" / f"{name}.png", mask)
    return {"path": file, "mask": f"masks/{name}.png", **kept}


POOLS = {"video": video_pool, "methods": methods_pool, "windows": windows_pool}


def build(pool: str, data: Path, out: Path, seed: int) -> Path:
    """Write a pool, if it is not there, and return its manifest."""
    manifest = out / "manifest.csv"
    if not manifest.is_file():
        rows = POOLS[pool](Manifest.read(data / "manifest.csv"), out, seed)
        columns = ["path", "label", "mask", "group", "method", "split"]
        write_text(manifest, pd.DataFrame(rows)[columns].to_csv(index=False))
    return manifest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", choices=sorted(POOLS))
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    manifest = build(arguments.pool, arguments.data, arguments.out, arguments.seed)
    counts = pd.read_csv(manifest, keep_default_na=False).groupby(["split", "label", "method"]).size()
    print(f"{counts.to_string()}\nWritten: {manifest}")


if __name__ == "__main__":
    main()
