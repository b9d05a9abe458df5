"""python -m tfrecords_tools.verify: checks a folder of TFRecord shards for silent errors."""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from kseg.errors import InputError, run
from kseg.labels import IGNORE_ID
from kseg.manifest import FILE_NAME, Manifest, check_labelled, missing_classes, read_manifest
from kseg.paths import to_path
from tfrecords_tools import duplicates
from tfrecords_tools.checks import CheckedShard, Problem, check_shard
from tfrecords_tools.splits import count_drives, shared_drives

SHOWN = 10  # Lines of one kind that are printed before the rest are only counted.

EXAMPLES = """examples:
  python -m tfrecords_tools.verify data/bdd100k
  python -m tfrecords_tools.verify data/bdd100k --all > problems.txt

Checked are the shards against manifest.json (missing, extra, size, SHA-256, number of records), the
TFRecord framing, every example (features, image and mask decodable, sizes, mask ids), the keys, the
pixel count of each class, and images that occur twice, even re-encoded or resized. An image in two
splits is a problem (train/val leakage inflates scores); twice in one split, it is a warning. A
drive in two splits leaks too, though no image occurs twice: a problem in a random split, a warning
in the data set's own. Files without ".tfrecord" in their name are ignored.

exit codes: 0 no problems (perhaps warnings); 1 problems, one line each; 2 no data set there
"""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tfrecords_tools.verify",
        description="Checks every record of a data set that tfrecords_tools.build has written.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", metavar="DIR", help="folder with the shards and manifest.json")
    parser.add_argument(
        "--all",
        action="store_true",
        help=f"print every problem (default: the first {SHOWN} of each kind)",
    )
    args = parser.parse_args(argv)
    folder = to_path(args.data)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    manifest = read_manifest(folder)
    problems = find_problems(folder, manifest)
    return _print(problems, folder, manifest, len(problems) if args.all else SHOWN)


def find_problems(folder: Path, manifest: Manifest) -> list[Problem]:
    """Returns all Problems of the data set in `folder`."""
    checked = _check_shards(folder, manifest)
    return [
        *_extra_shards(folder, manifest),
        *_manifest_totals(manifest),
        *(problem for shard in checked for problem in shard.problems),
        *_pixel_counts(checked, manifest),
        *_keys(checked),
        *_drives(checked, manifest),
        *_duplicates(checked),
    ]


def _check_shards(folder: Path, manifest: Manifest) -> list[CheckedShard]:
    """Checks all shards in parallel. The result is in the manifest's order."""
    import tensorflow  # noqa: F401  # Imported once, here, rather than by all threads at once.
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    jobs = [(name, shard) for name, split in manifest.splits.items() for shard in split.shards]
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    # On stderr, so that stdout holds only the list of problems.
    with (
        Progress(*columns, console=Console(stderr=True)) as progress,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        task = progress.add_task("checking", total=sum(shard.examples for _, shard in jobs))

        def check(job):
            return check_shard(folder, *job, manifest, lambda: progress.advance(task))

        return list(pool.map(check, jobs))


def _extra_shards(folder: Path, manifest: Manifest) -> Iterator[Problem]:
    listed = {shard.name for split in manifest.splits.values() for shard in split.shards}
    for path in sorted(folder.iterdir()):
        if ".tfrecord" in path.name and path.name not in listed:
            text = f"{path.name}: got a shard that {FILE_NAME} does not list, expected none"
            yield Problem("extra shard", text)


def _manifest_totals(manifest: Manifest) -> Iterator[Problem]:
    """The manifest's numbers must add up, and every class should occur."""
    for name, split in manifest.splits.items():
        place = f"{FILE_NAME}, split '{name}'"
        total = sum(shard.examples for shard in split.shards)
        if split.examples != total:
            text = f"{place}: got {split.examples} frames, expected the {total} of its shards"
            yield Problem("manifest", text)
        num_classes = len(manifest.labels.classes)
        if len(split.pixels) != num_classes:
            text = (
                f"{place}: got pixel counts of {len(split.pixels)} classes, expected {num_classes}"
            )
            yield Problem("manifest", text)
        try:
            check_labelled(place, manifest, name)
        except InputError as error:
            yield Problem("useless split", str(error))
        for label in missing_classes(manifest, name):
            yield Problem("empty class", f"{place}: no pixel of class '{label}'", warning=True)


def _pixel_counts(checked: list[CheckedShard], manifest: Manifest) -> Iterator[Problem]:
    """Counted pixels must equal the manifest's. Splits with unreadable records are skipped."""
    for name, split in manifest.splits.items():
        shards = [shard for shard in checked if shard.split == name]
        if not all(shard.complete for shard in shards):
            continue
        counts = sum((shard.counts for shard in shards), np.zeros(256, np.int64))
        expected = [
            *zip(manifest.labels.names, split.pixels, strict=False),
            ("ignored", split.ignored),
        ]
        ids = [*range(len(expected) - 1), IGNORE_ID]
        for i, (label, pixels) in zip(ids, expected, strict=True):
            if counts[i] != pixels:
                text = (
                    f"{FILE_NAME}, split '{name}', '{label}': got {counts[i]} pixels in the masks, "
                    f"expected {pixels} by the manifest"
                )
                yield Problem("pixel count", text)


def _keys(checked: list[CheckedShard]) -> Iterator[Problem]:
    """Keys must be unique in a split, and should be across splits."""
    first_location: dict[tuple[str, str], str] = {}
    first_split: dict[str, str] = {}
    for shard in checked:
        for key, location in zip(shard.keys, shard.locations, strict=True):
            if not key:
                text = f"{location}: got an empty key, expected the frame's name"
                yield Problem("key", text)
            if (shard.split, key) in first_location:
                first = first_location[shard.split, key]
                text = f"{location}: got a key that {first} has already, expected a unique one"
                yield Problem("key", text)
            elif first_split.get(key, shard.split) != shard.split:
                # A warning only: 0001 in every split is a common way to name frames. If it were the
                # same frame, the comparison of images would report it.
                text = f"{location}: split '{shard.split}' has a key of split '{first_split[key]}'"
                yield Problem("key in two splits", text, warning=True)
            first_location.setdefault((shard.split, key), location)
            first_split.setdefault(key, shard.split)


def _drives(checked: list[CheckedShard], manifest: Manifest) -> Iterator[Problem]:
    """Drives in two splits: a problem in a random split, a warning in the data set's own."""
    keys: dict[str, list[str]] = {name: [] for name in manifest.splits}
    for shard in checked:
        keys[shard.split] += shard.keys
    drives = {name: count_drives(keys[name], manifest.drive_pattern) for name in manifest.splits}
    random_split = bool(manifest.request.get("split"))
    way_on = (
        "build again without --group-by none"
        if random_split
        else "the data set is published in this split; --split makes one by drive"
    )
    for drive, counts in shared_drives(drives).items():
        frames = ", ".join(f"{name} {count}" for name, count in counts.items())
        text = (
            f"drive '{drive}' has frames in {len(counts)} splits ({frames}); they look alike, so "
            f"scores are too high; {way_on}"
        )
        yield Problem("drive in two splits", text, warning=not random_split)


def _duplicates(checked: list[CheckedShard]) -> Iterator[Problem]:
    """The same image in two splits is a problem (leakage), twice in one split a warning."""
    frames = [(shard.split, location) for shard in checked for location in shard.locations]
    if not frames:
        return
    thumbnails = np.array([small for shard in checked for small in shard.thumbnails])
    for group in duplicates.groups(thumbnails):
        first: dict[str, str] = {}
        for split, location in (frames[i] for i in group):
            if split in first:
                text = f"{location}: same image as {first[split]}, in split '{split}' too"
                yield Problem("duplicate", text, warning=True)
            elif first:
                other, original = next(iter(first.items()))
                text = (
                    f"{location} of split '{split}': same image as {original} of split '{other}', "
                    "expected in one split only"
                )
                yield Problem("leakage", text)
            first.setdefault(split, location)


def _print(problems: list[Problem], folder: Path, manifest: Manifest, shown: int) -> int:
    """Prints problems, then warnings, kind by kind. Returns the exit code."""
    for warning in (False, True):
        word = "warning" if warning else "problem"
        chosen = [problem for problem in problems if problem.warning == warning]
        for kind, count in Counter(problem.kind for problem in chosen).items():
            for problem in [p for p in chosen if p.kind == kind][:shown]:
                print(f"{word}: {problem.text}")
            if count > shown:
                more = f"{count - shown} more of this kind ({kind})"
                print(f"{word}: ... and {more}; --all prints them")
    warnings = sum(problem.warning for problem in problems)
    errors = len(problems) - warnings
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
