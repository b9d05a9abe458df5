"""Why Keras' backend sees no GPU, and what to do. Imports no backend."""

import ctypes
import os
import platform
from importlib import metadata
from typing import NamedTuple

from kseg import nvidia

TITLES = {"tensorflow": "TensorFlow", "jax": "JAX"}
_INSTALL = {"tensorflow": "./scripts/install gpu", "jax": "./scripts/install jax-gpu"}
# Settings by which users keep GPUs for others.
_HIDING = {"CUDA_VISIBLE_DEVICES": ("", "-1"), "JAX_PLATFORMS": ("cpu",)}


class Reason(NamedTuple):
    """advice: why, and what to do. is_fault: this machine has a GPU that should be seen."""

    advice: str
    is_fault: bool


UNKNOWN = Reason("to see why, run: python -m kseg.doctor --training", is_fault=True)


def explain(backend: str) -> Reason:
    """Returns why `backend`, tensorflow or jax, sees no GPU; UNKNOWN if nothing is missing."""
    for name in ("CUDA_VISIBLE_DEVICES", *(["JAX_PLATFORMS"] if backend == "jax" else [])):
        if os.environ.get(name) in _HIDING[name]:
            return Reason(f"{name}={os.environ[name]} hides all; unset {name}", False)
    problem = _driver_problem()
    if problem:
        return problem
    install = _INSTALL.get(backend, _INSTALL["jax"])
    if backend == "tensorflow" and platform.machine() != "x86_64":
        return Reason(
            f"TensorFlow has no CUDA for {platform.machine()}; use KERAS_BACKEND=jax after "
            f"{_INSTALL['jax']}",
            True,
        )
    if not _has_cuda(backend):
        return Reason(f"its CUDA libraries are not installed; run: {install}", True)
    return UNKNOWN


def _driver_problem() -> Reason | None:
    try:
        if not nvidia.gpus() and not nvidia.has_device_node():
            return Reason("this machine has no NVIDIA GPU", False)
    except nvidia.DriverError as error:
        if not nvidia.has_device_node():
            return Reason(f"this machine has no NVIDIA GPU ({error})", False)
        # Some containers have the driver without nvidia-smi.
        if not isinstance(error, nvidia.NoDriverTool):
            return Reason(
                f"its driver does not work ({error}); restart the machine or install the driver "
                "again",
                True,
            )
    if not _has_libcuda():
        return Reason(
            "its driver's library libcuda.so.1 cannot be loaded; install the driver, or start the "
            "container with docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility",
            True,
        )
    return None


def _has_libcuda() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def _has_cuda(backend: str) -> bool:
    """Whether the backend's packages with CUDA libraries are installed."""
    names = {distribution.name.lower() for distribution in metadata.distributions()}
    if backend == "jax":
        return any(name.startswith("jax-cuda") and name.endswith("-plugin") for name in names)
    return "nvidia-cudnn-cu12" in names
