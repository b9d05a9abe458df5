"""Ten frames through a .tflite on CPU and GPU: do both answer, alike, and how fast?"""

import time
import zlib

import numpy as np

from kseg.export import thresholds
from kseg.export.profiles import PROFILES, TUNED
from kseg.runtime import gpu, tiny_model
from kseg.runtime.litert import TFLiteModel, class_ids

_NOT_IN_WHEELS = "TFLite's GPU delegate is in no Python wheel"


def on_cpu(tflite, size, *, reference_kernels=False):
    """Runs probe.frames of a size (height, width). Returns (class maps (N, H, W), report).

    The report is {"frames", "median_ms", "answers_crc32"}: two machines with the same checksum gave
    the same answer in every pixel.
    """
    runner = TFLiteModel(tflite, reference_kernels=reference_kernels)
    class_maps, latencies_ms = [], []
    for frame in tiny_model.frames(size):
        start = time.perf_counter()
        class_maps.append(runner(frame).astype(np.uint8))
        latencies_ms.append(1000 * (time.perf_counter() - start))
    class_maps = np.stack(class_maps)
    return class_maps, {
        "frames": len(class_maps),
        "median_ms": float(np.median(latencies_ms)),
        "answers_crc32": f"{zlib.crc32(class_maps.tobytes()):08x}",
    }


def on_gpu(tflite, size, expected, driver):
    """Runs the same frames on the GPU, in a child process, and compares with the CPU's answers.

    Returns (report, log of LiteRT). The report is {"works", "reason", "device", "frames",
    "median_ms", "agreement" 0..1}; from "device" on only where it ran. works is None where the GPU
    is not to be had, or takes only part of the file; False where it crashes or answers otherwise.
    """
    ran = gpu.run(tflite, tiny_model.frames(size), driver)
    if isinstance(ran, gpu.Failed):
        crashed = ran.refused and "not take every operator" not in ran.reason
        report = {"works": False if crashed else None, "reason": _words(ran)}
        return report, ran.log
    got = np.stack([class_ids(answer) for answer in ran.answers])
    agreement = float((got == expected[: len(got)]).mean())
    right = agreement >= thresholds.GPU_AGREEMENT
    report = {
        "works": right if ran.compiled["fully_accelerated"] else None,
        "reason": _verdict(agreement, right, ran.compiled["fully_accelerated"]),
        "device": ran.device,
        "frames": len(got),
        "median_ms": float(np.median(ran.latencies_ms)),
        "agreement": agreement,
    }
    return report, ran.log


def profiles(driver, why, devices):
    """Tries every profile and precision with a tiny model.

    driver, why: of gpu.find_driver; devices: of machine.devices. Returns ({profile: {precision:
    {"works": True, False (wrong) or None (not here), "reason"}}}, names of LiteRT's accelerators).
    """
    found, loaded = {name: {} for name in PROFILES}, []
    for precision in TUNED:
        found["cpu"][precision] = _try_cpu(precision)
    for precision in PROFILES["gpu"].precisions:
        found["gpu"][precision] = {"works": None, "reason": why}
        if driver:
            tflite = tiny_model.model(precision)
            expected, _ = on_cpu(tflite, tiny_model.SIZE)
            found["gpu"][precision], log = on_gpu(tflite, tiny_model.SIZE, expected, driver)
            loaded = gpu.accelerators(log)
    if not driver:  # Which accelerators load can be told without a device.
        tflite, images = tiny_model.model("fp32"), tiny_model.frames(tiny_model.SIZE)
        loaded = gpu.accelerators(gpu.run(tflite, images, gpu.Driver("no driver", {})).log)
    names = [device["name"] for device in devices["opencl"]["devices"]]
    needs = {
        "gpu-classic": f"OpenCL, here {', '.join(names) or 'no device'}",
        "gpu-gl": "OpenGL ES 3.1",
    }
    for name, needed in needs.items():
        reason = f"{_NOT_IN_WHEELS}; an app that has it needs {needed}"
        for precision in PROFILES[name].precisions:
            found[name][precision] = {"works": None, "reason": reason}
    return found, loaded


def _try_cpu(precision):
    """Holds XNNPACK's kernels, chosen by the CPU's features, against LiteRT's plain C++ ones."""
    tflite = tiny_model.model(precision)
    try:
        fast, _ = on_cpu(tflite, tiny_model.SIZE)
    except (RuntimeError, ValueError) as error:
        return {"works": False, "reason": f"LiteRT: {str(error).splitlines()[0]}"}
    plain, _ = on_cpu(tflite, tiny_model.SIZE, reference_kernels=True)
    agreement, limit = float((fast == plain).mean()), thresholds.LIMITS[precision].agreement
    words = (
        f"answers as LiteRT's reference kernels do on {100 * agreement:.3f} % of pixels, at least "
        f"{100 * limit:g} % must agree"
    )
    right = agreement >= limit
    return {"works": right, "reason": None if right else words}


def _verdict(agreement, right, whole):
    if not whole:
        return "part of it runs on the CPU"
    if right:
        return None
    return (
        f"answers otherwise than the CPU: {100 * agreement:.3f} % of pixels agree, at least "
        f"{100 * thresholds.GPU_AGREEMENT:g} % must"
    )


def _words(failed):
    named = "; ".join(line for line in failed.refused if line != failed.reason)
    return f"{failed.reason}: {named}" if named else failed.reason
