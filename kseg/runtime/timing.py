"""Latencies of several models, measured interleaved so that machine noise affects all equally."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

# Part of the identity of recorded timings in kseg.compare. Increase it with every change that makes
# new times incomparable with old ones.
TIMING_VERSION = 1


def time_interleaved(
    calls: Mapping[str, Callable[[], Any]],
    *,
    rounds: int,
    seconds: float,
    warm_up: int = 3,
    on_round: Callable[[], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, np.ndarray]:
    """Times each of `calls` once per round. Returns {name: (rounds,) float64 milliseconds}.

    The order is drawn anew for each round. Before each timed call stands an untimed one: it brings
    the model's weights back into the caches that the other models used, and lets their worker
    threads come to rest. Stops after `rounds` rounds, or after the first round that ends later than
    `seconds` after the start. on_round is called after each round.
    """
    for call in calls.values():
        for _ in range(warm_up):
            call()
    rng = np.random.default_rng(0)
    times_ms: dict[str, list[float]] = {name: [] for name in calls}
    deadline = clock() + seconds
    for _ in range(rounds):
        for name in rng.permutation(list(calls)):
            calls[name]()
            start = clock()
            calls[name]()
            times_ms[name].append(1000 * (clock() - start))
        if on_round:
            on_round()
        if clock() >= deadline:
            break
    return {name: np.array(values) for name, values in times_ms.items()}


def summarize(times_ms: np.ndarray | list[float]) -> dict[str, Any]:
    """Returns {"runs", "min_ms", "median_ms", "p90_ms", "p99_ms"}.

    p90_ms is None for fewer than 10 runs, p99_ms for fewer than 100.
    """
    minimum, median, p90, p99 = (float(v) for v in np.percentile(times_ms, (0, 50, 90, 99)))
    runs = len(times_ms)
    return {
        "runs": runs,
        "min_ms": minimum,
        "median_ms": median,
        "p90_ms": p90 if runs >= 10 else None,
        "p99_ms": p99 if runs >= 100 else None,
    }


def ratio(times_ms: np.ndarray, reference_ms: np.ndarray) -> dict[str, float]:
    """Returns how many times as long as the reference: {"of_minima", "median", "p10", "p90"}.

    of_minima is the ratio of the two minima, which noise hardly affects. The others are percentiles
    of the ratios within each round; their spread shows the noise.
    """
    p10, median, p90 = (float(v) for v in np.percentile(times_ms / reference_ms, (10, 50, 90)))
    return {
        "of_minima": float(times_ms.min() / reference_ms.min()),
        "median": median,
        "p10": p10,
        "p90": p90,
    }
