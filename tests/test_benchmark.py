import json
import subprocess
import sys

import numpy as np
import pytest

from kseg import benchmark
from kseg.errors import InputError
from kseg.labels import BDD100K_DRIVABLE
from kseg.runtime import (
    benchmark_frames,
    operator_profiler,
    other_runtimes,
    subprocess_benchmark,
    timing,
)
from kseg.visualize import overlay
from tests.conftest import assert_one_line, command, scene


class Machine:
    """Models that take a stated time by a clock of its own, times a noise for each round."""

    def __init__(self, seconds, noise):
        self.seconds, self.noise, self.now, self.calls = seconds, noise, 0.0, []

    def models(self):
        return {name: lambda name=name: self.run(name) for name in self.seconds}

    def run(self, name):
        turn = len(self.calls) // (2 * len(self.seconds))
        self.calls.append(name)
        self.now += self.seconds[name] * self.noise[turn]

    def alternate(self, **limits):
        return timing.alternate(self.models(), warm_up=0, clock=lambda: self.now, **limits)


def test_noise_that_hits_a_whole_round_leaves_the_ratio_alone():
    machine = Machine({"ours": 0.02, "theirs": 0.03}, noise=[1, 8, 1, 3, 5])
    times = machine.alternate(rounds=5, seconds=99)
    assert times["ours"] == pytest.approx([20, 160, 20, 60, 100])
    ratio = timing.ratio(times["theirs"], times["ours"])
    assert all(ratio[key] == pytest.approx(1.5) for key in ("of_minima", "median", "p10", "p90"))


def test_the_ratio_is_of_rounds_not_of_medians():
    # Rounds 2, 3, 2; the medians' ratio would be 8 / 3.
    ratio = timing.ratio(np.array([2.0, 9, 8]), np.array([1.0, 3, 4]))
    assert ratio == pytest.approx({"of_minima": 2, "median": 2, "p10": 2, "p90": 2.8})


def test_every_round_has_every_model_after_an_untimed_call_of_its_own():
    machine = Machine({"a": 1, "b": 1, "c": 1}, noise=[1] * 20)
    machine.alternate(rounds=20, seconds=999)
    rounds = np.array(machine.calls).reshape(20, 3, 2)
    assert (rounds[..., 0] == rounds[..., 1]).all()
    assert (np.sort(rounds[..., 0], axis=1) == ["a", "b", "c"]).all()
    assert len({tuple(order) for order in rounds[..., 0]}) > 3  # No one always follows another.


def test_time_ends_it_after_a_whole_round():
    machine = Machine({"a": 1, "b": 1}, noise=[1] * 9)
    times = machine.alternate(rounds=9, seconds=5)  # A round takes 4 s with its untimed calls.
    assert [len(values) for values in times.values()] == [2, 2]


def test_percentiles_are_told_only_with_runs_behind_them():
    assert timing.summary(np.arange(1.0, 10)) == {
        "runs": 9,
        "min_ms": 1,
        "median_ms": 5,
        "p90_ms": None,
        "p99_ms": None,
    }
    whole = timing.summary(np.arange(101.0))
    assert (whole["p90_ms"], whole["p99_ms"]) == (90, 99)


def test_a_frame_takes_the_layout_and_type_of_the_input():
    frame = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    last = benchmark_frames.model_input(frame, (1, 6, 8, 3), "float32")
    first = benchmark_frames.model_input(frame, (1, 3, 6, 8), "float32")
    assert last.dtype == np.float32 and (last[0] == frame).all()
    assert (first[0, 1] == frame[..., 1]).all() and first.flags.c_contiguous
    shifted = benchmark_frames.model_input(frame, (1, 6, 8, 3), "int8")
    assert (shifted[0].astype(int) + 128 == frame).all()
    with pytest.raises(InputError, match="expected"):
        benchmark_frames.model_input(frame, (1, 100), "float32")


class Threshold:
    """In a model's place: class 1 where red is light, as ids or as logits of two classes."""

    input_dtype = np.dtype("uint8")

    def __init__(self, logits):
        self.logits = logits

    def __call__(self, array):
        light = (array[..., 0] > 128).astype(np.uint8)
        return np.stack([1.0 - light, light], axis=-1) if self.logits else light


@pytest.mark.parametrize("logits", [False, True])
def test_a_whole_frame_is_what_the_runner_in_the_car_sees(tflite_path, runner, logits):
    frame = scene(np.random.default_rng(0), (90, 260))[0]
    told = runner.Runner(tflite_path).contract
    image = runner.fit_frame(frame, told["input_size"], told["fit"], told["pad_value"])
    light = (image[..., 0] > 128).astype(np.uint8)
    class_map = runner.unfit_class_map(light, frame.shape[:2], told["fit"])
    draw = benchmark_frames.whole_frame(Threshold(logits), tflite_path)
    assert 0.1 < class_map.mean() < 0.9
    assert (draw(frame) == overlay.overlay(frame, class_map, BDD100K_DRIVABLE)).all()


def test_the_command_tells_speed_memory_and_operators(tflite_path, tmp_path, capsys):
    out = tmp_path / "speed.json"
    flags = ["--runs", 3, "--operators", "--json", out]
    assert command(benchmark.main, [tflite_path, "--vs", tflite_path, *flags]) == 0
    report = json.loads(out.read_text())
    first, second = report["models"]
    assert [first["name"], second["name"]] == [str(tflite_path), f"{tflite_path} (2)"]
    assert first["model"]["runs"] == len(first["model_times_ms"]) == 3
    assert first["whole_frame"]["runs"] == 3 and first["whole_frame"]["min_ms"] > 0
    assert second["ratio"]["of_minima"] > 0 and "ratio" not in first
    assert 20 < first["idle_mb"] < first["peak_mb"] < 2000
    printed = capsys.readouterr().out
    assert "Convolution" in printed and "by operator" in printed and "frames/s" in printed


def test_operators_are_named_with_what_they_take(tflite_path):
    rows = subprocess_benchmark.measure(
        str(tflite_path), threads=1, rounds=1, seconds=1, operators=True
    )
    calls = {row["operator"]: row["calls"] for row in rows["operators"]}
    assert calls["ARG_MAX"] == 1 and sum(n for k, n in calls.items() if "Convolution" in k) >= 20
    times = [row["ms"] for row in rows["operators"]]
    assert times == sorted(times, reverse=True)


def test_a_profile_in_a_form_not_known_is_refused(monkeypatch):
    monkeypatch.setattr(
        operator_profiler, "_profile", lambda *_: "== Summary by node type ==\nnothing"
    )
    with pytest.raises(InputError, match="no table"):
        operator_profiler.times("model.tflite", 1)


def test_without_a_gpu_the_row_says_so_and_the_rest_stands(
    tflite_path, tmp_path, monkeypatch, capsys
):
    for name in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES"):
        monkeypatch.setenv(name, "/nowhere.json")
    out = tmp_path / "speed.json"
    assert command(benchmark.main, [tflite_path, "--runs", 1, "--gpu", "--json", out]) == 0
    cpu, gpu = json.loads(out.read_text())["models"]
    assert "model" in cpu and "no GPU" in gpu["failed"]
    assert "not run" in capsys.readouterr().out


def test_a_process_that_crashes_is_told_by_its_signal():
    done = subprocess.CompletedProcess([], -11, stdout="", stderr="driver: oh\n")
    assert subprocess_benchmark._words("gpu:a.tflite", done) == (
        "gpu:a.tflite: its process ended with signal 11 (driver: oh)"
    )


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["missing.tflite"], "no such file"),
        (["model.h5"], ".tflite, .onnx"),
        (["--threads", 0, "x.tflite"], "--threads 0"),
        (["--json", "nowhere/a.json", "x.tflite"], "nowhere"),
    ],
)
def test_bad_flags_get_one_line(capsys, flags, words):
    assert command(benchmark.main, flags) == 2
    assert_one_line(capsys, words)


def test_a_file_that_is_no_model_gets_one_line(tmp_path, capsys):
    path = tmp_path / "a.tflite"
    path.write_bytes(b"nothing of the kind")
    assert command(benchmark.main, [path]) == 2
    assert_one_line(capsys, path, "cannot be run")


def test_a_gpu_in_the_same_process_is_refused(tmp_path, capsys):
    (tmp_path / "a.tflite").write_bytes(b"")
    assert command(benchmark.main, [f"gpu:{tmp_path}/a.tflite"]) == 2
    assert_one_line(capsys, "--gpu")


@pytest.mark.parametrize("spec", ["openvino:{}", "{}.onnx"])
def test_a_missing_runtime_gets_one_line(tflite_path, tmp_path, monkeypatch, capsys, spec):
    for package in ("onnxruntime", "openvino"):
        monkeypatch.setitem(sys.modules, package, None)
    path = tmp_path / "m.tflite"
    path.write_bytes(b"")
    (tmp_path / "m.tflite.onnx").write_bytes(b"")
    assert command(benchmark.main, [tflite_path, "--vs", spec.format(path)]) == 2
    assert_one_line(capsys, "not installed", "./scripts/install benchmark")


def test_openvino_answers_as_litert(tflite_path):
    pytest.importorskip("openvino", reason="OpenVINO is an extra (./scripts/install benchmark)")
    assert_same_answers(str(tflite_path), f"openvino:{tflite_path}")


def test_onnx_runtime_runs_onnx(tmp_path):
    pytest.importorskip("onnxruntime", reason="an extra (./scripts/install benchmark)")
    path = tmp_path / "relu.onnx"
    path.write_bytes(relu_onnx((1, 3, 4, 5)))
    model = other_runtimes.load(str(path), 1)
    assert model.input_shape == (1, 3, 4, 5) and model.input_dtype == np.float32
    array = np.random.default_rng(0).normal(size=(1, 3, 4, 5)).astype(np.float32)
    assert (model(array) == np.maximum(array, 0)).all()


def assert_same_answers(spec, other):
    ours, theirs = other_runtimes.load(spec, 1), other_runtimes.load(other, 1)
    array = benchmark_frames.model_input(
        benchmark_frames.read(None), ours.input_shape, ours.input_dtype
    )
    assert ours.input_shape == theirs.input_shape and ours.input_dtype == theirs.input_dtype
    assert (ours(array) == theirs(array)).mean() > 0.99


def relu_onnx(shape):
    """A whole ONNX file: one Relu on float32 `shape` (field numbers of onnx.proto3)."""

    def field(number, value):
        if isinstance(value, int):
            return bytes([number << 3, value])
        value = value.encode() if isinstance(value, str) else value
        return bytes([number << 3 | 2, len(value)]) + value

    dims = b"".join(field(1, field(1, side)) for side in shape)
    kind = field(1, field(1, 1) + field(2, dims))
    values = [field(1, name) + field(2, kind) for name in ("x", "y")]
    node = field(1, "x") + field(2, "y") + field(4, "Relu")
    graph = field(1, node) + field(2, "g") + field(11, values[0]) + field(12, values[1])
    return field(1, 8) + field(7, graph) + field(8, field(2, 13))
