"""kseg.doctor: what a machine can run, told without TensorFlow, and what is wrong found out."""

import json
import subprocess
import sys

import numpy as np
import pytest

from kseg import doctor
from kseg.export import thresholds
from kseg.export.profiles import PROFILES, TUNED
from kseg.runtime import gpu, gpu_probe, gpu_worker, hardware, self_test, tiny_model
from kseg.runtime.litert import TFLiteModel
from tests.conftest import ROOT, assert_one_line, command

MODEL = ROOT / "tests" / "golden" / "model.tflite"


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(gpu, "find_driver", lambda: (None, "no Vulkan device"))


def answering(monkeypatch, answers, **compiled):
    """Lets a GPU answer with `answers`(class maps of the CPU)."""

    def run(tflite, images, driver):
        runner = TFLiteModel(tflite)
        maps = answers(np.stack([runner(image) for image in images]))
        told = {"fully_accelerated": True, "compile_s": 1.0, **compiled}
        return gpu.Ran("a GPU", told, list(maps), [1.0] * len(maps), "")

    monkeypatch.setattr(gpu, "run", run)
    monkeypatch.setattr(gpu, "find_driver", lambda: (gpu.Driver("some driver", {}), None))


@pytest.mark.parametrize("precision", TUNED)
def test_the_probe_is_a_model_of_its_precision_with_answers_of_all_kinds(precision):
    tflite = tiny_model.model(precision)
    frames = tiny_model.frames(tiny_model.SIZE)
    reference = TFLiteModel(tiny_model.model("fp32"), reference_kernels=True)
    expected = np.stack([reference(frame) for frame in frames])
    assert np.bincount(expected.ravel()).max() < 0.6 * expected.size  # No class wins everywhere.
    runner = TFLiteModel(tflite)
    got = np.stack([runner(frame) for frame in frames])
    assert got.shape == (10, *tiny_model.SIZE) and runner.image_dtype == "uint8"
    assert (got == expected).mean() >= thresholds.LIMITS[precision].agreement


def test_its_int8_weights_are_int8_and_its_halves_float16():
    from ai_edge_litert import schema_py_generated as schema

    kinds = {}
    for precision in TUNED:
        model = schema.ModelT.InitFromPackedBuf(tiny_model.model(precision), 0)
        kinds[precision] = {tensor.type for tensor in model.subgraphs[0].tensors}
    types = schema.TensorType
    assert types.INT8 not in kinds["fp32"] | kinds["fp16"]
    assert types.FLOAT16 in kinds["fp16"] and types.FLOAT16 not in kinds["fp32"]
    assert types.FLOAT32 in kinds["int8-dynamic"] and types.INT8 in kinds["int8-dynamic"]
    assert types.FLOAT32 not in kinds["int8"]


def test_a_machine_without_a_gpu_is_well_and_every_profile_is_told(no_gpu, capsys):
    assert command(doctor.main, ["--json", "-"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["problems"] == [] and "CpuAccelerator" in report["accelerators"]
    for name, profile in PROFILES.items():
        assert set(report["profiles"][name]) == set(profile.precisions) & set(TUNED)
    assert all(tried["works"] for tried in report["profiles"]["cpu"].values())
    assert report["profiles"]["gpu"]["fp32"] == {"works": None, "reason": "no Vulkan device"}
    assert "no Python wheel" in report["profiles"]["gpu-classic"]["fp16"]["reason"]
    assert command(doctor.main, ["--gpu"]) == 1  # One was asked for.
    assert "problem   --gpu: no Vulkan device" in capsys.readouterr().out


def test_no_tensorflow_is_loaded(tmp_path):
    code = (
        "import sys; from kseg import doctor\n"
        "from kseg.export import gpu; gpu.find_driver = lambda: (None, 'none')\n"
        f"assert doctor.main([{str(MODEL)!r}, '--json', {str(tmp_path / 'd.json')!r}]) == 0\n"
        "assert not {'tensorflow', 'keras'} & sys.modules.keys()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "d.json").read_text())
    assert report["model"]["cpu"]["frames"] == 10 and report["model"]["name"] == "unet"
    for words in ("LiteRT    2.", "model     unet, fp32, made for cpu", "CPU       10 frames"):
        assert words in done.stdout


def test_a_gpu_that_agrees_is_right(monkeypatch, capsys):
    answering(monkeypatch, lambda maps: maps)
    assert command(doctor.main, [MODEL, "--gpu"]) == 0
    assert "on 100.000 % of pixels: right" in capsys.readouterr().out


def test_a_gpu_that_answers_otherwise_is_found_out(monkeypatch, capsys):
    def one_in_a_hundred(maps):
        maps.reshape(-1)[::100] += 1
        return maps

    answering(monkeypatch, one_in_a_hundred)
    assert command(doctor.main, [MODEL]) == 1
    out = capsys.readouterr().out
    assert "99.000 % of pixels: WRONG" in out and "profile gpu, fp16: answers otherwise" in out


def test_a_gpu_that_takes_a_part_is_a_problem_only_where_it_should_take_all(monkeypatch):
    answering(monkeypatch, lambda maps: maps, fully_accelerated=False)
    devices = {"vulkan": {"found": True, "error": None, "devices": []}}
    devices["opencl"] = devices["vulkan"]
    monkeypatch.setattr(hardware, "devices", lambda environment: devices)
    assert doctor.examine()["problems"] == []
    devices["vulkan"]["devices"].append({"name": "Orin", "software": False})
    (line,) = doctor.examine()["problems"]
    assert "does not use the GPU (Orin): part of it runs on the CPU" in line


@pytest.mark.parametrize(
    ("code", "works", "words"),
    [
        ("import os; os.kill(os.getpid(), 4)", False, "SIGILL"),
        ("print('INTERNAL: No adapters found'); raise SystemExit(1)", None, "finds no device"),
    ],
)
def test_a_crash_is_wrong_and_no_device_is_none(tmp_path, monkeypatch, code, works, words):
    child = tmp_path / "child.py"
    child.write_text(code)
    monkeypatch.setattr(gpu_worker, "__file__", str(child))
    tflite = tiny_model.model("fp32")
    found, _ = self_test.on_gpu(tflite, tiny_model.SIZE, None, gpu.Driver("some driver", {}))
    assert found["works"] is works and words in found["reason"]


def test_kernels_that_compute_wrongly_are_found_out(monkeypatch):
    class Wrong(TFLiteModel):
        def __init__(self, tflite, *, reference_kernels=False):
            super().__init__(tflite, reference_kernels=reference_kernels)
            self.shift = not reference_kernels

        def __call__(self, image):
            return np.roll(super().__call__(image), 9 * self.shift, axis=0)

    monkeypatch.setattr(self_test, "TFLiteModel", Wrong)
    monkeypatch.setattr(gpu, "find_driver", lambda: (None, "none"))
    problems = doctor.examine()["problems"]
    assert len(problems) == 4 and "profile cpu, int8: answers as LiteRT's reference" in problems[2]


def test_bad_input_is_one_line(tmp_path, capsys):
    flipped = bytearray(MODEL.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    (tmp_path / "flipped.tflite").write_bytes(flipped)
    (tmp_path / "text.tflite").write_text("hello, I am no model")
    for name, words in (
        ("missing.tflite", "cannot be read"),
        ("text.tflite", "not a .tflite file"),
        ("flipped.tflite", "checksum differs"),
    ):
        assert command(doctor.main, [tmp_path / name]) == 2
        assert_one_line(capsys, words)


def test_without_litert_it_says_what_to_install(monkeypatch, capsys):
    def missing(name):
        raise doctor.PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "version", missing)
    assert command(doctor.main, [MODEL]) == 1
    out = capsys.readouterr().out
    assert "LiteRT    not installed" in out and 'pip install "ai-edge-litert>=2.3"' in out
    monkeypatch.setattr(doctor, "version", lambda name: "1.4.0")
    assert command(doctor.main, []) == 1
    assert "LiteRT 1.4.0 is too old" in capsys.readouterr().out


def test_an_arm_board_is_read_from_its_files(tmp_path):
    for path, text in {
        "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd asimdhp asimddp i8mm_no\n",
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
        "proc/meminfo": "MemTotal: 8000000 kB\nMemAvailable: 4000000 kB\n",
        "sys/fs/cgroup/memory.max": "1000000000\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    cpu = hardware.cpu(tmp_path)
    assert cpu["name"] == "NVIDIA Jetson Orin Nano Developer Kit"
    assert cpu["features"] == ["asimd", "asimdhp", "asimddp"]
    assert hardware.memory(tmp_path) == {"total_mb": 8192, "available_mb": 4096, "limit_mb": 1000}


def test_a_driver_that_crashes_while_asked_for_devices_is_told(tmp_path, monkeypatch):
    child = tmp_path / "child.py"
    child.write_text("import os; os.kill(os.getpid(), 11)")
    monkeypatch.setattr(gpu_probe, "__file__", str(child))
    assert "ends the process with -11" in hardware.devices({})["vulkan"]["error"]


def test_devices_of_software_are_told_as_such():
    driver, why = gpu.find_driver()
    if driver is None or "swiftshader" not in driver.name:
        pytest.skip(f"no software device ({why})")
    (device,) = hardware.devices(driver.environment)["vulkan"]["devices"]
    assert device["software"] and "SwiftShader" in device["name"]


@pytest.mark.slow
def test_the_real_accelerator_answers_as_the_cpu():
    driver, why = gpu.find_driver()
    if driver is None:
        pytest.skip(why)
    report = doctor.examine(MODEL, need_gpu=True)
    assert report["problems"] == [] and report["model"]["gpu"]["agreement"] == 1
    assert "GPU WebGPU" in report["accelerators"]


def test_frames_are_the_ones_that_the_cpp_doctor_draws():
    """Worked out by hand: the sky, and where the road begins, with their noise.

    tests/deploy/test_cpp.py compares the answers to all ten.
    """
    number, (height, width) = 3, (6, 20)
    state, noise = 12345 + number, []
    for _ in range(3 * height * width):
        state = (state * 1664525 + 1013904223) % 2**32
        noise.append(state >> 28)
    noise = np.array(noise).reshape(height, width, 3)
    frame = tiny_model.frame((height, width), number)
    assert np.array_equal(frame[0, 0], noise[0, 0] + [150, 180, 210])
    # Road: |x - 20 * 8 // 20| < 5 - 6 // 3.
    assert np.array_equal(frame[5, 5], noise[5, 5] + [60, 120, 60])
    assert np.array_equal(frame[5, 6], noise[5, 6] + 105)
