"""Compares the default LAE with a PyTorch twin and with ONNX Runtime: same network, weights and cores, by turns.

Usage: python benchmarks/twin/compare.py [--trunk none] [--repetitions 7] [--environment build/torch] [--json OUT]

PyTorch and ONNX Runtime live in an environment of their own, which is made where it is missing (5 GB: PyTorch's wheel
for Linux brings CUDA) and is no dependency of the project; exporting takes the extra ``onnx``. Each side is a process
that stands still while the others work. In every repetition each of them is timed once, so that all meet the same load
of the machine; ratios are taken within a repetition. Before any time the outputs and the loss of a training step are
compared.

train        one step on 16 images and their degraded copies: ``fit``, the twin's loop
everything   ``predict_on_batch``: score, logit, attention, reconstruction, latent; of both experts
decision     ``decide_on_batch``: logit and map, and beside it ONNX Runtime on the project's own export, which has the
             score alone. With a trunk twice: where the gate is sure that images are as they were stored, of which both
             experts tell, and sure that they are not; ONNX Runtime and the compiled twin always ask both experts
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
BATCH, SIZE = 16, 128
GATES = {"stored": 4.0, "degraded": -4.0}
"""Evidence of the gate by what it takes images for."""
WARM_UP = 10
"""Steps of each side before any is timed: `decide_on_batch` traces its graph at the ninth."""
PACKAGES = ("torch", "onnxruntime", "numpy")


def environment_python(folder: Path) -> Path:
    """Return the Python of the environment, made if need be."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return python


class Worker:
    """A process that times steps when it is asked."""

    def __init__(self, python: Path, *arguments: object) -> None:
        command = [str(python), str(Path(__file__).with_name("worker.py")), *map(str, arguments)]
        # Of its own environment alone.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=kept)

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(self.process.args)} ended: {request}")  # type: ignore[arg-type]
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def seconds(self, **request: Any) -> float:
        return float(self.ask(**request)["seconds"])

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def make_batch() -> dict[str, np.ndarray]:
    """Return coarse random texture with fine noise; half are fake, with a square mask; half of these are degraded."""
    rng = np.random.default_rng(0)
    coarse = rng.random((BATCH, SIZE // 8, SIZE // 8, 3)).repeat(8, axis=1).repeat(8, axis=2)
    images = (0.8 * coarse + 0.2 * rng.random((BATCH, SIZE, SIZE, 3))).astype(np.float32)
    label = (np.arange(BATCH) % 2).astype(np.float32)[:, None]
    mask = np.zeros((BATCH, SIZE, SIZE, 1), np.float32)
    mask[1::2, 32:64, 32:96] = 1
    degraded = images.copy()
    degraded[::4] = np.round(degraded[::4] * 31) / 31
    return {"image": images, "degraded": degraded, "label": label, "mask": mask, "mask_weight": np.ones_like(label)}


class LaeSide:
    """The project's own model, timed in this process."""

    def __init__(self, trunk: str) -> None:
        import keras
        import tensorflow as tf

        from lae_tf.config.sections import Config
        from lae_tf.runtime.allocator import keep_freed_memory
        from lae_tf.training.build import build_model, compile_model

        keep_freed_memory()  # as the commands do
        keras.utils.set_random_seed(0)
        model_config = {"trunk": trunk, "trunk_weights": None}
        config = Config.parse({"data": {"manifest": "-", "image_size": SIZE}, "model": model_config})
        self.model = build_model(config)
        compile_model(self.model, config, config.align, steps=1000)
        # Statistics of a new model are all 0 and 1, and would hide one that was mistaken for another.
        rng = np.random.default_rng(1)
        for layer in self._layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.set_weights([value + rng.uniform(0, 0.2, value.shape) for value in layer.get_weights()])
        self.batch = {name: tf.constant(value) for name, value in make_batch().items()}
        self.dataset = tf.data.Dataset.from_tensors(self.batch)

    def _parts(self) -> dict[str, Any]:
        encoder, decoder = self.model.encoder, self.model.decoder
        if self.model.hyperparameters.trunk == "none":
            return {"fine": encoder, "decoder": decoder}
        return {**{name: encoder.get_layer(name) for name in ("fine", "robust", "gate")}, "decoder": decoder}

    def _layers(self) -> list[Any]:
        return [layer for layers in self.layers_by_part().values() for layer in layers]

    def layers_by_part(self) -> dict[str, list[Any]]:
        found = {}
        for name, part in self._parts().items():
            nested = [inner for layer in part.layers for inner in getattr(layer, "layers", [layer])]
            found[name] = [layer for layer in nested if layer.get_weights()]
        return found

    def weights(self) -> dict[str, np.ndarray]:
        """Return the weights by part, layer and number."""
        arrays = {
            f"{part}/{layer.name}/{number}": value
            for part, layers in self.layers_by_part().items()
            for layer in layers
            for number, value in enumerate(layer.get_weights())
        }
        head = self.model.head
        return {**arrays, "head/kernel": head.kernel.numpy(), "head/bias": head.bias.numpy()}

    def set_gate(self, evidence: float) -> None:
        if self.model.hyperparameters.trunk != "none":
            layer = self.model.encoder.get_layer("gate").get_layer("evidence")
            kernel, bias = layer.get_weights()
            layer.set_weights([0 * kernel, 0 * bias + evidence])

    def outputs(self, task: str) -> dict[str, np.ndarray]:
        images = self.batch["image"]
        if task == "train":
            return {"loss": np.asarray(self.model.train_on_batch(self.batch, return_dict=True)["loss"])}
        if task == "everything":
            return dict(self.model.predict_on_batch(images))
        logit, evidence = self.model.decide_on_batch(images)
        return {"logit": logit[:, None], "map_logits": evidence}

    def seconds(self, task: str, steps: int) -> float:
        start = time.perf_counter()
        if task == "train":
            self.model.fit(self.dataset.repeat(steps), verbose=0, shuffle=False)
        else:
            for _ in range(steps):
                self.outputs(task)
        return time.perf_counter() - start

    def export(self, folder: Path) -> dict[str, Path]:
        """Write ONNX files: the project's own export, and the same conversion with what each task wants."""
        import tensorflow as tf
        import tf2onnx

        from lae_tf.export.converters import write_onnx

        spec = [tf.TensorSpec((None, SIZE, SIZE, 3), tf.float32, name="image")]

        def decision(images: tf.Tensor) -> dict[str, tf.Tensor]:
            found = self.model.forward(images, training=False)
            return {name: found[name] for name in ("logit", "map_logits")}

        calls = {"everything": lambda images: self.model(images, training=False), "decision": decision}
        paths = {name: folder / f"{name}.onnx" for name in ("score", *calls)}
        write_onnx(self.model, paths["score"])
        for name, call in calls.items():
            function = tf.function(call, input_signature=spec, autograph=False)
            tf2onnx.convert.from_function(function, spec, opset=17, output_path=str(paths[name]))
        return paths


TASKS = ("train", "everything", "decision")
FORMS = ("contiguous", "channels_last", "compiled")
Timer = Callable[[int], float]
Contests = dict[str, dict[str, Timer]]


def contests(lae: LaeSide, torch: Worker, onnx: Worker, batch: str, forms: Sequence[str]) -> Contests:
    """Return who takes part in which task, the project first."""

    def ours(task: str, evidence: float | None = None) -> Timer:
        def timer(steps: int) -> float:
            if evidence is not None:
                lae.set_gate(evidence)
            return lae.seconds(task, steps)

        return timer

    def twin(task: str, form: str) -> Timer:
        return lambda steps: torch.seconds(task=task, form=form, batch=batch, steps=steps)

    def exported(task: str) -> Timer:
        return lambda steps: onnx.seconds(task=task, batch=batch, steps=steps)

    twins = {task: {f"PyTorch {form}": twin(task, form) for form in forms} for task in ("train", "everything")}
    found = {"train": {"lae_tf": ours("train"), **twins["train"]}}
    found["everything"] = {
        "lae_tf": ours("everything", GATES["stored"]),
        **twins["everything"],
        "ONNX Runtime": exported("everything"),
    }

    def gated(evidence: float, form: str) -> Timer:
        def timer(steps: int) -> float:
            return torch.seconds(task="decision", form=form, batch=batch, steps=steps, gate=evidence)

        return timer

    gates = {"": 0.0} if lae.model.hyperparameters.trunk == "none" else {f", {k}": v for k, v in GATES.items()}
    for gate, evidence in gates.items():
        found[f"decision{gate}"] = {
            "lae_tf": ours("decision", evidence),
            **{f"PyTorch {form}": gated(evidence, form) for form in forms},
            "ONNX Runtime": exported("decision"),
            "ONNX Runtime, score alone": exported("score"),
        }
    return found


def compare_outputs(lae: LaeSide, torch: Worker, onnx: Worker, folder: Path) -> dict[str, float]:
    """Return the largest differences of outputs and of a training step's loss from the project's own."""
    batch, out = str(folder / "batch.npz"), str(folder / "out.npz")
    twin = {"form": "contiguous"}
    asked = [
        *(("ONNX Runtime", onnx, task, {}) for task in ("everything", "decision")),
        *(("PyTorch", torch, task, twin) for task in ("everything", "decision", "train")),
    ]
    differences = {}
    for name, worker, task, request in asked:
        worker.ask(task=task, batch=batch, out=out, **request)
        theirs = dict(np.load(out))
        for output, values in lae.outputs(task).items():
            gap = float(np.abs(values - theirs[output]).max())
            differences[f"{name}, {task}: {output}"] = gap
    return differences


def measure(timers: dict[str, Timer], seconds: float, repetitions: int) -> dict[str, list[float]]:
    """Return images a second of each side in each repetition, taken by turns; a side that fails is left out."""
    steps = {}
    for name, timer in timers.items():
        try:
            timer(WARM_UP)  # traces, compiles
            steps[name] = max(2, round(seconds / timer(1)))
        except RuntimeError as error:
            print(f"{name} is left out: {error}")
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for repetition in range(repetitions):
        for name in sorted(steps, reverse=repetition % 2 == 1):
            rates[name].append(steps[name] * BATCH / timers[name](steps[name]))
    return rates


def spread(values: list[float], digits: int) -> str:
    """Return median and range as text."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def show(task: str, rates: dict[str, list[float]]) -> None:
    """Print a task's rows; a ratio is the project's rate over the row's in the same repetition."""
    for name, found in rates.items():
        ratios = [ours / theirs for ours, theirs in zip(rates["lae_tf"], found, strict=True)]
        print(f"| {task} | {name} | {spread(found, 0)} | {spread(ratios, 2)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trunk", choices=("efficientnet-lite0", "none"), default="efficientnet-lite0")
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each side in each repetition")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS, help="of the twin; compiling takes minutes")
    parser.add_argument("--environment", type=Path, default=Path("build/torch"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    python = environment_python(options.environment)

    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    lae = LaeSide(options.trunk)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / "batch.npz", **make_batch())
        np.savez(folder / "weights.npz", **lae.weights())
        exported = [f"{task}={path}" for task, path in lae.export(folder).items()]
        torch = Worker(python, "torch", folder / "weights.npz", options.threads)
        onnx = Worker(python, "onnx", *exported, options.threads)
        differences = compare_outputs(lae, torch, onnx, folder)
        for what, gap in differences.items():
            print(f"{what:<45} {gap:.1e}")
        print("\n| task | side | images/s | lae_tf's rate over it |\n|:--|:--|--:|--:|")
        rates = {}
        for task, timers in contests(lae, torch, onnx, str(folder / "batch.npz"), options.forms).items():
            if task.partition(",")[0] not in options.tasks:
                continue
            rates[task] = measure(timers, options.seconds, options.repetitions)
            show(task, rates[task])
        torch.close()
        onnx.close()
    if options.json:
        settings = {"trunk": options.trunk, "threads": options.threads, "batch": BATCH, "size": SIZE}
        options.json.write_text(json.dumps({**settings, "differences": differences, "images/s": rates}, indent=1))


if __name__ == "__main__":
    main()
