"""Acceptance thresholds of exported files, and lines on each one that a file misses."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple


class Limit(NamedTuple):
    """agreement: minimum share of pixels with the class of the Keras model, 0..1.

    loss: maximum loss of IoU against the Keras model, in points (0..100).
    """

    agreement: float
    loss: float


LIMITS = {
    "fp32": Limit(0.999, 0.2),
    "fp16": Limit(0.995, 0.2),
    "int8": Limit(0.98, 1.0),
    "int8-dynamic": Limit(0.98, 1.0),
    "int16x8": Limit(0.98, 1.0),
}
# GPUs compute in float16 by default, whatever the precision of the weights.
GPU_AGREEMENT = LIMITS["fp16"].agreement
_JUDGED_SCORES = {"mean_iou": "mean IoU", "drivable_iou": "drivable IoU"}


def losses(scores: Mapping[str, Any], reference: Mapping[str, Any]) -> dict[str, float]:
    """Returns {"mean_iou": points lost, "drivable_iou": ...}; negative where the file is better.

    A score that either side lacks is left out.
    """
    names = [k for k in _JUDGED_SCORES if None not in (scores.get(k), reference.get(k))]
    return {name: 100 * (reference[name] - scores[name]) for name in names}


def accuracy_problems(
    measured: Mapping[str, Any],
    keras_scores: Mapping[str, Any],
    precision: str,
    allowed_loss: float | None = None,
) -> list[str]:
    """Returns a line on each threshold that a file misses on the CPU.

    measured: {"pixel_agreement", "scores"} of the file, as AgreementCounter.report() has them;
    keras_scores: those of the model on the same frames. allowed_loss (points of IoU) replaces all
    limits of the precision: agreement is then not judged.
    """
    limit, problems = LIMITS[precision], []
    agreement = measured["pixel_agreement"]
    if allowed_loss is None and agreement < limit.agreement:
        problems.append(
            f"{100 * agreement:.3f} % of pixels have the class of the Keras model, {precision} "
            f"needs {100 * limit.agreement:g} %; with --allow-loss POINTS only IoU is judged"
        )
    max_loss = limit.loss if allowed_loss is None else allowed_loss
    for name, lost in losses(measured["scores"], keras_scores).items():
        if lost > max_loss:
            problems.append(
                f"{_JUDGED_SCORES[name]} is {lost:.2f} points below that of the Keras model, "
                f"{precision} may lose {max_loss:g}; --allow-loss {math.ceil(10 * lost) / 10:g} "
                "accepts the file"
            )
    return problems


def gpu_problems(
    gpu: Mapping[str, Any], required: bool, allowed_loss: float | None = None
) -> list[str]:
    """Returns a line on each threshold that a file misses on the GPU.

    gpu: what kseg.runtime.gpu.verify returned. A file that was not run on a GPU has no problems,
    unless that was `required`. allowed_loss (points of IoU) replaces the limit of IoU; agreement
    with the CPU is judged in any case.
    """
    if not gpu["verified"]:
        lines = gpu.get("refused") or ([gpu["reason"]] if required else [])
        return [f"on the GPU: {line}" for line in lines]
    problems, device = [], gpu["device"]
    if not gpu["fully_accelerated"]:
        problems.append(f"on the GPU ({device}): some operators run on the CPU")
    if gpu["pixel_agreement"] < GPU_AGREEMENT:
        problems.append(
            f"on the GPU ({device}) {100 * gpu['pixel_agreement']:.3f} % of pixels have the class "
            f"of the CPU, at least {100 * GPU_AGREEMENT:g} % are needed"
        )
    max_loss = LIMITS["fp16"].loss if allowed_loss is None else allowed_loss
    for name, lost in losses(gpu["gpu"], gpu["cpu"]).items():
        if lost > max_loss:
            problems.append(
                f"on the GPU ({device}) {_JUDGED_SCORES[name]} is {lost:.2f} points below that of "
                f"the CPU on the same {gpu['frames']} frames, it may lose {max_loss:g}"
            )
    return problems
