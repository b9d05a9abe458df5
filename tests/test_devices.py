"""Several devices, played by logical CPUs in a process of its own."""

import csv
import dataclasses
import os
import subprocess
import sys

import pytest

from kseg import devices
from kseg.errors import InputError
from tests.conftest import ROOT

TRAIN = """
import sys
from kseg import config, train
from pathlib import Path
{prepare}
sys.exit(train.train(config.read({config!r}), Path({out!r}), devices={count}))
"""
TWO_CPUS = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
"""


@pytest.mark.parametrize(
    ("count", "fields", "message"),
    [
        (3, {}, "batch_size 4 is no multiple"),
        (0, {}, "batch_size 4 is no multiple"),
        (4, {}, "there are 1: "),
        (2, {"gradient_accumulation_steps": 2}, "cannot accumulate gradients"),
    ],
)
def test_what_several_devices_cannot_do_is_refused(config, count, fields, message):
    with pytest.raises(InputError, match=message):
        devices.scope(count, dataclasses.replace(config, **fields))


def losses(folder, config, count, backend):
    """Trains in a new process; returns the loss of each epoch, training and validation."""
    folder.mkdir()
    (folder / "c.json").write_text(config.to_json())
    code = TRAIN.format(
        prepare=TWO_CPUS if backend == "tensorflow" else "",
        config=str(folder / "c.json"),
        out=str(folder / "run"),
        count=count,
    )
    environment = {"KERAS_BACKEND": backend}
    if backend == "jax":
        environment["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with (folder / "run" / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [float(row[name]) for row in rows for name in ("loss", "val_loss")]


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "tolerance"), [("tensorflow", 0.1), ("jax", 0.01)])
def test_two_devices_have_the_loss_curve_of_one(config, tmp_path, backend, tolerance):
    # Under TensorFlow batch norm sees each device's half of the batch alone; under JAX rounding
    # alone differs, and grows from step to step.
    if backend == "jax":
        pytest.importorskip("jax", reason="the extra `jax` is not installed")
    config = dataclasses.replace(
        config, epochs=2, loss="cross_entropy", optimizer="sgd", learning_rate=0.05
    )
    one, two = (losses(tmp_path / str(count), config, count, backend) for count in (1, 2))
    assert two == pytest.approx(one, rel=tolerance)
