"""Latencies of models measured side by side, so that noise of the machine hits all alike."""

import time

import numpy as np


def alternate(models, *, rounds, seconds, warm_up=3, advance=None, clock=time.perf_counter):
    """Calls each of `models` ({name: callable}) once a round, in an order drawn anew each round.

    Before each timed call stands an untimed one: it brings the model's weights back into the
    caches that the others used, and gives their worker threads time to come to rest. Ends after
    `rounds` rounds, or with the first round that ends after `seconds`. advance() is called after
    each round. Returns {name: (rounds,) float64 milliseconds}.
    """
    for model in models.values():
        for _ in range(warm_up):
            model()
    order = np.random.default_rng(0)
    times_ms = {name: [] for name in models}
    deadline = clock() + seconds
    for _ in range(rounds):
        for name in order.permutation(list(models)):
            models[name]()
            start = clock()
            models[name]()
            times_ms[name].append(1000 * (clock() - start))
        if advance:
            advance()
        if clock() >= deadline:
            break
    return {name: np.array(values) for name, values in times_ms.items()}


def summary(times_ms):
    """{"runs", "min_ms", "median_ms", "p90_ms", "p99_ms"}; a percentile is None where fewer than
    10 (p90) or 100 (p99) runs stand behind it."""
    low, middle, high, highest = (float(v) for v in np.percentile(times_ms, (0, 50, 90, 99)))
    runs = len(times_ms)
    return {
        "runs": runs,
        "min_ms": low,
        "median_ms": middle,
        "p90_ms": high if runs >= 10 else None,
        "p99_ms": highest if runs >= 100 else None,
    }


def ratio(times_ms, reference_ms):
    """How many times as long as the reference.

    {"of_minima", "median", "p10", "p90"}: the ratio of the two minima, which noise hardly touches,
    and percentiles of the rounds' own ratios, whose spread tells the noise.
    """
    rounds = times_ms / reference_ms
    low, middle, high = (float(v) for v in np.percentile(rounds, (10, 50, 90)))
    return {
        "of_minima": float(times_ms.min() / reference_ms.min()),
        "median": middle,
        "p10": low,
        "p90": high,
    }
