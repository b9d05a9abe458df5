"""python -m tfrecords_tools.build: labelled driving images -> TFRecord shards + manifest.json.

Frames are checked, resized once (--size) and written in the schema of kseg/data/records.py. The
shards appear in OUT.partial, which is renamed to OUT when all is written: a killed build never
looks finished, and the same command again continues with the missing shards.
"""

import argparse
import sys

from kseg import preprocess
from kseg.errors import InputError, run
from kseg.paths import to_path
from tfrecords_tools import conversion
from tfrecords_tools.datasets import bdd100k, camvid, cityscapes, folder, kitti_road

TASKED = {"camvid": camvid, "cityscapes": cityscapes, "kitti-road": kitti_road}

EXAMPLES = """examples:
  the demo set:        python -m tfrecords_tools.demo --out data/demo
                       python -m tfrecords_tools.build --source bdd100k --data data/demo \\
                           --out data/demo-144x256 --size 144 256
  BDD100K's own split: ... --source bdd100k --data BDD100K --out data/bdd100k --size 288 512
  the course's split:  ... --source bdd100k --data BDD100K --out data/course --size 180 320 \\
                           --limit 3430 --split 0.7 0.2 0.1 --seed 0
  CamVid:              ... --source camvid --data CAMVID --out data/camvid-240x320 --size 240 320
  a legacy BDD100K:    ... --source bdd100k --data BDD100K --out data/legacy --coding legacy
  Cityscapes:          ... --source cityscapes --data CITYSCAPES --out data/city --task 19
  KITTI road:          ... --source kitti-road --data data_road --out data/kitti --split 0.8 0.2 0
  labels of your own:  ... --source folder --data DIR --out data/mine
                       (classes.json, images/[SPLIT/], masks/[SPLIT/] in DIR; ids, 255 ignored)

Frames that cannot be used are left out and listed, with the reason, in OUT/quarantine.jsonl; when
more than --max-bad of all are, the build fails. exit codes: 0 done, 2 bad input
"""


def main(argv=None):
    args = _parse(argv)
    source = _open_source(args)
    splits = conversion.divide(source.splits, args.split, args.limit, args.seed)
    jobs = conversion.plan(source, splits, args)
    request = conversion.describe_request(args, source, jobs)
    out = to_path(args.out)
    if conversion.already_built(out, request):
        print(f"{out}: already built from these inputs, nothing to do")
        return 0
    try:
        built = conversion.convert(source, jobs, request, args, out)
    except OSError as error:
        reason = error.strerror or "cannot be written"
        raise InputError(
            f"{error.filename or out}: {reason}; when that is mended, the same command continues "
            "with what is missing"
        ) from error
    _print_summary(built, out)
    return 0


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="python -m tfrecords_tools.build",
        description="Labelled driving images -> TFRecord shards + manifest.json.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--source", required=True, choices=("bdd100k", *TASKED, "folder"))
    add("--data", required=True, metavar="DIR", help="the unpacked data set, a folder or gs://...")
    add("--out", required=True, metavar="DIR", help="folder to make, or gs://...")
    add("--size", nargs=2, type=int, metavar=("H", "W"), help="resize to this (default: keep)")
    add(
        "--fit",
        choices=preprocess.FITS,
        default="letterbox",
        help="how frames of another shape are fitted to --size; training and the car do the same "
        "(default: letterbox)",
    )
    add(
        "--split",
        nargs=3,
        type=float,
        metavar=("TRAIN", "VAL", "TEST"),
        help="shares of a random split of all frames (default: the data set's own split)",
    )
    add("--limit", type=int, metavar="N", help="take N frames at random")
    add("--seed", type=int, default=0, help="of --split, --limit and the order (default: 0)")
    tasks = "; ".join(f"{name}: {' or '.join(module.TASKS)}" for name, module in TASKED.items())
    add("--task", metavar="NAME", help=f"classes to make (default: road). {tasks}")
    add(
        "--labels",
        choices=bdd100k.LABELS,
        default="auto",
        help="bdd100k only: which of its label files to read (default: auto, the first there is)",
    )
    add(
        "--coding",
        choices=bdd100k.CODINGS,
        default="auto",
        help="bdd100k only: what its ids and colours mean. current: 0 direct, 1 alternative, 2 "
        "background; legacy: 0 background, 1 direct, 2 alternative (default: auto, which stops "
        "unless folder, names and pixels agree)",
    )
    add(
        "--skip-unpaired",
        action="store_true",
        help="leave out images without a mask and masks without an image instead of stopping "
        "(BDD100K has 137 such training images)",
    )
    add(
        "--max-bad",
        type=float,
        default=0.5,
        metavar="PERCENT",
        help="fail when more of the frames than this cannot be used (default: 0.5)",
    )
    group = parser.add_argument_group("where it runs")
    group.add_argument(
        "--workers", type=int, metavar="N", help="processes on this machine (default: its cores)"
    )
    group.add_argument(
        "--beam_runner",
        choices=("DirectRunner", "FlinkRunner", "SparkRunner", "DataflowRunner"),
        help="run on Apache Beam instead (extra `beam`); flags that follow `--` go to Beam; --data "
        "and --out must be reachable by every worker",
    )
    group.add_argument("beam_options", nargs="*", metavar="-- FLAGS", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    _check(args)
    return args


def _check(args):
    if args.size and min(args.size) < 32:
        raise InputError(f"--size {args.size[0]} {args.size[1]}: expected at least 32 32")
    if args.split and (min(args.split) < 0 or abs(sum(args.split) - 1) > 1e-6):
        raise InputError(f"--split {args.split}: expected three shares that sum to 1")
    for name in ("limit", "workers"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise InputError(f"--{name} {getattr(args, name)}: expected at least 1")
    if not 0 <= args.max_bad <= 100:
        raise InputError(f"--max-bad {args.max_bad}: expected a percentage, 0 to 100")
    if args.beam_options and not args.beam_runner:
        raise InputError(f"{args.beam_options[0]}: flags after `--` need --beam_runner")
    _check_source_flags(args)


def _check_source_flags(args):
    tasks = list(TASKED[args.source].TASKS) if args.source in TASKED else []
    if args.task is None:
        args.task = tasks[0] if tasks else None
    elif args.task not in tasks:
        known = f"has {' and '.join(tasks)}" if tasks else "has one task only; leave --task out"
        raise InputError(f"--task {args.task}: --source {args.source} {known}")
    for flag in ("labels", "coding"):
        if args.source != "bdd100k" and getattr(args, flag) != "auto":
            raise InputError(f"--{flag} {getattr(args, flag)}: only for --source bdd100k")


def _open_source(args):
    if args.source == "bdd100k":
        return bdd100k.source(
            args.data, labels=args.labels, coding=args.coding, skip_unpaired=args.skip_unpaired
        )
    if args.source in TASKED:
        module = TASKED[args.source]
        return module.source(args.data, task=args.task, skip_unpaired=args.skip_unpaired)
    return folder.source(args.data, skip_unpaired=args.skip_unpaired)


def _print_summary(built, out):
    from rich.console import Console
    from rich.table import Table

    table = Table("% of pixels", title=f"{out}: {built.dataset}")
    for name, split in built.splits.items():
        table.add_column(f"{name}: {split.examples} frames", justify="right")
    for i, name in enumerate(built.labels.names):
        table.add_row(name, *(f"{100 * split.shares[i]:.2f}" for split in built.splits.values()))
    table.add_section()
    table.add_row("ignored, of all", *map(_ignored, built.splits.values()))
    table.add_row("shards", *(str(len(split.shards)) for split in built.splits.values()))
    Console().print(table)
    quarantine = out / conversion.QUARANTINE
    if quarantine.is_file():
        count = len(quarantine.read_text().splitlines())
        print(f"{count} frames could not be used and were left out; why: {quarantine}")


def _ignored(split):
    return f"{100 * split.ignored / max(1, sum(split.pixels) + split.ignored):.2f}"


if __name__ == "__main__":
    sys.exit(run(main))
