"""Runs a .tflite on LiteRT's GPU accelerator, on any Vulkan device that this machine has.

A software device (SwiftShader, which comes with Chromium) is enough to check correctness: the
accelerator and its shaders are the same as on a GPU, and so are their errors; only the speed
differs. scripts/install_software_gpu installs one.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import ai_edge_litert
import numpy as np

from kseg import files
from kseg.child_process import describe_exit
from kseg.evaluation.agreement import AgreementCounter
from kseg.runtime import gpu_worker
from kseg.runtime.litert import TFLiteModel, class_ids

if TYPE_CHECKING:
    from kseg.export.labelled_frames import Frame
    from kseg.labels import LabelSet

_TIME_LIMIT_S = 300  # Of the child process: beyond it the device hangs or is far too slow.
_FRAMES_LIMIT_S = 60  # After this time the child process starts no further frame.
_INSTALL = "scripts/install_software_gpu installs a software device"

_DRIVER_FOLDERS = ("/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d")
_USER_VARIABLES = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")
# Mesa's software driver lacks dynamic indexing, which the accelerator needs.
_UNSUITABLE_DRIVERS = ("lvp_", "lavapipe")
_HARDWARE_NODES = ("/dev/dri/renderD*", "/dev/nvidia[0-9]*")
_SWIFTSHADER = (
    "/usr/lib/chromium/vk_swiftshader_icd.json",
    "/usr/lib/chromium-browser/vk_swiftshader_icd.json",
    "/opt/google/chrome/vk_swiftshader_icd.json",
)


class Driver(NamedTuple):
    """A Vulkan driver. environment: variables that a process needs to find its device."""

    name: str
    environment: dict[str, str]


def find_driver(
    environ: Mapping[str, str] = os.environ, root: str | Path = "/"
) -> tuple[Driver, None] | tuple[None, str]:
    """Returns (Driver, None), or (None, the reason why there is none).

    VK_DRIVER_FILES and VK_ICD_FILENAMES take precedence. Otherwise a GPU's own driver is taken
    where there is a GPU, then SwiftShader.
    """
    if not list(Path(ai_edge_litert.__file__).parent.glob("libLiteRt*GpuAccelerator.*")):
        return None, (
            "this ai-edge-litert has no GPU accelerator; version 2.3 has one for x86-64 and aarch64"
        )
    try:
        ctypes.CDLL("libvulkan.so.1")
    except OSError:
        return None, f"no Vulkan loader (libvulkan.so.1); {_INSTALL}"
    set_by_user = [name for name in _USER_VARIABLES if environ.get(name)]
    if set_by_user:
        return Driver(environ[set_by_user[0]], _runtime_folder(environ)), None
    drivers = _installed_drivers(Path(root))
    if not drivers:
        return None, f"no Vulkan device; {_INSTALL}"
    # Two names of one list: loaders before 1.3.207 know only the second.
    variables = dict.fromkeys(_USER_VARIABLES, os.pathsep.join(drivers))
    return Driver(drivers[0], variables | _runtime_folder(environ)), None


def _installed_drivers(root: Path) -> list[str]:
    drivers = []
    if any(True for node in _HARDWARE_NODES for _ in root.glob(node.lstrip("/"))):
        for folder in _DRIVER_FOLDERS:
            paths = sorted((root / folder.lstrip("/")).glob("*.json"))
            drivers += [str(p) for p in paths if not p.name.startswith(_UNSUITABLE_DRIVERS)]
    # SwiftShader stands behind a GPU's driver as well, because an installed driver may find no
    # device. The report names the device that the accelerator selected.
    software = (str(root / path.lstrip("/")) for path in _SWIFTSHADER)
    return drivers + [path for path in software if Path(path).is_file()][:1]


def _runtime_folder(environ: Mapping[str, str]) -> dict[str, str]:
    """Vulkan's loader warns, and some drivers fail, without XDG_RUNTIME_DIR."""
    return {} if environ.get("XDG_RUNTIME_DIR") else {"XDG_RUNTIME_DIR": tempfile.gettempdir()}


class GpuRun(NamedTuple):
    """A finished run.

    compiled: {"fully_accelerated": bool, "compile_s"}.
    outputs: (H, W) ids or (H, W, C) logits for each frame; fewer than images where time ran out.
    log: what LiteRT and the driver printed.
    """

    device: str
    compiled: dict[str, Any]
    outputs: list[np.ndarray]
    latencies_ms: list[float]
    log: str


class GpuFailure(NamedTuple):
    """A failed run.

    refused: lines on the operators that the accelerator did not accept, or on the crash; empty
    when the device is the cause and not the file.
    """

    reason: str
    refused: list[str]
    log: str
    crashed: bool = False


def run(
    tflite: bytes, images: np.ndarray, driver: Driver, limit_s: float = _TIME_LIMIT_S
) -> GpuRun | GpuFailure:
    """Runs a .tflite on the GPU in a child process, because native code may crash or hang.

    images: (N, H, W, 3) uint8 RGB of the model's input size.
    """
    with files.temporary_folder() as folder:
        (folder / "model.tflite").write_bytes(tflite)
        np.save(folder / "images.npy", images)
        try:
            returncode, log = _run_child(folder, driver, limit_s)
        except subprocess.TimeoutExpired as error:
            log = (error.stdout or b"").decode(errors="replace")
            reason = f"{driver.name}: {describe_exit(None, log, limit_s=limit_s)}"
            return GpuFailure(reason, [], log)
        device = _device(log) or driver.name
        if returncode or not (folder / "latencies_ms.json").is_file():
            return _failure(returncode, log, device)
        return GpuRun(
            device,
            json.loads((folder / "compiled.json").read_text()),
            list(np.load(folder / "outputs.npy")),
            json.loads((folder / "latencies_ms.json").read_text()),
            log,
        )


def verify(
    tflite: bytes,
    frames: Sequence[Frame],
    labels: LabelSet,
    driver: Driver,
    limit_s: float = _TIME_LIMIT_S,
) -> dict[str, Any]:
    """Runs a .tflite on the GPU and compares its class maps with those of the CPU.

    Returns {"verified": True, "device", "fully_accelerated", "compile_s", "frames",
    "pixel_agreement" with the CPU, "gpu": scores, "cpu": scores on the same frames,
    "worst_frames"}, or {"verified": False, "reason", "refused": as in GpuFailure}.
    """
    result = run(tflite, np.stack([frame.image for frame in frames]), driver, limit_s)
    if isinstance(result, GpuFailure):
        return {"verified": False, "reason": result.reason, "refused": result.refused}
    cpu_counter, gpu_counter = (
        AgreementCounter(len(labels.classes)),
        AgreementCounter(len(labels.classes)),
    )
    model = TFLiteModel(tflite)
    # strict=False: there are fewer outputs than frames where time ran out.
    for frame, output in zip(frames, result.outputs, strict=False):
        expected = model(frame.image)
        cpu_counter.add(frame.key, frame.mask, expected, expected)
        gpu_counter.add(frame.key, frame.mask, expected, class_ids(output))
    report = gpu_counter.report(labels)
    if report["pixel_agreement"] is None:
        reason = f"every pixel of the {gpu_counter.frames} frames is ignored; use more frames"
        return {"verified": False, "reason": reason, "refused": []}
    return {
        "verified": True,
        "device": result.device,
        **result.compiled,
        "frames": gpu_counter.frames,
        "pixel_agreement": report["pixel_agreement"],
        "gpu": report["scores"],
        "cpu": cpu_counter.report(labels)["scores"],
        "worst_frames": report["worst_frames"],
    }


def _run_child(folder: Path, driver: Driver, limit_s: float) -> tuple[int, str]:
    """Returns (exit code, everything printed to stdout and stderr)."""
    done = subprocess.run(
        [
            sys.executable,
            gpu_worker.__file__,
            str(folder / "model.tflite"),
            str(folder / "images.npy"),
            str(folder),
            str(_FRAMES_LIMIT_S),
        ],
        env={**os.environ, **driver.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=limit_s,
        check=False,
    )
    return done.returncode, done.stdout


def _failure(returncode: int, log: str, device: str) -> GpuFailure:
    """Decides whether the file or the device is the cause."""
    if "No adapters found" in log:
        return GpuFailure(f"Vulkan finds no device ({device}); {_INSTALL}", [], log)
    unsupported = _unsupported_operators(log)
    if unsupported:
        return GpuFailure(f"{device} does not support every operator", unsupported, log)
    verb = "crashed" if returncode < 0 else "failed"
    reason = f"{verb} on {device}: {describe_exit(returncode, log)}"
    return GpuFailure(reason, [reason], log, crashed=True)


def _unsupported_operators(log: str) -> list[str]:
    """Returns the accelerator's own list of operators that it leaves to the CPU."""
    block = re.search(
        r"not supported by GPU delegate:\n(.*?)\n[^\n]*operations will run", log, re.S
    )
    return block.group(1).splitlines() if block else []


def _device(log: str) -> str | None:
    match = re.search(r"Selected adapter: ([^\n]*)", log)
    return match.group(1) if match else None


def accelerators(log: str) -> list[str]:
    """Returns the names of the accelerators that LiteRT registered, from its log."""
    return list(dict.fromkeys(re.findall(r"RegisterAccelerator: [^\n]*name=([^\n]*)", log)))
