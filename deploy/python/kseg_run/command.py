"""`kseg-run`: parses flags, puts source, model, stages and outputs together, sums up."""

import argparse
import signal
import sys
import threading
from collections import deque
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from kseg_run.errors import InputError, LostError
from kseg_run.measure import Measure
from kseg_run.model import DEVICES, Runner
from kseg_run.outputs import Files, JsonLines, Window
from kseg_run.smoothing import Smoothing
from kseg_run.sources import open_source
from kseg_run.stages import Stages

KEPT = 1 << 16  # Latencies: a camera has no end, so old ones give way to new ones.
SHOWN = 100  # Of these the window tells percentiles.

EXAMPLES = """examples:
  kseg-run road.tflite street.jpg
  kseg-run road.tflite drive.mp4 --out overlays
  kseg-run road.tflite 0 --show                     the first camera
  kseg-run road.tflite csi:0 --device auto --no-overlays --json - --rows 0.6 0.8
  kseg-run road.tflite "v4l2src ! videoconvert ! video/x-raw, format=BGR ! appsink" --frames 300

From a checkout, without installing: python deploy/python/run.py in place of kseg-run.
Writes OUT/NAME.png or OUT/NAME.mp4. SIGINT (Ctrl-C) and SIGTERM end it in good order: the video is
whole and the summary is printed.
Exit codes: 0 done, or stopped by a signal or a key; 2 bad input, or no such device; 3 a camera or
a GPU was lost on the way, or 25 frames in a row could not be segmented (what was written until then
is kept); 130 or 143 after a second signal, which ends it at once.
"""


def main(argv=None):
    args, stop = parse(argv), Stop()
    try:
        with stop_signals(stop):
            return run(args, stop)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except LostError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print(stop, file=sys.stderr)
        return stop.code


def parse(argv):
    parser = argparse.ArgumentParser(
        prog="kseg-run",
        description="Runs a kseg .tflite on an image, a folder, a video or a camera.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help=".tflite written by kseg.export")
    parser.add_argument(
        "input",
        metavar="INPUT",
        help="image, folder, video, or camera: 0, /dev/video0, csi:0, a GStreamer pipeline",
    )
    parser.add_argument("--out", default="overlays", metavar="DIR", help="default: overlays")
    parser.add_argument("--save-masks", action="store_true", help="write class ids as PNG too")
    parser.add_argument("--no-overlays", action="store_true", help="draw and write no pictures")
    parser.add_argument("--json", metavar="FILE", help="a line of numbers per frame; -: stdout")
    parser.add_argument(
        "--rows",
        type=float,
        nargs="+",
        default=[0.6, 0.8],
        metavar="ROW",
        help="image rows that --json tells the lane's offset and free length of, as shares of the "
        "frame's height from its top (default: 0.6 0.8)",
    )
    parser.add_argument(
        "--ego", metavar="CLASS", help="our lane (default: direct, else all drivable classes)"
    )
    parser.add_argument(
        "--show", action="store_true", help="a window and no pictures; q or Esc ends"
    )
    parser.add_argument(
        "--device",
        choices=DEVICES,
        default="cpu",
        help="cpu (default); gpu: all of it or an error; auto: gpu, else cpu, saying so",
    )
    parser.add_argument("--threads", type=int, default=None, help="CPU threads (default: LiteRT's)")
    parser.add_argument("--frames", type=int, default=None, help="stop after this many frames")
    parser.add_argument(
        "--smooth",
        type=float,
        default=0,
        metavar="W",
        help="weight of the past, 0 (default: off) to below 1; 0.6: one odd frame changes nothing",
    )
    parser.add_argument(
        "--reconnect",
        type=float,
        default=60,
        metavar="S",
        help="seconds to wait for a camera that went away (default: 60)",
    )
    return parser.parse_args(argv)


def run(args, stop):
    """Segments every frame of the input. Returns the exit code."""
    check(args)
    source = open_source(args.input, reconnect_s=args.reconnect)
    runner = Runner(args.model, args.threads, args.device)
    classes = runner.contract["labels"]["classes"]
    if args.smooth:
        runner.smoothing = Smoothing(args.smooth, [c["id"] for c in classes])
    measure = Measure(classes, args.rows, args.ego)

    def answer(frame):
        if frame.first:
            runner.restart()
        return runner(frame.image)

    stages = Stages(source, answer)
    latencies_ms, outputs = deque(maxlen=KEPT), []
    try:
        if args.show:
            status = Status(latencies_ms, stages, runner)
            outputs.append(Window(runner.contract, stay=source.rate is None, status=status))
        overlays = not (args.show or args.no_overlays)
        if overlays or args.save_masks:
            which = {"overlays": overlays, "save_masks": args.save_masks}
            files = (Path(args.out), source.rate, Path(args.input), runner.contract)
            outputs.append(Files(*files, **which))
        if args.json:
            outputs.append(JsonLines(args.json, measure, lambda: stages.dropped))
        stop.stages = stages
        lost = work(stages, outputs, latencies_ms, args.frames)
    finally:
        for output in outputs:  # First of all: a video without its end cannot be read.
            output.close()
        stages.close()
        runner.close()
    if not stages.answered and not lost and not stages.stop_asked:
        problem = stages.problem or f"{args.input}: opened, but not one frame can be read"
        raise InputError(problem)
    file = sys.stderr if args.json == "-" else sys.stdout
    print("\n".join(summary(stages, latencies_ms, outputs, source)), file=file, flush=True)
    for output in outputs:
        if output.problem:
            raise InputError(output.problem)
    if lost:
        raise lost
    return 0


def check(args):
    for name in ("threads", "frames"):
        given = getattr(args, name)
        if given is not None and given < 1:
            raise InputError(f"--{name} {given}: expected at least 1")
    if not 0 <= args.smooth < 1:
        raise InputError(f"--smooth {args.smooth:g}: expected 0 (off) to below 1")
    if not args.reconnect >= 0:
        raise InputError(f"--reconnect {args.reconnect:g}: expected seconds, at least 0")


def work(stages, outputs, latencies_ms, limit):
    """Hands every answer to every output. Returns a LostError that ended it, or None."""
    answers = iter(stages)
    try:
        for answer in answers:
            latencies_ms.append(answer.latency_ms)
            for output in outputs:
                output.put(answer)
            if stages.answered == limit or any(output.closed for output in outputs):
                break
    except LostError as error:
        return error
    finally:
        answers.close()
    return None


def summary(stages, latencies_ms, outputs, source):
    """Lines: what was done, and what was not where there is such."""
    done = f"{stages.answered} frames"
    if latencies_ms:
        low, middle, high = np.percentile(latencies_ms, (0, 50, 95))
        done += (
            f", {low:.1f} / {middle:.1f} / {high:.1f} ms (minimum / median / 95 %) from frame to "
            "class map"
        )
    lines = ["; ".join([done, *map(str, outputs)])]
    before, after = stages.dropped
    times_lost = getattr(source, "lost", 0)
    if before or after or stages.failed or times_lost or source.live:
        lines.append(
            f"{stages.captured} frames came: {before} dropped before inference, {after} dropped "
            f"before drawing, {stages.failed} not decoded or not segmented; camera lost "
            f"{times_lost} times"
        )
    return lines


class Status:
    """The window's line: latency percentiles of the last frames, age, drops, device."""

    def __init__(self, latencies_ms, stages, runner):
        self._latencies_ms, self._stages, self._runner = latencies_ms, stages, runner

    def __call__(self, answer):
        recent = [self._latencies_ms[-i] for i in range(1, 1 + min(SHOWN, len(self._latencies_ms)))]
        middle, high, highest = np.percentile(recent, (50, 95, 99))
        return (
            f"{self._runner.device} {middle:.1f} / {high:.1f} / {highest:.1f} ms (50 / 95 / 99 %), "
            f"{sum(self._stages.dropped)} dropped, {self._stages.failed} failed"
        )


class Stop:
    """What the signal handlers know. code: the exit code when a signal ended it at once."""

    stages, code = None, 0

    def __call__(self, number, frame):
        if self.stages is None:
            raise KeyboardInterrupt
        if self.stages.stop_asked:
            self.code, self.stages.end_s = 128 + number, 0
            raise KeyboardInterrupt
        self.stages.stop_asked = True

    def __str__(self):
        if self.code == 0:
            return "stopped before the first frame"
        return f"stopped at once, after {self.stages.answered} frames; a video may lack its end"


@contextmanager
def stop_signals(stop):
    """SIGINT and SIGTERM end the stages in good order; a second one, or one before they run, at
    once. Outside the main thread, where Python takes no handlers, nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
