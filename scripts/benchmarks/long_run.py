"""Runs the Python runner over many frames and watches its memory, threads and files.

    python scripts/benchmarks/long_run.py MODEL.tflite VIDEO [--frames 45000] [--camera]
    python scripts/benchmarks/long_run.py MODEL.tflite VIDEO --device gpu --recheck 2 --fps 10

45,000 frames are 30 minutes at 25 frames/s; without --fps they run as fast as possible. Each is
segmented, drawn and measured, and written as a line of JSON. VIDEO is repeated. As a file, every
frame gets a class map. With --camera the video plays a live camera: stale frames are dropped, and
the camera is lost at the video's end and found again. Every 500th frame is corrupt. With --device
gpu the GPU is compared with the CPU every --recheck seconds. Prints a table. The exit code is 1
when threads, files or processes are still open at the end, or a frame is not accounted for, and 2
when the GPU cannot run the model or turns wrong. Ctrl-C and SIGTERM end a run early.
"""

import argparse
import gc
import signal
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
from kseg_run.errors import DeviceLostError, InputError
from kseg_run.frame_pipeline import FramePipeline
from kseg_run.gpu_check import DEFAULT_RECHECK_S
from kseg_run.lane_measures import LaneMeasures
from kseg_run.outputs import JsonLines
from kseg_run.overlay import draw
from kseg_run.segmenter import DEVICES, Segmenter
from kseg_run.sources import Video

CORRUPT_EVERY = 500
TABLE_ROWS = 15


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help=".tflite written by kseg.export")
    parser.add_argument("video", help="video file to repeat")
    parser.add_argument(
        "--frames", type=int, default=45000, help="number of frames (default: 45000)"
    )
    parser.add_argument("--camera", action="store_true", help="play the video as a live camera")
    parser.add_argument("--threads", type=int, help="CPU threads (default: LiteRT's choice)")
    parser.add_argument("--device", choices=DEVICES, default="cpu", help="default: cpu")
    parser.add_argument(
        "--recheck",
        type=float,
        default=DEFAULT_RECHECK_S,
        metavar="S",
        help=f"seconds between comparisons of GPU and CPU (default: {DEFAULT_RECHECK_S:.0f})",
    )
    parser.add_argument("--fps", type=float, help="frames per second at most (default: no limit)")
    args = parser.parse_args()
    start, before = time.monotonic(), Usage.now()
    try:
        stages, source, gpu_check = run_frames(args)
    except (InputError, DeviceLostError) as error:
        print(error, file=sys.stderr)
        return 2
    gc.collect()
    after = Usage.now()
    print(f"before  {before}\nafter   {after}")
    dropped = "{} dropped before inference, {} before drawing".format(*stages.dropped)
    print(
        f"{stages.captured} frames in {time.monotonic() - start:.0f} s, {stages.segmented} "
        f"segmented, {dropped}, {stages.failed} corrupt; camera lost {source.times_lost} times"
    )
    if gpu_check:
        print(gpu_check)
    # The thread pools of LiteRT and OpenCV remain; Python's threads must not.
    leaked = threading.active_count() > 1 or after.files > before.files or after.processes > 1
    return int(leaked or stages.captured != stages.segmented + sum(stages.dropped) + stages.failed)


def run_frames(args):
    runner = Segmenter(args.model, args.threads, args.device, recheck_s=args.recheck)
    source = RepeatedVideo(args.video, args.frames, args.camera, args.fps)
    for number in (signal.SIGINT, signal.SIGTERM):  # End early, with the summary.
        signal.signal(number, lambda *_: source.stop())
    stages = FramePipeline(source, lambda frame: runner(frame.image), log=lambda line: None)
    measure = LaneMeasures(runner.contract["labels"]["classes"], (0.6, 0.8))
    print_every = max(1, args.frames // TABLE_ROWS)
    print("frame    MiB  threads  files  processes", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        lines = JsonLines(
            f"{folder}/numbers.jsonl",
            measure,
            lambda: stages.dropped,
            runner.gpu_check.report if runner.gpu_check else None,
            lambda: runner.device,
        )
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
        runner.finish()
        gpu_check = str(runner.gpu_check) if runner.gpu_check else None
        runner.close()
    return stages, source, gpu_check


class RepeatedVideo:
    """A frame source that repeats a video until it has given `count` frames."""

    def __init__(self, path, count, live, fps=None):
        self._path, self._count, self.live, self.times_lost = path, count, live, 0
        self._period_s = 1 / fps if fps else 0.0
        self._inner, self._stopped = None, False

    def __iter__(self):
        number, start = 0, time.monotonic()
        while number < self._count and not self._stopped:
            self._inner = self._open()
            frames = iter(self._inner)
            for frame in frames:
                if number % CORRUPT_EVERY == CORRUPT_EVERY - 1:
                    frame = frame._replace(image=None, problem="corrupt")
                time.sleep(max(0.0, start + number * self._period_s - time.monotonic()))
                yield frame._replace(number=number)
                number += 1
                self.times_lost = getattr(self._inner, "times_lost", 0)
                if number == self._count or self._stopped:
                    frames.close()
                    break

    def stop(self):
        self._stopped = True
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
    """Resident memory of this process and its children; its threads and open file descriptors."""

    mib: float
    threads: int
    files: int
    processes: int  # this one and its children

    @classmethod
    def now(cls):
        process = psutil.Process()
        processes = [process, *process.children(recursive=True)]
        mib = sum(each.memory_info().rss for each in processes) / 2**20
        return cls(mib, process.num_threads(), process.num_fds(), len(processes))

    def __str__(self):
        return f"{self.mib:5.1f}  {self.threads:7d}  {self.files:5d}  {self.processes:9d}"


if __name__ == "__main__":
    sys.exit(main())
