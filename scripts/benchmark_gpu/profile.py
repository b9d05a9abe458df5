"""Time of a training step by operation, from JAX's profiler."""

import collections
import re
import tempfile
from pathlib import Path

from benchmark_gpu import steps

STEPS, SHOWN = 3, 25


def operations(step: steps.Step, wait: steps.Wait) -> list[tuple[str, float]] | None:
    """Returns the operations that take most time, as (name, ms per step); None on TensorFlow.

    Digits are removed from names, so that all fusions of a kind are added up.
    """
    if steps.backend() != "jax":
        return None
    import jax

    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(STEPS):
                step()
            wait()
        (path,) = Path(folder).rglob("*.xplane.pb")
        planes = list(jax.profiler.ProfileData.from_serialized_xspace(path.read_bytes()).planes)
    devices = [plane for plane in planes if plane.name.startswith("/device:GPU")]
    nanoseconds: collections.Counter[str] = collections.Counter()
    for plane in devices or planes:
        for line in plane.lines:
            if devices and not line.name.startswith("Stream"):
                continue  # The same events again, by module and by operation.
            for event in line.events:
                nanoseconds[re.sub(r"[._]?\d+", "", event.name)] += event.duration_ns
    return [(name, total / 1e6 / STEPS) for name, total in nanoseconds.most_common(SHOWN)]
