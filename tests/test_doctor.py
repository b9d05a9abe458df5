"""kseg.doctor: what a machine can run, without TensorFlow, and which problems it finds."""

import json
import subprocess
import sys

import numpy as np
import pytest

from kseg import doctor
from kseg.export.profiles import PROFILES, TUNED
from kseg.runtime import gpu, hardware, self_test
from kseg.runtime.litert import TFLiteModel
from tests.conftest import ROOT, assert_one_line, command

MODEL = ROOT / "tests" / "golden" / "model.tflite"


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(gpu, "find_driver", lambda: (None, "no Vulkan device"))


def fake_gpu(monkeypatch, change, **compiled):
    """Replaces the GPU by one that outputs change(class maps of the CPU)."""

    def run(tflite, images, driver):
        model = TFLiteModel(tflite)
        outputs = change(np.stack([model(image) for image in images]))
        status = {"fully_accelerated": True, "compile_s": 1.0, **compiled}
        return gpu.GpuRun("a GPU", status, list(outputs), [1.0] * len(outputs), "")

    monkeypatch.setattr(gpu, "run", run)
    monkeypatch.setattr(gpu, "find_driver", lambda: (gpu.Driver("some driver", {}), None))


def test_a_machine_without_a_gpu_has_no_problem_and_a_result_for_every_profile(no_gpu, capsys):
    assert command(doctor.main, ["--json", "-"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["problems"] == [] and "CpuAccelerator" in report["accelerators"]
    for name, profile in PROFILES.items():
        assert set(report["profiles"][name]) == set(profile.precisions) & set(TUNED)
    assert all(result["works"] for result in report["profiles"]["cpu"].values())
    assert report["profiles"]["gpu"]["fp32"] == {"works": None, "reason": "no Vulkan device"}
    assert "no Python wheel" in report["profiles"]["gpu-classic"]["fp16"]["reason"]
    assert command(doctor.main, ["--gpu"]) == 1
    assert "problem   --gpu: no Vulkan device" in capsys.readouterr().out


def test_the_requirements_of_the_python_runner_are_enough(tmp_path):
    code = (
        "import sys; from kseg import doctor\n"
        "from kseg.runtime import gpu; gpu.find_driver = lambda: (None, 'none')\n"
        f"assert doctor.main([{str(MODEL)!r}, '--json', {str(tmp_path / 'd.json')!r}]) == 0\n"
        "assert not {'tensorflow', 'keras', 'psutil', 'rich', 'matplotlib'} & sys.modules.keys()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "d.json").read_text())
    assert report["model"]["cpu"]["frames"] == 10 and report["model"]["name"] == "unet"
    for token in ("LiteRT    2.", "unet, fp32, profile cpu", "CPU       10 frames"):
        assert token in done.stdout
    assert f"checksum {report['model']['cpu']['answers_crc32']}" in done.stdout


def test_a_gpu_that_agrees_with_the_cpu_is_right(monkeypatch, capsys):
    fake_gpu(monkeypatch, lambda class_maps: class_maps)
    assert command(doctor.main, [MODEL, "--gpu"]) == 0
    printed = capsys.readouterr().out
    assert "100.000 %" in printed and ": right" in printed


def test_a_gpu_that_disagrees_with_the_cpu_is_a_problem(monkeypatch, capsys):
    def change_one_percent(class_maps):
        class_maps.reshape(-1)[::100] += 1
        return class_maps

    fake_gpu(monkeypatch, change_one_percent)
    assert command(doctor.main, [MODEL]) == 1
    printed = capsys.readouterr().out
    assert "99.000 %" in printed and "WRONG" in printed
    assert "problem   profile gpu, fp16:" in printed and f"problem   {MODEL} on the GPU" in printed


def test_partial_acceleration_is_a_problem_only_on_a_hardware_gpu(monkeypatch):
    fake_gpu(monkeypatch, lambda class_maps: class_maps, fully_accelerated=False)
    devices = {"vulkan": {"found": True, "error": None, "devices": []}}
    devices["opencl"] = devices["vulkan"]
    monkeypatch.setattr(hardware, "gpu_devices", lambda environment: devices)
    assert doctor.examine()["problems"] == []
    devices["vulkan"]["devices"].append({"name": "Orin", "software": False})
    (problem,) = doctor.examine()["problems"]
    assert "GPU (Orin)" in problem and "on the CPU" in problem


def test_kernels_that_compute_wrongly_are_problems(monkeypatch, no_gpu):
    class WrongModel(TFLiteModel):
        def __init__(self, tflite, *, reference_kernels=False):
            super().__init__(tflite, reference_kernels=reference_kernels)
            self.shift = 0 if reference_kernels else 9

        def __call__(self, image):
            return np.roll(super().__call__(image), self.shift, axis=0)

    monkeypatch.setattr(self_test, "TFLiteModel", WrongModel)
    problems = doctor.examine()["problems"]
    assert len(problems) == 4
    assert "profile cpu, int8:" in problems[2] and "reference kernels" in problems[2]


def test_bad_input_gives_one_line(tmp_path, capsys):
    flipped = bytearray(MODEL.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    (tmp_path / "flipped.tflite").write_bytes(flipped)
    (tmp_path / "text.tflite").write_text("hello, I am not a model")
    for name, token in (
        ("missing.tflite", "cannot be read"),
        ("text.tflite", "not a .tflite file"),
        ("flipped.tflite", "checksum"),
    ):
        assert command(doctor.main, [tmp_path / name]) == 2
        assert_one_line(capsys, name, token)


def test_a_missing_or_old_litert_is_a_problem_with_the_install_command(monkeypatch, capsys):
    def missing(name):
        raise doctor.PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "version", missing)
    assert command(doctor.main, [MODEL]) == 1
    printed = capsys.readouterr().out
    assert "LiteRT    not installed" in printed and 'pip install "ai-edge-litert>=2.3"' in printed
    monkeypatch.setattr(doctor, "version", lambda name: "1.4.0")
    assert command(doctor.main, []) == 1
    assert "LiteRT 1.4.0 is too old" in capsys.readouterr().out


@pytest.mark.slow
def test_the_real_accelerator_agrees_with_the_cpu():
    driver, reason = gpu.find_driver()
    if driver is None:
        pytest.skip(reason)
    report = doctor.examine(MODEL, need_gpu=True)
    assert report["problems"] == [] and report["model"]["gpu"]["agreement"] == 1
    assert "GPU WebGPU" in report["accelerators"]
