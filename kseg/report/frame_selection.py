"""Which frames of a split are worth a look."""

import numpy as np


def choose(scores, keys, count):
    """Returns [(kind, frame number)], `count` different frames or as many as there are.

    scores (runs, frames): mean IoU; keys: names of the frames. Kinds in equal parts, those left
    over to the first ones: worst, "models differ most" (of several runs), median, best; a frame's
    rank is by the mean over runs. Frames of a drive are named in its order, and neighbours look
    alike: of names nearer than half of an even spread, one is chosen, as long as others are left.
    """
    mean = scores.mean(axis=0)
    ranked = np.argsort(mean, kind="stable")
    middle = (len(ranked) - 1) / 2
    orders = {
        "worst": ranked,
        "models differ most": np.argsort(-np.ptp(scores, axis=0), kind="stable"),
        "median": ranked[np.argsort(np.abs(np.arange(len(ranked)) - middle), kind="stable")],
        "best": ranked[::-1],
    }
    if len(scores) == 1:
        del orders["models differ most"]
    quotas = [len(part) for part in np.array_split(np.arange(count), len(orders))]
    found, taken = {kind: [] for kind in orders}, []
    # Best and worst before the rest: they are named by their place.
    first = sorted(orders, key=lambda kind: kind not in ("worst", "best"))
    places = np.argsort(np.argsort(keys, kind="stable")).tolist()
    for apart in (scores.shape[1] // (2 * max(1, count)), 0):
        for kind in first:
            quota = quotas[list(orders).index(kind)]
            for number in orders[kind].tolist():
                if len(found[kind]) < quota and all(
                    abs(places[number] - places[n]) > apart for n in taken
                ):
                    found[kind].append(number)
                    taken.append(number)
    return [(kind, number) for kind, numbers in found.items() for number in numbers]
