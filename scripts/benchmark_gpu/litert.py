"""Stage "litert": .tflite files on LiteRT's GPU accelerator and this device's own Vulkan driver.

python -m benchmark_gpu.litert FOLDER_OF_FILES...
"""

import json
import re
import statistics
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from benchmark_gpu.children import ROOT, emit, stream
from benchmark_gpu.run import Run

GOLDEN = ROOT / "tests/golden"
REPEATS = 10
AGREEMENT = 0.995  # Of all pixels, as kseg.export requires of a GPU.
# Per class, because a small class that is wrong changes the agreement of all pixels by little.
CLASS_AGREEMENT, LEAST_PIXELS = 0.95, 20
NVIDIA_HINT = (
    "NVIDIA's Vulkan driver also needs the system libraries of EGL, GLVND and X11 (Debian: libegl1 "
    "libglvnd0 libx11-6 libxext6), and in a container NVIDIA_DRIVER_CAPABILITIES with graphics"
)


def stage(run: Run) -> None:
    # With this variable the Vulkan loader prints why it cannot use a driver.
    child = run.start("litert", "benchmark_gpu.litert", *run.files, VK_LOADER_DEBUG="error")
    for result in stream(child, run.deadline):
        if "skipped" in result:
            run.results.end("skipped", result["skipped"])
            return
        problems = result.pop("problems")
        run.results.row(**result)
        # int8 files are meant for CPUs and NPUs, so a GPU that refuses them is no problem.
        report = run.results.note if "int8" in result["file"] else run.results.problem
        for problem in problems:
            report(f"{result['file']}: {problem}")


def main(folders: list[str]) -> None:
    from kseg.runtime import gpu

    driver, reason = gpu.find_driver()
    if not driver:
        emit(skipped=reason)
        return
    for path, images in [*golden_files(), *other_files(folders)]:
        tflite = path.read_bytes()
        result = gpu.run(tflite, np.concatenate([images] * REPEATS), driver, limit_s=60)
        if not isinstance(result, gpu.GpuFailure):
            emit(**_compare(path, images, result))
        elif result.refused:  # The file is the cause.
            emit(file=path.name, result=result.reason, problems=[result.reason, *result.refused])
        else:  # The device is the cause, so every other file would fail in the same way.
            emit(skipped=device_failure(result.reason, result.log))
            return


def device_failure(reason: str, log: str) -> str:
    """Returns one line on why Vulkan has no usable device."""
    # The loader's lines of older and newer versions; LiteRT's own lines look much the same.
    errors = re.findall(r"^(?:ERROR:\s{2,}|\[Vulkan Loader\] ERROR[^:]*:\s*)(.+)$", log, re.M)
    line = f"{reason}; Vulkan's loader: {errors[0].strip()[:200]}" if errors else reason
    return f"{line}; {NVIDIA_HINT}" if "nvidia" in reason.lower() else line


def _compare(path, images, result):
    """Returns the row of a file that ran on the GPU."""
    from kseg.runtime.litert import TFLiteModel, class_ids

    on_cpu = TFLiteModel(path)
    expected = np.stack([on_cpu(image) for image in images])
    actual = np.stack([class_ids(output) for output in result.outputs[: len(images)]])
    expected = expected[: len(actual)]  # There are fewer outputs than frames where time ran out.
    second_half = result.latencies_ms[len(result.latencies_ms) // 2 :]
    return {
        "file": path.name,
        "device": result.device,
        **result.compiled,
        "frames": len(actual),
        "agreement": float((actual == expected).mean()),
        "median ms": statistics.median(second_half),
        "problems": find_wrong_classes(expected, actual),
    }


def golden_files() -> Iterator[tuple[Path, np.ndarray]]:
    """Yields the golden files that take an image, each with its inputs (N, H, W, 3) uint8."""
    document = json.loads((GOLDEN / "golden.json").read_text())
    cases = {document["model"]: document["cases"]}
    for form in document["forms"]:
        if not form.get("replace") and not form["model"].startswith("tensor-"):
            cases.setdefault(form["model"], form["cases"])
    for model, inputs in cases.items():
        yield GOLDEN / model, np.stack([_read(GOLDEN / case["input"]) for case in inputs])


def other_files(folders: Iterable[str]) -> Iterator[tuple[Path, np.ndarray]]:
    """Yields the .tflite files of `folders`, each with the golden frames at its input size."""
    import cv2

    from kseg.runtime.litert import TFLiteModel

    frames = [_read(path) for path in sorted(GOLDEN.glob("*-input.png"))]
    for path in (path for folder in folders for path in sorted(Path(folder).glob("*.tflite"))):
        height, width = TFLiteModel(path).input_shape[1:3]
        yield path, np.stack([cv2.resize(frame, (width, height)) for frame in frames])


def _read(path):
    import cv2

    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def find_wrong_classes(expected: np.ndarray, actual: np.ndarray) -> list[str]:
    """Returns how class maps of the GPU differ from those of the CPU by more than rounding."""
    problems = []
    agreement = (actual == expected).mean()
    if agreement < AGREEMENT:
        problems.append(
            f"{100 * agreement:.2f} % of pixels agree with the CPU, expected {100 * AGREEMENT:g} %"
        )
    for class_id in np.unique(expected):
        pixels = expected == class_id
        share = (actual[pixels] == class_id).mean()
        if pixels.sum() >= LEAST_PIXELS and share < CLASS_AGREEMENT:
            problems.append(f"class {class_id}: {100 * share:.1f} % of its pixels agree")
    for class_id in np.setdiff1d(actual, expected):
        if (actual == class_id).sum() >= LEAST_PIXELS:
            problems.append(f"class {class_id}: predicted on the GPU only")
    return problems


if __name__ == "__main__":
    main(sys.argv[1:])
