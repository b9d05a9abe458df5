"""Splits frames into train, val and test, so that the frames of one drive stay together.

Neighbouring frames of a drive look alike. With some in train and some in val, scores on val are too
high, and no comparison of images notices it, because the frames are not duplicates.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable

from kseg.errors import InputError
from tfrecords_tools.datasets import SPLITS, Frame

BY_FRAME = "none"  # --group-by none
_ATTEMPTS = 50  # Random assignments of drives to splits; the one nearest to the shares is used.


def drive_of(key: str, pattern: str) -> str:
    """Returns the drive in a frame's name: the first group of `pattern`, or else its match.

    pattern: a regular expression, "" if names hold no drive. A name that does not match is a drive
    of its own.
    """
    match = re.search(pattern, key) if pattern else None
    if match is None:
        return key
    return match[1 if match.re.groups else 0] or key


def count_drives(keys: Iterable[str], pattern: str) -> dict[str, int]:
    """Returns {drive: its number of frames}, sorted; empty if names hold no drive."""
    counts = Counter(drive_of(key, pattern) for key in keys) if pattern else {}
    return dict(sorted(counts.items()))


def shared_drives(drives: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    """{split: {drive: frames}} -> {drive: {split: frames}} of drives that are in two splits."""
    by_drive: dict[str, dict[str, int]] = {}
    for split, counts in drives.items():
        for drive, frames in counts.items():
            by_drive.setdefault(drive, {})[split] = frames
    return {drive: counts for drive, counts in by_drive.items() if len(counts) > 1}


def check_pattern(pattern: str, splits: dict[str, list[Frame]]) -> None:
    """Raises InputError on a --group-by that is no regular expression or fits no frame's name."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"--group-by {pattern!r}: not a regular expression ({error})") from error
    keys = [frame.key for frames in splits.values() for frame in frames]
    without = [key for key in keys if not compiled.search(key)]
    if without:
        raise InputError(
            f"--group-by {pattern!r}: does not match {len(without)} of {len(keys)} frame names; "
            f"first: {without[0]!r}"
        )


def split_frames(
    splits: dict[str, list[Frame]],
    shares: list[float] | None,
    limit: int | None,
    seed: int,
    *,
    pattern: str = "",
) -> dict[str, list[Frame]]:
    """Returns {split: frames} in the order of writing.

    Splits are the source's own, or random with these `shares` of (train, val, test): of drives,
    which `pattern` finds in names (see drive_of), or of frames where it is "". `limit` takes that
    many frames at random. The order is shuffled, so that neighbours in a video land in different
    shards.
    """
    if limit or shares:
        pool = [(name, frame) for name, frames in splits.items() for frame in frames]
        random.Random(seed).shuffle(pool)
        pool = pool[:limit]
        splits = {split: [frame for name, frame in pool if name == split] for split in splits}
    if shares:
        frames = [frame for _, frame in pool]
        if len({frame.key for frame in frames}) < len(frames):
            raise InputError("--split: the same frame name is in two splits; rename one of them")
        splits = _random_split(frames, shares, seed, pattern)
    splits = {name: list(frames) for name, frames in splits.items() if frames}
    for frames in splits.values():
        random.Random(seed).shuffle(frames)
    return splits


def _random_split(frames, shares, seed, pattern):
    # Cumulative, so that rounding neither loses a frame nor puts one in two splits.
    first, second = round(shares[0] * len(frames)), round(sum(shares[:2]) * len(frames))
    drives = {}
    for frame in frames:
        drives.setdefault(drive_of(frame.key, pattern), []).append(frame)
    if len(drives) == len(frames):
        parts = frames[:first], frames[first:second], frames[second:]
        return dict(zip(SPLITS, parts, strict=True))
    return _split_drives(drives, (first, second - first, len(frames) - second), seed)


def _split_drives(drives, sizes, seed):
    """Assigns drives {name: frames} to splits so that they have nearly these `sizes`."""
    wanted = sum(size > 0 for size in sizes)
    if len(drives) < wanted:
        raise InputError(
            f"--split: the {sum(sizes)} frames are of {len(drives)} drives ({', '.join(drives)}), "
            f"too few for {wanted} splits without a drive in two of them; --group-by REGEX defines "
            f"smaller groups, --group-by {BY_FRAME} splits by frame (scores are then too high)"
        )
    best_error, best = sum(sizes) + 1, {}
    order = list(drives)
    for attempt in range(_ATTEMPTS):
        rng = random.Random(f"{seed} {attempt}")
        rng.shuffle(order)
        order.sort(key=lambda drive: -len(drives[drive]))
        chosen, counts = _assign([len(drives[drive]) for drive in order], sizes, rng)
        error = sum(abs(count - size) for count, size in zip(counts, sizes, strict=True))
        if error < best_error:
            best_error, best = error, dict(zip(order, chosen, strict=True))
        if not error:
            break
    parts = {name: [] for name in SPLITS}
    for drive, frames in drives.items():
        parts[SPLITS[best[drive]]] += frames
    return parts


def _assign(lengths, sizes, rng):
    """Returns (split of each drive, frames of each split). `lengths` descend.

    A drive goes to a random split in which it fits, the more likely the more room that has; if it
    fits nowhere, to the one with the most room.
    """
    chosen, counts = [], [0] * len(sizes)
    for position, length in enumerate(lengths):
        room = [size - count for size, count in zip(sizes, counts, strict=True)]
        empty = [i for i, size in enumerate(sizes) if size and not counts[i]]
        # The last drives go to the splits that would stay empty.
        open_splits = empty if len(empty) == len(lengths) - position else range(len(sizes))
        fitting = [i for i in open_splits if room[i] >= length]
        if fitting:
            split = rng.choices(fitting, [room[i] for i in fitting])[0]
        else:
            split = max(open_splits, key=room.__getitem__)
        chosen.append(split)
        counts[split] += length
    return chosen, counts


def describe_split(splits: dict[str, list[Frame]], pattern: str, *, by_frame: bool) -> str:
    """Returns the line that says how a random split came about. by_frame: drives were ignored."""
    if not pattern:
        return (
            "split by frame, since the frames' names hold no drive; if they come from videos, "
            "--group-by REGEX keeps the frames of one video in one split"
        )
    drives = {
        name: count_drives((frame.key for frame in frames), pattern)
        for name, frames in splits.items()
    }
    shared = len(shared_drives(drives))
    total = sum(map(len, splits.values()))
    parts = ", ".join(
        f"{name} {len(frames)} frames ({len(frames) / total:.1%}) of {len(drives[name])} drives"
        for name, frames in splits.items()
    )
    if by_frame:
        return f"split by frame (--group-by {BY_FRAME}): {parts}; {shared} drives are in two splits"
    return f"split by drive, {pattern!r} in the frames' names: {parts}"
