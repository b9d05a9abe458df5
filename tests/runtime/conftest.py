"""A stand-in for NVIDIA's driver."""

import os

import pytest


@pytest.fixture
def fake_nvidia_smi(tmp_path, monkeypatch):
    """A function that puts a shell script in the place of nvidia-smi."""

    def write(script):
        folder = tmp_path / "driver"
        folder.mkdir(exist_ok=True)
        (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "nvidia-smi").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    return write
