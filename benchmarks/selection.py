"""Compares the selection pass with a bare ``model.predict`` on the same images (goal: at least 0.9 of it).

With the trunk's description of every image, which the strategies that cluster ask for, and without.

Usage: python benchmarks/selection.py [--size 128] [--images 1024]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from functools import partial
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
    from lae_tf.selection.features import FeatureExtractor

    model = LAE(image_size=options.size)
    with tempfile.TemporaryDirectory() as name:
        manifest = Manifest.read(make_data(Path(name), options.size, options.images))
        images = evaluation_dataset(manifest, model.preprocessor, BATCH).map(lambda batch: batch["image"])
        passes = {
            "predict": lambda: model.predict(images, verbose=0),
            "select": partial(FeatureExtractor(model, describes=False), manifest, BATCH),
            "select, clusters": partial(FeatureExtractor(model), manifest, BATCH),
        }
        rates = {name: [] for name in passes}
        for _ in range(4):  # by turns, so that all meet the same load of the machine; graphs are traced in the first
            for name, run in passes.items():
                start = time.perf_counter()
                run()
                rates[name].append(options.images / (time.perf_counter() - start))
    best = {name: max(values) for name, values in rates.items()}
    for name, rate in best.items():
        print(f"{name:<16} {rate:8.0f} images/s  {rate / best['predict']:.2f} of predict")


if __name__ == "__main__":
    main()
