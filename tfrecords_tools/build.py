"""python -m tfrecords_tools.build: labelled driving images -> TFRecord shards + manifest.json.

Frames are checked, resized once (--size) and written in the schema of kseg/records.py. The shards
appear under OUT.partial, which is renamed to OUT when all is written: a killed build never looks
finished.
"""

import argparse
import hashlib
import os
import random
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from kseg import manifest, preprocess
from kseg.errors import InputError, run
from kseg.labels import IGNORE_ID
from tfrecords_tools.datasets import (
    bdd100k,
    camvid,
    cityscapes,
    fingerprint,
    folder,
    kitti_road,
)

TASKED = {"camvid": camvid, "cityscapes": cityscapes, "kitti-road": kitti_road}
SHARD_EXAMPLES = 256
JPEG_QUALITY = 95  # Of resized images; unchanged ones keep their bytes.

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
"""


def main(argv=None):
    args = _parse(argv)
    source = _open_source(args)
    splits = _divide(source.splits, args.split, args.limit, args.seed)
    request = _request(args, source, splits)
    out = Path(args.out)
    if _already_built(out, request):
        print(f"{out}: already built from these inputs, nothing to do")
        return 0
    built = _write(source, splits, args, request, out)
    _print_summary(built, out)
    return 0


def _parse(argv):
    parser = argparse.ArgumentParser(
        prog="python -m tfrecords_tools.build",
        description="Labelled driving images -> TFRecord shards + manifest.json.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--source", required=True, choices=("bdd100k", *TASKED, "folder"))
    parser.add_argument("--data", required=True, metavar="DIR", help="the unpacked data set")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to make")
    parser.add_argument(
        "--size", nargs=2, type=int, metavar=("H", "W"), help="resize to this (default: keep)"
    )
    parser.add_argument(
        "--fit", choices=preprocess.FITS, default="letterbox", help="how frames of another shape "
        "are fitted to --size; training and the car do the same (default: letterbox)"
    )  # fmt: skip
    parser.add_argument(
        "--split", nargs=3, type=float, metavar=("TRAIN", "VAL", "TEST"),
        help="shares of a random split of all frames (default: the data set's own split)"
    )  # fmt: skip
    parser.add_argument("--limit", type=int, metavar="N", help="take N frames at random")
    parser.add_argument("--seed", type=int, default=0, help="of --split and --limit (default: 0)")
    tasks = "; ".join(f"{name}: {' or '.join(module.TASKS)}" for name, module in TASKED.items())
    parser.add_argument("--task", metavar="NAME", help=f"classes to make (default: road). {tasks}")
    parser.add_argument(
        "--labels", choices=bdd100k.LABELS, default="auto", help="bdd100k only: which of its "
        "label files to read (default: auto, the first that is there)"
    )  # fmt: skip
    parser.add_argument(
        "--coding", choices=bdd100k.CODINGS, default="auto", help="bdd100k only: what its ids and "
        "colours mean. current: 0 direct, 1 alternative, 2 background; legacy: 0 background, 1 "
        "direct, 2 alternative (default: auto, which stops unless folder, names and pixels agree)"
    )  # fmt: skip
    parser.add_argument(
        "--skip-unpaired", action="store_true", help="leave out images without a mask and masks "
        "without an image instead of stopping (BDD100K has 137 such training images)"
    )  # fmt: skip
    args = parser.parse_args(argv)
    if args.size and min(args.size) < 32:
        raise InputError(f"--size {args.size[0]} {args.size[1]}: expected at least 32 32")
    if args.split and (min(args.split) < 0 or abs(sum(args.split) - 1) > 1e-6):
        raise InputError(f"--split {args.split}: expected three shares that sum to 1")
    if args.limit is not None and args.limit < 1:
        raise InputError(f"--limit {args.limit}: expected at least 1")
    _check_source_flags(args)
    return args


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


def _divide(splits, shares, limit, seed):
    """Returns {split: frames}, the source's own or a random one, in the order of writing.

    The order is shuffled: neighbours in a video land in different shards.
    """
    if limit or shares:
        pool = [(name, frame) for name, frames in splits.items() for frame in frames]
        random.Random(seed).shuffle(pool)
        pool = pool[:limit]
        splits = {n: [f for name, f in pool if name == n] for n in splits}
    if shares:
        frames = [frame for _, frame in pool]
        if len({f.key for f in frames}) < len(frames):
            raise InputError("--split: the same frame name is in two splits; rename one of them")
        val, test = (round(share * len(frames)) for share in shares[1:])
        train = len(frames) - val - test
        parts = {"train": frames[:train], "val": frames[train : train + val]}
        splits = parts | {"test": frames[train + val :]}
    splits = {name: list(frames) for name, frames in splits.items() if frames}
    for frames in splits.values():
        random.Random(seed).shuffle(frames)
    return splits


def _request(args, source, splits):
    """What was asked for, as JSON: equal requests give equal shards."""
    digest = hashlib.sha256()
    for name, frames in splits.items():
        for frame in frames:
            look = f"{os.stat(frame.image_path).st_size} {fingerprint(frame.label)}"
            digest.update(f"{name} {frame.key} {look}\n".encode())
    return {
        "source": args.source,
        "task": args.task,
        "labels": source.origin,
        "size": args.size,
        "fit": args.fit,
        "split": args.split,
        "limit": args.limit,
        "seed": args.seed,
        "inputs": digest.hexdigest(),
    }


def _already_built(out, request):
    """True when OUT holds this very data set. Raises InputError when it holds anything else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    if (out / manifest.FILE_NAME).is_file() and manifest.read(out).request == request:
        return True
    raise InputError(
        f"{out}: already exists and holds something else; choose another --out or remove it first"
    )


def _write(source, splits, args, request, out):
    """Writes shards and manifest under OUT.partial, then renames it to OUT."""
    partial = out.with_name(out.name + ".partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)  # Left over from a killed build.
        partial.mkdir(parents=True)
        built = _write_splits(source, splits, args, request, partial)
        (partial / manifest.FILE_NAME).write_text(built.to_json())
        if out.exists():
            out.rmdir()
        partial.rename(out)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise InputError(f"{error.filename or partial}: {error.strerror}") from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return built


def _write_splits(source, splits, args, request, partial):
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    written, sizes = {}, set()
    with Progress(*columns) as progress, ThreadPoolExecutor() as pool:
        for name, frames in splits.items():
            task = progress.add_task(f"{source.name} {name}", total=len(frames))

            def convert(frame):
                return convert_frame(frame, source, args.size, args.fit)

            groups = [frames[i : i + SHARD_EXAMPLES] for i in range(0, len(frames), SHARD_EXAMPLES)]
            counts, shards = np.zeros(256, np.int64), []
            for number, group in enumerate(groups):
                # TFDS' own naming, so that its tools can open the folder too.
                shard = f"{source.name}-{name}.tfrecord-{number:05d}-of-{len(groups):05d}"
                converted = _watched(pool.map(convert, group), progress, task, counts, sizes)
                shards.append(write_shard(partial / shard, converted))
            pixels = tuple(int(n) for n in counts[: len(source.labels.classes)])
            written[name] = manifest.Split(
                len(frames), pixels, int(counts[IGNORE_ID]), tuple(shards)
            )
    size = sizes.pop() if len(sizes) == 1 else None
    return manifest.Manifest(source.name, source.labels, size, written, request)


def _watched(converted, progress, task, counts, sizes):
    """Passes on the examples of (example, size, id counts) while counting."""
    for example, size, ids in converted:
        counts += ids
        sizes.add(size)
        progress.advance(task)
        yield example


def convert_frame(frame, source, size, fit):
    """Checks one Frame and turns it into a record.

    Returns (serialized Example, (height, width), (256,) int64 counts of mask ids). Raises
    InputError naming the file that is damaged, of another size, or holds an unknown id.
    """
    from kseg import records

    image_file = frame.image_path.read_bytes()
    image = _decode(image_file, frame.image_path)
    mask = source.read_mask(frame, image.shape[:2])
    if mask.shape != image.shape[:2]:
        raise InputError(
            f"{frame.where}: mask is {mask.shape[0]}x{mask.shape[1]} but image "
            f"{frame.image_path} is {image.shape[0]}x{image.shape[1]}"
        )
    _check_ids(mask, source.labels, frame.where)
    if size and tuple(size) != mask.shape:
        image = preprocess.fit_image(image, size, fit)
        mask = preprocess.fit_mask(mask, size, fit)
        image_file = cv2.imencode(
            ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        )[1].tobytes()
    mask_png = cv2.imencode(".png", mask)[1].tobytes()
    example = records.encode(frame.key, image_file, mask_png, mask.shape)
    return example, mask.shape, np.bincount(mask.ravel(), minlength=256)


def write_shard(path, examples):
    """Writes serialized examples to one TFRecord file. Returns its manifest.Shard."""
    import tensorflow as tf

    count = 0
    with tf.io.TFRecordWriter(str(path)) as writer:
        for example in examples:
            writer.write(example)
            count += 1
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return manifest.Shard(path.name, count, digest, path.stat().st_size)


def _decode(image_file, path):
    """JPEG or PNG bytes -> (H, W, 3) uint8 RGB.

    TensorFlow's decoder, not OpenCV's: the latter fills the missing half of a truncated JPEG with
    grey and says nothing.
    """
    import tensorflow as tf

    try:
        return tf.io.decode_image(image_file, channels=3, expand_animations=False).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise InputError(
            f"{path}: image is damaged or truncated ({len(image_file)} bytes); replace it or "
            "remove it together with its mask"
        ) from error


def _check_ids(mask, labels, path):
    wrong = np.unique(mask[(mask >= len(labels.classes)) & (mask != IGNORE_ID)])
    if wrong.size:
        raise InputError(
            f"{path}: ids {wrong[:5].tolist()} in the mask; {labels.name} has 0 to "
            f"{len(labels.classes) - 1}, and {IGNORE_ID} for ignored pixels"
        )


def _print_summary(built, out):
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{out}: {built.dataset}")
    for column in ("split", "frames", "shards", *built.labels.names, "ignored"):
        table.add_column(column, justify="left" if column == "split" else "right")
    for name, split in built.splits.items():
        total = sum(split.pixels) + split.ignored
        shares = [f"{share:.1%}" for share in split.shares]
        table.add_row(
            name,
            str(split.examples),
            str(len(split.shards)),
            *shares,
            f"{split.ignored / total:.1%}",
        )
    Console().print(table)


if __name__ == "__main__":
    sys.exit(run(main))
