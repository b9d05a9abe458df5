"""NVIDIA GPUs of this machine, whether or not Keras' backend can use them."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

_WSL_FOLDER = "usr/lib/wsl/lib"  # Where Windows puts its driver's libraries and nvidia-smi.
_QUERY = "name,memory.total,driver_version,compute_cap"
_LIMIT_S = 30


class Gpu(NamedTuple):
    """A GPU as nvidia-smi reports it. memory_mb: its total memory; capability: such as "9.0"."""

    name: str
    memory_mb: int
    driver: str
    capability: str


class DriverError(RuntimeError):
    """The driver does not list GPUs. The message is the reason, in one line."""


class NoDriverTool(DriverError):
    """nvidia-smi is not installed."""


def has_device_node(root: str | os.PathLike[str] = "/") -> bool:
    """Whether Linux has an NVIDIA GPU's device file, or WSL has NVIDIA's driver. Takes no time."""
    root = Path(root)
    on_wsl = (root / "dev/dxg").exists() and (root / _WSL_FOLDER / "libcuda.so.1").exists()
    return on_wsl or any((root / "dev").glob("nvidia[0-9]*"))


def gpus() -> list[Gpu]:
    """Returns the GPUs that nvidia-smi lists. Raises DriverError when it is missing or fails."""
    command = shutil.which("nvidia-smi") or shutil.which("nvidia-smi", path=f"/{_WSL_FOLDER}")
    if command is None:
        raise NoDriverTool("nvidia-smi is not installed")
    try:
        done = subprocess.run(
            [command, f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DriverError(f"nvidia-smi does not end within {_LIMIT_S} s") from error
    except OSError as error:
        raise DriverError(f"nvidia-smi cannot be run ({error.strerror})") from error
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()
        raise DriverError(f"nvidia-smi: {lines[0] if lines else f'exit code {done.returncode}'}")
    return [_gpu(line) for line in done.stdout.splitlines() if line.strip()]


def _gpu(line):
    name, memory, driver, capability = [word.strip() for word in line.rsplit(",", 3)]
    return Gpu(name, int(memory) if memory.isdecimal() else 0, driver, capability)
