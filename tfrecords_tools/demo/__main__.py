"""python -m tfrecords_tools.demo: a procedural road data set, to try every tool without BDD100K."""

import argparse
import os
import sys
from pathlib import Path

from kseg.errors import InputError, run
from tfrecords_tools.demo.dataset import SPLITS, VERSION, already_there, write_set

SMALLEST = (90, 160)
LARGEST = (4320, 7680)
MOST_FRAMES = 100_000

EXAMPLES = """examples:
  python -m tfrecords_tools.demo --out data/demo
      480 + 96 frames of 720 x 1280, about a minute on two cores, 100 MB
  python -m tfrecords_tools.demo --out /tmp/tiny --train 8 --val 4 --size 180 320
      a few small frames, to try a pipeline in seconds

The folder has BDD100K's layout, so whatever reads BDD100K reads it. Same seed, same bytes.
"""


def main(argv=None):
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
    if already_there(out, spec):
        print(f"{out}: already holds this demo set")
        return 0
    write_set(out, spec, args.threads)
    print(f"{out}: {args.train} train and {args.val} val frames of {args.size[0]}x{args.size[1]}")
    return 0


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="python -m tfrecords_tools.demo",
        description="Writes a procedural road data set in BDD100K's folder layout.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--out", required=True, metavar="DIR", help="folder to make")
    add("--train", type=int, default=480, metavar="N", help="training frames (default 480)")
    add("--val", type=int, default=96, metavar="N", help="validation frames (default 96)")
    add("--seed", type=int, default=0, metavar="N", help="other seed, other frames (default 0)")
    add(
        "--size",
        type=int,
        nargs=2,
        default=(720, 1280),
        metavar=("HEIGHT", "WIDTH"),
        help="pixels (default 720 1280)",
    )
    add(
        "--threads",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="frames drawn at once (default: all cores); changes no byte",
    )
    return parser.parse_args(argv)


def _check(spec, threads):
    """Raises InputError naming the flag whose value makes no sense."""
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
