"""NVIDIA GPUs of a machine, by a stand-in for nvidia-smi and for device files."""

import pytest

from kseg import nvidia


@pytest.mark.parametrize(
    ("files", "present"),
    [
        ((), False),
        (("dev/nvidiactl",), False),  # Also on machines whose GPU was removed.
        (("dev/nvidia0",), True),
        (("dev/dxg",), False),  # WSL with another maker's GPU.
        (("dev/dxg", "usr/lib/wsl/lib/libcuda.so.1"), True),
    ],
)
def test_device_files_show_a_gpu(tmp_path, files, present):
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    assert nvidia.has_device_node(tmp_path) == present


def test_gpus_are_as_nvidia_smi_lists_them(fake_nvidia_smi):
    fake_nvidia_smi("echo 'NVIDIA H100 80GB HBM3, 81559, 570.86.15, 9.0'; echo 'T4, [N/A], 1, 7.5'")
    assert nvidia.gpus() == [
        nvidia.Gpu("NVIDIA H100 80GB HBM3", 81559, "570.86.15", "9.0"),
        nvidia.Gpu("T4", 0, "1", "7.5"),
    ]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18", "mismatch"),
        ("exit 9", "exit code 9"),
    ],
)
def test_a_driver_that_does_not_work_is_an_error(fake_nvidia_smi, script, reason):
    fake_nvidia_smi(script)
    with pytest.raises(nvidia.DriverError, match=reason):
        nvidia.gpus()


def test_a_machine_without_nvidia_smi_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(nvidia.NoDriverTool):
        nvidia.gpus()
