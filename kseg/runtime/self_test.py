"""Runs a .tflite on synthetic frames, on CPU and GPU: do they agree, and how fast are they?"""

import time
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from kseg.export import thresholds
from kseg.export.profiles import PROFILES, TUNED
from kseg.preprocess import Size
from kseg.runtime import gpu, synthetic_frames, tiny_models
from kseg.runtime.litert import TFLiteModel, class_ids

_NOT_IN_WHEELS = "TFLite's GPU delegate is in no Python wheel"


def run_on_cpu(
    tflite: bytes, size: Size, *, reference_kernels: bool = False
) -> tuple[np.ndarray, dict[str, Any]]:
    """Runs the synthetic frames of a size (height, width) through a .tflite.

    Returns (class maps (N, H, W) uint8, {"frames", "median_ms", "answers_crc32"}). Two machines
    with the same checksum computed the same class in every pixel.
    """
    model = TFLiteModel(tflite, reference_kernels=reference_kernels)
    results, latencies_ms = [], []
    for frame in synthetic_frames.frames(size):
        start = time.perf_counter()
        results.append(model(frame).astype(np.uint8))
        latencies_ms.append(1000 * (time.perf_counter() - start))
    class_maps = np.stack(results)
    return class_maps, {
        "frames": len(class_maps),
        "median_ms": float(np.median(latencies_ms)),
        "answers_crc32": f"{zlib.crc32(class_maps.tobytes()):08x}",
    }


def run_on_gpu(
    tflite: bytes, size: Size, expected: np.ndarray, driver: gpu.Driver
) -> tuple[dict[str, Any], str]:
    """Runs the same frames on the GPU and compares with `expected`, the CPU's class maps.

    Returns (report, LiteRT's log). The report is {"works", "reason"}, and where the GPU ran the
    file also "device", "frames", "median_ms" and "agreement" (0..1). works is True; False where the
    GPU crashes or disagrees with the CPU; None where there is no usable GPU or it runs only some of
    the operators.
    """
    result = gpu.run(tflite, synthetic_frames.frames(size), driver)
    if isinstance(result, gpu.GpuFailure):
        works = False if result.crashed else None
        return {"works": works, "reason": _reason(result)}, result.log
    class_maps = np.stack([class_ids(output) for output in result.outputs])
    agreement = float((class_maps == expected[: len(class_maps)]).mean())
    works, reason = _judge(agreement, result.compiled["fully_accelerated"])
    report = {
        "works": works,
        "reason": reason,
        "device": result.device,
        "frames": len(class_maps),
        "median_ms": float(np.median(result.latencies_ms)),
        "agreement": agreement,
    }
    return report, result.log


def _reason(failure: gpu.GpuFailure) -> str:
    lines = "; ".join(line for line in failure.refused if line != failure.reason)
    return f"{failure.reason}: {lines}" if lines else failure.reason


def _judge(agreement: float, fully_accelerated: bool) -> tuple[bool | None, str | None]:
    """Returns (works, reason) of a GPU that ran the frames."""
    if not fully_accelerated:
        return None, "some of its operators run on the CPU"
    if agreement >= thresholds.GPU_AGREEMENT:
        return True, None
    return False, (
        f"disagrees with the CPU: {100 * agreement:.3f} % of pixels are equal, at least "
        f"{100 * thresholds.GPU_AGREEMENT:g} % must be"
    )


def try_profiles(
    driver: gpu.Driver | None, no_driver: str | None, devices: Mapping[str, Any]
) -> tuple[dict[str, dict[str, dict[str, Any]]], list[str]]:
    """Runs a tiny model in every profile and precision.

    driver, no_driver: what gpu.find_driver returns. devices: of hardware.gpu_devices. Returns
    ({profile: {precision: {"works": True, False (wrong) or None (not available), "reason"}}}, names
    of LiteRT's accelerators).
    """
    profiles: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in PROFILES}
    profiles["cpu"] = {precision: _try_cpu(precision) for precision in TUNED}
    log = ""
    for precision in PROFILES["gpu"].precisions:
        if driver is None:
            profiles["gpu"][precision] = {"works": None, "reason": no_driver}
            continue
        tflite = tiny_models.read(precision)
        expected, _ = run_on_cpu(tflite, tiny_models.SIZE)
        profiles["gpu"][precision], log = run_on_gpu(tflite, tiny_models.SIZE, expected, driver)
    if driver is None:  # LiteRT loads its accelerators even without a device.
        images = synthetic_frames.frames(tiny_models.SIZE)
        log = gpu.run(tiny_models.read("fp32"), images, gpu.Driver("no driver", {})).log
    opencl = [device["name"] for device in devices["opencl"]["devices"]]
    requirements = {
        "gpu-classic": f"OpenCL, here {', '.join(opencl) or 'no device'}",
        "gpu-gl": "OpenGL ES 3.1",
    }
    for name, requirement in requirements.items():
        reason = f"{_NOT_IN_WHEELS}; an app that includes it needs {requirement}"
        for precision in PROFILES[name].precisions:
            profiles[name][precision] = {"works": None, "reason": reason}
    return profiles, gpu.accelerators(log)


def _try_cpu(precision: str) -> dict[str, Any]:
    """Compares XNNPACK's kernels, selected by CPU features, with LiteRT's reference kernels."""
    tflite = tiny_models.read(precision)
    try:
        class_maps, _ = run_on_cpu(tflite, tiny_models.SIZE)
    except (RuntimeError, ValueError) as error:
        return {"works": False, "reason": f"LiteRT: {str(error).splitlines()[0]}"}
    expected, _ = run_on_cpu(tflite, tiny_models.SIZE, reference_kernels=True)
    agreement = float((class_maps == expected).mean())
    limit = thresholds.LIMITS[precision].agreement
    if agreement >= limit:
        return {"works": True, "reason": None}
    return {
        "works": False,
        "reason": (
            f"disagrees with LiteRT's reference kernels: {100 * agreement:.3f} % of pixels are "
            f"equal, at least {100 * limit:g} % must be"
        ),
    }
