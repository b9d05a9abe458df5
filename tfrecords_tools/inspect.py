"""python -m tfrecords_tools.inspect: statistics of a data set, as a table and an HTML page."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kseg import files
from kseg.errors import InputError, run
from kseg.labels import IGNORE_ID
from kseg.manifest import FILE_NAME, Manifest, read_manifest
from kseg.paths import is_remote, to_path

EXAMPLES = """examples:
  python -m tfrecords_tools.inspect data/demo-144x256
  python -m tfrecords_tools.inspect data/bdd100k --frames 40 --seed 1 --out bdd100k.html

Prints class shares, brightness, sizes, file formats and drives per split, and warns of classes
without a pixel, EXIF orientations and drives in two splits. Writes all that to a self-contained
HTML page, with heat maps of where each class lies, a suggested threshold between day and night, and
randomly drawn frames with their labels, from dark to bright.

The page is written next to DIR, as DIR.inspect.html, because the manifest lists the exact content
of DIR. `verify` accepts the page inside DIR too.
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tfrecords_tools.inspect",
        description="Shows the content of a data set made by tfrecords_tools.build.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", metavar="DIR", help="folder of shards and manifest.json")
    parser.add_argument(
        "--out", metavar="FILE", help="HTML file to write (default: DIR.inspect.html)"
    )
    parser.add_argument(
        "--frames", type=int, default=12, metavar="N", help="number of frames to show (default: 12)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="random seed for choosing the frames (default: 0)"
    )
    args = parser.parse_args(argv)
    folder, out = _paths(args)
    manifest = read_manifest(folder)
    measured = _measure(folder, manifest)
    from tfrecords_tools.inspect_facts import facts, oddities

    warnings = disagreements(manifest, measured)
    odd = oddities(manifest, measured)
    rows = facts(manifest, measured)
    _print_table(manifest, measured, folder, rows)
    for line in (*(f"{line} {folder}" for line in warnings), *odd):
        print(f"warning: {folder}: {line}")
    files.write_text(out, _page(folder, manifest, measured, [*warnings, *odd], rows, args))
    print(f"page in {out}")
    return 0


def _paths(args):
    """Returns (folder, path of the page). Raises InputError before any work is done."""
    if args.frames < 0:
        raise InputError(f"--frames {args.frames}: expected at least 0")
    folder = to_path(args.data)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    page = f"{_name(folder)}.inspect.html"
    # The page of a folder in a bucket is written to the current directory.
    default = Path(page) if is_remote(folder) else folder.resolve().with_name(page)
    out = Path(args.out) if args.out else default
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise InputError(f"{out}: expected a file name in an existing folder; choose another --out")
    return folder, out


def _name(folder):
    # "." has no name of its own.
    return folder.name if is_remote(folder) else folder.resolve().name


def _measure(folder, manifest):
    """Returns {split: SplitStatistics}."""
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    from tfrecords_tools.split_statistics import compute_statistics

    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        measured = {}
        for name, split in manifest.splits.items():
            task = progress.add_task(f"reading {name}", total=split.examples)
            measured[name] = compute_statistics(
                folder, manifest, name, lambda task=task: progress.advance(task)
            )
    return measured


def disagreements(manifest: Manifest, measured: dict) -> list[str]:
    """Returns a line for each split whose counts differ from the manifest."""
    lines = []
    for name, split in manifest.splits.items():
        values, classes = measured[name], len(manifest.labels.classes)
        counted = (len(values.keys), *values.counts[:classes], values.counts[IGNORE_ID])
        if tuple(map(int, counted)) != (split.examples, *split.pixels, split.ignored):
            lines.append(
                f"split '{name}' differs from {FILE_NAME}; run python -m tfrecords_tools.verify"
            )
    return lines


def _page(folder, manifest, measured, warnings, rows, args):
    from tfrecords_tools import inspect_page
    from tfrecords_tools.split_statistics import choose_frames, load_frames

    chosen = choose_frames(measured, args.frames, args.seed)
    loaded = {
        (split, number): frame
        for split in {split for split, _ in chosen}
        for number, frame in load_frames(
            folder, manifest, split, [number for name, number in chosen if name == split]
        ).items()
    }
    frames = [(split, number, *loaded[split, number]) for split, number in chosen]
    return inspect_page.page(_name(folder), manifest, measured, frames, warnings, rows)


def _print_table(manifest, measured, folder, more_rows):
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    # escape: rich reads names in [brackets] as its own markup.
    table = Table("", title=escape(f"{folder}: {manifest.dataset}"))
    for name in measured:
        table.add_column(escape(name), justify="right")
    rows = [_column(values, len(manifest.labels.classes)) for values in measured.values()]
    headings = ("frames", *map(escape, manifest.labels.names), "ignored")
    headings += ("luma, median", "luma, 5 % to 95 %")
    for row in zip(headings, *rows, strict=True):
        table.add_row(*row)
    table.add_section()
    for heading, cells in more_rows:
        table.add_row(heading, *map(escape, cells))
    Console().print(table)
    labels = manifest.request.get("labels")
    if labels:
        print(f"labels: {labels}")
    for note, count in manifest.notes.items():
        print(f"{count} {note}")


def _column(values, classes):
    """The column of one split, from top to bottom."""
    counts = values.counts[:classes]
    low, middle, high = np.percentile(values.luma if len(values.luma) else [0], (5, 50, 95))
    return [
        f"{len(values.keys):,}",
        *(f"{share:.1%}" for share in counts / max(1, counts.sum())),
        f"{values.counts[IGNORE_ID] / max(1, values.counts.sum()):.1%}",
        f"{middle:.0f}",
        f"{low:.0f} to {high:.0f}",
    ]


if __name__ == "__main__":
    sys.exit(run(main))
