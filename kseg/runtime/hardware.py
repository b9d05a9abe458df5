"""Processor, memory and GPU devices of this machine.

Imports nothing beyond the Python runner's requirements (ai-edge-litert, NumPy, OpenCV), so that
kseg.doctor runs in the environment of a car. That is why it reads /proc instead of using psutil,
which has neither the CPU's name and features nor a process' peak memory anyway.
"""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
    """Returns {"name", "threads" that this process may use, "features" that XNNPACK looks for}."""
    fields = _read_fields(root, "proc/cpuinfo")
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    board = _read(root, "proc/device-tree/model").strip("\0\n ")
    return {
        "name": fields.get("model name") or board or platform.machine(),
        "threads": len(os.sched_getaffinity(0)),
        "features": [name for name in _FEATURES if name in flags],
    }


def memory_info(root: str | Path = "/") -> dict[str, int | None]:
    """Returns {"total_mb", "available_mb", "limit_mb" of this process's cgroup (v2), or None}."""
    fields = _read_fields(root, "proc/meminfo")
    limit = _read(root, "sys/fs/cgroup/memory.max").strip()
    return {
        "total_mb": round(_megabytes(fields.get("MemTotal", "0 kB"))),
        "available_mb": round(_megabytes(fields.get("MemAvailable", "0 kB"))),
        "limit_mb": round(int(limit) / 1e6) if limit.isdecimal() else None,
    }


def resident_memory_mb() -> tuple[float, float]:
    """Returns the resident memory of this process, now and at its peak.

    Not by getrusage, whose maximum starts at the parent's peak. Raises InputError where
    /proc/self/status does not have these values.
    """
    fields = _read_fields("/", "proc/self/status")
    try:
        return _megabytes(fields["VmRSS"]), _megabytes(fields["VmHWM"])
    except KeyError as error:
        raise InputError(
            f"/proc/self/status has no {error}; memory is measured on Linux only"
        ) from error


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


def _read_fields(root: str | Path, path: str) -> dict[str, str]:
    """Returns the `key: value` lines of a file; of a repeated key the first."""
    fields: dict[str, str] = {}
    for line in _read(root, path).splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip(), value.strip())
    return fields


def _megabytes(kibibytes: str) -> float:
    """Converts a value of /proc such as "2048 kB", which are kibibytes, to MB."""
    return int(kibibytes.split()[0]) * 1024 / 1e6


def _read(root: str | Path, path: str) -> str:
    """Returns the text of a file; empty when there is none."""
    try:
        return (Path(root) / path).read_text(errors="replace")
    except OSError:
        return ""
