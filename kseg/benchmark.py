"""python -m kseg.benchmark: compares the latency of models and runtimes on this machine."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kseg import files, published_models
from kseg.errors import InputError, run
from kseg.runtime.page_server import PAGE, check_page

if TYPE_CHECKING:
    import numpy as np

EXAMPLES = """examples:
  python -m kseg.benchmark runs/demo/model-fp32.tflite
  python -m kseg.benchmark road-fp32.tflite road-fp16.tflite --threads 2 --image street.jpg
  python -m kseg.benchmark road.tflite --vs peer.onnx openvino:peer.onnx --json speed.json
  python -m kseg.benchmark road.tflite road.tflite          shows how much is noise
  python -m kseg.benchmark road.tflite --operators --gpu
  python -m kseg.benchmark lanes                            a published model
  python -m kseg.benchmark lanes --browser                  also in Chromium: WASM and WebGPU

--vs accepts these models; ./scripts/install benchmark installs ONNX Runtime and OpenVINO:
  FILE.tflite              LiteRT
  FILE.onnx                ONNX Runtime
  openvino:FILE            OpenVINO in float32; FILE is .onnx, .xml or .tflite
  openvino-default:FILE    OpenVINO in the precision that it chooses

What is measured:
  latency     from input array to output array. All models run interleaved in one process, so that
              machine noise affects them equally. GPU and browser runs have processes of their own
              and are not interleaved.
  ratio       to the first model: of the minima, and the median of the ratios within each round
              with their 10th and 90th percentile. If 1 lies between these, the difference is noise.
  frame       fit the frame to the input, run the model, map the classes back, blend the colours.
  memory      peak of a process that runs this model only.
  operators   those that LiteRT runs after XNNPACK has fused them, by LiteRT's own profiler.
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m kseg.benchmark",
        description="Measures and compares the latency of models and runtimes on this machine.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "models", metavar="MODEL", nargs="+", help=".tflite files, or published models, to measure"
    )
    parser.add_argument(
        "--vs",
        metavar="MODEL",
        nargs="+",
        action="extend",
        default=[],
        help="models of any runtime to compare with; see below",
    )
    parser.add_argument(
        "--threads", metavar="N", type=int, default=1, help="number of CPU threads (default: 1)"
    )
    parser.add_argument(
        "--runs",
        metavar="N",
        type=int,
        default=100,
        help="number of timed runs of each model (default: 100)",
    )
    parser.add_argument(
        "--seconds",
        metavar="S",
        type=float,
        default=60,
        help="stop after this time even before --runs are done (default: 60)",
    )
    parser.add_argument(
        "--image", metavar="FILE", help="the frame to run on (default: 720x1280 noise)"
    )
    parser.add_argument(
        "--operators", action="store_true", help="show the time by operator, for each .tflite MODEL"
    )
    parser.add_argument(
        "--gpu", action="store_true", help="measure each .tflite MODEL on the GPU as well"
    )
    parser.add_argument(
        "--browser",
        action="store_true",
        help="measure each .tflite MODEL in a headless Chromium or Chrome as well, by LiteRT.js on "
        "the CPU (WebAssembly) and the GPU (WebGPU)",
    )
    parser.add_argument(
        "--page",
        metavar="FOLDER",
        default=PAGE,
        help="the built page, for --browser (default: deploy/web/dist of the checkout)",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write the report, with the time of every run, as JSON"
    )
    return benchmark(parser.parse_args(argv))


def benchmark(args: argparse.Namespace) -> int:
    """Runs the command. Returns its exit code."""
    args.models = [published_models.tflite_file(model) for model in args.models]
    args.vs = [published_models.tflite_file(model) for model in args.vs]
    for flag in ("threads", "runs", "seconds"):
        if getattr(args, flag) <= 0:
            raise InputError(f"--{flag} {getattr(args, flag)}: expected more than 0")
    if args.json and not Path(args.json).absolute().parent.is_dir():
        raise InputError(f"--json {args.json}: no such folder {Path(args.json).parent}")

    import cv2

    from kseg.runtime import benchmark_frames, benchmark_tables, browser_benchmark, other_runtimes

    if args.browser:  # Before the other models are measured.
        browser_benchmark.find_browser()
        check_page(Path(args.page))
    specs = [*args.models, *args.vs]
    for spec in specs:  # Report a bad one before loading the first.
        if other_runtimes.parse_spec(spec)[0] == "gpu":
            raise InputError(
                f"{spec}: GPU runs need a process of their own; give the .tflite file and --gpu"
            )
    frame = benchmark_frames.read_frame(args.image)
    cv2.setNumThreads(args.threads)
    machine = describe_machine()  # Before the benchmark itself adds to the load.
    rows = measure(unique_names(specs), frame, args)
    report = {
        "machine": machine,
        "threads": args.threads,
        "image": args.image or "noise",
        "frame_size": list(frame.shape[:2]),
        "models": rows,
    }
    benchmark_tables.print_report(report)
    if args.json:
        files.write_text(args.json, json.dumps(report, indent=1, allow_nan=False) + "\n")
    return 0


def describe_machine() -> dict[str, Any]:
    """Returns the report's "machine"."""
    from kseg.runtime import hardware

    return {
        "cpu": hardware.cpu_info()["name"],
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def unique_names(specs: Sequence[str]) -> dict[str, str]:
    """Returns {name: spec}. The name is the spec; a repeated spec gets the name `SPEC (2)`."""
    named: dict[str, str] = {}
    for spec in specs:
        count = sum(spec == other for other in named.values())
        named[f"{spec} ({count + 1})" if count else spec] = spec
    return named


def measure(
    specs: Mapping[str, str], frame: "np.ndarray", args: argparse.Namespace
) -> list[dict[str, Any]]:
    """Measures {name: spec} on a frame (h, w, 3) uint8 RGB.

    Returns a row of the report for each model, then for each GPU run.
    """
    from rich.console import Console
    from rich.progress import Progress

    from kseg.runtime import benchmark_frames, other_runtimes, timing

    models = {name: other_runtimes.load_model(spec, args.threads) for name, spec in specs.items()}
    model_calls, frame_calls = {}, {}
    for name, model in models.items():
        array = benchmark_frames.model_input(frame, model.input_shape, model.input_dtype)
        model_calls[name] = lambda model=model, array=array: model.run(array)
        path = other_runtimes.parse_spec(specs[name])[1]
        process = benchmark_frames.frame_processor(model, path)
        if process:
            frame_calls[name] = lambda process=process: process(frame)
    limits = {"rounds": args.runs, "seconds": args.seconds}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        model_task = progress.add_task("models", total=args.runs)
        frame_task = progress.add_task("frames", total=args.runs if frame_calls else 0)
        memory_task = progress.add_task("memory", total=len(specs))
        model_ms = timing.time_interleaved(
            model_calls, **limits, on_round=lambda: progress.advance(model_task)
        )
        frame_ms = timing.time_interleaved(
            frame_calls, **limits, on_round=lambda: progress.advance(frame_task)
        )
        rows = []
        for name, spec in specs.items():
            row = _interleaved_row(name, models[name], model_ms, frame_ms)
            rows.append(row | _child_process_values(spec, args))
            progress.advance(memory_task)
        if args.gpu:
            gpu_task = progress.add_task("GPU", total=len(args.models))
            for path in dict.fromkeys(args.models):
                rows.append(_gpu_row(f"gpu:{path}", args))
                progress.advance(gpu_task)
        if args.browser:
            browser_task = progress.add_task("browser", total=2 * len(args.models))
            for path in dict.fromkeys(args.models):
                for device in ("cpu", "gpu"):
                    rows.append(_browser_row(path, device, frame, args))
                    progress.advance(browser_task)
    return rows


def _interleaved_row(name, model, model_ms, frame_ms):
    """The values of a model that were measured interleaved with the other models."""
    from kseg.runtime import timing

    reference = next(iter(model_ms))
    row = {
        "name": name,
        "runtime": model.runtime,
        "input": [*model.input_shape, model.input_dtype],
        "model": timing.summarize(model_ms[name]),
        "model_times_ms": model_ms[name].tolist(),
    }
    if name != reference:
        row["ratio"] = timing.ratio(model_ms[name], model_ms[reference])
    if name in frame_ms:
        row["whole_frame"] = timing.summarize(frame_ms[name])
    return row


def _child_process_values(spec, args):
    """The values measured in a process that runs this model only: memory, and operators."""
    from kseg.runtime import subprocess_benchmark

    operators = args.operators and spec in args.models
    measured = subprocess_benchmark.measure(
        spec, threads=args.threads, rounds=2, seconds=10, image=args.image, operators=operators
    )
    keys = ("peak_mb", "idle_mb", "load_s", *(("operators",) if operators else ()))
    return {key: measured[key] for key in keys}


def _gpu_row(spec, args):
    """A row with all values of a GPU run, or with "failed" and the reason."""
    from kseg.runtime import subprocess_benchmark, timing

    try:
        measured = subprocess_benchmark.measure(
            spec, threads=args.threads, rounds=args.runs, seconds=args.seconds, image=args.image
        )
    except InputError as error:
        return {"name": spec, "failed": str(error)}
    row = {
        "name": spec,
        "runtime": measured["runtime"],
        "model": timing.summarize(measured["model_ms"]),
        "model_times_ms": measured["model_ms"],
    }
    if measured["frame_ms"]:
        row["whole_frame"] = timing.summarize(measured["frame_ms"])
    return {**row, **{key: measured[key] for key in ("peak_mb", "idle_mb", "load_s")}}


def _browser_row(path, device, frame, args):
    """A row with the latency in a browser, or with "failed" and the reason."""
    from kseg.runtime import browser_benchmark, timing

    name = f"browser-{device}:{path}"
    limits = {"rounds": args.runs, "seconds": args.seconds, "page": Path(args.page)}
    try:
        measured = browser_benchmark.measure(path, device, frame, **limits)
    except InputError as error:
        return {"name": name, "failed": str(error)}
    return {
        "name": name,
        "runtime": measured["runtime"],
        "model": timing.summarize(measured["model_ms"]),
        "model_times_ms": measured["model_ms"],
        "whole_frame": timing.summarize(measured["frame_ms"]),
        "load_s": measured["load_s"],
        "agreement": measured["agreement"],
    }


if __name__ == "__main__":
    sys.exit(run(main))
