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


def memory_limit() -> int | None:
    """Returns the bytes that the backend may use on its first accelerator; None if unknown (CPU).

    The backend reserves most of the accelerator's memory when it is first used, here too.
    """
    if not find():
        return None
    if keras.backend.backend() == "jax":
        return _jax_memory().get("bytes_limit")
    import tensorflow as tf
    from tensorflow.python.client import device_lib  # No public function has the limit.

    try:
        devices = device_lib.list_local_devices()
    except tf.errors.OpError:  # Nothing is left for it.
        return None
    return next((d.memory_limit for d in devices if d.device_type == "GPU"), None)


def peak_memory() -> int | None:
    """Returns the most bytes that this process has used on its first accelerator; None: unknown."""
    if not find():
        return None
    if keras.backend.backend() == "jax":
        return _jax_memory().get("peak_bytes_in_use")
    import tensorflow as tf

    return tf.config.experimental.get_memory_info("GPU:0")["peak"]


def _jax_memory():
    import jax

    return jax.local_devices()[0].memory_stats() or {}


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
