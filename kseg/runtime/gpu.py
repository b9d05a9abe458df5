"""Runs a .tflite through LiteRT's real GPU accelerator on whatever Vulkan device there is.

A software device (SwiftShader, in Chromium's folder) does as well: the accelerator, its shaders and
its mistakes are the same, only slow. scripts/install_software_gpu installs one.
"""

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import ai_edge_litert
import numpy as np

from kseg.runtime import gpu_worker
from kseg.runtime.litert import TFLiteModel, class_ids

_LIMIT_S = 300  # A child that has not answered by then hangs, or the device is far too slow.
_FRAMES_S = 60  # After these the child starts no further frame.
_INSTALL = "scripts/install_software_gpu installs a software device"

_DRIVER_FOLDERS = ("/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d")
_USER_SET = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")
# Mesa's software driver lacks what the accelerator needs (dynamic indexing).
_UNFIT_DRIVERS = ("lvp_", "lavapipe")
_HARDWARE_NODES = ("/dev/dri/renderD*", "/dev/nvidia[0-9]*")
_SWIFTSHADER = (
    "/usr/lib/chromium/vk_swiftshader_icd.json",
    "/usr/lib/chromium-browser/vk_swiftshader_icd.json",
    "/opt/google/chrome/vk_swiftshader_icd.json",
)


class Driver(NamedTuple):
    """environment is what a process needs to find the device, beside its own environment."""

    name: str
    environment: dict[str, str]


def find_driver(environ=os.environ, root="/"):
    """Returns (Driver, None), or (None, why there is none).

    What the user has set (VK_DRIVER_FILES, VK_ICD_FILENAMES) stands; else a GPU's own driver where
    there is a GPU, then SwiftShader.
    """
    if not list(Path(ai_edge_litert.__file__).parent.glob("libLiteRt*GpuAccelerator.*")):
        return None, "this ai-edge-litert has no GPU accelerator; 2.3 for x86-64 and aarch64 has"
    try:
        ctypes.CDLL("libvulkan.so.1")
    except OSError:
        return None, f"no Vulkan loader (libvulkan.so.1); {_INSTALL}"
    user_set = [name for name in _USER_SET if environ.get(name)]
    if user_set:
        return Driver(environ[user_set[0]], _runtime_folder(environ)), None
    root = Path(root)
    drivers = []
    if any(True for node in _HARDWARE_NODES for _ in root.glob(node.lstrip("/"))):
        for folder in _DRIVER_FOLDERS:
            found = sorted((root / folder.lstrip("/")).glob("*.json"))
            drivers += [str(p) for p in found if not p.name.startswith(_UNFIT_DRIVERS)]
    # Behind a GPU's driver too: that may be installed and find no device. The report names the one
    # that the accelerator took.
    software = (str(root / p.lstrip("/")) for p in _SWIFTSHADER)
    drivers += [path for path in software if Path(path).is_file()][:1]
    if not drivers:
        return None, f"no Vulkan device; {_INSTALL}"
    # Two names of one list: loaders before 1.3.207 know only the second.
    listed = dict.fromkeys(_USER_SET, os.pathsep.join(drivers))
    return Driver(drivers[0], listed | _runtime_folder(environ)), None


class Ran(NamedTuple):
    """answers: (H, W) ids or (H, W, C) logits by frame, fewer than images where time ran out.

    log: what LiteRT and the driver printed.
    """

    device: str
    compiled: dict  # {"fully_accelerated", "compile_s"}
    answers: list[np.ndarray]
    latencies_ms: list[float]
    log: str


class Failed(NamedTuple):
    """refused: lines on what the accelerator did not take or how it crashed; empty when the device
    is to blame."""

    reason: str
    refused: list[str]
    log: str


def run(tflite, images, driver, limit_s=_LIMIT_S):
    """Runs a file (bytes) on the GPU, in a child process. Returns Ran or Failed.

    images: (N, H, W, 3) uint8 of the file's size.
    """
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "model.tflite").write_bytes(tflite)
        np.save(folder / "images.npy", images)
        try:
            code, log = _run_child(folder, driver, limit_s)
        except subprocess.TimeoutExpired as error:
            log = (error.stdout or b"").decode(errors="replace")
            return Failed(f"no answer from {driver.name} within {limit_s:g} s", [], log)
        device = _device(log) or driver.name
        if code or not (folder / "latencies_ms.json").is_file():
            return _failure(code, log, device)
        return Ran(
            device,
            json.loads((folder / "compiled.json").read_text()),
            list(np.load(folder / "answers.npy")),
            json.loads((folder / "latencies_ms.json").read_text()),
            log,
        )


def verify(tflite, frames, labels, driver, limit_s=_LIMIT_S):
    """Runs a file on the GPU and compares it with the same file on the CPU.

    frames: a list of kseg.export.labelled_frames.Frame. Returns {"verified": True, "device",
    "fully_accelerated", "frames", "pixel_agreement" with the CPU, "gpu": scores, "cpu": scores on
    the same frames, "worst_frames", "compile_s"}, or {"verified": False, "reason", "refused": lines
    as in Failed}.
    """
    from kseg.evaluation.agreement import AgreementCounter

    ran = run(tflite, np.stack([frame.image for frame in frames]), driver, limit_s)
    if isinstance(ran, Failed):
        return {"verified": False, "reason": ran.reason, "refused": ran.refused}
    on_cpu, on_gpu = AgreementCounter(len(labels.classes)), AgreementCounter(len(labels.classes))
    runner = TFLiteModel(tflite)
    for frame, answer in zip(frames, ran.answers, strict=False):  # Fewer where time ran out.
        want, got = runner(frame.image), class_ids(answer)
        on_cpu.add(frame.key, frame.mask, want, want)
        on_gpu.add(frame.key, frame.mask, want, got)
    report = on_gpu.report(labels)
    return {
        "verified": True,
        "device": ran.device,
        **ran.compiled,
        "frames": on_gpu.frames,
        "pixel_agreement": report["pixel_agreement"],
        "gpu": report["scores"],
        "cpu": on_cpu.report(labels)["scores"],
        "worst_frames": report["worst_frames"],
    }


def _run_child(folder, driver, limit_s):
    """Returns (exit code, what it and its libraries printed)."""
    done = subprocess.run(
        [
            sys.executable,
            gpu_worker.__file__,
            str(folder / "model.tflite"),
            str(folder / "images.npy"),
            str(folder),
            str(_FRAMES_S),
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


def _failure(code, log, device):
    """Tells apart what the file is to blame for from what the device is."""
    if "No adapters found" in log:
        return Failed(f"Vulkan finds no device ({device}); {_INSTALL}", [], log)
    refused = _unsupported(log)
    if refused:
        return Failed(f"{device} does not take every operator", refused, log)
    if code < 0:
        how = f"crashed on {device} ({signal.Signals(-code).name})"
    else:
        how = f"failed on {device} (exit code {code}): {_last_line(log)}"
    return Failed(how, [how], log)


def _unsupported(log):
    """The accelerator's own list of operators that it leaves to the CPU."""
    part = re.search(r"not supported by GPU delegate:\n(.*?)\n[^\n]*operations will run", log, re.S)
    return part.group(1).splitlines() if part else []


def accelerators(log):
    """Names of the accelerators that LiteRT registered, by its own log."""
    return list(dict.fromkeys(re.findall(r"RegisterAccelerator: [^\n]*name=([^\n]*)", log)))


def _device(log):
    found = re.search(r"Selected adapter: ([^\n]*)", log)
    return found.group(1) if found else None


def _last_line(log):
    lines = [line for line in log.splitlines() if line.strip() and not line.startswith("INFO")]
    return lines[-1][:200] if lines else "it printed nothing"


def _runtime_folder(environ):
    """Vulkan's loader complains, and some drivers stop, without this folder."""
    return {} if environ.get("XDG_RUNTIME_DIR") else {"XDG_RUNTIME_DIR": tempfile.gettempdir()}
