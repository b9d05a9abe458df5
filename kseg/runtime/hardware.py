"""Processor, memory and GPU devices of this machine. No TensorFlow."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from kseg.child_process import describe_exit
from kseg.errors import InputError
from kseg.runtime import gpu_probe

# CPU features by which XNNPACK selects its kernels (src/configs/hardware-config.c), as Linux names
# them.
_FEATURES = (
    *("ssse3", "sse4_1", "avx", "f16c", "fma", "avx2", "avx512f", "avx512_vnni", "avx512_fp16"),
    *("avx_vnni", "avx_vnni_int8", "amx_int8"),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme"),
)
_PROBE_LIMIT_S = 30


def system_info() -> dict[str, str]:
    """Returns {"os", "machine", "python", "libc"}, on which depends which Python wheels fit."""
    try:
        os_name = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        os_name = platform.system()
    return {
        "os": os_name,
        "machine": platform.machine(),
        "python": platform.python_version(),
        "libc": " ".join(platform.libc_ver()).strip() or "unknown",
    }


def cpu_info(root: str | Path = "/") -> dict[str, Any]:
    """Returns {"name", "threads" that this process may use, "features" that XNNPACK looks for}.

    Reads /proc/cpuinfo, because psutil has neither the name nor the features.
    """
    fields: dict[str, str] = {}
    for line in _read(root, "proc/cpuinfo").splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip(), value.strip())
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    board = _read(root, "proc/device-tree/model").strip("\0\n ")
    return {
        "name": fields.get("model name") or board or platform.machine(),
        "threads": len(os.sched_getaffinity(0)),
        "features": [name for name in _FEATURES if name in flags],
    }


def memory_info(root: str | Path = "/") -> dict[str, int | None]:
    """Returns {"total_mb", "available_mb", "limit_mb" of this process's cgroup (v2), or None}."""
    memory = psutil.virtual_memory()
    limit = _read(root, "sys/fs/cgroup/memory.max").strip()  # psutil does not read cgroups.
    return {
        "total_mb": round(memory.total / 1e6),
        "available_mb": round(memory.available / 1e6),
        "limit_mb": round(int(limit) / 1e6) if limit.isdecimal() else None,
    }


def peak_memory_mb() -> float:
    """Returns the most memory that this process has had resident so far.

    Reads VmHWM of /proc/self/status: psutil has no peak on Linux, and getrusage's maximum starts at
    the parent's peak. Raises InputError on other systems.
    """
    for line in _read("/", "proc/self/status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise InputError("/proc/self/status has no VmHWM; peak memory is measured on Linux only")


def gpu_devices(environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Lists GPU devices, in child processes because drivers may crash.

    environment: variables for the child processes beside ours (Driver.environment of
    kseg.runtime.gpu). Returns {"vulkan", "opencl"}, each {"found": whether the library loads,
    "devices": [{"name", "software"}], "error": a line, or None}.
    """
    return {api: _probe(api, environment) for api in gpu_probe.PROBES}


def _probe(api: str, environment: Mapping[str, str]) -> dict[str, Any]:
    try:
        done = subprocess.run(
            [sys.executable, gpu_probe.__file__, api],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROBE_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        error = describe_exit(None, "", limit_s=_PROBE_LIMIT_S)
        return {"found": True, "devices": [], "error": f"driver: {error}"}
    if done.returncode:
        error = describe_exit(done.returncode, done.stderr)
        return {"found": True, "devices": [], "error": f"driver: {error}"}
    return json.loads(done.stdout.splitlines()[-1])


def _read(root: str | Path, path: str) -> str:
    """Returns the text of a file; empty when there is none."""
    try:
        return (Path(root) / path).read_text(errors="replace")
    except OSError:
        return ""
