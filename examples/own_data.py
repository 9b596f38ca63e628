"""Trains on arrays of one's own: no files, no manifest, an ordinary Keras loop.

Usage: python examples/own_data.py

The images are noise, and a fake has a smoothed square; put your own arrays in their place.
"""

import keras
import numpy as np
import tensorflow as tf

import lae_tf

SIZE, COUNT, BATCH = 32, 64, 8


def make_data(seed: int) -> dict[str, np.ndarray]:
    """Return a dict as docs/guides/formats.md describes a batch, of COUNT images."""
    rng = np.random.default_rng(seed)
    image = rng.uniform(0, 1, (COUNT, SIZE, SIZE, 3)).astype(np.float32)
    label = (np.arange(COUNT) % 2).astype(np.float32)[:, None]  # 1 = fake
    mask = np.zeros((COUNT, SIZE, SIZE, 1), np.float32)
    for fake in np.flatnonzero(label):
        top, left = rng.integers(0, SIZE - 12, 2)
        image[fake, top : top + 12, left : left + 12] = 0.5
        mask[fake, top : top + 12, left : left + 12] = 1
    known = np.ones((COUNT, 1), np.float32)  # 0 for a fake whose mask nobody has drawn
    return {"image": image, "label": label, "mask": mask, "mask_weight": known}


def main() -> None:
    keras.utils.set_random_seed(0)
    train, held_out = (tf.data.Dataset.from_tensor_slices(make_data(seed)).batch(BATCH) for seed in (0, 1))
    model = lae_tf.LAE(image_size=SIZE, widths=(8, 8, 16), self_correlation=False)
    model.compile(keras.optimizers.AdamW(3e-3), loss_weights={"alignment": 1.0})
    model.fit(train, validation_data=held_out, epochs=4, verbose=2, shuffle=False)
    outputs = model.predict(held_out, verbose=0)
    fakes = make_data(1)["label"][:, 0] == 1
    print(f"mean score of fakes {outputs['score'][fakes].mean():.2f}, of reals {outputs['score'][~fakes].mean():.2f}")


if __name__ == "__main__":
    main()
