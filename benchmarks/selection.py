"""Compares the selection pass with a bare ``model.predict`` on the same images (goal: at least 0.9 of it).

Usage: python benchmarks/selection.py [--size 128] [--images 1024]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from throughput import BATCH, make_data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--images", type=int, default=1024)
    options = parser.parse_args()

    from lae_tf.data.manifest import Manifest
    from lae_tf.data.pipeline import evaluation_dataset
    from lae_tf.model.lae import LAE
    from lae_tf.selection.features import extract_features

    model = LAE(image_size=options.size)
    with tempfile.TemporaryDirectory() as name:
        manifest = Manifest.read(make_data(Path(name), options.size, options.images))
        images = evaluation_dataset(manifest, model.preprocessor, BATCH).map(lambda batch: batch["image"])
        model.predict(images, verbose=0)
        extract_features(model, manifest, BATCH)
        rates = {"model.predict": [], "extract_features": []}
        for _ in range(3):  # alternating, so that both meet the same load of the machine
            start = time.perf_counter()
            model.predict(images, verbose=0)
            rates["model.predict"].append(options.images / (time.perf_counter() - start))
            start = time.perf_counter()
            extract_features(model, manifest, BATCH)
            rates["extract_features"].append(options.images / (time.perf_counter() - start))
    best = {name: max(values) for name, values in rates.items()}
    for name, rate in best.items():
        print(f"{name:<14} {rate:8.0f} images/s")
    print(f"{'ratio':<14} {best['extract_features'] / best['model.predict']:8.2f}")


if __name__ == "__main__":
    main()
