"""The command: which stages run, in which order, and for how long."""

import argparse
import os
import subprocess
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmark_gpu import children, feed, litert, real, right, smoke, speed
from benchmark_gpu.run import Run


class Stage(NamedTuple):
    """limit_s: of ten minutes; None: all that is left. least_s: with less, it is skipped."""

    function: Callable[[Run], None]
    title: str
    limit_s: float | None
    least_s: float = 15


STAGES = {
    "smoke": Stage(smoke.stage, "versions, device, one training step", 75),
    "right": Stage(right.stage, "training steps on the device compared with the CPU", 150),
    "speed": Stage(speed.stage, "compilation and frames per second of the training step", 240),
    "feed": Stage(feed.stage, "share of time that kseg.train waits for input", 90),
    "litert": Stage(litert.stage, "LiteRT's GPU accelerator", 40),
    "real": Stage(real.stage, "real training runs", None, least_s=90),
}

EXAMPLES = """examples:
  python scripts/benchmark_gpu.py --data data/bdd100k-180x320 data/bdd100k-288x512
  python scripts/benchmark_gpu.py --stages speed --minutes 10
  python scripts/benchmark_gpu.py --tiny --data data/demo-144x256    tries every stage, on a CPU too

The Keras backend is KERAS_BACKEND where it is set; otherwise JAX or TensorFlow, whichever finds a
GPU. OUT gets results.json and report.md, which are written after every measurement, log.txt, the
trained models in runs/ and the compiled programs in compiled/. When a compilation did not end in
time, give that stage more minutes, then call the script again: it measures without compiling.
With several stages, each has a time limit; one stage alone may use all minutes.
"""


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    with tempfile.TemporaryDirectory() as work:
        run = Run(args, Path(work))
        try:
            return benchmark(run, args.stages, args.minutes)
        finally:
            run.write_log()
            print(f"report in {run.out / 'report.md'}", flush=True)


def benchmark(run: Run, names: list[str], minutes: float) -> int:
    """Runs the stages. Returns the exit code: 1 when one found a problem or failed."""
    run.results.machine(backend=run.backend, commit=_commit(), cores=len(os.sched_getaffinity(0)))
    for name in (name for name in STAGES if name in names):
        stage = STAGES[name]
        run.results.begin(name, stage.title)
        run.deadline = run.end
        if stage.limit_s and len(names) > 1 and not run.tiny:
            limit_s = stage.limit_s * max(1, minutes / 10)
            run.deadline = min(run.end, time.monotonic() + limit_s)
        if run.seconds_left() < (5 if run.tiny else stage.least_s):
            run.results.end("skipped", "no time left")
            continue
        try:
            stage.function(run)
        except children.ChildError as error:
            run.results.end("failed", str(error))
            run.print_log(name)
        except Exception as error:  # A fault in one stage must not stop the others.
            traceback.print_exc()
            run.results.end("failed", f"{type(error).__name__}: {error}")
        if run.results.stage["status"] == "running":
            run.results.end("done")
    stages = run.results.values["stages"].values()
    return int(any(stage["problems"] or stage["status"] == "failed" for stage in stages))


def _parser():
    parser = argparse.ArgumentParser(
        prog="python scripts/benchmark_gpu.py",
        description="Measures kseg on this machine's GPU: whether training is correct, how fast it "
        "is, and whether it waits for input.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=10, help="total time (default: 10)")
    parser.add_argument("--out", default="benchmark-gpu", help="(default: benchmark-gpu)")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument(
        "--data",
        nargs="+",
        default=[],
        metavar="TFRECORDS",
        help="BDD100K at 288x512 for stage feed, at 180x320 for stage real",
    )
    parser.add_argument(
        "--files",
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="folders of .tflite files that stage litert runs after the golden files",
    )
    parser.add_argument(
        "--epochs", type=int, default=12, help="epochs of the real training runs (default: 12)"
    )
    parser.add_argument(
        "--tiny", action="store_true", help="use the smallest sizes, to try the script"
    )
    return parser


def _commit() -> str:
    """Returns the short commit hash of the checkout, or "unknown"."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(
            command, cwd=children.ROOT, capture_output=True, text=True, check=False
        )
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"
