"""Images a second of the training pipeline, against decoding alone on the same cores.

    .venv/bin/python scripts/benchmark_input.py --data data/course --size 180 320

Decoding alone reads the same records and decodes image and mask, in parallel as the pipeline does:
no shuffling, no augmentation, no batches. With kept frames is kseg.train --cache memory after its
one pass of decoding, the default where frames are few. All run in turns; the best of each counts.
On one core (taskset -c 0) a second is one of CPU time, which other programs do not prolong.
"""

import argparse
import os
import time

import tensorflow as tf

from kseg import presets
from kseg.data import pipeline, records


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000, help="a run (default: 1000)")
    parser.add_argument("--runs", type=int, default=5, help="of each (default: 5)")
    presets.add_flags(parser)
    args = parser.parse_args()
    config = presets.resolve(args)
    manifest, paths = pipeline.open_split(config, "train")
    alone, streamed, kept = [], [], []
    for _ in range(args.runs):
        alone.append(
            rate(decoded(paths, pipeline.decode_ratio(manifest.size, config)), args.images, 1)
        )
        streamed.append(rate(pipeline.training_dataset(config), args.images, config.batch_size))
        frames = pipeline.training_dataset(config, keep="memory")
        kept.append(rate(frames, args.images, config.batch_size))
    share = max(streamed) / max(alone)
    print(
        f"{len(os.sched_getaffinity(0))} cores, {config.data} at {config.size[0]}x"
        f"{config.size[1]}: decoding alone {max(alone):.0f} images/s, training pipeline "
        f"{max(streamed):.0f} images/s, that is {100 * share:.0f} %; with kept "
        f"frames {max(kept):.0f} images/s, {100 * max(kept) / max(alone):.0f} %"
    )


def decoded(paths, ratio):
    """Parses and decodes, and nothing else."""
    dataset = tf.data.TFRecordDataset(paths).repeat()
    return dataset.map(
        lambda serialized: records.parse(serialized, ratio), num_parallel_calls=tf.data.AUTOTUNE
    )


def rate(dataset, images, batch_size):
    """Images a second over about `images` images, after a first eighth that is not timed."""
    warm, count = max(1, images // 8 // batch_size), images // batch_size
    iterator = iter(dataset.prefetch(tf.data.AUTOTUNE))
    for _ in range(warm):
        next(iterator)
    clock = time.process_time if len(os.sched_getaffinity(0)) == 1 else time.perf_counter
    start = clock()
    for _ in range(count):
        next(iterator)
    return count * batch_size / (clock() - start)


if __name__ == "__main__":
    main()
