"""Runs the Python runner over many frames and watches its memory, threads and files.

    python scripts/benchmarks/long_run.py MODEL.tflite VIDEO [--frames 45000] [--camera]

45,000 frames are 30 minutes at 25 frames/s; here they run as fast as possible. Each is segmented,
drawn and measured, and written as a line of JSON. VIDEO is repeated. As a file, every frame gets a
class map. With --camera the video plays a live camera: stale frames are dropped, and the camera is
lost at the video's end and found again. Every 500th frame is corrupt. Prints a table. The exit code
is 1 when threads or files are still open at the end, or a frame is not accounted for.
"""

import argparse
import gc
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import cv2
import psutil

sys.path.insert(0, str(Path(__file__).parents[2] / "deploy" / "python"))
from kseg_run.camera import Camera
from kseg_run.frame_pipeline import FramePipeline
from kseg_run.lane_measures import LaneMeasures
from kseg_run.outputs import JsonLines
from kseg_run.overlay import draw
from kseg_run.segmenter import Segmenter
from kseg_run.sources import Video

CORRUPT_EVERY = 500
TABLE_ROWS = 15


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help=".tflite written by kseg.export")
    parser.add_argument("video", help="video file to repeat")
    parser.add_argument(
        "--frames", type=int, default=45000, help="number of frames (default: 45000)"
    )
    parser.add_argument("--camera", action="store_true", help="play the video as a live camera")
    parser.add_argument("--threads", type=int, help="CPU threads (default: LiteRT's choice)")
    args = parser.parse_args()
    start, before = time.monotonic(), Usage.now()
    stages, source = run_frames(args)
    gc.collect()
    after = Usage.now()
    print(f"before  {before}\nafter   {after}")
    dropped = "{} dropped before inference, {} before drawing".format(*stages.dropped)
    print(
        f"{stages.captured} frames in {time.monotonic() - start:.0f} s, {stages.segmented} "
        f"segmented, {dropped}, {stages.failed} corrupt; camera lost {source.times_lost} times"
    )
    # The thread pools of LiteRT and OpenCV remain; Python's threads must not.
    leaked = threading.active_count() > 1 or after.files > before.files
    return int(leaked or stages.captured != stages.segmented + sum(stages.dropped) + stages.failed)


def run_frames(args):
    runner = Segmenter(args.model, args.threads)
    source = RepeatedVideo(args.video, args.frames, args.camera)
    stages = FramePipeline(source, lambda frame: runner(frame.image), log=lambda line: None)
    measure = LaneMeasures(runner.contract["labels"]["classes"], (0.6, 0.8))
    print_every = max(1, args.frames // TABLE_ROWS)
    print("frame    MiB  threads  files", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        lines = JsonLines(f"{folder}/numbers.jsonl", measure, lambda: stages.dropped)
        next_print = 0
        for prediction in stages:
            cv2.cvtColor(
                draw(prediction.frame.image, prediction.class_map, runner.contract),
                cv2.COLOR_RGB2BGR,
            )
            lines.put(prediction)
            if prediction.frame.number >= next_print:
                print(f"{prediction.frame.number:5d}  {Usage.now()}", flush=True)
                next_print += print_every
        lines.close()
        stages.close()
        runner.close()
    return stages, source


class RepeatedVideo:
    """A frame source that repeats a video until it has given `count` frames."""

    def __init__(self, path, count, live):
        self._path, self._count, self.live, self.times_lost = path, count, live, 0
        self._inner = None

    def __iter__(self):
        number = 0
        while number < self._count:
            self._inner = self._open()
            frames = iter(self._inner)
            for frame in frames:
                if number % CORRUPT_EVERY == CORRUPT_EVERY - 1:
                    frame = frame._replace(image=None, problem="corrupt")
                yield frame._replace(number=number)
                number += 1
                self.times_lost = getattr(self._inner, "times_lost", 0)
                if number == self._count:
                    frames.close()
                    break

    def stop(self):
        if self._inner:
            self._inner.stop()

    def _open(self):
        if not self.live:
            return Video(Path(self._path))
        # A Camera takes the end of the file for a lost camera.
        return Camera(
            "0",
            open_capture=lambda *_: cv2.VideoCapture(self._path),
            log=lambda line: None,
        )


class Usage(NamedTuple):
    """Resources of this process: resident memory, threads and open file descriptors."""

    mib: float
    threads: int
    files: int

    @classmethod
    def now(cls):
        process = psutil.Process()
        mib = process.memory_info().rss / 2**20
        return cls(mib, process.num_threads(), process.num_fds())

    def __str__(self):
        return f"{self.mib:5.1f}  {self.threads:7d}  {self.files:5d}"


if __name__ == "__main__":
    sys.exit(main())
