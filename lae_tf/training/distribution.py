"""Training on several devices and machines: who takes part, what they share, and the loop across machines.

However many devices compute, the result is that of one device with the same global batch, up to rounding.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from lae_tf.config.sections import PLACES, Config, StartConfig
from lae_tf.data.manifest import Manifest
from lae_tf.errors import LAEError, UsageError
from lae_tf.model.lae import LAE
from lae_tf.runtime import addons
from lae_tf.training.run import Run
from lae_tf.training.training_data import begun_with

JOBS = ("chief", "worker")
EXAMPLE = '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
# What TensorFlow raises where another machine does not answer.
UNREACHABLE = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError)


@dataclass(frozen=True)
class Cluster:
    """The machines that train together, and which of them this is.

    Attributes:
        tasks: (job, number) of each, as in TF_CONFIG; the first one is the chief, which alone writes the run.
        addresses: ``host:port`` of each.
        index: this machine's own place among them.
    """

    tasks: tuple[tuple[str, int], ...]
    addresses: tuple[str, ...]
    index: int

    @classmethod
    def from_environment(cls) -> Cluster | None:
        """Return what the environment variable TF_CONFIG says; None without it, or where it names one machine.

        Raises:
            UsageError: TF_CONFIG is not as TensorFlow defines it, or has jobs other than chief and worker.
        """
        text = os.environ.get("TF_CONFIG")
        if not text:
            return None
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise _bad(f"is not JSON ({error})") from None
        jobs = values.get("cluster") if isinstance(values, dict) else None
        if isinstance(values, dict) and not jobs:
            return None  # job services set it for a single machine too
        if not isinstance(jobs, dict) or not all(isinstance(job, list) for job in jobs.values()):
            raise _bad("has no 'cluster' with a list of addresses per job")
        other = sorted(set(jobs) - set(JOBS))
        if other:
            raise _bad(f"has the jobs {other}; training knows {list(JOBS)}")
        tasks = [(job, number) for job in JOBS for number in range(len(jobs.get(job, [])))]
        addresses = [jobs[job][number] for job, number in tasks]
        for address in addresses:
            if not isinstance(address, str) or not re.fullmatch(r"[^\s/]+:\d{1,5}", address):
                raise _bad(f"has the address {address!r}; expected host:port")
        if len(set(addresses)) < len(addresses):
            raise _bad("has an address twice")
        task = values.get("task")
        own = (task.get("type"), task.get("index")) if isinstance(task, dict) else None
        if own not in tasks:
            raise _bad(f"has the task {task!r}, which is not in its cluster")
        return cls(tuple(tasks), tuple(addresses), tasks.index(own)) if len(tasks) > 1 else None

    def name(self, index: int) -> str:
        """Return what to call a machine, for example ``worker 1 (host2:2222)``."""
        job, number = self.tasks[index]
        return f"{job} {number} ({self.addresses[index]})"

    @property
    def is_chief(self) -> bool:
        """Whether this machine is the one that writes the run."""
        return self.index == 0

    @contextlib.contextmanager
    def output(self, path: str) -> Iterator[str]:
        """Give the folder to write to: the run on the chief, elsewhere one that goes at the end.

        All do the same work, saving included, which reads variables across the machines.
        """
        if self.is_chief:
            yield path
            return
        with tempfile.TemporaryDirectory(prefix="lae-tf-worker-") as folder:
            yield folder

    @contextlib.contextmanager
    def lost_peers_explained(self) -> Iterator[None]:
        """Turn TensorFlow's report that another machine does not answer into one sentence.

        Raises:
            LAEError: names the machine, where TensorFlow does.
        """
        try:
            yield
        except UNREACHABLE as error:
            found = re.findall(r"/job:(\w+)(?:/replica:\d+)?/task:(\d+)", str(error))
            named = {(job, int(number)) for job, number in found}
            lost = [index for index, task in enumerate(self.tasks) if task in named and index != self.index]
            peer = self.name(lost[0]) if len(lost) == 1 else "another worker"
            raise LAEError(
                f"{self.name(self.index)} cannot reach {peer}; "
                "start all workers again with --resume, and they go on from the last complete epoch."
            ) from None


def _bad(what: str) -> UsageError:
    return UsageError(f"TF_CONFIG {what}; expected, for example, {EXAMPLE}.")


# --- strategies -------------------------------------------------------------------------------------------


def strategy_for(config: Config, cluster: Cluster | None) -> tf.distribute.Strategy:
    """Return the strategy in whose scope models are built; with a cluster, wait until all its machines are there.

    Raises:
        UsageError: the batch cannot be divided among the devices, or XLA is asked for on several machines.
        LAEError: this machine cannot listen at its address.
    """
    if cluster is not None:
        if config.hardware.xla:
            raise UsageError("hardware.xla does not go with several machines; set it to false.")
        try:
            strategy: tf.distribute.Strategy = tf.distribute.MultiWorkerMirroredStrategy()
        except tf.errors.OpError as error:
            raise LAEError(f"{cluster.name(cluster.index)} cannot join the others ({error.message}).") from None
    elif config.hardware.distribute == "mirrored":
        strategy = tf.distribute.MirroredStrategy()
    else:
        return tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    if config.data.batch_size % replicas:
        raise UsageError(f"data.batch_size {config.data.batch_size} is not a multiple of the {replicas} devices.")
    return strategy


def place(model: LAE, strategy: tf.distribute.Strategy) -> LAE:
    """Return a compiled model like this one, optimizer and all, with its variables on every device of the strategy.

    Its batch normalisation sees the whole batch, not one device's part of it. (Loading a file in the strategy's
    scope would be shorter, but Keras 2 cannot load metrics there.)
    """
    if strategy.num_replicas_in_sync == 1:
        return model
    compiled: Any = model.get_compile_config()
    with strategy.scope():
        placed: LAE = LAE.from_config(model.get_config())
        placed.compile_from_config(compiled)
    placed.jit_compile = model.jit_compile
    placed.set_weights(model.get_weights())
    for optimizer in ("optimizer", "discriminator_optimizer"):
        if hasattr(model, optimizer):
            theirs, ours = (getattr(each, optimizer).variables for each in (model, placed))
            for variable, value in zip(ours, theirs, strict=True):
                variable.assign(tf.convert_to_tensor(value))
    for layer in placed._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            addons.synchronize_normalization(layer)
    return placed


# --- what the machines share ------------------------------------------------------------------------------


def share_start(cluster: Cluster, strategy: tf.distribute.Strategy, run: Run, config: Config, data: Manifest) -> None:
    """Give every machine the checkpoints of the chief's run, so that all go on from the same epoch.

    Raises:
        UsageError: this machine has another configuration than the chief, or other data.
    """
    # Where things lie may differ from machine to machine.
    settings = config.model_dump(mode="json", exclude=PLACES)
    found = {"configuration": _digest(settings), "data": data.digest(), "start": _digest(_begins_with(config.start))}
    expected = json.loads(_from_chief(strategy, json.dumps(found).encode()))
    for what in found:
        if found[what] != expected[what]:
            raise UsageError(f"{cluster.name(cluster.index)} has another {what} than the chief; all need the same.")
    archive = io.BytesIO()
    if cluster.is_chief:
        with zipfile.ZipFile(archive, "w") as files:
            for path in run.checkpoints.glob("[!.]*"):
                files.write(path, path.relative_to(run.path))
    content = _from_chief(strategy, archive.getvalue())
    if not cluster.is_chief and content:
        with zipfile.ZipFile(io.BytesIO(content)) as files:
            files.extractall(run.path)


def _begins_with(start: StartConfig) -> list[Any]:
    return [begun_with(start), None if start.run is None else Run.open(start.run).model_digest()]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _from_chief(strategy: tf.distribute.Strategy, own: bytes) -> bytes:
    """Return the chief's bytes on every machine: a sum to which the others add nothing."""

    def chosen(values: Any) -> Any:
        context = tf.distribute.get_replica_context()
        mine = tf.where(tf.equal(context.replica_id_in_sync_group, 0), values, tf.zeros_like(values))
        return context.all_reduce(tf.distribute.ReduceOp.SUM, mine)

    def send(data: np.ndarray) -> np.ndarray:
        # As float32, which every device can add; bytes are exact in it.
        result = tf.function(strategy.run, autograph=False)(chosen, args=(tf.constant(data, tf.float32),))
        return strategy.experimental_local_results(result)[0].numpy().astype(np.uint8)

    (size,) = send(np.array([len(own)], np.int64).view(np.uint8)).view(np.int64)
    return send(np.resize(np.frombuffer(own or b"\0", np.uint8), size)).tobytes() if size else b""


# --- the loop ---------------------------------------------------------------------------------------------


class Epochs(NamedTuple):
    """What a stage is trained on.

    Attributes:
        training: this machine's share of every batch.
        steps: of one epoch.
        held_out: this machine's share of the validation batches.
        batch_size: images a step, over all devices.
        numbers: of the epochs to train.
    """

    training: tf.data.Dataset
    steps: int
    held_out: tf.data.Dataset
    batch_size: int
    numbers: range


def fit(
    strategy: tf.distribute.Strategy, model: LAE, epochs: Epochs, callbacks: Sequence[keras.callbacks.Callback]
) -> None:
    """Train across machines with the logs and callbacks of ``model.fit``, which Keras 3 does not offer there.

    Metrics are summed over all machines, so that their callbacks decide alike.

    Args:
        strategy: of the cluster; the model was built in its scope.
        model: compiled.
        epochs: what to train on.
        callbacks: the same ones on every machine.
    """
    images = epochs.batch_size // strategy.num_replicas_in_sync
    training, held_out = epochs.training, epochs.held_out
    batches = iter(strategy.distribute_datasets_from_function(lambda _: training.rebatch(images, drop_remainder=True)))
    validation = strategy.distribute_datasets_from_function(lambda _: held_out.rebatch(images))

    @tf.function(autograph=False)
    def train_everywhere(batch: Any) -> None:
        strategy.run(model.train_batch, args=(batch,))

    @tf.function(autograph=False)
    def evaluate_everywhere(batch: Any) -> None:
        strategy.run(model.evaluate_batch, args=(batch,))

    def results() -> dict[str, float]:
        values = {metric.name: float(metric.result()) for metric in model.metrics}
        model.reset_metrics()
        return values

    model.stop_training = False
    model.reset_metrics()
    told = keras.callbacks.CallbackList(list(callbacks), model=model, epochs=epochs.numbers.stop, steps=epochs.steps)
    told.on_train_begin()
    for epoch in epochs.numbers:
        told.on_epoch_begin(epoch)
        for step in range(epochs.steps):
            told.on_train_batch_begin(step)
            train_everywhere(next(batches))
            told.on_train_batch_end(step)
        logs = results()
        for batch in validation:
            evaluate_everywhere(batch)
        logs.update({f"val_{name}": value for name, value in results().items()})
        told.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    told.on_train_end()
