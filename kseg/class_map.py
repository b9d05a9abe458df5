"""What the classes of another data set are among ours, for --also. Standard library only."""

import shlex
from typing import NamedTuple

from kseg.errors import InputError, nearest
from kseg.labels import LabelSet

IGNORE = "ignore"
OTHERS = "*"


class AlsoData(NamedTuple):
    """A further data set for training, as --also names it.

    frames: how many of each batch are of it (None: an equal part). classes: {theirs: ours}, where
    ours is a class, a union such as "direct|alternative", or "ignore"; "*" stands for all their
    classes that are not named and have no namesake among ours.
    """

    data: str
    frames: int | None
    classes: dict[str, str]


def parse(text: str) -> AlsoData:
    """Parses "DATA [FRAMES] [THEIRS=OURS ...]", quoted as for a shell. Raises InputError."""
    try:
        data, *words = shlex.split(text)
    except ValueError:
        raise InputError(f"'also' is {text!r}, expected DATA [FRAMES] [THEIRS=OURS ...]") from None
    frames = int(words.pop(0)) if words and words[0].isdecimal() else None
    if frames == 0:
        raise InputError(f"--also {data} 0: expected 1 frame of each batch or more")
    classes: dict[str, str] = {}
    for word in words:
        theirs, equals, ours = word.rpartition("=")
        if not equals or not theirs or not all(ours.split("|")):
            raise InputError(
                f"--also {data}: '{word}' is neither the number of frames nor THEIRS=OURS, such as "
                "road=direct|alternative"
            )
        if theirs in classes:
            raise InputError(f"--also {data}: '{theirs}' is given twice")
        classes[theirs] = ours
    return AlsoData(data, frames, classes)


def resolve(also: AlsoData, theirs: LabelSet, ours: LabelSet) -> dict[str, tuple[int, ...]]:
    """Returns for each of their classes the ids of ours that it may be; () where ignored.

    Raises InputError for an unknown class, and for a class of theirs without counterpart.
    """
    for name in also.classes:
        if name not in (*theirs.names, OTHERS):
            raise InputError(
                f"--also {also.data}: it has no class '{name}'; {nearest(name, theirs.names)}"
            )
    return {name: _counterpart(name, also, ours) for name in theirs.names}


def _counterpart(name, also, ours):
    namesake = name if name in ours.names else None
    target = also.classes.get(name) or namesake or also.classes.get(OTHERS)
    if target is None:
        raise InputError(
            f"--also {also.data}: its class '{name}' is none of {', '.join(ours.names)}; add "
            f"{name}=CLASS, {name}=CLASS|CLASS or {name}={IGNORE}, or *={IGNORE} for all such "
            "classes"
        )
    if target == IGNORE:
        return ()
    members = set(target.split("|"))
    for member in members:
        if member not in ours.names:
            raise InputError(
                f"--also {also.data}: {name}={target}: there is no class '{member}'; "
                f"{nearest(member, ours.names)}"
            )
    if len(members) == len(ours.names):
        raise InputError(
            f"--also {also.data}: {name}={target} is any class, so it says nothing; use "
            f"{name}={IGNORE}"
        )
    return tuple(sorted(ours.names.index(member) for member in members))
