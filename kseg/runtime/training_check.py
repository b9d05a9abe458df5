"""kseg.doctor --training: what training would run on, and what is missing for a GPU.

Imports no backend: that is tried in a child process, kseg.runtime.training_probe.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from kseg import nvidia, tensorflow_log
from kseg.child_process import describe_exit
from kseg.runtime import hardware, missing_gpu

_LIMIT_S = 300
_MIN_DRIVER = (525, 60)  # For CUDA 12 (NVIDIA, CUDA Compatibility, minor version compatibility).
_LIBRARIES = ("nvidia-cuda-runtime-cu12", "nvidia-cudnn-cu12", "jax-cuda12-plugin")
_REASON = re.compile(r"[Ee]rror|[Ff]ail|[Cc]annot|[Cc]ould not|[Uu]nable")
_LOGGED_PROBLEM = re.compile(r"^([WEF][0-9]{4} |[0-9-]+ [0-9:.]+: [WEF] )")


def examine(*, need_gpu: bool = False) -> dict[str, Any]:
    """Tries the backend that KERAS_BACKEND names. Returns the report that --json writes.

    "problems" are lines on what should work and does not. need_gpu: having no GPU is one.
    """
    backend = _backend()
    tried, log = _probe(backend)
    report: dict[str, Any] = {
        "backend": backend,
        "tried": tried,
        "nvidia": _driver(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "cpu": hardware.cpu_info(),
        "memory": hardware.memory_info(),
        "log": log,
        "problems": [],
    }
    report["problems"] = list(_problems(report, need_gpu))
    if report["problems"] == []:
        report["log"] = []
    return report


def report_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Yields the report as lines to print."""
    tried, driver = report["tried"], report["nvidia"]
    title = missing_gpu.TITLES.get(report["backend"], report["backend"])
    yield f"backend   {title} {tried.get('version', '(does not start)')}"
    if tried:
        yield f"Keras     {tried['keras']}"
    memory = {gpu["name"]: gpu["memory_mb"] for gpu in driver["gpus"]}
    for device in tried.get("devices", []):
        size = f", {memory[device['name']]:,} MB" if memory.get(device["name"]) else ""
        capability = ".".join(map(str, device["capability"] or ()))
        yield (
            f"device    {device['name']}{size}"
            + f", compute capability {capability}" * bool(capability)
        )
    if tried and not tried["devices"]:
        cpu, total = report["cpu"], report["memory"]["total_mb"]
        yield f"device    CPU: {cpu['name']}, {cpu['threads']} threads, {total:,} MB"
    yield f"driver    {driver['version'] or driver['problem']}"
    yield f"CUDA      {_cuda_line(report)}"
    if tried:
        works = (f"{name} {problem or 'works'}" for name, problem in tried["computes"].items())
        yield f"precision {', '.join(works)}; --mixed-precision auto: {tried['mixed_precision']}"
    yield from (f"log       {line}" for line in report["log"])
    yield from (f"problem   {line}" for line in report["problems"])


def _backend() -> str:
    """Returns the name of Keras' backend without importing Keras, which imports the backend."""
    name = os.environ.get("KERAS_BACKEND")
    if name:
        return name
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    try:
        return str(json.loads((home / "keras.json").read_text())["backend"])
    except (OSError, ValueError, KeyError, TypeError):
        return "tensorflow"


def _probe(backend: str) -> tuple[dict[str, Any], list[str]]:
    """Returns (what the probe prints; {} if it fails, the last lines that it logged)."""
    command = [sys.executable, "-m", "kseg.runtime.training_probe"]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0", "KERAS_BACKEND": backend}
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {}, [describe_exit(None, "", limit_s=_LIMIT_S)]
    chatter = re.compile(tensorflow_log.CHATTER)
    lines = [line for line in done.stderr.splitlines() if line and not chatter.search(line)]
    if done.returncode:
        logged = [line for line in lines if _LOGGED_PROBLEM.match(line)]
        return {}, [*logged, describe_exit(done.returncode, done.stderr)]
    return json.loads(done.stdout.splitlines()[-1]), lines


def _driver() -> dict[str, Any]:
    try:
        gpus = nvidia.gpus()
    except nvidia.DriverError as error:
        return {"gpus": [], "version": None, "problem": f"none: {error}"}
    version = gpus[0].driver if gpus else None
    return {"gpus": [gpu._asdict() for gpu in gpus], "version": version, "problem": "no GPU"}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cuda_line(report: Mapping[str, Any]) -> str:
    wanted = {name: v for name, v in report["tried"].get("built_for", {}).items() if v}
    installed = [f"{name} {version}" for name, version in report["libraries"].items() if version]
    parts = [f"built for {' and '.join(f'{n} {v}' for n, v in wanted.items())}"] if wanted else []
    return "; ".join([*parts, f"installed: {', '.join(installed) or 'none'}"])


def _problems(report: Mapping[str, Any], need_gpu: bool) -> Iterator[str]:
    tried, driver = report["tried"], report["nvidia"]["version"]
    title = missing_gpu.TITLES.get(report["backend"], report["backend"])
    if not tried:
        yield f"{title} does not start: {report['log'][-1]}"
        return
    numbers = re.findall(r"\d+", driver or "")
    if numbers and tuple(map(int, numbers[:2])) < _MIN_DRIVER:
        yield f"driver {driver} is too old for CUDA 12; install 525.60 or newer"
    used = ["float32", *({tried["mixed_precision"]} - {"off"})]
    yield from (f"{name}: {p}" for name in used if (p := tried["computes"][name]))
    if not any(device["platform"] == "gpu" for device in tried["devices"]):
        reason = missing_gpu.explain(report["backend"])
        advice = reason.advice
        if reason is missing_gpu.UNKNOWN:
            reasons = [line for line in report["log"] if _REASON.search(line)] or report["log"]
            advice = reasons[-1] if reasons else "it does not say why"
        if reason.is_fault:
            yield f"{title} does not see this machine's NVIDIA GPU: {advice}"
        elif need_gpu:
            yield f"--gpu: {advice}"
