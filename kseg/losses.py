"""Segmentation losses on logits with integer masks and an ignore label.

keras.losses.Dice takes neither logits, nor sparse masks, nor an ignore label (and on (B, H, W, 1)
masks is silently wrong), hence ours. Cross-entropy is Keras' own.
"""

import keras
from keras import ops

from kseg.labels import IGNORE_ID


def build(name):
    """Returns the loss of a Config's `loss`: "log_dice", "dice" or "cross_entropy"."""
    if name == "cross_entropy":
        return keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, ignore_class=IGNORE_ID, name=name
        )
    return Dice(log=name == "log_dice", name=name)


class Dice(keras.losses.Loss):
    """Soft Dice loss (Milletari et al., 2016, arXiv:1606.04797) over the classes of a batch.

    y_true (B, H, W) or (B, H, W, 1) integer ids, y_pred (B, H, W, C) float logits. For each class
    Dice = (2 * sum(p * t) + smooth) / (sum(p) + sum(t) + smooth), sums over all pixels of the
    batch that are not ignore_class; the loss is the mean over classes of 1 - Dice, or with log of
    -log(Dice). A class without a pixel in the batch is left out of the mean: there is nothing to
    find, and a share of it wrongly predicted is missing from the classes that are there. A batch
    with nothing but ignored pixels costs 0. Raises ValueError on other shapes.
    """

    def __init__(self, log=False, ignore_class=IGNORE_ID, smooth=1.0, name="dice"):
        super().__init__(name=name)
        self.log, self.ignore_class, self.smooth = log, ignore_class, smooth

    def call(self, y_true, y_pred):
        ids = _as_ids(y_true, y_pred)
        probabilities = ops.softmax(ops.cast(y_pred, "float32"))
        counted = ops.cast(ids != self.ignore_class, "float32")[..., None]
        # one_hot of an ignored id (255) is all zeros.
        truth = ops.one_hot(ids, y_pred.shape[-1]) * counted
        pixels = (0, 1, 2)
        overlap = ops.sum(probabilities * truth, axis=pixels)
        in_truth = ops.sum(truth, axis=pixels)
        total = ops.sum(probabilities * counted, axis=pixels) + in_truth
        dice = (2 * overlap + self.smooth) / ops.maximum(total + self.smooth, 1e-7)
        present = in_truth > 0
        # Before the log, not after: its gradient at 0 is infinite, and 0 * infinity is NaN.
        dice = ops.where(present, dice, 1.0)
        cost = -ops.log(dice) if self.log else 1 - dice
        return ops.sum(cost) / ops.maximum(ops.sum(ops.cast(present, "float32")), 1.0)

    def get_config(self):
        options = {"log": self.log, "ignore_class": self.ignore_class, "smooth": self.smooth}
        return {"name": self.name, **options}


def _as_ids(y_true, y_pred):
    """Masks as (B, H, W) int32. A stray axis would broadcast into a wrong loss without a word."""
    if len(y_true.shape) == 4 and y_true.shape[-1] == 1:
        y_true = ops.squeeze(y_true, -1)
    if len(y_pred.shape) != 4 or len(y_true.shape) != 3 or y_true.shape[1:] != y_pred.shape[1:3]:
        raise ValueError(
            f"expected masks (B, H, W) and logits (B, H, W, C), got {tuple(y_true.shape)} and "
            f"{tuple(y_pred.shape)}"
        )
    return ops.cast(y_true, "int32")
