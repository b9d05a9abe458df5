"""Pixels with another class than in Keras, by model family and runtime.

Each family is built with random weights, whose logits lie close together: a strict test. Batch
norms get the frames' statistics, otherwise logits would be too small for float16. Each file maps
uint8 frames to class maps. Runtimes:

  litert       LiteRT's CPU kernels: fp32, fp16
  accelerator  LiteRT's GPU accelerator on this machine's Vulkan device, which may be SwiftShader
  wasm         LiteRT.js on WebAssembly, in headless Chromium
  webgpu       LiteRT.js on WebGPU there
  onnx         ONNX Runtime's CPU provider: fp32, fp16

Prints a Markdown table. A cell is the number of pixels that differ and, in parentheses, the largest
margin among them: Keras' logit of its own class minus that of the runtime's class, divided by the
standard deviation of Keras' logits. A rounding error has a small margin; a wrong operator does not.

Exit codes: 0; 1 when a runtime fails or returns a class that does not exist; 2 for bad input, and
when a runtime is not installed.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kseg.errors import InputError, run
from kseg.runtime.page_server import PAGE, check_page

MODELS = {
    "unet": {"decoder_channels": 8},
    "fcn_mobilenet_v2": {"encoder_alpha": 0.35},
    "pspnet_mobilenet_v2": {"encoder_alpha": 0.35, "decoder_channels": 64},
    "deeplab_v3_plus_mobilenet_v2": {"encoder_alpha": 0.35},
    "deeplab_v3_plus_mobilenet_edge": {"encoder_alpha": 0.35},
    "segformer_b0": {},
    "segformer_b0_edge": {},
}
COLUMNS = {
    "litert": ("LiteRT fp32", "LiteRT fp16"),
    "accelerator": ("LiteRT accelerator fp32", "LiteRT accelerator fp16"),
    "wasm": ("LiteRT.js WASM fp32",),
    "webgpu": ("LiteRT.js WebGPU fp32",),
    "onnx": ("ONNX Runtime fp32", "ONNX Runtime fp16"),
}
CLASSES = 3
_STATISTICS_FRAMES, _STATISTICS_STEPS = 4, 30
_CONTRACT = "lanes"  # The published model whose contract the page reads; it has three classes.

EXAMPLES = """examples:
  python scripts/benchmarks/runtime_agreement.py BDD100K/images --frames 8
  python scripts/benchmarks/runtime_agreement.py PICTURES --models unet --runtimes litert onnx
"""


class Files(NamedTuple):
    """A model's exported files, by precision ("fp32", "fp16")."""

    tflite: dict[str, bytes]
    onnx: dict[str, bytes]


class Difference(NamedTuple):
    """A runtime's class maps compared with Keras'. invalid: pixels whose class does not exist."""

    pixels: int
    margin: float
    invalid: int

    def __str__(self) -> str:
        text = f"{self.pixels} ({self.margin:.1g})" if self.pixels else "0"
        return f"{text}, {self.invalid} invalid" if self.invalid else text


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="images (.jpg, .png), also in folders below it")
    parser.add_argument("--frames", type=int, default=8, help="number of images (default: 8)")
    parser.add_argument(
        "--models", nargs="+", choices=MODELS, default=list(MODELS), help="default: all"
    )
    parser.add_argument(
        "--runtimes", nargs="+", choices=COLUMNS, default=list(COLUMNS), help="default: all"
    )
    parser.add_argument(
        "--size",
        nargs=2,
        type=int,
        default=(144, 256),
        metavar=("H", "W"),
        help="input of the models (default: 144 256)",
    )
    parser.add_argument("--page", type=Path, default=PAGE, help="the built page (deploy/web/dist)")
    return measure(parser.parse_args(argv))


def measure(args: argparse.Namespace) -> int:
    """Prints the table. Returns the exit code."""
    from rich.console import Console
    from rich.progress import Progress

    frames = read_frames(args.folder, args.frames, tuple(args.size))
    check_runtimes(args)
    columns = [name for runtime in args.runtimes for name in COLUMNS[runtime]]
    print(f"{len(args.models)} models, {frames[..., 0].size} pixels each", flush=True)
    print("|".join(["", "", *(f" {name} " for name in columns), ""]))
    print("|" + "---|" * (1 + len(columns)), flush=True)
    failed = False
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("", total=len(args.models) * (1 + len(args.runtimes)))
        for name in args.models:
            progress.update(bar, description=f"{name}: export")
            model, files = build_and_convert(name, frames, args.runtimes)
            logits = np.stack(
                [model.predict_on_batch(f[None].astype(np.float32))[0] for f in frames]
            )
            progress.advance(bar)
            cells = []
            for runtime in args.runtimes:
                progress.update(bar, description=f"{name}: {runtime}")
                cells += compare(runtime, files, frames, logits, args.page)
                progress.advance(bar)
            print("|".join(["", f" `{name}` ", *(f" {cell} " for cell in cells), ""]), flush=True)
            failed |= any(isinstance(cell, str) or cell.invalid for cell in cells)
    return int(failed)


def read_frames(folder: Path, count: int, size: tuple[int, int]) -> np.ndarray:
    """Returns `count` images, evenly spaced among those below a folder: (n, *size, 3) uint8 RGB."""
    import cv2

    from kseg import preprocess

    if count < 1:
        raise InputError(f"--frames {count}: expected at least 1")
    paths = sorted(p for p in folder.rglob("*") if p.suffix in (".jpg", ".png"))
    if len(paths) < count:
        raise InputError(f"{folder}: {len(paths)} images (.jpg, .png); --frames asks for {count}")
    images = []
    for path in paths[:: len(paths) // count][:count]:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
        if image is None:
            raise InputError(f"{path}: not an image that can be read")
        images.append(preprocess.fit_image(image, size, "stretch"))
    return np.stack(images)


def check_runtimes(args: argparse.Namespace) -> None:
    """Raises InputError for a runtime that this machine does not have."""
    from kseg.export import onnx_convert
    from kseg.runtime import browser_benchmark, gpu

    if "onnx" in args.runtimes:
        onnx_convert.check_installed()
    if "accelerator" in args.runtimes and (reason := gpu.find_driver()[1]):
        raise InputError(f"--runtimes accelerator: {reason}")
    if {"wasm", "webgpu"} & set(args.runtimes):
        browser_benchmark.find_browser()
        check_page(args.page)


def build_and_convert(name: str, frames: np.ndarray, runtimes: Sequence[str]) -> tuple:
    """Returns (the Keras model, its Files)."""
    import keras

    from kseg.export import convert, onnx_convert
    from kseg.export.profiles import PROFILES
    from kseg.models import build
    from kseg.models.simplify import simplify

    keras.utils.set_random_seed(1)
    model = build(name, frames.shape[1:3], CLASSES, **MODELS[name])
    batch = frames[:_STATISTICS_FRAMES].astype(np.float32)
    for _ in range(_STATISTICS_STEPS):
        model(batch, training=True)
    simplified, precisions = simplify(model), ("fp32", "fp16")
    # The fp32 and fp16 files of the profiles cpu and gpu are the same.
    tflite = {p: convert.to_tflite(simplified, p, PROFILES["gpu"]) for p in precisions}
    onnx = {}
    if "onnx" in runtimes:
        onnx = {p: onnx_convert.to_onnx(simplified, p) for p in precisions}
    return model, Files(tflite, onnx)


def compare(
    runtime: str, files: Files, frames: np.ndarray, logits: np.ndarray, page: Path
) -> list[Difference | str]:
    """Returns a cell for each of the runtime's columns; the reason where it failed."""
    from kseg.runtime.exported_file import load

    runs: list[Callable[[], np.ndarray]]
    if runtime == "accelerator":
        runs = [lambda t=tflite: run_on_accelerator(t, frames) for tflite in files.tflite.values()]
    elif runtime in ("wasm", "webgpu"):
        device = "cpu" if runtime == "wasm" else "gpu"
        runs = [lambda: run_in_browser(files.tflite["fp32"], device, frames, page)]
    else:
        exported = files.tflite if runtime == "litert" else files.onnx
        runs = [lambda d=data: np.stack([*map(load(d), frames)]) for data in exported.values()]
    cells: list[Difference | str] = []
    for run_frames in runs:
        try:
            cells.append(difference(run_frames(), logits))
        except InputError as error:
            cells.append(f"failed: {error}")
    return cells


def run_on_accelerator(tflite: bytes, frames: np.ndarray) -> np.ndarray:
    """Returns class maps (n, h, w) of LiteRT's accelerator. Raises InputError when it fails."""
    from kseg.runtime import gpu

    driver, reason = gpu.find_driver()
    if driver is None:
        raise InputError(reason)
    result = gpu.run(tflite, frames, driver)
    if isinstance(result, gpu.GpuFailure):
        raise InputError(result.reason)
    if not result.compiled["fully_accelerated"]:
        raise InputError(f"{result.device}: not fully accelerated")
    if len(result.outputs) < len(frames):
        raise InputError(f"{result.device}: no time for all frames; use fewer --frames")
    return np.stack(result.outputs)


def run_in_browser(tflite: bytes, device: str, frames: np.ndarray, page: Path) -> np.ndarray:
    """Returns class maps (n, h, w) of LiteRT.js. Raises InputError when it fails."""
    from kseg import contract, files, published_models
    from kseg.runtime import browser_benchmark

    published = contract.read(published_models.tflite_file(_CONTRACT))
    own = dataclasses.replace(published, input_size=frames.shape[1:3], fit="stretch")
    with files.temporary_folder() as folder:
        path = folder / "model.tflite"
        path.write_bytes(contract.append_checksum(contract.embed(tflite, own)))
        result = browser_benchmark.run(str(path), device, frames, rounds=1, seconds=1, page=page)
    return result["class_maps"]


def difference(class_maps: np.ndarray, logits: np.ndarray) -> Difference:
    """Compares class maps (n, h, w) with Keras' logits (n, h, w, classes)."""
    invalid = class_maps >= logits.shape[-1]
    expected = logits.argmax(-1)
    differ = class_maps != expected
    at = logits[differ & ~invalid]
    own, other = (
        np.take_along_axis(at, ids[differ & ~invalid][:, None], -1)
        for ids in (expected, class_maps.astype(np.int64))
    )
    margin = float((own - other).max(initial=0) / logits.std())
    return Difference(int(differ.sum()), margin, int(invalid.sum()))


if __name__ == "__main__":
    sys.exit(run(main))
