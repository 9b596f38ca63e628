"""Draws how the cost of one image grows with its size: processor seconds and peak memory of a prediction in each view.

Usage: python benchmarks/growth.py OUT.png [--megapixels 0.1 0.4 1.5 4 12 48] [--repetitions 3]

Models are untrained, as costs do not depend on weights but by the gate, which is asked to let both experts speak: no
image costs more. Each size and view is measured in a process of its own, on scikit-image's photograph of a rocket,
enlarged and saved as JPEG 90; decoding counts, starting does not.
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
VIEWS = ("whole", "windows")


def measure(view: str, megapixels: float, repetitions: int) -> dict[str, float | str]:
    """Return the least processor seconds of a prediction, and by how much it raised the peak memory, in MB."""
    import cv2
    from skimage.data import rocket

    from lae_tf.cli.quiet import import_tensorflow

    import_tensorflow()
    from lae_tf.model.lae import LAE
    from lae_tf.predict.images import predict_files

    photograph = rocket()
    share = (1e6 * megapixels / photograph[..., 0].size) ** 0.5
    with tempfile.TemporaryDirectory() as folder:
        small, large = (str(Path(folder) / name) for name in ("small.jpg", "large.jpg"))
        grown = cv2.resize(photograph, (0, 0), fx=share, fy=share, interpolation=cv2.INTER_CUBIC)
        for file, image in ((small, photograph), (large, grown)):
            cv2.imwrite(file, image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
        del grown, image
        model = LAE(image_size=128, view=view)
        evidence = model.encoder.get_layer("gate").get_layer("evidence")
        evidence.set_weights([0 * values for values in evidence.get_weights()])
        for _ in range(10):  # graphs are traced at the first answers, that of decisions at the ninth
            list(predict_files(model, [small]))
        before, seconds = _peak(), []
        for _ in range(repetitions):
            start = time.process_time()
            (found,) = predict_files(model, [large])
            seconds.append(time.process_time() - start)
            if found.error:
                raise SystemExit(found.error)
    return {"view": view, "megapixels": megapixels, "seconds": min(seconds), "memory": _peak() - before}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def draw(rows: list[dict[str, float | str]], file: Path) -> None:
    """Draw processor seconds and memory against megapixels, a line a view."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.4), layout="constrained")
    for axes, (key, title) in zip(
        figure.subplots(1, 2), (("seconds", "processor seconds"), ("memory", "memory, MB")), strict=True
    ):
        for view in VIEWS:
            points = [(row["megapixels"], row[key]) for row in rows if row["view"] == view]
            axes.plot(*zip(*points, strict=True), marker="o", label=view)
        axes.set(xscale="log", yscale="log", xlabel="megapixels of the image", title=title)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(file, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--megapixels", type=float, nargs="+", default=[0.1, 0.4, 1.5, 4, 12, 48])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("VIEW", "MEGAPIXELS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        view, megapixels = arguments.one
        print(json.dumps(measure(view, float(megapixels), arguments.repetitions)))
        return
    rows = []
    print(f"{'view':>8} {'megapixels':>10} {'CPU s':>8} {'memory MB':>10}")
    for view in VIEWS:
        for megapixels in arguments.megapixels:
            command = [sys.executable, __file__, str(arguments.out), "--one", view, str(megapixels)]
            command += ["--repetitions", str(arguments.repetitions)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            rows.append(json.loads(done.stdout))
            print("{view:>8} {megapixels:10.1f} {seconds:8.2f} {memory:10.0f}".format(**rows[-1]), flush=True)
    draw(rows, arguments.out)
    print(f"Written: {arguments.out}")


if __name__ == "__main__":
    main()
