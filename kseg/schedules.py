"""Learning-rate schedules."""

import math

import keras
from keras import ops


class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """One-cycle policy (Smith and Topin, 2018, arXiv:1708.07120), cosine both ways.

    Rises from peak / 25 to peak in the first 30 % of the steps and falls to peak / 250,000 at the
    last, as PyTorch's OneCycleLR and fastai do by default.
    """

    def __init__(self, peak, steps, rise=0.3, start_divisor=25.0, end_divisor=25e4):
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


def _cosine(start, end, progress):
    """Half a cosine wave from start (progress 0) to end (progress 1)."""
    progress = ops.clip(progress, 0.0, 1.0)
    return end + (start - end) / 2 * (1 + ops.cos(math.pi * progress))
