"""The devices on which Keras' backend computes: TensorFlow's or JAX's."""

import os
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras

from kseg.errors import InputError
from kseg.runtime import missing_gpu


class Device(NamedTuple):
    """An accelerator. platform: gpu or tpu; capability: of NVIDIA GPUs, such as (9, 0)."""

    platform: str
    name: str
    capability: tuple[int, int] | None


def announce(
    activity: str, *, devices: int = 1, hosts: int = 1, require_gpu: bool = False
) -> list[Device]:
    """Prints the device that will compute, and a warning where an NVIDIA GPU is left unused.

    activity: for the warning, such as "training". devices: how many of this machine take part; with
    several hosts, all do. Returns the accelerators that take part; [] means the CPU. Raises
    InputError when require_gpu and there is no GPU. With several hosts, call it after
    kseg.training.distributed.join.
    """
    found = find()
    title = backend_title()
    reason = None if found else missing_gpu.explain(keras.backend.backend())
    if require_gpu and not any(device.platform == "gpu" for device in found):
        advice = reason.advice if reason else f"it has {describe(found)}"
        raise InputError(f"--require-gpu: {title} sees no GPU; {advice}")
    used = devices if hosts == 1 else len(found)
    print(f"device: {describe(found, used)}", flush=True)
    if reason and reason.is_fault:
        print(
            f"warning: {title} does not see this machine's NVIDIA GPU, so {activity} runs on the "
            f"CPU; {reason.advice}",
            file=sys.stderr,
        )
    return find(all_hosts=True) if hosts > 1 else found[:used]


def find(*, all_hosts: bool = False) -> list[Device]:
    """Returns the accelerators that Keras' backend can use, of this host or of all (JAX only)."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return [_of_tensorflow(tf, gpu) for gpu in tf.config.get_visible_devices("GPU")]
    if backend == "jax":
        import jax

        try:
            devices = jax.devices() if all_hosts else jax.local_devices()
        except RuntimeError as error:  # JAX_PLATFORMS names one that is not there.
            raise InputError(f"JAX finds no device: {str(error).splitlines()[0]}") from error
        return [_of_jax(device) for device in devices if device.platform != "cpu"]
    return []


def describe(found: Sequence[Device], used: int = 1) -> str:
    """Returns, for example, "1 of 2 x NVIDIA H100 80GB HBM3 (TensorFlow)"."""
    if not found:
        return f"CPU, {len(os.sched_getaffinity(0))} cores ({backend_title()})"
    count = f"{used} of {len(found)}" if used < len(found) else str(len(found))
    names = " and ".join(dict.fromkeys(device.name for device in found))
    return f"{count} x {names} ({backend_title()})"


def backend_title() -> str:
    """Returns the name of Keras' backend as its makers write it."""
    backend = keras.backend.backend()
    return missing_gpu.TITLES.get(backend, backend)


def _of_tensorflow(tf: Any, gpu: Any) -> Device:
    details = tf.config.experimental.get_device_details(gpu)
    return Device("gpu", details.get("device_name", "GPU"), details.get("compute_capability"))


def _of_jax(device: Any) -> Device:
    major, _, minor = str(getattr(device, "compute_capability", "")).partition(".")
    capability = (int(major), int(minor)) if (major + minor).isdecimal() and minor else None
    platform = "gpu" if device.platform in ("cuda", "rocm") else device.platform
    return Device(platform, device.device_kind, capability)
