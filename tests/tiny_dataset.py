"""A tiny data set of photographs and forgeries, and a configuration that trains on it in seconds."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from lae_tf.config.sections import Config
from lae_tf.data.contract import COLUMNS
from lae_tf.images.files import write_png

SIZE = 32
# (photographs, fakes with a mask a method, fakes without) in each split
SPLITS = {"train": (16, 4, 8), "val": (10, 5, 0), "test": (10, 5, 0)}
METHODS = ("noise", "colour")


def photograph(rng: np.random.Generator) -> np.ndarray:
    """Return smooth coloured noise, uint8 (SIZE, SIZE, 3)."""
    coarse = rng.uniform(40, 215, (5, 5, 3)).astype(np.float32)
    smooth = cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    return (smooth + rng.normal(0, 2, smooth.shape)).clip(0, 255).astype(np.uint8)


def forge(image: np.ndarray, method: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Change one square of the image; return it and the exact mask, uint8 in {0, 255}."""
    side = int(rng.integers(10, 15))
    y, x = rng.integers(0, SIZE - side, 2)
    shape = (side, side, 3) if method == "noise" else (1, 1, 3)
    change = rng.choice([-1, 1], shape) * (12 if method == "noise" else 30)
    forged = image.astype(int)
    forged[y : y + side, x : x + side] += change
    forged = forged.clip(0, 255).astype(np.uint8)
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[y : y + side, x : x + side] = 255
    return forged, mask


def write_dataset(folder: Path, splits: dict[str, tuple[int, int, int]] = SPLITS, seed: int = 0) -> Path:
    """Write photographs, forgeries and ``manifest.csv``; return the manifest's path."""
    rng = np.random.default_rng(seed)
    rows = []
    for split, (photographs, annotated, unlabelled) in splits.items():
        sources = [photograph(rng) for _ in range(photographs)]
        for number, source in enumerate(sources):
            write_png(folder / f"{split}-{number}.png", source)
            rows.append((f"{split}-{number}.png", "real", "", f"{split}-{number}", "", split))
        for number in range(annotated * len(METHODS) + unlabelled):
            method, origin = METHODS[number % len(METHODS)], number % photographs
            forged, mask = forge(sources[origin], method, rng)
            name, masked = f"{split}-fake-{number}", number < annotated * len(METHODS)
            write_png(folder / f"{name}.png", forged)
            if masked:
                write_png(folder / f"{name}-mask.png", mask)
            mask_cell = f"{name}-mask.png" if masked else ""
            rows.append((f"{name}.png", "fake", mask_cell, f"{split}-{origin}", method, split))
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


def make_config(manifest: Path, output: Path, **sections: dict) -> Config:
    """Return a configuration that trains in seconds; ``sections`` overrides values, section by section."""
    values = {
        "seed": 3,
        "output": str(output),
        "data": {"manifest": str(manifest), "image_size": SIZE, "batch_size": 8, "self_forged": 0},
        "model": {"widths": [8, 8, 16], "blocks": 0, "trunk": "none"},
        "pretrain": {"epochs": 6, "learning_rate": 5e-3},
        "align": {"epochs": 4, "learning_rate": 3e-3},
    }
    for name, section in sections.items():
        values[name] = {**values[name], **section} if isinstance(section, dict) and name in values else section
    return Config.parse(values)
