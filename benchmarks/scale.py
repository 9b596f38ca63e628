"""Shows that scoring a pool takes memory independent of its size, and what it costs per image.

Each size is scored by ``lae-tf score`` in a process of its own, on an untrained model; the images are a few hundred
files named again and again. ``plain`` is the same model in a bare tf.data loop, which checks nothing.

Usage: python benchmarks/scale.py [--rows 1000,10000,100000] [--image-size 32] [--engine local|beam]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pandas as pd
import tensorflow as tf
from PIL import Image

FILES = 500
BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="1000,10000,100000")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--engine", choices=["local", "beam"], default="local")
    parser.add_argument("--beam-options", default="")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = make_export(folder / "model", options.image_size)
        files = make_images(folder, options.image_size)
        print(f"{'rows':>8} {'seconds':>9} {'images/s':>9} {'CPU ms/image':>13} {'peak MB':>8}")
        for rows in map(int, options.rows.split(",")):
            pool, out = folder / f"{rows}.parquet", folder / f"{rows}.scores.parquet"
            pd.DataFrame({"path": [files[row % FILES] for row in range(rows)]}).to_parquet(pool)
            command = [sys.executable, "-m", "lae_tf.cli.main", "score", str(model), str(pool), str(out)]
            command += ["--engine", options.engine]
            if options.beam_options:
                command.append(f"--beam-options={options.beam_options}")
            start = time.perf_counter()
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
            if status:
                raise SystemExit(f"lae-tf score ended with status {status}")
            cpu = 1000 * (usage.ru_utime + usage.ru_stime) / rows
            peak = usage.ru_maxrss / 1024
            print(f"{rows:8d} {seconds:9.1f} {rows / seconds:9.0f} {cpu:13.2f} {peak:8.0f}", flush=True)
        seconds, cpu = plain(model, [files[row % FILES] for row in range(10 * FILES)], options.image_size)
        print(f"{'plain':>8} {seconds:9.1f} {10 * FILES / seconds:9.0f} {1000 * cpu / (10 * FILES):13.2f}")


def make_export(path: Path, size: int) -> Path:
    """Write a small untrained model."""
    from lae_tf.export.signatures import write_saved_model
    from lae_tf.model.lae import LAE

    write_saved_model(LAE(image_size=size, widths=(8, 8, 16), blocks=0), path)
    return path


def make_images(folder: Path, size: int) -> list[str]:
    """Write JPEG files of noise, twice the model's size."""
    rng = np.random.default_rng(0)
    files = []
    for number in range(FILES):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        coarse.resize((2 * size, 2 * size), Image.Resampling.BICUBIC).save(folder / f"{number}.jpg", quality=90)
        files.append(str(folder / f"{number}.jpg"))
    return files


def plain(model: Path, files: list[str], size: int) -> tuple[float, float]:
    """Return wall and CPU seconds of the bare loop; the first pass over a few batches is not counted."""
    serve = tf.saved_model.load(str(model)).signatures["tensor"]

    def load(path: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        return tf.image.resize(tf.cast(image, tf.float32) / 255.0, (size, size), antialias=True)

    def score(paths: list[str]) -> None:
        images = tf.data.Dataset.from_tensor_slices(paths).map(load, num_parallel_calls=tf.data.AUTOTUNE)
        for batch in images.batch(BATCH).prefetch(tf.data.AUTOTUNE):
            serve(image=batch)

    score(files[: 4 * BATCH])
    start, cpu = time.perf_counter(), time.process_time()
    score(files)
    return time.perf_counter() - start, time.process_time() - cpu


if __name__ == "__main__":
    main()
