"""Training on several devices, simulated by logical CPUs in a separate process."""

import csv
import dataclasses
import json
import os
import socket
import subprocess
import sys
import time

import pytest

from kseg.errors import InputError
from kseg.model_names import LOSSES
from kseg.training import distributed, host_watch
from tests.conftest import JAX, ROOT, XLA_FLAGS

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
        (3, {}, "--devices 3: batch_size 4"),
        (0, {}, "--devices 0: batch_size 4"),
        (4, {}, "--devices 4: there are 1"),
        (2, {"gradient_accumulation_steps": 2}, "--gradient-accumulation-steps 1"),
        (2, {"xla": True}, "--no-xla"),
    ],
)
def test_unsupported_settings_are_refused(config, count, fields, message):
    with pytest.raises(InputError, match=message):
        distributed.scope(count, dataclasses.replace(config, **fields))


@pytest.mark.parametrize("devices", [3, pytest.param(2, marks=pytest.mark.slow)])
def test_every_loss_and_its_updates_are_those_of_one_device(devices):
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.losses_on_devices", str(devices)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    errors = json.loads(done.stdout)
    assert errors.keys() > set(LOSSES)
    for name, (error, error_without_sums) in errors.items():
        # Losses and weights are below 5: a few units in the last place of float32.
        assert error < 1e-6, name
        assert error_without_sums > 0.01, name


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
        environment["XLA_FLAGS"] = f"{XLA_FLAGS} --xla_force_host_platform_device_count=2"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return history(folder / "run")


def history(run):
    with (run / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [float(row[name]) for row in rows for name in ("loss", "val_loss")]


@pytest.fixture(scope="module")
def two_steps(config):
    """One epoch of two steps. Sums over devices round differently, and batch norm amplifies this a
    hundredfold per step, so later losses cannot be compared. Twice the learning rate changes the
    loss by 0.13 %, two devices by 0.01 %."""
    return dataclasses.replace(
        config,
        epochs=1,
        batch_size=12,
        loss="dice+cross_entropy",
        optimizer="sgd",
        schedule="constant",
        learning_rate=0.02,
    )


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_devices_have_the_losses_of_one(two_steps, tmp_path, backend):
    if backend == "jax":
        pytest.importorskip("jax", reason="the extra `jax` is not installed")
    if backend == "tensorflow":
        # No dropout: each device draws its own.
        two_steps = dataclasses.replace(two_steps, model="unet", decoder_channels=8)
    one, two = (losses(tmp_path / str(count), two_steps, count, backend) for count in (1, 2))
    assert two == pytest.approx(one, rel=2e-4 if backend == "tensorflow" else 5e-4)


HOST = """
import os, sys
from kseg import config, train
from pathlib import Path
hosts = ["127.0.0.1:{port}"] * 2
sys.exit(train.train(config.read({config!r}), Path({out!r}), hosts=hosts, host={host}))
"""


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def train_on_two_hosts(config, folder):
    """Trains in two processes on loopback; returns the exit codes and the loss of each epoch."""
    (folder / "c.json").write_text(config.to_json())
    port = free_port()
    codes = [
        HOST.format(port=port, config=str(folder / "c.json"), out=str(folder / "run"), host=host)
        for host in range(2)
    ]
    # Into files: a full pipe that nobody reads would block a host, and with it the other.
    logs = [(folder / f"host{host}.log").open("w+") for host in range(2)]
    environment = os.environ | JAX
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
        for code, log in zip(codes, logs, strict=True)
    ]
    try:
        done = [process.wait(timeout=900) for process in processes]
    finally:
        for process in processes:
            process.kill()
        for log in logs:
            log.close()
    texts = [(folder / f"host{host}.log").read_text()[-3000:] for host in range(2)]
    assert done == [0, 0], "\n".join(texts)
    return history(folder / "run")


@pytest.mark.slow
def test_two_hosts_have_the_losses_of_one_and_resume(two_steps, tmp_path):
    pytest.importorskip("jax", reason="the extra `jax` is not installed")
    one = losses(tmp_path / "one", two_steps, 1, "jax")
    (tmp_path / "two").mkdir()
    two = train_on_two_hosts(dataclasses.replace(two_steps, epochs=2), tmp_path / "two")
    assert two[:2] == pytest.approx(one, rel=5e-4)
    state = json.loads((tmp_path / "two/run/last/previous.json").read_text())
    (tmp_path / "two/run/last/state.json").write_text(json.dumps(state))
    again = train_on_two_hosts(dataclasses.replace(two_steps, epochs=2), tmp_path / "two")
    assert again == pytest.approx(two, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("host", "message"), [(0, "1 of 2 hosts connected"), (1, "nobody listens at ")]
)
def test_a_missing_host_is_reported_after_the_timeout(host, message):
    pytest.importorskip("jax", reason="the extra `jax` is not installed")
    code = (
        "from kseg.training import distributed; from kseg.errors import run\n"
        f"hosts = ['127.0.0.1:{free_port()}'] * 2\n"
        f"raise SystemExit(run(distributed.join(hosts, {host}, 'run', wait_s=5).__enter__))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": "jax"},
        check=False,
    )
    assert done.returncode == 2, done.stderr[-2000:]
    assert f"error: --hosts: {message}" in done.stderr and "5 s" in done.stderr


JOINED = """
import sys, time
import numpy as np
from kseg.errors import InputError, run
from kseg.training import distributed

def main():
    with distributed.join(["127.0.0.1:{port}"] * 3, {host}, "RUN"):
        from jax.experimental import multihost_utils

        multihost_utils.process_allgather(np.zeros(1))
        print("joined", flush=True)
        if {host} == 1 and {fails}:
            raise InputError("a bad record")
        while True:
            multihost_utils.process_allgather(np.zeros(1))

sys.exit(run(main))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("fails", "code"), [(True, 2), (False, -9)], ids=["error", "kill -9"])
def test_the_end_of_one_host_ends_the_others_with_one_line(tmp_path, fails, code):
    pytest.importorskip("jax", reason="the extra `jax` is not installed")
    port, environment = free_port(), os.environ | {"KERAS_BACKEND": "jax"}
    processes = []
    for host in range(3):
        script = JOINED.format(port=port, host=host, fails=fails)
        with (tmp_path / f"{host}.log").open("w") as log:
            argv = [sys.executable, "-c", script]
            processes.append(
                subprocess.Popen(argv, cwd=ROOT, env=environment, stderr=log, stdout=log)
            )
    try:
        while not fails and "joined" not in (tmp_path / "1.log").read_text():
            assert processes[1].poll() is None, (tmp_path / "1.log").read_text()
            time.sleep(0.05)
        if not fails:
            processes[1].kill()
        codes = [process.wait(timeout=600) for process in processes]
    finally:
        for process in processes:
            process.kill()
    texts = [(tmp_path / f"{host}.log").read_text() for host in range(3)]
    assert codes == [host_watch.EXIT_CODE, code, host_watch.EXIT_CODE], texts
    for text in (texts[0], texts[2]):
        lines = [line for line in text.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1 and "host 1 (127.0.0.1" in lines[0] and "RUN" in lines[0], text
        assert "Traceback" not in text and text.rstrip().endswith(lines[0])
    assert not fails or texts[1].rstrip().endswith("error: a bad record")


def test_several_hosts_need_jax():
    hosts = distributed.join(["a:1", "b:1"], 0, "run")
    with pytest.raises(InputError, match=r"--hosts.*tensorflow.*jax"), hosts:
        pass
