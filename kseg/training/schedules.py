"""Learning-rate schedules: one cycle, poly, cosine and constant, and warm-up."""

import math

from keras import ops
from keras.optimizers.schedules import CosineDecay, LearningRateSchedule, PolynomialDecay

from kseg.config import Config
from kseg.errors import InputError


def build(config: Config, steps: int) -> LearningRateSchedule:
    """Returns the learning-rate schedule of a Config for a training of `steps` batches.

    poly falls as (1 - step / steps) ** poly_power to 0 (DeepLab, arXiv:1606.00915, sec. 4.1),
    cosine as half a wave to 0 (arXiv:1608.03983 without restarts), one_cycle is OneCycle. The
    others can start with warmup_steps. With gradient accumulation, steps still count batches,
    although not every batch makes an update. Raises InputError when the warm-up does not end.
    """
    peak = config.learning_rate
    if config.schedule == "one_cycle":
        return OneCycle(peak, steps)
    schedule = {
        "poly": PolynomialDecay(peak, steps, end_learning_rate=0.0, power=config.poly_power),
        "cosine": CosineDecay(peak, steps),
        "constant": PolynomialDecay(peak, steps, end_learning_rate=peak),
    }[config.schedule]
    if config.warmup_steps >= steps:
        raise InputError(
            f"'warmup_steps' is {config.warmup_steps}, but the training has only {steps} steps; "
            "use a smaller --warmup-steps, or more --epochs"
        )
    return Warmup(schedule, config.warmup_steps) if config.warmup_steps else schedule


class OneCycle(LearningRateSchedule):
    """One-cycle policy (Smith and Topin, 2018, arXiv:1708.07120) with cosine rise and fall.

    Rises from peak / 25 to peak in the first 30 % of the steps, then falls to peak / 250,000 at the
    last step. These are the defaults of PyTorch's OneCycleLR and of fastai.
    """

    def __init__(
        self,
        peak: float,
        steps: int,
        rise: float = 0.3,
        start_divisor: float = 25.0,
        end_divisor: float = 25e4,
    ):
        self.peak, self.steps, self.rise = peak, steps, rise
        self.start_divisor, self.end_divisor = start_divisor, end_divisor

    def __call__(self, step):
        step = ops.cast(step, "float32")
        top = max(self.rise * self.steps - 1, 1.0)
        last = max(self.steps - 1, top + 1)
        start, end = self.peak / self.start_divisor, self.peak / self.end_divisor
        rising = _cosine(start, self.peak, step / top)
        falling = _cosine(self.peak, end, (step - top) / (last - top))
        return ops.where(step < top, rising, falling)

    def get_config(self):
        return {
            "peak": self.peak,
            "steps": self.steps,
            "rise": self.rise,
            "start_divisor": self.start_divisor,
            "end_divisor": self.end_divisor,
        }


class Warmup(LearningRateSchedule):
    """Scales the first n steps of another schedule by 1/n, 2/n, ... 1 (as mmcv does)."""

    def __init__(self, schedule: LearningRateSchedule, steps: int):
        self.schedule, self.steps = schedule, steps

    def __call__(self, step):
        done = (ops.cast(step, "float32") + 1) / self.steps
        return self.schedule(step) * ops.minimum(done, 1.0)

    def get_config(self):
        return {"schedule": self.schedule, "steps": self.steps}


def _cosine(start, end, progress):
    """Half a cosine wave from start (progress 0) to end (progress 1)."""
    progress = ops.clip(progress, 0.0, 1.0)
    return end + (start - end) / 2 * (1 + ops.cos(math.pi * progress))
