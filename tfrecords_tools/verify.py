"""python -m tfrecords_tools.verify: what can silently go wrong with a folder of TFRecord shards."""

import argparse
import os
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from kseg.errors import InputError, run
from kseg.labels import IGNORE_ID
from kseg.manifest import FILE_NAME, read_manifest
from kseg.paths import to_path
from tfrecords_tools import duplicates
from tfrecords_tools.checks import Problem, read_shard

SHOWN = 10  # Lines of one kind before the rest are only counted.

EXAMPLES = """examples:
  python -m tfrecords_tools.verify data/bdd100k
  python -m tfrecords_tools.verify data/bdd100k --all > problems.txt

Checked: shards against manifest.json (missing, extra, size, SHA-256, records), TFRecord framing,
every example (features, image and mask decodable, sizes, mask ids), keys, class pixel counts, and
pictures that occur twice, also when re-encoded or resized. A picture in two splits is a problem
(the score would be of what was learnt by heart), twice in one split a warning. Files in the folder
without ".tfrecord" in their name are none of its business.

Exit code 0: all well, perhaps with warnings. 1: problems, one line each. 2: no data set there.
"""


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m tfrecords_tools.verify",
        description="Checks a data set made by tfrecords_tools.build, to the last record.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", metavar="DIR", help="folder of shards and manifest.json")
    parser.add_argument(
        "--all", action="store_true", help=f"print every line, not the first {SHOWN} of a kind"
    )
    args = parser.parse_args(argv)
    folder = to_path(args.data)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    manifest = read_manifest(folder)
    found = problems(folder, manifest)
    return _print(found, folder, manifest, len(found) if args.all else SHOWN)


def problems(folder, manifest):
    """Returns the list of Problems of the data set in `folder` with a Manifest."""
    readings = _read(folder, manifest)
    return [
        *_extra_shards(folder, manifest),
        *_manifest_sums(manifest),
        *(problem for reading in readings for problem in reading.problems),
        *_pixel_counts(readings, manifest),
        *_keys(readings),
        *_doubles(readings),
    ]


def _read(folder, manifest):
    """Returns the Readings of all shards in the manifest's order, read in parallel."""
    import tensorflow  # noqa: F401  # Once, here, rather than in all threads at the same time.
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    jobs = [(name, shard) for name, split in manifest.splits.items() for shard in split.shards]
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    # The list of problems has stdout to itself.
    with (
        Progress(*columns, console=Console(stderr=True)) as progress,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        task = progress.add_task("checking", total=sum(shard.examples for _, shard in jobs))

        def read(job):
            return read_shard(folder, *job, manifest, lambda: progress.advance(task))

        return list(pool.map(read, jobs))


def _extra_shards(folder, manifest):
    listed = {shard.name for split in manifest.splits.values() for shard in split.shards}
    for path in sorted(folder.iterdir()):
        if ".tfrecord" in path.name and path.name not in listed:
            yield Problem(
                "extra shard",
                f"{path.name}: got a shard that {FILE_NAME} does not list, expected none",
            )


def _manifest_sums(manifest):
    """The manifest's own numbers: they must add up, and every class should occur."""
    where = FILE_NAME
    for name, split in manifest.splits.items():
        total = sum(shard.examples for shard in split.shards)
        if split.examples != total:
            yield Problem(
                "manifest",
                f"{where}, split '{name}': got {split.examples} frames, expected the {total} of "
                "its shards",
            )
        if len(split.pixels) != len(manifest.labels.classes):
            yield Problem(
                "manifest",
                f"{where}, split '{name}': got pixel counts of {len(split.pixels)} classes, "
                f"expected {len(manifest.labels.classes)}",
            )
        for label, pixels in zip(manifest.labels.names, split.pixels, strict=False):
            if not pixels:
                yield Problem(
                    "empty class", f"{where}, split '{name}': no pixel of class '{label}'", True
                )


def _pixel_counts(readings, manifest):
    """Counted pixels against the manifest's, for splits that could be read to the end."""
    for name, split in manifest.splits.items():
        parts = [reading for reading in readings if reading.split == name]
        if not all(reading.complete for reading in parts):
            continue
        counts = sum((reading.counts for reading in parts), np.zeros(256, np.int64))
        expected = [
            *zip(manifest.labels.names, split.pixels, strict=False),
            ("ignored", split.ignored),
        ]
        ids = [*range(len(expected) - 1), IGNORE_ID]
        for i, (label, pixels) in zip(ids, expected, strict=True):
            if counts[i] != pixels:
                yield Problem(
                    "pixel count",
                    f"{FILE_NAME}, split '{name}', '{label}': got {counts[i]} pixels in "
                    f"the masks, expected {pixels} by the manifest",
                )


def _keys(readings):
    """Keys: unique in a split, and better so across splits."""
    seen, anywhere = {}, {}
    for reading in readings:
        for key, where in zip(reading.keys, reading.where, strict=True):
            if not key:
                yield Problem("key", f"{where}: got an empty key, expected the frame's name")
            if (reading.split, key) in seen:
                first = seen[reading.split, key]
                yield Problem("key", f"{where}: key got used before, in {first}, expected unique")
            elif anywhere.get(key, reading.split) != reading.split:
                # A warning: 0001 in every split is a usual way to name frames. Were it the same
                # frame, its picture would say so.
                yield Problem(
                    "key in two splits",
                    f"{where}: split '{reading.split}' has a key of split '{anywhere[key]}'",
                    warning=True,
                )
            seen.setdefault((reading.split, key), where)
            anywhere.setdefault(key, reading.split)


def _doubles(readings):
    """Pictures that occur twice: across splits a leak, within a split a warning."""
    thumbnails = np.array([small for reading in readings for small in reading.thumbnails])
    names = [(r.split, where) for r in readings for where in r.where]
    for group in duplicates.groups(thumbnails) if len(names) else ():
        first = {}
        for split, where in (names[i] for i in group):
            if split in first:
                yield Problem(
                    "double",
                    f"{where}: same picture as {first[split]}, in split '{split}' too",
                    warning=True,
                )
            elif first:
                other, original = next(iter(first.items()))
                yield Problem(
                    "leak",
                    f"{where} of split '{split}': same picture as {original} of split '{other}', "
                    "expected in one split only",
                )
            first.setdefault(split, where)


def _print(found, folder, manifest, shown):
    """Prints problems, then warnings, kind by kind. Returns the exit code."""
    for warning in (False, True):
        word = "warning" if warning else "problem"
        chosen = [problem for problem in found if problem.warning == warning]
        for kind, count in Counter(problem.kind for problem in chosen).items():
            for problem in [p for p in chosen if p.kind == kind][:shown]:
                print(f"{word}: {problem.text}")
            if count > shown:
                print(
                    f"{word}: ... and {count - shown} more of this kind ({kind}); --all shows them"
                )
    warnings = sum(problem.warning for problem in found)
    errors = len(found) - warnings
    frames = sum(split.examples for split in manifest.splits.values())
    shards = sum(len(split.shards) for split in manifest.splits.values())
    print(
        f"{folder}: {manifest.dataset}, {frames} frames in {shards} shards: "
        f"{errors or 'no'} problem{'s' * (errors != 1)}, "
        f"{warnings or 'no'} warning{'s' * (warnings != 1)}"
    )
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(run(main))
