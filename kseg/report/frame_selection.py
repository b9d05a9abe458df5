"""Selects the frames of a report: the worst, the best, and others of interest."""

from collections.abc import Sequence

import numpy as np


def choose_frames(scores: np.ndarray, keys: Sequence[str], count: int) -> list[tuple[str, int]]:
    """Returns [(kind, frame number)], `count` different frames or as many as there are.

    scores (runs, frames): mean IoU, NaN for frames without a score, which are not chosen; keys:
    names of the frames. The kinds are worst, "models differ most" (with several runs), median and
    best, in equal shares; the first kinds get the remainder.
    Frames are ranked by the mean over the runs. Frames of a drive are named in its order, and
    neighbours look alike: names must be at least half of an even spacing apart, as long as such
    frames are left.
    """
    mean = scores.mean(axis=0)
    # Both sort NaN to the end.
    scored = int(np.isfinite(mean).sum())
    ranked = np.argsort(mean, kind="stable")[:scored]
    middle = (len(ranked) - 1) / 2
    orders = {
        "worst": ranked,
        "models differ most": np.argsort(-np.ptp(scores, axis=0), kind="stable")[:scored],
        "median": ranked[np.argsort(np.abs(np.arange(len(ranked)) - middle), kind="stable")],
        "best": ranked[::-1],
    }
    if len(scores) == 1:
        del orders["models differ most"]
    quotas = [len(part) for part in np.array_split(np.arange(count), len(orders))]
    chosen: dict[str, list[int]] = {kind: [] for kind in orders}
    taken: list[int] = []
    # Best and worst first: the others need not be exact.
    kinds = sorted(orders, key=lambda kind: kind not in ("worst", "best"))
    places = np.argsort(np.argsort(keys, kind="stable")).tolist()
    for spacing in (scores.shape[1] // (2 * max(1, count)), 0):
        for kind in kinds:
            quota = quotas[list(orders).index(kind)]
            for number in orders[kind].tolist():
                if len(chosen[kind]) < quota and all(
                    abs(places[number] - places[n]) > spacing for n in taken
                ):
                    chosen[kind].append(number)
                    taken.append(number)
    return [(kind, number) for kind, numbers in chosen.items() for number in numbers]
