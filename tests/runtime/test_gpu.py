"""kseg.runtime.gpu without a GPU: finding a driver, and surviving one that fails."""

import numpy as np
import pytest

from kseg.export.labelled_frames import Frame
from kseg.labels import BDD100K_DRIVABLE
from kseg.runtime import gpu, gpu_worker, self_test, tiny_models

ICDS = "usr/share/vulkan/icd.d"
SWIFTSHADER = "usr/lib/chromium/vk_swiftshader_icd.json"


@pytest.fixture
def add_files(tmp_path, monkeypatch):
    """A function that adds files below its `root`, where a Vulkan loader is installed."""
    monkeypatch.setattr(gpu.ctypes, "CDLL", lambda name: None)

    def add(*paths):
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text("{}")

    add.root = tmp_path
    return add


def test_a_gpu_is_preferred_to_software_and_the_users_choice_to_both(add_files):
    root = add_files.root
    driver, reason = gpu.find_driver({}, root)
    assert driver is None and "install_software_gpu" in reason
    add_files(f"{ICDS}/radeon_icd.json", f"{ICDS}/lvp_icd.json")
    assert gpu.find_driver({}, root)[0] is None  # Drivers, but no GPU.
    add_files(SWIFTSHADER)
    assert gpu.find_driver({}, root)[0].name == str(root / SWIFTSHADER)
    add_files("dev/dri/renderD128")
    driver, _ = gpu.find_driver({}, root)
    drivers = driver.environment["VK_DRIVER_FILES"].split(":")
    assert drivers == [str(root / path) for path in (f"{ICDS}/radeon_icd.json", SWIFTSHADER)]
    driver, _ = gpu.find_driver({"VK_ICD_FILENAMES": "my.json"}, root)
    assert driver.name == "my.json" and "VK_DRIVER_FILES" not in driver.environment


@pytest.fixture
def replace_worker(tmp_path, monkeypatch):
    """A function (Python code) that takes the place of the GPU's child process."""

    def replace(code):
        (tmp_path / "child.py").write_text(code)
        monkeypatch.setattr(gpu_worker, "__file__", str(tmp_path / "child.py"))

    return replace


@pytest.mark.parametrize(
    ("code", "token", "file_is_to_blame"),
    [
        ("import os; os.kill(os.getpid(), 11)", "SIGSEGV", True),
        ("raise SystemExit(7)", "exit code 7", True),
        ("import time; time.sleep(60)", "within 3 s", False),
        ("print('INTERNAL: No adapters found'); raise SystemExit(1)", "finds no device", False),
    ],
)
def test_a_driver_that_crashes_or_hangs_is_survived(replace_worker, code, token, file_is_to_blame):
    replace_worker(code)
    frame = Frame("x", np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.uint8))
    driver = gpu.Driver("some driver", {})
    report = gpu.verify(b"", [frame], BDD100K_DRIVABLE, driver, limit_s=3)
    assert not report["verified"] and token in report["reason"]
    assert bool(report["refused"]) == file_is_to_blame  # A slow device is not the file's fault.


@pytest.mark.parametrize(
    ("code", "works", "token"),
    [
        ("import os; os.kill(os.getpid(), 4)", False, "SIGILL"),
        ("print('INTERNAL: No adapters found'); raise SystemExit(1)", None, "finds no device"),
    ],
)
def test_the_self_test_fails_after_a_crash_but_not_without_a_device(
    replace_worker, code, works, token
):
    replace_worker(code)
    report, _ = self_test.run_on_gpu(
        tiny_models.read("fp32"), tiny_models.SIZE, None, gpu.Driver("some driver", {})
    )
    assert report["works"] is works and token in report["reason"]
