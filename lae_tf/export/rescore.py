"""Scores golden images with an export, as a program of its own: it imports TensorFlow, LiteRT or ONNX Runtime alone.

Usage: rescore.py MODEL GOLDEN. MODEL is a SavedModel's folder, or a ``.tflite`` or ``.onnx`` file; GOLDEN is a
folder with golden.json. Prints one JSON object: scores and logits, each image on its own (``single``) and all
in one batch (``batch``).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Scorer = Callable[[Any], dict[str, Any]]


def saved_model(path: Path) -> Scorer:
    import tensorflow as tf

    signature = tf.saved_model.load(str(path)).signatures["serving_default"]

    def score(images: list[dict[str, Any]]) -> dict[str, Any]:
        inputs = {"image_bytes": tf.constant([image["data"] for image in images], tf.string)}
        if "faces" in images[0]:
            inputs["faces"] = tf.constant([image["faces"] for image in images], tf.int32)
        return {name: value.numpy() for name, value in signature(**inputs).items()}

    return score


def tflite(path: Path) -> Scorer:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    runner = interpreter.get_signature_runner()
    return lambda images: runner(image=images)


def onnx(path: Path) -> Scorer:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(names, {"image": images}), strict=True))


def main(model: Path, golden: Path) -> None:
    record = json.loads((golden / "golden.json").read_text(encoding="utf-8"))
    scorer = saved_model(model) if model.is_dir() else {".tflite": tflite, ".onnx": onnx}[model.suffix](model)
    inputs: Any
    if "pixels" in record:
        inputs = np.load(golden / record["pixels"], allow_pickle=False)
    else:
        inputs = [{**image, "data": (golden / image["file"]).read_bytes()} for image in record["images"]]
    single = [scorer(inputs[i : i + 1]) for i in range(len(inputs))]
    batch = scorer(inputs)
    foreign = {"lae_tf", "tensorflow_addons"} & set(sys.modules)
    if foreign:
        raise SystemExit(f"loading the export imported {sorted(foreign)}")
    answer = {
        "single": {name: [float(one[name][0]) for one in single] for name in ("score", "logit")},
        "batch": {name: [float(value) for value in batch[name]] for name in ("score", "logit")},
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
