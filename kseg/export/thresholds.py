"""What an exported file must reach, and which lines say that it does not."""

import math
from typing import NamedTuple


class Limit(NamedTuple):
    """agreement: share of pixels that name the model's class. loss: of IoU, in points (0..100)."""

    agreement: float
    loss: float


LIMITS = {
    "fp32": Limit(0.999, 0.2),
    "fp16": Limit(0.995, 0.2),
    "int8": Limit(0.98, 1.0),
    "int8-dynamic": Limit(0.98, 1.0),
    "int16x8": Limit(0.98, 1.0),
}
# GPUs compute in float16 unless told otherwise, whatever the weights are.
GPU_AGREEMENT = LIMITS["fp16"].agreement
_WATCHED = {"mean_iou": "mean IoU", "drivable_iou": "drivable IoU"}


def losses(scores, reference):
    """Returns {"mean_iou": points lost, "drivable_iou": ...}; negative where the file is better."""
    both = [k for k in _WATCHED if scores.get(k) is not None and reference.get(k) is not None]
    return {k: 100 * (reference[k] - scores[k]) for k in both}


def accuracy_problems(measured, keras, precision, allowed_loss=None):
    """Returns a list of lines, empty when the file is right.

    measured is kseg.export.agreement's report of one file, keras the model's scores on the same
    frames. allowed_loss (points) takes the place of the precision's limits.
    """
    limit, found = LIMITS[precision], []
    agreement = measured["pixel_agreement"]
    if allowed_loss is None and agreement < limit.agreement:
        found.append(
            f"{100 * agreement:.3f} % of pixels name the class that the Keras model names, at "
            f"least {100 * limit.agreement:g} % must ({precision}); --allow-loss POINTS judges by "
            "IoU alone"
        )
    most = limit.loss if allowed_loss is None else allowed_loss
    for name, lost in losses(measured["scores"], keras).items():
        if lost > most:
            found.append(
                f"{_WATCHED[name]} is {lost:.2f} points below the Keras model's, at most {most:g} "
                f"may be lost ({precision}); --allow-loss {math.ceil(10 * lost) / 10:g} accepts it"
            )
    return found


def gpu_problems(gpu, required, allowed_loss=None):
    """Returns lines on what kseg.runtime.gpu found.

    A file that no GPU has run has none, unless it was `required` to run on one. allowed_loss
    (points) takes the place of the limit that IoU has; agreement with the CPU is asked for anyway.
    """
    if not gpu["verified"]:
        lines = gpu.get("refused") or ([gpu["reason"]] if required else [])
        return [f"on the GPU: {line}" for line in lines]
    found = []
    if not gpu["fully_accelerated"]:
        found.append(f"on the GPU ({gpu['device']}): part of it runs on the CPU")
    if gpu["pixel_agreement"] < GPU_AGREEMENT:
        found.append(
            f"on the GPU ({gpu['device']}) {100 * gpu['pixel_agreement']:.3f} % of pixels name the "
            f"class that the CPU names, at least {100 * GPU_AGREEMENT:g} % must"
        )
    most = LIMITS["fp16"].loss if allowed_loss is None else allowed_loss
    for name, lost in losses(gpu["gpu"], gpu["cpu"]).items():
        if lost > most:
            found.append(
                f"on the GPU ({gpu['device']}) {_WATCHED[name]} is {lost:.2f} points below the "
                f"CPU's on the same {gpu['frames']} frames, at most {most:g} may be lost"
            )
    return found
