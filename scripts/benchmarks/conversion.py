"""Measures the speed of the conversion to TFRecords against OpenCV's limit, and its peak memory.

    .venv/bin/python scripts/benchmarks/conversion.py [--frames 96] [--repeats 7] [--memory]

Runs on one core, interleaved in one process, over the same 1280x720 demo frames resized to 288x512:
  limit   OpenCV alone: decodes JPEG and PNG, resizes and encodes both; no checks, no files
  build   tfrecords_tools.shards.write_shard: all checks, and a TFRecord file on disk
  read    reads and parses the records of that file
On a busy machine only the CPU times can be compared.
With --memory it also prints the peak memory of complete builds of 1,000 and 10,000 frames.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf

from kseg.data import records
from kseg.errors import run
from tfrecords_tools import shards
from tfrecords_tools.datasets import bdd100k
from tfrecords_tools.demo import __main__ as demo_command

SIZE = (288, 512)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=96, help="demo frames (default: 96)")
    parser.add_argument("--repeats", type=int, default=7, help="rounds (default: 7)")
    parser.add_argument(
        "--memory", action="store_true", help="measure peak memory too (takes minutes)"
    )
    args = parser.parse_args()
    cv2.setNumThreads(1)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "demo"
        demo_command.main(["--out", str(data), "--train", str(args.frames), "--val", "1"])
        print_speed(data, Path(folder), args.repeats)
        if args.memory:
            for copies in (1_000, 10_000):
                print_peak_memory(data, Path(folder) / str(copies), copies)


def print_speed(data, folder, repeats):
    """Prints frames per second of limit, build and read, and the ratio of limit to build."""
    source = bdd100k.source(data)
    frames = tuple(source.splits["train"])
    job = shards.ShardJob("speed", frames, source.labels, source.read_mask, "", SIZE, "letterbox")
    calls = {
        "limit": lambda: decode_and_encode(frames),
        "build": lambda: shards.write_shard(job, folder),
        "read": lambda: read_back(folder / job.name),
    }
    times: dict = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            times[name].append(time_call(call))
    for column, clock in enumerate(("elapsed", "CPU")):
        seconds = {name: np.array(rows)[:, column] for name, rows in times.items()}
        for name, values in seconds.items():
            best, median = len(frames) / values.min(), len(frames) / np.median(values)
            print(f"{clock} time, {name}: {best:.1f} frames/s best, {median:.1f} median")
        best = seconds["limit"].min() / seconds["build"].min()
        median = np.median(seconds["limit"] / seconds["build"])
        print(
            f"{clock} time: build reaches {best:.0%} of the limit (best of {repeats}), "
            f"{median:.0%} median of pairs"
        )


def decode_and_encode(frames):
    for frame in frames:
        image = cv2.imread(str(frame.image_path))
        mask = cv2.imread(str(frame.label), cv2.IMREAD_UNCHANGED)
        image = cv2.resize(image, SIZE[::-1], interpolation=cv2.INTER_AREA)
        mask = cv2.resize(mask, SIZE[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, shards.JPEG_QUALITY])
        cv2.imencode(".png", mask, shards.MASK_PNG)


def read_back(path):
    for _ in tf.data.TFRecordDataset(str(path)).map(records.parse):
        pass


def print_peak_memory(data, folder, count):
    """Prints the peak memory of a build of `count` frames: hard links in `folder` to the demo's."""
    for kind, suffix in (("images/100k", ".jpg"), ("labels/drivable/masks", ".png")):
        links = folder / kind / "train"
        links.mkdir(parents=True)
        originals = sorted((data / kind / "train").glob(f"*{suffix}"))
        for number in range(count):
            os.link(originals[number % len(originals)], links / f"{number:06d}{suffix}")
    command = [sys.executable, "-m", "tfrecords_tools.build", "--source", "bdd100k"]
    flags = ["--data", folder, "--out", folder / "out", "--size", *SIZE, "--workers", "1"]
    start = time.perf_counter()
    subprocess.run([*command, *map(str, flags)], check=True, stdout=subprocess.DEVNULL)
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
    seconds = time.perf_counter() - start
    print(f"{count} frames: peak {peak_mb:.0f} MB, {seconds:.0f} s, one worker")


def time_call(function):
    """Returns (elapsed time, CPU time) in seconds."""
    start, start_cpu = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - start, time.process_time() - start_cpu


if __name__ == "__main__":
    sys.exit(run(main))
