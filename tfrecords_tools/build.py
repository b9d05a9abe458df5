"""python -m tfrecords_tools.build: labelled driving images -> TFRecord shards + manifest.json.

Frames are checked, resized once (--size) and written in the schema of kseg/data/records.py.
conversion.py has the steps.
"""

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from kseg import preprocess
from kseg.errors import InputError, is_by_the_machine, run
from kseg.manifest import Manifest, Split, missing_classes
from kseg.paths import is_remote, s3_errors, to_path
from tfrecords_tools import conversion, executors, source_flags, splits
from tfrecords_tools.datasets import Frame, Source
from tfrecords_tools.shards import ShardJob

EXAMPLES = """examples:
  the demo set:        python -m tfrecords_tools.demo --out data/demo
                       python -m tfrecords_tools.build --source bdd100k --data data/demo \\
                           --out data/demo-144x256 --size 144 256
  BDD100K's own split: ... --source bdd100k --data BDD100K --out data/bdd100k --size 288 512
  the course's split:  ... --source bdd100k --data BDD100K --out data/course --size 180 320 \\
                           --limit 3430 --split 0.7 0.2 0.1 --seed 0
  CamVid:              ... --source camvid --data CAMVID --out data/camvid-240x320 --size 240 320
                       (SegNet's ids, or the original masks of 32 colours, *_L.png)
  a legacy BDD100K:    ... --source bdd100k --data BDD100K --out data/legacy --coding legacy
  Cityscapes:          ... --source cityscapes --data CITYSCAPES --out data/city --task 19
  its train ids:       ... --source cityscapes --data DIR --out data/city --coding train-ids
  IDD, full or lite:   ... --source idd --data idd20k_lite --out data/idd --task 7
  KITTI road:          ... --source kitti-road --data data_road --out data/kitti --split 0.8 0.2 0
  your own labels:     ... --source folder --data DIR --out data/own
                       (DIR holds classes.json, images/[SPLIT/] and masks/[SPLIT/]; masks are PNG
                       files of class ids, palette indices or the colours of classes.json)
  labelme's JSON:      ... --source labelme --data DIR --out data/own --drivable road
                       (DIR holds labels.txt and JSON files, with their images or imageData)
  CVAT, Pascal VOC:    ... --source cvat --data DIR --out data/own --drivable road
                       (DIR is the export `Segmentation mask 1.1` with images, unpacked)
  masks of 0 and 255:  ... --source folder --data DIR --out data/own --mask-values 0:0 255:1
  frames of videos:    ... --source folder --data DIR --out data/own --split 0.8 0.2 0 \\
                           --group-by '^[^_]+'  (the drive is what precedes the first _)
  on a Flink cluster:  ... --source bdd100k --data s3://BUCKET/bdd --out s3://BUCKET/records \\
                           --beam_runner FlinkRunner -- --flink_master=HOST:8081 \\
                           --environment_type=EXTERNAL --environment_config=localhost:50000

Unusable frames are left out and listed with the reason in OUT/quarantine.jsonl; the build fails
when they are more than --max-bad per cent. After an interruption the same command continues.

exit codes: 0 done; 2 bad input
"""


def main(argv: list[str] | None = None) -> int:
    args = _parse(argv)
    with s3_errors(args.data, args.out):
        return _build(args)


def _build(args: argparse.Namespace) -> int:
    source = source_flags.open_source(args)
    if source.origin:
        print(f"{args.source}: {source.origin}")
    size = tuple(args.size) if args.size else None
    jobs = conversion.plan_shards(
        source, _split(source, args), size=size, fit=args.fit, shard_frames=args.shard_frames
    )
    request = conversion.describe_request(args, source, jobs)
    out = _output_folder(args.out)
    if conversion.already_built(out, request):
        print(f"{out}: already built from these inputs, nothing to do")
        return 0
    try:
        manifest = conversion.convert(
            source, jobs, request, out, max_bad=args.max_bad, run_jobs=_executor(args)
        )
    except OSError as error:
        if not is_by_the_machine(error):
            raise
        reason = error.strerror or "cannot be written"
        raise InputError(
            f"{error.filename or out}: {reason}; fix that and run the same command again, which "
            "continues with the missing shards"
        ) from error
    _print_summary(manifest, out)
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tfrecords_tools.build",
        description="Converts labelled driving images to TFRecord shards and a manifest.json.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--data",
        required=True,
        metavar="DIR",
        help="the unpacked data set, a folder or a bucket: gs://..., s3://..., az://...",
    )
    add("--out", required=True, metavar="DIR", help="folder to create, or a URL")
    add(
        "--size",
        nargs=2,
        type=int,
        metavar=("H", "W"),
        help="resize frames to this height and width (default: keep their size)",
    )
    add(
        "--fit",
        choices=preprocess.FITS,
        default="letterbox",
        help="how frames of another aspect ratio are fitted to --size; training and the runners in "
        "the car do the same (default: letterbox)",
    )
    add(
        "--split",
        nargs=3,
        type=float,
        metavar=("TRAIN", "VAL", "TEST"),
        help="split all frames at random in these shares, for example 0.7 0.2 0.1, the frames of "
        "one drive together (default: the data set's own split)",
    )
    add(
        "--group-by",
        metavar="REGEX",
        help="the drive in a frame's name, for example '^[^_]+': the first group of REGEX, or else "
        "its match. --split keeps the frames of one drive in one split, and verify reports drives "
        "in two; none: split by frame (default: the source's own rule)",
    )
    add(
        "--shard-frames",
        type=int,
        default=conversion.SHARD_FRAMES,
        metavar="N",
        help="frames per shard, the unit of work of a worker and of resuming (default: "
        f"{conversion.SHARD_FRAMES})",
    )
    add("--limit", type=int, metavar="N", help="use only N frames, chosen at random")
    add(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="random seed of --split, --limit and the order of frames (default: 0)",
    )
    add(
        "--max-bad",
        type=float,
        default=0.5,
        metavar="PERCENT",
        help="fail when more than this share of the frames is unusable (default: 0.5)",
    )
    source_flags.add_to(parser)
    group = parser.add_argument_group("execution")
    group.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes on this machine (default: up to one per core, one per "
        f"{executors.FRAMES_PER_WORKER} frames)",
    )
    group.add_argument(
        "--beam_runner",
        choices=executors.BEAM_RUNNERS,
        help="run on Apache Beam instead (./scripts/install beam). Flags after `--` are passed to "
        "Beam. Every worker needs this version of kseg, and must be able to reach --data and --out",
    )
    group.add_argument("beam_options", nargs="*", metavar="-- FLAGS", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    _check(args)
    return args


def _check(args: argparse.Namespace) -> None:
    """Raises InputError with the name of the flag whose value makes no sense."""
    if args.size and min(args.size) < 32:
        raise InputError(f"--size {args.size[0]} {args.size[1]}: expected at least 32 32")
    if args.split and (min(args.split) < 0 or abs(sum(args.split) - 1) > 1e-6):
        raise InputError(f"--split {args.split}: expected three shares that sum to 1")
    for name in ("limit", "workers", "shard_frames"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            flag = name.replace("_", "-")
            raise InputError(f"--{flag} {getattr(args, name)}: expected at least 1")
    if not 0 <= args.max_bad <= 100:
        raise InputError(f"--max-bad {args.max_bad}: expected a percentage, 0 to 100")
    if args.beam_options and not args.beam_runner:
        raise InputError(f"{args.beam_options[0]}: flags after `--` need --beam_runner")
    source_flags.check(args)


def _split(source: Source, args: argparse.Namespace) -> dict[str, list[Frame]]:
    """Returns {split: frames} as the flags say, and prints how a random split came about."""
    by_frame = args.group_by == splits.BY_FRAME
    pattern = source.drive_pattern
    chosen = splits.split_frames(
        source.splits, args.split, args.limit, args.seed, pattern="" if by_frame else pattern
    )
    if args.split:
        print(splits.describe_split(chosen, pattern, by_frame=by_frame))
    return chosen


def _output_folder(text: str) -> Path:
    """Returns --out. Raises InputError when it cannot be created beside its unfinished self."""
    out = to_path(text)
    if is_remote(out):
        return out
    out = out.resolve()
    if Path.cwd().is_relative_to(out):
        raise InputError(f"--out {text}: is the current folder or contains it; name a new folder")
    return out


def _executor(args: argparse.Namespace) -> Callable[[list[ShardJob], Path], None]:
    """Returns the function (jobs, folder) that writes shards as the flags say."""
    if args.beam_runner:
        return partial(executors.run_beam, runner=args.beam_runner, options=args.beam_options)
    return partial(executors.run_locally, workers=args.workers)


def _print_summary(manifest: Manifest, out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    splits = manifest.splits.values()
    table = Table("% of pixels", title=f"{out}: {manifest.dataset}")
    for name, split in manifest.splits.items():
        table.add_column(f"{name}: {split.examples} frames", justify="right")
    for i, name in enumerate(manifest.labels.names):
        table.add_row(name, *(f"{100 * split.shares[i]:.2f}" for split in splits))
    table.add_section()
    table.add_row("ignored, of all", *map(_ignored_percent, splits))
    table.add_row("shards", *(str(len(split.shards)) for split in splits))
    Console().print(table)
    for note, count in manifest.notes.items():
        print(f"{count} {note}")
    quarantine = out / conversion.QUARANTINE
    if quarantine.is_file():
        bad = [json.loads(line) for line in quarantine.read_text("utf-8").splitlines()]
        print(f"{len(bad)} unusable frames were left out; {quarantine} lists them:")
        for kind, count in conversion.count_reasons(bad).items():
            print(f"  {count} x {kind}")
    if "train" in manifest.splits and "val" not in manifest.splits:
        print(
            "warning: there is no split 'val', which kseg.train needs; build with --split, such as "
            "--split 0.8 0.2 0",
            file=sys.stderr,
        )
    if not manifest.labels.drivable_ids:
        print(
            "warning: no class is drivable, so there will be no drivable IoU, and runners will see "
            'no free road; say which with --drivable, or "drivable": true in classes.json',
            file=sys.stderr,
        )
    if "train" in manifest.splits and (missing := missing_classes(manifest, "train")):
        print(
            f"warning: split 'train' has no pixel of {', '.join(missing)}; a model cannot learn "
            "what it never sees: check the masks",
            file=sys.stderr,
        )


def _ignored_percent(split: Split) -> str:
    return f"{100 * split.ignored / max(1, sum(split.pixels) + split.ignored):.2f}"


if __name__ == "__main__":
    sys.exit(run(main))
