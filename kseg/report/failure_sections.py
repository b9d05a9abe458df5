"""The values of the report's section on kinds of failure, and the frames shown for them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kseg.evaluation import failures
from kseg.labels import LabelSet
from kseg.report.run_counts import RunCounts

_LISTED = 10  # Frames listed for each kind.


def failure_values(
    labels: LabelSet, counts: Sequence[RunCounts], shown: Sequence[int]
) -> list[dict[str, Any]]:
    """Returns the values of each kind of failure that a frame of a run has.

    shown: the numbers of the frames shown as images, in the page's order.
    """
    shares = np.array([c.failure_shares() for c in counts])
    values = []
    for k, kind in enumerate(failures.kinds(labels)):
        affected = shares[:, :, k] >= failures.THRESHOLD
        if affected.any():
            ranked = worst_frames(shares[:, :, k])
            values.append(
                {
                    "title": kind.title,
                    "description": kind.description,
                    "affected": [int(each.sum()) for each in affected],
                    "pixels": [float(each.mean()) for each in shares[:, :, k]],
                    "frames": [
                        {
                            "key": counts[0].keys[number],
                            "shares": [float(share) for share in shares[:, number, k]],
                            "shown": shown.index(number) if number in shown else None,
                        }
                        for number in ranked[:_LISTED]
                    ],
                    "more": max(0, len(ranked) - _LISTED),
                }
            )
    return values


def choose_failures(
    labels: LabelSet, counts: Sequence[RunCounts], chosen: Sequence[tuple[str, int]], count: int
) -> list[tuple[str, int]]:
    """Returns [(title of the kind, frame number)]: the `count` worst frames of each kind.

    Frames of `chosen`, [(kind, frame number)], are left out, since the page shows each frame once.
    """
    taken = {number for _, number in chosen}
    found = []
    shares = np.array([c.failure_shares() for c in counts])
    for k, kind in enumerate(failures.kinds(labels)):
        for number in worst_frames(shares[:, :, k])[:count]:
            if number not in taken:
                taken.add(number)
                found.append((kind.title, number))
    return found


def worst_frames(shares: np.ndarray) -> list[int]:
    """Returns the frames in which a run has the failure, the largest mean over the runs first.

    shares: (runs, frames) of one kind of failure.
    """
    order = np.argsort(-shares.mean(axis=0), kind="stable")
    return [int(n) for n in order if shares[:, n].max() >= failures.THRESHOLD]
