"""How fast the conversion is against what OpenCV alone can do, and whether its memory stays flat.

    .venv/bin/python scripts/benchmark_build.py [--frames 96] [--repeats 7] [--memory]

On one core, in one process, alternating, over the same 1280x720 demo frames resized to 288x512:
  limit   cv2: decode JPEG and PNG, resize both, encode both; nothing is checked or written
  build   tfrecords_tools.shards.write_shard: all checks, and a TFRecord file on disk
Then records read back per second, and with --memory the peak of whole builds of 1k and 10k frames.
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
    parser.add_argument("--frames", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--memory", action="store_true", help="build 1k and 10k frames (minutes)")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "demo"
        demo_command.main(["--out", str(data), "--train", str(args.frames), "--val", "1"])
        speed(data, Path(folder), args.repeats)
        if args.memory:
            for copies in (1_000, 10_000):
                memory(data, Path(folder) / str(copies), copies)


def speed(data, folder, repeats):
    """Prints frames per second of limit and build, and the ratio of their times."""
    source = bdd100k.source(data)
    frames = tuple(source.splits["train"])
    job = shards.ShardJob("speed", frames, source.labels, source.read_mask, "", SIZE, "letterbox")
    limits, builds, reads = [], [], []
    for _ in range(repeats):
        limits.append(seconds(lambda: decode_and_encode(frames)))
        builds.append(seconds(lambda: shards.write_shard(job, folder)))
        reads.append(seconds(lambda: read_back(folder / job.name)))
    for name, times in (("limit", limits), ("build", builds), ("read", reads)):
        print(f"{name}: {len(frames) / min(times):.1f} frames/s best, "
              f"{len(frames) / np.median(times):.1f} median")  # fmt: skip
    ratios = np.array(limits) / np.array(builds)
    print(
        f"build reaches {min(limits) / min(builds):.0%} of the limit (best of {repeats}), "
        f"{np.median(ratios):.0%} median of pairs"
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


def memory(data, copies_of, count):
    """Prints the peak memory of a build of `count` frames, links to the few that were drawn."""
    for kind, suffix in (("images/100k", ".jpg"), ("labels/drivable/masks", ".png")):
        folder = copies_of / kind / "train"
        folder.mkdir(parents=True)
        originals = sorted((data / kind / "train").glob(f"*{suffix}"))
        for number in range(count):
            os.link(originals[number % len(originals)], folder / f"{number:06d}{suffix}")
    command = [sys.executable, "-m", "tfrecords_tools.build", "--source", "bdd100k"]
    flags = ["--data", copies_of, "--out", copies_of / "out", "--size", *SIZE, "--workers", "1"]
    start = time.perf_counter()
    subprocess.run([*command, *map(str, flags)], check=True, stdout=subprocess.DEVNULL)
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
    took_s = time.perf_counter() - start
    print(f"{count} frames: {peak_mb:.0f} MB at most, {took_s:.0f} s, one worker")


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(run(main))
