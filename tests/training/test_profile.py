"""kseg.train --profile: where the time of training steps goes."""

import dataclasses
import os
import subprocess
import sys

import pytest

from kseg import train
from kseg.training import profile
from tests.conftest import ROOT, assert_one_line, command

# Fits a network of one convolution, five of whose steps are recorded, and prints how they divide.
FIT = """
import sys, time
import keras, numpy as np, tensorflow as tf
from kseg.training import profile
from kseg.training.step_callbacks import StepCallbacks
slow, folder = sys.argv[1:]

def batches():
    for _ in range(40):
        time.sleep(0.2 * (slow == "input"))
        yield np.ones((1, 8, 8, 1), np.float32), np.ones((1, 8, 8, 1), np.float32)

class Sleeper(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        time.sleep(0.2 * (slow == "python"))

shape = tf.TensorSpec((1, 8, 8, 1), tf.float32)
data = tf.data.Dataset.from_generator(batches, output_signature=(shape, shape)).prefetch(2)
model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(1, 3, padding="same")])
model.compile("sgd", "mse")
recorder = profile.ProfileSteps(folder, 5, 16)
callbacks = StepCallbacks([Sleeper(), recorder], model=model, epochs=1, steps=16, verbose=0)
model.fit(data, steps_per_epoch=16, verbose=0, callbacks=callbacks)
"""


def recording(path, planes):
    """Writes an .xplane.pb. planes: {name: {line: [(event, start in ms, milliseconds)]}}."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace()
    for plane_name, lines in planes.items():
        plane = space.planes.add(name=plane_name)
        for line_name, events in lines.items():
            line = plane.lines.add(name=line_name, timestamp_ns=10**9)
            for name, start, milliseconds in events:
                number = len(plane.event_metadata) + 1
                plane.event_metadata[number].name = name
                line.events.add(
                    metadata_id=number,
                    offset_ps=round(start * 1e9),
                    duration_ps=round(milliseconds * 1e9),
                )
    path.write_bytes(space.SerializeToString())
    return path


def test_time_of_a_gpu_divides_by_what_it_does_and_why_it_is_idle(tmp_path):
    path = recording(
        tmp_path / "a.xplane.pb",
        {
            "/host:CPU": {
                # 100 ms in all. The host waits 20 ms for input, in 10 of which the GPU is idle.
                "python": [("kseg: steps", 0, 100), ("kseg: input", 30, 20)],
                # The host's own computation is not the device's.
                "tf_Compute/1": [("ExecutorState::Process", 0, 100)],
            },
            "/device:GPU:0": {
                "Stream #1(Compute)": [
                    ("fusion", -50, 60),  # Begins before the window: 10 ms are in it.
                    ("gemm", 10, 30),
                    ("gemm2", 20, 10),  # At the same time.
                    ("late", 95, 50),
                ],
                "Stream #2(MemcpyH2D)": [("MemcpyH2D", 5, 10), ("MemcpyH2D", 60, 8)],
                "XLA Modules": [("jit_step", 0, 100)],
            },
        },
    )
    divided = profile.divide(path)
    assert divided == pytest.approx((0.1, 0.45, 0.08, 0.10, 0.37))


def test_time_of_a_cpu_divides_too(tmp_path):
    path = recording(
        tmp_path / "a.xplane.pb",
        {
            "/host:CPU": {
                "python": [("kseg: steps", 0, 10)],
                "tf_Compute/1": [("ExecutorState::Process", 1, 4)],
                "tf_Compute/2": [("ExecutorState::Process", 3, 4)],
                # Decoding is not training.
                "tf_data_private_threadpool/3": [("ExecutorState::Process", 0, 10)],
                "tf_data_iterator_get_next/4": [("IteratorGetNextOp::DoCompute", 7, 1)],
            }
        },
    )
    assert profile.divide(path) == pytest.approx((0.01, 0.6, 0.0, 0.1, 0.3))


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)])
@pytest.mark.parametrize("slow", ["input", "python"])
def test_what_is_slow_takes_most_of_the_time(backend, slow, tmp_path):
    pytest.importorskip(backend, reason=f"the extra `{backend}` is not installed")
    done = subprocess.run(
        [sys.executable, "-c", FIT, slow, tmp_path],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": backend},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = tmp_path.rglob("*.xplane.pb")
    divided = profile.divide(path)
    assert sum(divided[1:]) == pytest.approx(1) and divided.seconds > 5 * 0.19
    assert getattr(divided, slow) > 0.5, divided
    assert "steps 11 to 15: " in done.stdout and "ms per step: compute" in done.stdout


@pytest.mark.slow
def test_training_records_its_steps(config, tmp_path, capsys):
    config = dataclasses.replace(config, batch_size=2, epochs=1)
    assert train.train(config, tmp_path, profile_steps=2) == 0
    assert "steps 11 to 12: " in capsys.readouterr().out
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))


def test_a_resumed_epoch_that_is_too_short_is_named(tmp_path, capsys):
    recorder = profile.ProfileSteps(tmp_path, 5, steps_per_epoch=16, first_step=2)
    recorder.on_epoch_begin(3)
    assert not any(recorder.needs_logs(batch) for batch in range(16))
    recorder.on_train_end()
    assert "--profile 5" in capsys.readouterr().err


@pytest.mark.parametrize("steps", [-1, 3])
def test_more_steps_than_an_epoch_has_are_refused(config, tmp_path, steps, capsys):
    out = tmp_path / "run"
    flags = ["--data", config.data, "--batch-size", "2", "--out", str(out), "--epochs", "1"]
    argv = [*flags, "--size", *map(str, config.size), "--profile", str(steps)]
    assert command(train.main, argv) == 2
    assert_one_line(capsys, f"--profile {steps}", "12 steps", "choose 1 to 2")
    assert not out.exists()
