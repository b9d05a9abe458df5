import json
import subprocess
import sys

import psutil
import pytest

from kseg.runtime import gpu, gpu_probe, hardware


def test_cpu_and_memory_limit_of_an_arm_board(tmp_path):
    for path, text in {
        "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd asimdhp asimddp i8mm_no\n",
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
        "sys/fs/cgroup/memory.max": "1000000000\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    cpu = hardware.cpu_info(tmp_path)
    assert cpu["name"] == "NVIDIA Jetson Orin Nano Developer Kit"
    assert cpu["features"] == ["asimd", "asimdhp", "asimddp"]
    memory = hardware.memory_info(tmp_path)
    assert memory["limit_mb"] == 1000 and 0 < memory["available_mb"] <= memory["total_mb"]


def test_peak_memory_is_that_of_the_process_alone_and_not_of_its_parent():
    block = bytearray(200_000_000)
    assert hardware.peak_memory_mb() > 200
    code = (
        "import json, psutil; from kseg.runtime import hardware\n"
        "rss = psutil.Process().memory_info().rss / 1e6\n"
        "print(json.dumps([rss, hardware.peak_memory_mb()]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    resident_mb, peak_mb = json.loads(done.stdout)
    assert 0.9 * resident_mb < peak_mb < 150 and len(block) / 1e6 == 200
    assert psutil.Process().memory_info().rss > len(block)


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
