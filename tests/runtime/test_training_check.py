"""kseg.doctor --training: its report and its problems, with stand-ins for probe and driver."""

import json
import sys

import pytest

from kseg import doctor, nvidia
from kseg.runtime import missing_gpu, training_check
from tests.conftest import assert_one_line, command

WORKS = "echo 'NVIDIA H100 80GB HBM3, 81559, 570.86.15, 9.0'"
H100 = {"platform": "gpu", "name": "NVIDIA H100 80GB HBM3", "capability": [9, 0]}
TRIED = {
    "version": "2.21.0",
    "keras": "3.15.1",
    "built_for": {"cuda": "12.5.1", "cudnn": "9"},
    "devices": [H100],
    "computes": {"float32": None, "bfloat16": None, "float16": None},
    "mixed_precision": "bfloat16",
}
CPU = TRIED | {"devices": [], "mixed_precision": "off"}
DLOPEN = "W0000 00:00:17.8  1 gpu_device.cc:2341] Cannot dlopen some GPU libraries."


@pytest.fixture
def machine(monkeypatch, fake_nvidia_smi):
    """A function that sets what the probe reports and logs, and what the machine has."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)

    def build(tried, log=(), *, smi=WORKS, node=True, cuda=True):
        fake_nvidia_smi(smi)
        monkeypatch.setattr(training_check, "_probe", lambda backend: (tried, list(log)))
        monkeypatch.setattr(nvidia, "has_device_node", lambda: node)
        monkeypatch.setattr(missing_gpu, "_has_cuda", lambda backend: cuda)
        monkeypatch.setattr(missing_gpu, "_has_libcuda", lambda: True)

    return build


def run(capsys, *flags):
    """Returns (exit code, lines of problems, the lines before)."""
    code = command(doctor.main, ["--training", *flags])
    lines = capsys.readouterr().out.splitlines()
    problems = [line for line in lines if line.startswith("problem")]
    return code, problems, "\n".join(lines)


def test_a_gpu_that_works_is_described(machine, capsys):
    machine(TRIED)
    code, problems, text = run(capsys, "--gpu")
    assert (code, problems) == (0, [])
    for token in ("TensorFlow 2.21.0", "NVIDIA H100 80GB HBM3, 81,559 MB", "capability 9.0"):
        assert token in text
    for token in ("570.86.15", "cuda 12.5.1", "auto: bfloat16"):
        assert token in text


def test_a_machine_without_a_gpu_has_no_problem(machine, capsys):
    machine(CPU, smi="exit 127", node=False)
    code, problems, text = run(capsys)
    assert (code, problems) == (0, []) and "CPU: " in text
    assert run(capsys, "--gpu")[0] == 1


@pytest.mark.parametrize(
    ("tried", "has", "token"),
    [
        (CPU, {"cuda": False}, "./scripts/install gpu"),
        (CPU, {"log": [DLOPEN, "Falling back to the CPU."]}, "Cannot dlopen"),
        (CPU, {"log": ["Falling back."]}, "Falling back."),
        (CPU, {}, "does not say why"),
        (CPU, {"smi": "echo 'Driver/library version mismatch'; exit 18"}, "mismatch"),
        (TRIED, {"smi": "echo 'NVIDIA T4, 15360, 470.82.01, 7.5'"}, "470.82.01 is too old"),
        (TRIED | {"computes": {"float32": "no cuDNN", "bfloat16": None}}, {}, "float32: no cuDNN"),
        (TRIED | {"computes": {"float32": None, "bfloat16": "wrong: 0"}}, {}, "bfloat16: wrong"),
        ({}, {"log": ["exit code 1: ImportError: libcuda"]}, "ImportError: libcuda"),
    ],
)
def test_what_is_missing_is_a_problem_with_what_to_do(machine, capsys, tried, has, token):
    machine(tried, **has)
    code, (problem,), _ = run(capsys)
    assert code == 1 and token in problem and "--training" not in problem


def test_a_precision_that_is_not_used_is_no_problem(machine, capsys):
    machine(CPU | {"computes": {"float32": None, "bfloat16": "no"}}, smi="exit 127", node=False)
    assert run(capsys)[:2] == (0, [])


def test_the_report_is_also_json_and_a_model_is_refused(machine, capsys):
    machine(TRIED)
    assert command(doctor.main, ["--training", "--json", "-"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["tried"]["devices"] == [H100] and report["nvidia"]["version"] == "570.86.15"
    assert command(doctor.main, ["--training", "a.tflite"]) == 2
    assert_one_line(capsys, "a.tflite")


def test_a_probe_that_dies_is_described_with_its_log(monkeypatch, tmp_path):
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\necho '{DLOPEN}' >&2\necho 'I0000 0 chatter' >&2\nkill -11 $$\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    tried, log = training_check._probe("tensorflow")
    assert tried == {} and log[0] == DLOPEN and "SIGSEGV" in log[1] and len(log) == 2


def test_the_probe_computes_on_this_machine():
    from kseg.runtime import training_probe

    assert [training_probe.try_convolution(p) for p in ("float32", "bfloat16")] == [None, None]
