"""Training over several machines: the result of one, a clear end when one dies, and what TF_CONFIG may say."""

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_dataset import make_config, write_dataset

from lae_tf.data.manifest import Manifest
from lae_tf.data.pipeline import evaluation_dataset, training_dataset
from lae_tf.data.sampling import Composition, Sampling
from lae_tf.model import load_model
from lae_tf.model.preprocessing import Preprocessor
from lae_tf.training.distribution import Cluster
from lae_tf.training.run import Run
from lae_tf.training.stages import train

# Machines add in another order than one does: float32 rounding, which AdamW's first steps enlarge.
LOSSES = {"rtol": 1e-4, "atol": 1e-5}
WEIGHTS = {"rtol": 1e-3, "atol": 2e-4}

# Worker 1 dies after the first of two steps of the second epoch.
DIES = """
import os, signal
from lae_tf.cli.main import main
from lae_tf.training.callbacks import ProgressBar

def die(self, batch, logs=None):
    if "2/" in self.bar.desc:
        os.kill(os.getpid(), signal.SIGKILL)

ProgressBar.on_train_batch_end = die
main()
"""


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def start_two(config_path, temporary, *options, second=("-m", "lae_tf.cli.main")):
    """Start both workers; ``second`` is what Python runs as worker 1."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    workers = []
    for index, code in enumerate([("-m", "lae_tf.cli.main"), second]):
        folder = temporary / f"tmp-{index}"
        folder.mkdir(exist_ok=True)
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {
            "TF_CONFIG": json.dumps(task),
            "TMPDIR": str(folder),
            "TF_NUM_INTRAOP_THREADS": "1",
            "PYTHONWARNINGS": "ignore",
        }
        workers.append(
            subprocess.Popen(
                [sys.executable, *code, "train", str(config_path), *options],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, **environment},
            )
        )
    return workers


def end(worker):
    out, err = worker.communicate(timeout=300)
    return SimpleNamespace(code=worker.returncode, out=out, err=err)


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """Two workers train, one is killed, both are started again; and one process trains alone."""
    folder = tmp_path_factory.mktemp("cluster")
    # The last batch of validation has one image: none for worker 1. 4 real, 5 fake, 4 forged on the fly.
    manifest = write_dataset(folder / "data", {"train": (6, 2, 2), "val": (4, 2, 1)})
    configs = {}
    for name in ("together", "alone"):
        configs[name] = make_config(
            manifest,
            folder / name,
            # A batch: 1 fake of unknown mask, 3 real, 2 forged. Worker 0 has two known masks, worker 1 three.
            data={"self_forged": 0.3, "batch_size": 6, "image_size": 16},
            model={"widths": [4, 8], "trunk": "none", "contrast": False},
            pretrain={"epochs": 2},
            align={"epochs": 0},
        )
        configs[name].write(folder / f"{name}.yaml")
    run = Run(folder / "together")
    broken = start_two(folder / "together.yaml", folder, second=("-c", DIES))
    alone = train(configs["alone"])
    first = [end(worker) for worker in broken]
    left = sorted(path.name for path in run.path.rglob("*"))
    after_first_epoch = load_model(run.checkpoints / "pretrain-0001.keras").get_weights()
    (orphan,) = (folder / "tmp-1").glob("lae-tf-worker-*")
    second = [end(worker) for worker in start_two(folder / "together.yaml", folder, "--resume")]
    assert [worker.code for worker in second] == [0, 0], second[0].err + second[1].err
    return SimpleNamespace(
        folder=folder,
        run=run,
        alone=alone,
        first=first,
        second=second,
        left=left,
        after_first_epoch=after_first_epoch,
        worker_run=Run(orphan),
    )


def test_both_workers_see_the_same(story):
    """What the killed one left in its own temporary folder is what the chief wrote."""
    (worker_row,) = story.worker_run.read_metrics()
    assert worker_row == story.run.read_metrics()[0]
    weights = load_model(story.worker_run.checkpoints / "pretrain-0001.keras").get_weights()
    for one, other in zip(weights, story.after_first_epoch, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_killed_worker_ends_the_other(story):
    chief, killed = story.first
    assert killed.code == -signal.SIGKILL
    assert chief.code == 1 and "Traceback" not in chief.err
    (sentence,) = [line for line in chief.err.splitlines() if "Error" in line]
    assert "worker 0 (127.0.0.1:" in sentence and "cannot reach worker 1 (127.0.0.1:" in sentence
    assert "--resume" in sentence
    assert "pretrain-0001.keras" in story.left and "model.keras" not in story.left
    assert not [name for name in story.left if "tmp" in name]


def test_the_resumed_run_is_that_of_one_process(story):
    together, alone = story.run.read_metrics(), story.alone.read_metrics()
    assert [row["epoch"] for row in together] == [1, 2]
    for one, other in zip(together, alone, strict=True):
        assert one.keys() == other.keys()
        for name in sorted(set(one) - {"stage"}):
            np.testing.assert_allclose(one[name], other[name], **LOSSES, err_msg=name)
    models = [load_model(run.checkpoints / "pretrain-0002.keras") for run in (story.run, story.alone)]
    for one, other in zip(*(model.trainable_variables for model in models), strict=True):
        np.testing.assert_allclose(np.array(one), np.array(other), **WEIGHTS, err_msg=one.name)


def test_only_the_chief_writes_the_run(story):
    chief, worker = story.second
    assert f"Model: {story.run.model_path}" in chief.out
    assert "worker 0 (127.0.0.1:" in worker.out and "wrote the run" in worker.out
    # The killed worker's folder is all that is left of the four.
    assert [path.parent.name for path in story.folder.glob("tmp-*/lae-tf-*")] == ["tmp-1"]


# --- each machine's share of a batch ----------------------------------------------------------------------


@pytest.mark.parametrize("machines", [2, 3])
def test_the_shares_of_all_machines_are_the_batch(tiny_manifest, tiny_config, machines):
    part = Manifest.read(tiny_manifest).select(split="train")
    sampling = Sampling(6, seed=1, epochs=range(1, 3), composition=Composition.pretrain(6, 0.3))

    def dataset_of(share):
        return training_dataset(part, Preprocessor(16), replace(sampling, share=share), tiny_config.augment)

    whole, steps = dataset_of((0, 1))
    shares = [dataset_of((i, machines))[0] for i in range(machines)]
    assert_interleaved(whole, shares, 2 * steps)


@pytest.mark.parametrize("machines", [2, 3])
def test_the_shares_of_all_machines_are_the_validation_batch(tiny_manifest, machines):
    part = Manifest.read(tiny_manifest).select(split="val")
    arguments = (Manifest(part.frame.iloc[1:], part.root), Preprocessor(16), 6)
    whole = evaluation_dataset(*arguments, forge_seed=5)
    shares = [evaluation_dataset(*arguments, forge_seed=5, share=(i, machines)) for i in range(machines)]
    assert_interleaved(whole, shares, 5)  # 10 fake and 9 real images, and 9 forged: the last batch has 4


def assert_interleaved(whole, shares, batches):
    expected = list(whole.as_numpy_iterator())
    assert len(expected) == batches
    for batch, *parts in zip(expected, *(share.as_numpy_iterator() for share in shares), strict=True):
        for name, values in batch.items():
            for index, part in enumerate(parts):
                np.testing.assert_array_equal(part[name], values[index :: len(parts)])


# --- TF_CONFIG --------------------------------------------------------------------------------------------

TWO = {"worker": ["a:1", "b:2"]}


def tf_config(cluster, job, index):
    return json.dumps({"cluster": cluster, "task": {"type": job, "index": index}})


def test_the_chief_comes_first(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", tf_config({"worker": ["b:2", "c:3"], "chief": ["a:1"]}, "worker", 1))
    cluster = Cluster.from_environment()
    assert cluster.addresses == ("a:1", "b:2", "c:3") and cluster.index == 2 and not cluster.is_chief
    assert cluster.name(0) == "chief 0 (a:1)"
    monkeypatch.setenv("TF_CONFIG", tf_config(TWO, "worker", 0))
    assert Cluster.from_environment().is_chief


@pytest.mark.parametrize("text", ["", "{}", '{"environment": "cloud"}', tf_config({"chief": ["a:1"]}, "chief", 0)])
def test_one_machine_is_no_cluster(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    assert Cluster.from_environment() is None


@pytest.mark.parametrize(
    "text, what",
    [
        ("{", "is not JSON"),
        ("[1]", "no 'cluster'"),
        ('{"cluster": {"worker": "a:1"}}', "no 'cluster' with a list"),
        (tf_config({**TWO, "ps": ["c:3"]}, "worker", 0), "jobs ['ps']"),
        (tf_config({"worker": ["a", "b:2"]}, "worker", 0), "address 'a'"),
        (tf_config({"worker": ["a:1", "a:1"]}, "worker", 0), "address twice"),
        (tf_config(TWO, "worker", 2), "not in its cluster"),
        (tf_config(TWO, ["worker"], 0), "not in its cluster"),
        (json.dumps({"cluster": TWO}), "not in its cluster"),
    ],
)
def test_a_bad_tf_config_is_one_sentence(monkeypatch, lae_tf_command, tiny_config, tmp_path, text, what):
    monkeypatch.setenv("TF_CONFIG", text)
    tiny_config.write(tmp_path / "config.yaml")
    code, _, err = lae_tf_command("train", tmp_path / "config.yaml", "--output", tmp_path / "run")
    assert code == 2 and "TF_CONFIG" in err and what in err and "Traceback" not in err
    assert len(err.splitlines()) == 1 and not (tmp_path / "run").exists()
