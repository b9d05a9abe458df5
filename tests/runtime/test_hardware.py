import subprocess
import sys

import psutil
import pytest

from kseg.runtime import gpu, gpu_probe, hardware


def test_cpu_and_memory_of_an_arm_board(tmp_path):
    for path, text in {
        "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd asimdhp asimddp i8mm_no\n",
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
        "proc/meminfo": "MemTotal: 8000000 kB\nMemAvailable: 4000000 kB\n",
        "sys/fs/cgroup/memory.max": "1000000000\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    cpu = hardware.cpu_info(tmp_path)
    assert cpu["name"] == "NVIDIA Jetson Orin Nano Developer Kit"
    assert cpu["features"] == ["asimd", "asimdhp", "asimddp"]
    memory = {"total_mb": 8192, "available_mb": 4096, "limit_mb": 1000}
    assert hardware.memory_info(tmp_path) == memory


def test_peak_memory_is_that_of_the_process_alone_and_not_of_its_parent():
    block = bytearray(b"1") * 200_000_000
    resident_mb, peak_mb = hardware.resident_memory_mb()
    assert len(block) / 1e6 < resident_mb <= peak_mb
    assert resident_mb == pytest.approx(psutil.Process().memory_info().rss / 1e6, rel=0.05)
    code = "from kseg.runtime import hardware; print(*hardware.resident_memory_mb())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    resident_mb, peak_mb = map(float, done.stdout.split())
    assert 1 < resident_mb <= peak_mb < 150


def test_a_driver_that_crashes_is_an_error_of_its_api(tmp_path, monkeypatch):
    child = tmp_path / "child.py"
    child.write_text("import os; os.kill(os.getpid(), 11)")
    monkeypatch.setattr(gpu_probe, "__file__", str(child))
    assert "SIGSEGV" in hardware.gpu_devices({})["vulkan"]["error"]


def test_software_devices_are_marked():
    driver, reason = gpu.find_driver()
    if driver is None or "swiftshader" not in driver.name:
        pytest.skip(f"no software device ({reason})")
    (device,) = hardware.gpu_devices(driver.environment)["vulkan"]["devices"]
    assert device["software"] and "SwiftShader" in device["name"]
