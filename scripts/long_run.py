"""Runs the car's Python runner for as many frames as asked and watches what it holds.

    python scripts/long_run.py MODEL.tflite VIDEO [--frames 45000] [--camera] [--threads 1]

45,000 frames are 30 minutes at 25 a second; they go through as fast as they can. Each is segmented,
drawn and measured; a line of JSON is written. VIDEO is repeated. As a file, every frame is
answered; with --camera it plays a camera that goes away at the video's end and comes back, and
stale frames are dropped. Every 500th frame is torn. Prints a table; exit code 1 when threads or
files are left, or a frame is not accounted for.
"""

import argparse
import gc
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import cv2

sys.path.insert(0, str(Path(__file__).parent.parent / "deploy" / "python"))
from kseg_run.camera import Camera
from kseg_run.drawing import draw
from kseg_run.measure import Measure
from kseg_run.model import Runner
from kseg_run.outputs import JsonLines
from kseg_run.sources import Video
from kseg_run.stages import Stages

TORN = 500
ROWS = 15  # Of the table.


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help=".tflite written by kseg.export")
    parser.add_argument("video")
    parser.add_argument("--frames", type=int, default=45000, help="how many come (default: 45000)")
    parser.add_argument("--camera", action="store_true", help="play a camera")
    parser.add_argument("--threads", type=int, default=None)
    args = parser.parse_args()
    start, before = time.monotonic(), Held()
    stages, source = work(args)
    gc.collect()
    after = Held()
    print(f"before  {before}\nafter   {after}")
    dropped = "{} dropped before inference, {} before drawing".format(*stages.dropped)
    print(
        f"{stages.captured} frames came in {time.monotonic() - start:.0f} s, {stages.answered} "
        f"answered, {dropped}, {stages.failed} torn; camera lost {source.lost} times"
    )
    # LiteRT's and OpenCV's pools of threads stay; Python's must not.
    left = threading.active_count() > 1 or after.files > before.files
    return int(left or stages.captured != stages.answered + sum(stages.dropped) + stages.failed)


def work(args):
    runner = Runner(args.model, args.threads)
    source = Repeated(args.video, args.frames, args.camera)
    stages = Stages(source, lambda frame: runner(frame.image), say=lambda line: None)
    measure = Measure(runner.contract["labels"]["classes"], (0.6, 0.8))
    step = max(1, args.frames // ROWS)
    print("frame    MiB  threads  files", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        lines = JsonLines(f"{folder}/numbers.jsonl", measure, lambda: stages.dropped)
        told = 0
        for answer in stages:
            cv2.cvtColor(
                draw(answer.frame.image, answer.class_map, runner.contract), cv2.COLOR_RGB2BGR
            )
            lines.put(answer)
            if answer.frame.number >= told:
                print(f"{answer.frame.number:5d}  {Held()}", flush=True)
                told += step
        lines.close()
        stages.close()
        runner.close()
    return stages, source


class Repeated:
    """A video over and over, `count` frames in all."""

    def __init__(self, path, count, live):
        self._path, self._count, self.live, self.lost = path, count, live, 0
        self._inner = None

    def __iter__(self):
        number = 0
        while number < self._count:
            self._inner = self._open()
            frames = iter(self._inner)
            for frame in frames:
                torn = {"image": None, "problem": "torn"} if number % TORN == TORN - 1 else {}
                yield frame._replace(number=number, **torn)
                number += 1
                self.lost = getattr(self._inner, "lost", 0)
                if number == self._count:
                    frames.close()
                    break

    def stop(self):
        if self._inner:
            self._inner.stop()

    def _open(self):
        if not self.live:
            return Video(Path(self._path))
        # The end of the file is, to a camera, a lost one.
        return Camera(
            "0",
            capture=lambda number: cv2.VideoCapture(self._path),
            say=lambda line: None,
        )


class Held:
    """What this process holds at the moment."""

    def __init__(self):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.mib = pages * os.sysconf("SC_PAGESIZE") / 2**20
        self.threads = len(os.listdir("/proc/self/task"))
        self.files = len(os.listdir("/proc/self/fd"))

    def __str__(self):
        return f"{self.mib:5.1f}  {self.threads:7d}  {self.files:5d}"


if __name__ == "__main__":
    sys.exit(main())
