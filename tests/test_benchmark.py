import json
import subprocess
import sys

import pytest

from kseg import benchmark
from kseg.errors import InputError
from kseg.runtime import subprocess_benchmark
from tests.conftest import ROOT, assert_one_line, command

MODEL = ROOT / "tests" / "golden" / "model.tflite"


def test_the_command_reports_speed_memory_and_operators(tmp_path, capsys):
    out = tmp_path / "speed.json"
    flags = ["--runs", 3, "--operators", "--json", out]
    assert command(benchmark.main, [MODEL, "--vs", MODEL, *flags]) == 0
    report = json.loads(out.read_text())
    first, second = report["models"]
    assert [first["name"], second["name"]] == [str(MODEL), f"{MODEL} (2)"]
    assert first["model"]["runs"] == len(first["model_times_ms"]) == 3
    assert first["whole_frame"]["runs"] == 3 and first["whole_frame"]["min_ms"] > 0
    assert second["ratio"]["of_minima"] > 0 and "ratio" not in first
    assert 20 < first["idle_mb"] < first["peak_mb"] < 2000
    printed = capsys.readouterr().out
    assert "Convolution" in printed and "by operator" in printed and "frames/s" in printed


def test_without_a_gpu_its_row_says_so_and_the_cpu_is_measured(tmp_path, monkeypatch, capsys):
    for name in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES"):
        monkeypatch.setenv(name, "/nowhere.json")
    out = tmp_path / "speed.json"
    assert command(benchmark.main, [MODEL, "--runs", 1, "--gpu", "--json", out]) == 0
    cpu, gpu = json.loads(out.read_text())["models"]
    assert "model" in cpu and "no GPU" in gpu["failed"]
    assert "not run" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("returncode", "stderr", "message"),
    [
        (-11, "driver: oh\n", r"^gpu:a\.tflite: .*SIGSEGV.*driver: oh"),
        (1, "Traceback (most recent call last):\n  x\nValueError: no\n", "^gpu:.*ValueError: no"),
        (2, "error: a.tflite: the GPU is out\n", r"^a\.tflite: the GPU is out$"),
    ],
)
def test_a_failed_child_process_is_described(monkeypatch, returncode, stderr, message):
    done = subprocess.CompletedProcess([], returncode, stdout="", stderr=stderr)
    monkeypatch.setattr(subprocess_benchmark, "_gpu_environment", lambda spec: {})
    monkeypatch.setattr(subprocess_benchmark.subprocess, "run", lambda *_, **__: done)
    with pytest.raises(InputError, match=message):
        subprocess_benchmark.measure("gpu:a.tflite", threads=1, rounds=1, seconds=1)


@pytest.mark.parametrize(
    ("flags", "token"),
    [
        (["missing.tflite"], "missing.tflite"),
        (["model.h5"], ".tflite, .onnx"),
        (["--threads", 0, "x.tflite"], "--threads 0"),
        (["--json", "nowhere/a.json", "x.tflite"], "nowhere"),
    ],
)
def test_bad_flags_give_one_line(capsys, flags, token):
    assert command(benchmark.main, flags) == 2
    assert_one_line(capsys, token)


def test_a_browser_and_the_page_are_needed_before_anything_is_measured(
    tmp_path, monkeypatch, capsys
):
    program = tmp_path / "browser"
    program.touch(mode=0o700)
    monkeypatch.setenv("KSEG_BROWSER", str(program))
    assert command(benchmark.main, ["--browser", MODEL, "--page", tmp_path / "nowhere"]) == 2
    assert_one_line(capsys, tmp_path / "nowhere", "not built", "npm")
    monkeypatch.setenv("KSEG_BROWSER", "no-such-browser")
    assert command(benchmark.main, ["--browser", MODEL, "--page", tmp_path]) == 2
    assert_one_line(capsys, "no-such-browser", "KSEG_BROWSER")


def test_a_file_that_is_no_model_gives_one_line(tmp_path, capsys):
    path = tmp_path / "a.tflite"
    path.write_bytes(b"not a model at all")
    assert command(benchmark.main, [path]) == 2
    assert_one_line(capsys, path, "cannot be run")


def test_a_gpu_spec_is_refused_because_gpus_need_a_process_of_their_own(tmp_path, capsys):
    (tmp_path / "a.tflite").write_bytes(b"")
    assert command(benchmark.main, [f"gpu:{tmp_path}/a.tflite"]) == 2
    assert_one_line(capsys, "--gpu")


@pytest.mark.parametrize("spec", ["openvino:{}", "{}.onnx"])
def test_a_missing_runtime_gives_one_line(tmp_path, monkeypatch, capsys, spec):
    for package in ("onnxruntime", "openvino"):
        monkeypatch.setitem(sys.modules, package, None)
    path = tmp_path / "m.tflite"
    path.write_bytes(b"")
    (tmp_path / "m.tflite.onnx").write_bytes(b"")
    assert command(benchmark.main, [MODEL, "--vs", spec.format(path)]) == 2
    assert_one_line(capsys, "not installed", "./scripts/install benchmark")
