"""One training step that is ready to be timed: kseg's or PyTorch's.

    python -m benchmark_gpu.speed_child JSON      {"side", "model", "size", "batch", "precision"}

Emits facts and compile_s, then replies to the requests "time SECONDS" and "profile", one per line
of stdin.
"""

import json
import sys

from benchmark_gpu import profile, steps
from benchmark_gpu.children import emit


class KsegStep:
    """kseg's training step with default settings, without metrics."""

    def __init__(self, case: dict):
        size, settings = tuple(case["size"]), steps.precision_settings(case["precision"])
        model = steps.compiled_model(
            model=case["model"], size=size, batch_size=case["batch"], **settings
        )
        from kseg.models.cost import multiply_adds

        self.facts = {"parameters": model.count_params(), "multiply_adds": multiply_adds(model)}
        data = steps.batch(size, case["batch"])
        step = steps.compile_step(steps.without_metrics(model), *data)
        self.step, self.wait, self.facts["compile_s"] = step
        self.peak_memory_bytes = steps.peak_memory_bytes


def main(argument: str) -> None:
    case = json.loads(argument)
    side = KsegStep(case) if case["side"] == "kseg" else _pytorch_step(case)
    emit(**side.facts)
    for request in sys.stdin:
        word, *arguments = request.split()
        if word == "time":
            times = steps.time_steps(side.step, side.wait, float(arguments[0]))
            emit(times_ms=times, peak_memory_bytes=side.peak_memory_bytes())
        elif word == "profile":
            emit(operations=profile.operations(side.step, side.wait))


def _pytorch_step(case):
    from benchmark_gpu.pytorch import PyTorchStep

    return PyTorchStep(case)


if __name__ == "__main__":
    main(sys.argv[1])
