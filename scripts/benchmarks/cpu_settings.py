"""Measures a training step under settings said to help on CPUs, interleaved, in child processes.

    .venv/bin/python scripts/benchmarks/cpu_settings.py --preset camvid --data data/camvid

Settings: one core; all cores; kept memory, which glibc never returns to the system (no mmap, no
trimming, one arena); kept memory in huge pages; JAX instead of TensorFlow, alone and with both.
Takes kseg.train's flags. Prints the minimum and median wall time over all rounds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

KEPT = "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=1099511627776:glibc.malloc.arena_max=1"
HUGE = f"{KEPT}:glibc.malloc.hugetlb=1"
JAX = {"KERAS_BACKEND": "jax"}
SETTINGS = {
    "one core": {"CORES": "1"},
    "all cores": {},
    "all cores, kept memory": {"GLIBC_TUNABLES": KEPT},
    "all cores, kept memory, huge pages": {"GLIBC_TUNABLES": HUGE},
    "JAX, one core": {**JAX, "CORES": "1"},
    "JAX, all cores": JAX,
    "JAX, all cores, kept memory, huge pages": {**JAX, "GLIBC_TUNABLES": HUGE},
}


def main():
    argv = sys.argv[1:]
    if "--child" in argv:
        argv.remove("--child")
        print(json.dumps(time_steps(parse_args(argv))))
        return
    args = parse_args(argv)
    times = {name: [] for name in SETTINGS}
    for _ in range(args.rounds):
        for name, setting in SETTINGS.items():
            times[name] += run_child(argv, setting)
            print(f"{name}: {describe(times[name])}", flush=True)


def parse_args(argv):
    from kseg import presets

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10, help="timed steps per round (default: 10)")
    parser.add_argument("--rounds", type=int, default=2, help="default: 2")
    presets.add_flags(parser)
    return parser.parse_args(argv)


def run_child(argv, setting):
    command = [sys.executable, __file__, "--child", *argv]
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ, **setting}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def time_steps(args):
    """Returns the seconds of each step on one batch of real frames, after two to warm up."""
    if os.environ.get("CORES") == "1":
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    from kseg import presets
    from kseg.data import pipeline, training_batches
    from kseg.training import build_training

    config = presets.resolve(args)
    manifest, _ = pipeline.open_split(config, "train")
    model = build_training.build_compiled_model(
        config, manifest, pipeline.steps_per_epoch(config, manifest)
    )
    images, masks = next(training_batches.training_dataset(config).as_numpy_iterator())
    times = []
    for _ in range(2 + args.steps):
        start = time.perf_counter()
        model.train_on_batch(images, masks)
        times.append(time.perf_counter() - start)
    return times[2:]


def describe(times):
    return f"min {min(times):.3f} s, median {statistics.median(times):.3f} s of {len(times)} steps"


if __name__ == "__main__":
    main()
