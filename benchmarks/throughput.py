"""Prints training and prediction throughput and peak memory, and what the input pipeline does alone.

Usage: python benchmarks/throughput.py [--sizes 64 128 256] [--steps 12]

Each size runs in a process of its own, so that peak memory is its own. Images are JPEG files of random texture,
decoded and augmented as in training.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
BATCH = 32


def make_data(folder: Path, size: int, count: int) -> Path:
    import numpy as np
    import pandas as pd
    from PIL import Image

    rng = np.random.default_rng(0)
    rows = []
    for i in range(count):
        small = rng.integers(0, 256, (size // 8, size // 8, 3), dtype=np.uint8)
        Image.fromarray(small).resize((size, size)).save(folder / f"{i}.jpg", quality=92)
        mask = ""
        if i % 2:
            mask = f"{i}.png"
            Image.fromarray(np.pad(np.full((size // 4,) * 2, 255, np.uint8), size * 3 // 8)).save(folder / mask)
        label = "fake" if i % 2 else "real"
        rows.append((f"{i}.jpg", label, mask, str(i), "square" if i % 2 else "", "train"))
    frame = pd.DataFrame(rows, columns=["path", "label", "mask", "group", "method", "split"])
    frame.to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


def measure(size: int, steps: int) -> dict[str, float]:
    from lae_tf.config.sections import Config
    from lae_tf.data.manifest import Manifest
    from lae_tf.data.pipeline import evaluation_dataset, training_dataset
    from lae_tf.data.sampling import Composition, Sampling
    from lae_tf.runtime.allocator import keep_freed_memory
    from lae_tf.training.build import build_model, compile_model

    keep_freed_memory()  # as the commands do
    with tempfile.TemporaryDirectory() as name:
        manifest = Manifest.read(make_data(Path(name), size, 8 * BATCH))
        config = Config.parse({"data": {"manifest": "-", "image_size": size, "batch_size": BATCH}})
        model = build_model(config)
        compile_model(model, config, config.align, steps=steps)
        composition = Composition(annotated=BATCH // 2, real=BATCH // 2, unlabelled=0)

        def batches(count: int):  # type: ignore[no-untyped-def]
            per_epoch = len(manifest) // BATCH
            dataset, _ = training_dataset(
                manifest,
                model.preprocessor,
                Sampling(BATCH, seed=0, epochs=range(-(-count // per_epoch)), composition=composition),
                config.augment,
            )
            return dataset.take(count)

        for _ in batches(2):
            pass
        start = time.perf_counter()
        for _ in batches(4 * steps):
            pass
        pipeline = 4 * steps * BATCH / (time.perf_counter() - start)

        model.fit(batches(2), verbose=0, shuffle=False)
        start = time.perf_counter()
        model.fit(batches(steps), verbose=0, shuffle=False)
        training = steps * BATCH / (time.perf_counter() - start)

        images = evaluation_dataset(manifest, model.preprocessor, BATCH).map(lambda batch: batch["image"])
        model.predict(images.take(1), verbose=0)
        start = time.perf_counter()
        model.predict(images, verbose=0)
        prediction = len(manifest) / (time.perf_counter() - start)
    return {
        "size": size,
        "pipeline": pipeline,
        "training": training,
        "prediction": prediction,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.child, options.steps)))
        return
    print(f"{'size':>5} {'pipeline':>10} {'training':>10} {'prediction':>11} {'peak memory':>12}   (images/s, MB)")
    for size in options.sizes:
        command = [sys.executable, __file__, "--child", str(size), "--steps", str(options.steps)]
        result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        row = json.loads(result.stdout.splitlines()[-1])
        print(
            f"{row['size']:>5} {row['pipeline']:>10.0f} {row['training']:>10.0f} {row['prediction']:>11.0f} "
            f"{row['peak_memory_mb']:>12.0f}"
        )


if __name__ == "__main__":
    main()
