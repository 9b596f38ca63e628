"""Times PyTorch or ONNX Runtime in a process of its own, which works when it is asked and is still otherwise.

Started by ``compare.py``, one of:

    worker.py torch WEIGHTS.npz THREADS         the twin, in three forms: contiguous, channels_last, compiled
    worker.py onnx NAME=MODEL.onnx... THREADS   the models as they are

Requests and answers are lines of JSON: ``{"task": "train", "form": "compiled", "batch": "batch.npz", "steps": 4}``
gives ``{"seconds": 2.1}``; with ``"out"`` the outputs are written there instead.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

Request = dict[str, Any]


class TorchSide:
    """The twin in each form, with one optimizer each."""

    def __init__(self, weights: str, threads: int) -> None:
        import torch
        from network import Twin, load_weights

        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.torch = torch
        arrays = dict(np.load(weights))
        self.forms: dict[str, Any] = {}
        for form in ("contiguous", "channels_last", "compiled"):
            twin = Twin(trunk=any(name.startswith("robust/") for name in arrays))
            load_weights(twin, arrays)
            if form != "contiguous":
                twin.to(memory_format=torch.channels_last)
            optimizer = torch.optim.AdamW(twin.parameters(), 1e-3, eps=1e-7, weight_decay=1e-4)
            # The route depends on values, at which a compiled graph would break.
            decision = partial(twin.decision, routed=form != "compiled")
            calls = {"train": twin.loss, "everything": twin.everything, "decision": decision}
            if form == "compiled":
                calls = {name: torch.compile(call) for name, call in calls.items()}
            self.forms[form] = (twin, optimizer, calls)

    def prepare(self, request: Request) -> Callable[[], dict[str, Any]]:
        torch, task = self.torch, request["task"]
        twin, optimizer, calls = self.forms[request["form"]]
        layout = torch.contiguous_format if request["form"] == "contiguous" else torch.channels_last
        batch = {}
        for name, array in np.load(request["batch"]).items():
            one = torch.from_numpy(array)
            batch[name] = one.permute(0, 3, 1, 2).contiguous(memory_format=layout) if one.ndim == 4 else one
        if "gate" in request and twin.gate is not None:
            with torch.no_grad():
                twin.gate.layers["evidence"].weight.zero_()
                twin.gate.layers["evidence"].bias.fill_(request["gate"])

        def train() -> dict[str, Any]:
            twin.train()
            optimizer.zero_grad()
            loss = calls["train"](batch)
            loss.backward()
            optimizer.step()
            return {"loss": loss.detach()}

        def predict() -> dict[str, Any]:
            twin.eval()
            with torch.inference_mode():
                return calls[task](batch["image"])

        return train if task == "train" else predict


class OnnxSide:
    """Sessions by their names, which are those of the tasks."""

    def __init__(self, models: list[str], threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        paths = dict(model.split("=", 1) for model in models)
        self.sessions = {
            name: onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            for name, path in paths.items()
        }

    def prepare(self, request: Request) -> Callable[[], dict[str, Any]]:
        session = self.sessions[request["task"]]
        images = np.load(request["batch"])["image"]
        name = session.get_inputs()[0].name
        outputs = [output.name for output in session.get_outputs()]
        return lambda: dict(zip(outputs, session.run(None, {name: images}), strict=True))


def answer(side: TorchSide | OnnxSide, request: Request) -> dict[str, Any]:
    step = side.prepare(request)
    if "out" in request:
        np.savez(request["out"], **step())
        return {}
    start = time.perf_counter()
    for _ in range(request["steps"]):
        step()
    return {"seconds": time.perf_counter() - start}


def main() -> None:
    kind, *models, threads = sys.argv[1:]
    side = TorchSide(models[0], int(threads)) if kind == "torch" else OnnxSide(models, int(threads))
    for line in sys.stdin:
        try:
            found = answer(side, json.loads(line))
        except Exception as error:  # torch.compile raises whatever its compiler does
            found = {"error": f"{type(error).__name__}: {error}"[:500]}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
