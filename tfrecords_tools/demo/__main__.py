"""python -m tfrecords_tools.demo: a procedural road data set, to try all tools without BDD100K."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from kseg.errors import InputError, run
from tfrecords_tools.demo.dataset import SPLITS, VERSION, already_written, write_dataset

SMALLEST = (90, 160)
LARGEST = (4320, 7680)
MOST_FRAMES = 100_000

EXAMPLES = """examples:
  python -m tfrecords_tools.demo --out data/demo
      480 + 96 frames of 720 x 1280, about a minute on two cores, 100 MB
  python -m tfrecords_tools.demo --out /tmp/tiny --train 8 --val 4 --size 180 320
      a few small frames, to try a pipeline in seconds

The folder has BDD100K's layout, so everything that reads BDD100K reads it. The same seed gives the
same bytes.

exit codes: 0 done; 2 bad input
"""


def main(argv: list[str] | None = None) -> int:
    args = _parse(argv)
    spec = {
        "version": VERSION,
        "seed": args.seed,
        "train": args.train,
        "val": args.val,
        "size": list(args.size),
    }
    _check(spec, args.threads)
    out = Path(args.out)
    if already_written(out, spec):
        print(f"{out}: already holds this demo set")
        return 0
    write_dataset(out, spec, args.threads)
    print(f"{out}: {args.train} train and {args.val} val frames of {args.size[0]}x{args.size[1]}")
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tfrecords_tools.demo",
        description="Writes a procedural road data set in BDD100K's folder layout.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--out", required=True, metavar="DIR", help="folder to create")
    add("--train", type=int, default=480, metavar="N", help="training frames (default: 480)")
    add("--val", type=int, default=96, metavar="N", help="validation frames (default: 96)")
    add(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="random seed of the frames (default: 0)",
    )
    add(
        "--size",
        type=int,
        nargs=2,
        default=(720, 1280),
        metavar=("HEIGHT", "WIDTH"),
        help="size of the frames in pixels (default: 720 1280)",
    )
    add(
        "--threads",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="number of frames drawn in parallel, which changes no byte (default: one per core)",
    )
    return parser.parse_args(argv)


def _check(spec: dict[str, Any], threads: int) -> None:
    """Raises InputError with the name of the flag whose value makes no sense."""
    for split in SPLITS:
        if not 1 <= spec[split] <= MOST_FRAMES:
            raise InputError(
                f"--{split}: number of frames must be 1 to {MOST_FRAMES}, got {spec[split]}"
            )
    if spec["seed"] < 0:
        raise InputError(f"--seed: must be 0 or more, got {spec['seed']}")
    if threads < 1:
        raise InputError(f"--threads: must be 1 or more, got {threads}")
    (height, width), (low, high) = spec["size"], (SMALLEST, LARGEST)
    if not (low[0] <= height <= high[0] and low[1] <= width <= high[1]):
        raise InputError(
            f"--size: HEIGHT WIDTH must be {low[0]} {low[1]} up to {high[0]} {high[1]}, "
            f"got {height} {width}"
        )


if __name__ == "__main__":
    sys.exit(run(main))
