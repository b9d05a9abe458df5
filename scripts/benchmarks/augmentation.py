"""What augmentation costs a frame, and how many frames per second a number of cores can feed.

    python scripts/benchmarks/augmentation.py --data data/bdd100k-288x512 --preset bdd100k \
        --size 288 512

CPU milliseconds per frame: decoding as kseg.train does, augmentation without and with --weather 1,
and the part of it that holds Python's lock, which all cores share. That part is the time in which
a second thread, which does nothing but count, cannot run; on a busy machine it comes out too long.
n cores feed at most min(n / (decoding + augmentation), 1 / lock) frames per second, if they do
nothing else.
"""

import argparse
import sys
import threading
import time

import cv2
import numpy as np
import tensorflow as tf

from kseg import presets
from kseg.data import augment, pipeline, records, training_batches

CORES = (4, 16, 64)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=100, help="number of frames (default: 100)")
    parser.add_argument("--rounds", type=int, default=7, help="best of so many (default: 7)")
    presets.add_flags(parser)
    args = parser.parse_args()
    cv2.setNumThreads(1)  # As kseg.train does.
    config = presets.resolve(args)
    manifest, paths = pipeline.open_split(config, "train")
    ratio = training_batches.decode_ratio(manifest.size, config)
    stored = list(tf.data.TFRecordDataset(paths).repeat().take(args.frames))
    decode = tf.function(lambda serialized: records.parse(serialized, ratio))
    decoding = milliseconds(lambda number: decode(stored[number]), args)
    frames = pipeline.evaluation_dataset(config, "train").unbatch().take(args.frames)
    frames = list(frames.as_numpy_iterator())
    print(f"{config.data} at {config.size[0]}x{config.size[1]}: decoding {decoding:.2f} ms a frame")
    for weather in (0.0, 1.0):
        step = augmentation(config, frames, weather)
        total = milliseconds(step, args)
        lock = locked_milliseconds(step, args)
        limits = (
            f"{cores} cores {min(1000 * cores / (decoding + total), 1000 / lock):.0f}"
            for cores in CORES
        )
        print(
            f"--weather {weather:g}: augmentation {total:.2f} ms a frame, {lock:.2f} of them hold "
            f"Python's lock; frames per second at most: {', '.join(limits)}"
        )


def augmentation(config, frames, weather):
    """Returns a function (number of a frame) that augments it."""
    out = np.empty_like(frames[0][0]), np.empty_like(frames[0][1])
    options = {
        "flip": config.flip,
        "scale": (config.scale_min, config.scale_max),
        "color_jitter": config.color_jitter,
        "weather": weather,
    }

    def step(number):
        rng = np.random.default_rng([config.seed, 0, number, 0])
        augment.augment(*frames[number % len(frames)][:2], rng, **options, out=out)

    return step


def locked_milliseconds(step, args):
    """Milliseconds of a call in which no other thread can run Python, the least of the rounds."""
    times = []
    for _ in range(args.rounds):
        stop, clocks = threading.Event(), []
        counter = threading.Thread(target=count, args=(stop, clocks))
        counter.start()
        while not clocks:
            time.sleep(0.01)
        start, counted = time.perf_counter(), clocks[-1]
        for number in range(args.frames):
            step(number)
        times.append(time.perf_counter() - start - (clocks[-1] - counted))
        stop.set()
        counter.join()
    return 1000 * min(times) / args.frames


def count(stop, clocks):
    """Holds the lock whenever it is free; the last of `clocks` is its CPU time in seconds."""
    sys.setswitchinterval(1e-4)  # Another thread gets the lock after this time.
    while not stop.is_set():
        clocks[:] = [time.thread_time()]


def milliseconds(step, args):
    """CPU milliseconds of one call, the best of the rounds."""
    times = []
    for _ in range(args.rounds):
        start = time.process_time()
        for number in range(args.frames):
            step(number)
        times.append(time.process_time() - start)
    return 1000 * min(times) / args.frames


if __name__ == "__main__":
    main()
