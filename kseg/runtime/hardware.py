"""What a machine brings for running models: processor, memory, GPU devices. No TensorFlow."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from kseg.runtime import gpu_probe

# Those that XNNPACK chooses its kernels by (src/configs/hardware-config.c), as Linux names them.
_FEATURES = (
    *("ssse3", "sse4_1", "avx", "f16c", "fma", "avx2", "avx512f", "avx512_vnni", "avx512_fp16"),
    *("avx_vnni", "avx_vnni_int8", "amx_int8"),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme"),
)
_CHILD_S = 30


def system():
    """Returns {"os", "machine", "python", "libc"}: what decides which wheels fit."""
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


def cpu(root="/"):
    """Returns {"name", "threads" this process may use, "features" that XNNPACK asks for}."""
    found = {}
    for line in _text(root, "proc/cpuinfo").splitlines():
        key, colon, value = line.partition(":")
        if colon:
            found.setdefault(key.strip(), value.strip())
    flags = set(found.get("flags", found.get("Features", "")).split())
    board = _text(root, "proc/device-tree/model").strip("\0\n ")
    return {
        "name": found.get("model name") or board or "unnamed",
        "threads": len(os.sched_getaffinity(0)),
        "features": [name for name in _FEATURES if name in flags],
    }


def memory(root="/"):
    """Returns {"total_mb", "available_mb", "limit_mb" of this process's cgroup, or None}."""
    found = {}
    for line in _text(root, "proc/meminfo").splitlines():
        key, _, value = line.partition(":")
        found[key] = int(value.split()[0]) * 1024 / 1e6
    limit = _text(root, "sys/fs/cgroup/memory.max").strip()
    return {
        "total_mb": round(found.get("MemTotal", 0)),
        "available_mb": round(found.get("MemAvailable", 0)),
        "limit_mb": round(int(limit) / 1e6) if limit.isdecimal() else None,
    }


def devices(environment):
    """Looks for GPU devices in a child process, because drivers crash.

    environment: what the child gets beside ours (kseg.runtime.gpu.Driver). Returns {"vulkan",
    "opencl"}, each {"found": whether the library loads, "devices": [{"name", "software"}],
    "error": how it went wrong, or None}.
    """
    return {api: _devices(api, environment) for api in gpu_probe.LOOKS}


def _devices(api, environment):
    try:
        done = subprocess.run(
            [sys.executable, gpu_probe.__file__, api],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_CHILD_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"found": True, "devices": [], "error": f"no answer within {_CHILD_S} s"}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1][:200]
        how = f"its driver ends the process with {done.returncode}: {last}"
        return {"found": True, "devices": [], "error": how}
    return json.loads(done.stdout.splitlines()[-1])


def _text(root, path):
    try:
        return (Path(root) / path).read_text(errors="replace")
    except OSError:
        return ""
