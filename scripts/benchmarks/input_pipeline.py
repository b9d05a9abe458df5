"""Measures images per second of the training pipeline, and of decoding alone on the same cores.

    .venv/bin/python scripts/benchmarks/input_pipeline.py --data data/course --size 180 320

  decoding alone   reads the same records and decodes image and mask, in parallel as the pipeline
                   does; no shuffling, augmentation or batches
  pipeline         kseg.train without a cache
  cached           kseg.train --cache memory after its first pass, which decodes
Runs are interleaved and the best of each is reported. On one core (taskset -c 0) CPU time is
measured, which other programs do not affect.
"""

import argparse
import os
import time

import cv2
import tensorflow as tf

from kseg import presets
from kseg.data import pipeline, records, training_batches


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000, help="images per run (default: 1000)")
    parser.add_argument("--runs", type=int, default=5, help="runs of each (default: 5)")
    presets.add_flags(parser)
    args = parser.parse_args()
    cv2.setNumThreads(1)  # As kseg.train does.
    config = presets.resolve(args)
    manifest, paths = pipeline.open_split(config, "train")
    decoded, streamed, cached = [], [], []
    for _ in range(args.runs):
        dataset = decoding_dataset(paths, training_batches.decode_ratio(manifest.size, config))
        decoded.append(images_per_second(dataset, args.images, 1))
        dataset = training_batches.training_dataset(config)
        streamed.append(images_per_second(dataset, args.images, config.batch_size))
        dataset = training_batches.training_dataset(config, cache="memory")
        cached.append(images_per_second(dataset, args.images, config.batch_size))
    share = max(streamed) / max(decoded)
    print(
        f"{len(os.sched_getaffinity(0))} cores, {config.data} at {config.size[0]}x"
        f"{config.size[1]}: decoding alone {max(decoded):.0f} images/s, training "
        f"pipeline {max(streamed):.0f} images/s ({100 * share:.0f} %), with cached frames "
        f"{max(cached):.0f} images/s ({100 * max(cached) / max(decoded):.0f} %)"
    )


def decoding_dataset(paths, ratio):
    """Returns a dataset that only reads, parses and decodes."""
    dataset = tf.data.TFRecordDataset(paths).repeat()
    return dataset.map(
        lambda serialized: records.parse(serialized, ratio), num_parallel_calls=tf.data.AUTOTUNE
    )


def images_per_second(dataset, images, batch_size):
    """Times about `images` images, after warming up with an eighth as many."""
    warm_up, count = max(1, images // 8 // batch_size), images // batch_size
    iterator = iter(dataset.prefetch(tf.data.AUTOTUNE))
    for _ in range(warm_up):
        next(iterator)
    clock = time.process_time if len(os.sched_getaffinity(0)) == 1 else time.perf_counter
    start = clock()
    for _ in range(count):
        next(iterator)
    return count * batch_size / (clock() - start)


if __name__ == "__main__":
    main()
