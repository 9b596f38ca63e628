"""Prints the size of LAE and of every peer, and how fast they train and predict, as a Markdown table.

Usage: python benchmarks/peers.py [--size 128] [--steps 20]

Batches of 16 random images lie in memory: no decoding, no augmentation, no forging. "lae" is that of the protocols,
"lae-wide" has the default's widths. Every model runs in this process, one after the other.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
BATCH = 16
WIDTHS = {"lae": [16, 24, 32, 48], "lae-wide": [24, 48, 96, 128]}


def built(name: str, size: int) -> Any:
    """Return a compiled model of a peer's name or of one in ``WIDTHS``."""
    import keras

    from lae_tf.comparison.peers import build_peer
    from lae_tf.config.sections import Config
    from lae_tf.training.build import build_model, compile_model

    if name not in WIDTHS:
        peer = build_peer(name, image_size=size)
        peer.compile(keras.optimizers.AdamW(1e-3))
        return peer
    config = Config.parse({"data": {"manifest": "-", "image_size": size}, "model": {"widths": WIDTHS[name]}})
    model = build_model(config)
    compile_model(model, config, config.align, steps=100)
    return model


def rate(step: Callable[[], Any], steps: int) -> float:
    """Return images a second, without the first two steps, which trace graphs and warm caches up."""
    step(), step()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return steps * BATCH / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()

    import numpy as np
    import tensorflow as tf

    from lae_tf.comparison.peers import PEERS
    from lae_tf.runtime.allocator import keep_freed_memory

    keep_freed_memory()
    rng = np.random.default_rng(0)
    batch = {
        "image": tf.constant(rng.uniform(size=(BATCH, options.size, options.size, 3)), tf.float32),
        "label": tf.constant(np.arange(BATCH)[:, None] % 2, tf.float32),
        "mask": tf.constant(rng.integers(0, 2, (BATCH, options.size, options.size, 1)), tf.float32),
        "mask_weight": tf.ones((BATCH, 1)),
    }
    print("| | parameters | training, images/s | prediction, images/s |\n|:--|--:|--:|--:|")
    for name in (*WIDTHS, *PEERS):
        model = built(name, options.size)
        parameters = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
        train = tf.function(model.train_step)
        training = rate(lambda train=train: train(batch), options.steps)
        prediction = rate(lambda model=model: model.predict_on_batch(batch["image"]), options.steps)
        print(f"| {name} | {parameters:,} | {training:.0f} | {prediction:.0f} |", flush=True)


if __name__ == "__main__":
    main()
