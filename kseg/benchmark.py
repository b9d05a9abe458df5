"""python -m kseg.benchmark: how long a frame takes, side by side with other models and runtimes."""

import argparse
import json
import os
import platform
import sys
from pathlib import Path

from kseg.errors import InputError, run

EXAMPLES = """examples:
  python -m kseg.benchmark runs/demo/model-fp32.tflite
  python -m kseg.benchmark road-fp32.tflite road-fp16.tflite --threads 2 --image street.jpg
  python -m kseg.benchmark road.tflite --vs peer.onnx openvino:peer.onnx --json speed.json
  python -m kseg.benchmark road.tflite road.tflite          how much is noise
  python -m kseg.benchmark road.tflite --operators --gpu

--vs takes other .tflite files, .onnx (ONNX Runtime), openvino:FILE of .onnx, .xml or .tflite
(OpenVINO in float32) and openvino-default:FILE (in the precision it chooses). Both runtimes come
with `./scripts/install benchmark`.

All models run in turns within one process, so noise of the machine hits all alike. A run goes from
the input array to the output array. Ratios are to the first model: that of the minima, and the
median of the rounds' own ratios with their middle 80 %: a ratio of 1 within that span is noise.
Memory is the peak of a process that runs the model alone. GPU runs (--gpu) are in processes of
their own, so they take no turns with the rest. Whole frames are fitted, run, and drawn over.
Operators are those LiteRT runs after XNNPACK has fused them, by LiteRT's own profiler.
"""


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m kseg.benchmark",
        description="Times .tflite files and others on this machine, side by side.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("models", metavar="MODEL", nargs="+", help=".tflite files")
    parser.add_argument(
        "--vs", metavar="OTHER", nargs="+", action="extend", default=[], help="others, see below"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--runs", type=int, default=100, help="rounds (default: 100)")
    parser.add_argument(
        "--seconds", type=float, default=60, help="end before --runs after this long (default: 60)"
    )
    parser.add_argument("--image", metavar="FILE", help="a frame (default: noise, 720x1280)")
    parser.add_argument("--operators", action="store_true", help="where each MODEL's time goes")
    parser.add_argument("--gpu", action="store_true", help="each MODEL on the GPU too")
    parser.add_argument("--json", metavar="FILE", help="write the numbers, every run's too")
    return benchmark(parser.parse_args(argv))


def benchmark(args):
    """Runs the command. Returns its exit code."""
    for flag in ("threads", "runs", "seconds"):
        if getattr(args, flag) <= 0:
            raise InputError(f"--{flag} {getattr(args, flag)}: expected more than 0")
    if args.json and not Path(args.json).absolute().parent.is_dir():
        raise InputError(f"--json {args.json}: no such folder {Path(args.json).parent}")

    import cv2

    from kseg.runtime import benchmark_frames, benchmark_tables, other_runtimes

    specs = [*args.models, *args.vs]
    for spec in specs:  # All are looked at before the first is loaded.
        if other_runtimes.split(spec)[0] == "gpu":
            raise InputError(f"{spec}: the GPU has a process of its own; name the file with --gpu")
    frame = benchmark_frames.read(args.image)
    cv2.setNumThreads(args.threads)
    here = machine()  # Before its own work is part of the load.
    rows = measure(names(specs), frame, args)
    report = {
        "machine": here,
        "threads": args.threads,
        "image": args.image or "noise",
        "frame_size": list(frame.shape[:2]),
        "models": rows,
    }
    benchmark_tables.print_report(report)
    if args.json:
        partial = Path(f"{args.json}.partial")
        partial.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
        partial.replace(args.json)
    return 0


def names(specs):
    """{name: spec}; the second of two equal specs is named `SPEC (2)`."""
    named = {}
    for spec in specs:
        count = sum(spec == other for other in named.values())
        named[f"{spec} ({count + 1})" if count else spec] = spec
    return named


def measure(specs, frame, args):
    """Times {name: spec} on a frame (h, w, 3) uint8 RGB. Returns a dict for each, GPU runs last."""
    from rich.console import Console
    from rich.progress import Progress

    from kseg.runtime import benchmark_frames, other_runtimes, timing

    models = {name: other_runtimes.load(spec, args.threads) for name, spec in specs.items()}
    calls, draws = {}, {}
    for name, model in models.items():
        array = benchmark_frames.model_input(frame, model.input_shape, model.input_dtype)
        calls[name] = lambda model=model, array=array: model(array)
        draw = benchmark_frames.whole_frame(model, other_runtimes.split(specs[name])[1])
        if draw:
            draws[name] = lambda draw=draw: draw(frame)
    limits = {"rounds": args.runs, "seconds": args.seconds}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        alone = progress.add_task("models", total=args.runs)
        whole = progress.add_task("whole frames", total=args.runs if draws else 0)
        apart = progress.add_task("memory", total=len(specs))
        model_ms = timing.alternate(calls, **limits, advance=lambda: progress.advance(alone))
        frame_ms = timing.alternate(draws, **limits, advance=lambda: progress.advance(whole))
        rows = []
        for name, spec in specs.items():
            rows.append(_row(name, models[name], model_ms, frame_ms))
            rows[-1].update(_alone(spec, args))
            progress.advance(apart)
        if args.gpu:
            gpu = progress.add_task("GPU", total=len(args.models))
            for path in dict.fromkeys(args.models):
                rows.append(_gpu_row(f"gpu:{path}", args))
                progress.advance(gpu)
    return rows


def _row(name, model, model_ms, frame_ms):
    from kseg.runtime import timing

    reference = next(iter(model_ms))
    row = {
        "name": name,
        "runtime": model.runtime,
        "input": [*model.input_shape, str(model.input_dtype)],
        "model": timing.summary(model_ms[name]),
        "model_times_ms": model_ms[name].tolist(),
    }
    if name != reference:
        row["ratio"] = timing.ratio(model_ms[name], model_ms[reference])
    if name in frame_ms:
        row["whole_frame"] = timing.summary(frame_ms[name])
    return row


def _alone(spec, args):
    """What a process that runs this model alone tells: memory, and operators where asked for."""
    from kseg.runtime import subprocess_benchmark

    limits = {"threads": args.threads, "rounds": 2, "seconds": 10}
    operators = args.operators and spec in args.models
    measured = subprocess_benchmark.measure(spec, **limits, image=args.image, operators=operators)
    told = {key: measured[key] for key in ("peak_mb", "idle_mb", "load_s")}
    return {**told, "operators": measured["operators"]} if operators else told


def _gpu_row(spec, args):
    from kseg.runtime import subprocess_benchmark, timing

    limits = {"threads": args.threads, "rounds": args.runs, "seconds": args.seconds}
    try:
        measured = subprocess_benchmark.measure(spec, **limits, image=args.image)
    except InputError as error:
        return {"name": spec, "failed": str(error)}
    row = {"name": spec, "runtime": measured["runtime"]}
    row["model"] = timing.summary(measured["model_ms"])
    row["model_times_ms"] = measured["model_ms"]
    if measured["frame_ms"]:
        row["whole_frame"] = timing.summary(measured["frame_ms"])
    return {**row, **{key: measured[key] for key in ("peak_mb", "idle_mb", "load_s")}}


def machine():
    """What the numbers were measured on."""
    cpu = platform.processor() or platform.machine()
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _lines(path):
    return Path(path).read_text().splitlines() if Path(path).is_file() else []


if __name__ == "__main__":
    sys.exit(run(main))
