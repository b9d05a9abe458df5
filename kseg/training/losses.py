"""Segmentation losses on logits with integer masks, class weights and an ignore label.

The losses of keras.losses do not serve: Dice and Tversky take neither logits, nor sparse masks,
nor an ignore label (and on (B, H, W, 1) masks are silently wrong), and cross-entropy takes no
class weights.

For all: y_true (B, H, W) or (B, H, W, 1) integer ids, y_pred (B, H, W, C) float logits; pixels of
ignore_class count in nothing; a batch with nothing but ignored pixels costs 0; class_weights are C
numbers, None is 1 for each. Raises ValueError on other shapes.
"""

import statistics

import keras
from keras import ops

from kseg.config import loss_terms
from kseg.labels import IGNORE_ID

# Abraham and Khan's best, (1 - Tversky) ** (1 / (4 / 3)).
FOCAL_TVERSKY_GAMMA = 4 / 3


def build(expression, class_weights=None, *, focal_gamma=2.0, tversky_beta=0.7):
    """Returns the loss of a Config's `loss`: a name, or a sum such as "dice+0.5*cross_entropy".

    Names are kseg.config.LOSSES. Raises InputError on another expression.
    """
    makers = {
        "cross_entropy": lambda name: CrossEntropy(class_weights, name=name),
        "focal": lambda name: CrossEntropy(class_weights, gamma=focal_gamma, name=name),
        "dice": lambda name: Dice(class_weights=class_weights, name=name),
        "log_dice": lambda name: Dice(log=True, class_weights=class_weights, name=name),
        "tversky": lambda name: Tversky(tversky_beta, class_weights=class_weights, name=name),
        "focal_tversky": lambda name: Tversky(
            tversky_beta, gamma=FOCAL_TVERSKY_GAMMA, class_weights=class_weights, name=name
        ),
        "lovasz": lambda name: LovaszSoftmax(class_weights, name=name),
    }
    parts = [(weight, makers[name](name)) for weight, name in loss_terms(expression)]
    return parts[0][1] if len(parts) == 1 and parts[0][0] == 1 else Sum(parts)


class _OfBatch(keras.losses.Loss):
    """A loss that is one number for a batch; subclasses give it as `cost`."""

    def call(self, y_true, y_pred):
        # A list of one: on several devices Keras divides only what it has averaged itself.
        return ops.reshape(self.cost(y_true, y_pred), (1,))


class Sum(_OfBatch):
    """The sum of [(weight, loss), ...]."""

    def __init__(self, parts, name="sum"):
        super().__init__(name=name)
        self.parts = parts

    def cost(self, y_true, y_pred):
        return sum(weight * loss.cost(y_true, y_pred) for weight, loss in self.parts)


class CrossEntropy(_OfBatch):
    """Cross-entropy, with gamma above 0 focal loss (Lin et al., 2017, arXiv:1708.02002, eq. 4).

    A pixel of class c costs w_c * (1 - p_c)**gamma * -log(p_c); the loss is the sum over pixels
    divided by the sum of their weights w_c, as PyTorch's weighted mean. Different from the paper:
    its sum is divided by the number of foreground boxes, which segmentation has none of.
    """

    def __init__(self, class_weights=None, gamma=0.0, ignore_class=IGNORE_ID, name="cross_entropy"):
        super().__init__(name=name)
        self.class_weights, self.gamma, self.ignore_class = class_weights, gamma, ignore_class

    def cost(self, y_true, y_pred):
        truth, _ = _one_hot(y_true, y_pred, self.ignore_class)
        log_p = ops.sum(truth * ops.log_softmax(y_pred), axis=-1)
        weights = ops.sum(truth * _class_weights(self.class_weights, y_pred), axis=-1)
        cost = -log_p
        if self.gamma:
            # Not quite 0: for gamma below 1 the gradient there is infinite.
            cost = cost * ops.power(ops.maximum(1 - ops.exp(log_p), 1e-6), self.gamma)
        return ops.sum(weights * cost) / ops.maximum(ops.sum(weights), 1e-6)

    def get_config(self):
        return {
            "class_weights": self.class_weights,
            "gamma": self.gamma,
            "ignore_class": self.ignore_class,
            "name": self.name,
        }


class Tversky(_OfBatch):
    """Soft Tversky loss (Salehi et al., 2017, arXiv:1706.05721) over the classes of a batch.

    For each class, with sums over all pixels of the batch that are not ignored,

        index = (TP + smooth / 2) / (TP + (1 - beta) FP + beta FN + smooth / 2)
        TP = sum(p t)    FP = sum(p (1 - t))    FN = sum((1 - p) t)

    so beta above 1/2 minds missed pixels more than invented ones, and beta 1/2 is Dice with its
    usual smooth. The loss is the mean over classes, by class_weights, of (1 - index)**(1 / gamma)
    (gamma above 1: focal Tversky, Abraham and Khan, 2018, arXiv:1810.07842), or with log of
    -log(index). A class without a pixel in the batch is left out of the mean: there is nothing to
    find, and a share of it wrongly predicted is missing from the classes that are there.
    """

    def __init__(
        self,
        beta=0.7,
        *,
        log=False,
        gamma=1.0,
        class_weights=None,
        ignore_class=IGNORE_ID,
        smooth=1.0,
        name="tversky",
    ):
        super().__init__(name=name)
        self.beta, self.log, self.gamma, self.smooth = beta, log, gamma, smooth
        self.class_weights, self.ignore_class = class_weights, ignore_class

    def cost(self, y_true, y_pred):
        truth, counted = _one_hot(y_true, y_pred, self.ignore_class)
        probabilities = ops.softmax(y_pred) * counted[..., None]
        pixels = (0, 1, 2)
        overlap = ops.sum(probabilities * truth, axis=pixels)
        in_truth = ops.sum(truth, axis=pixels)
        predicted = ops.sum(probabilities, axis=pixels)
        index = 2 * overlap + self.smooth
        total = 2 * (1 - self.beta) * predicted + 2 * self.beta * in_truth + self.smooth
        index = index / ops.maximum(total, 1e-7)
        # Absent classes cost 0 before the log and the root, not after: the gradients of those are
        # infinite at 0, and 0 * infinity is NaN.
        present = in_truth > 0
        return _mean(self._of_index(ops.where(present, index, 1.0)), present, self.class_weights)

    def _of_index(self, index):
        if self.log:
            return -ops.log(ops.maximum(index, 1e-7))
        cost = 1 - index
        return cost if self.gamma == 1 else ops.power(ops.maximum(cost, 1e-6), 1 / self.gamma)

    def get_config(self):
        return {
            "beta": self.beta,
            "log": self.log,
            "gamma": self.gamma,
            "class_weights": self.class_weights,
            "ignore_class": self.ignore_class,
            "smooth": self.smooth,
            "name": self.name,
        }


class Dice(Tversky):
    """Soft Dice loss (Milletari et al., 2016, arXiv:1606.04797): Tversky's with beta 1/2.

    For each class Dice = (2 * sum(p * t) + smooth) / (sum(p) + sum(t) + smooth).
    """

    def __init__(
        self, log=False, class_weights=None, ignore_class=IGNORE_ID, smooth=1.0, name="dice"
    ):
        super().__init__(
            0.5,
            log=log,
            class_weights=class_weights,
            ignore_class=ignore_class,
            smooth=smooth,
            name=name,
        )

    def get_config(self):
        config = super().get_config()
        return {key: value for key, value in config.items() if key not in ("beta", "gamma")}


class LovaszSoftmax(_OfBatch):
    """Lovasz-softmax (Berman et al., 2018, arXiv:1705.08790, algorithm 1), a surrogate of IoU.

    For each class the errors |t - p| of all pixels of the batch, from large to small, are weighted
    by what the Jaccard loss gains with each. The mean is over the classes that are there, as in the
    authors' code with classes="present", per_image=False. The counts are float32: exact for batches
    of up to 2**24 pixels.
    """

    def __init__(self, class_weights=None, ignore_class=IGNORE_ID, name="lovasz"):
        super().__init__(name=name)
        self.class_weights, self.ignore_class = class_weights, ignore_class

    def cost(self, y_true, y_pred):
        truth, counted = _one_hot(y_true, y_pred, self.ignore_class)
        errors = ops.abs(truth - ops.softmax(y_pred)) * counted[..., None]
        truth, errors = _rows_by_class(truth), _rows_by_class(errors)
        # Ignored pixels have error 0: they come last and add nothing.
        order = ops.argsort(-errors, axis=-1)
        errors = ops.take_along_axis(errors, order, axis=-1)
        truth = ops.take_along_axis(truth, order, axis=-1)
        gains = ops.stop_gradient(_jaccard_gains(truth))
        present = ops.sum(truth, axis=-1) > 0
        return _mean(ops.sum(errors * gains, axis=-1), present, self.class_weights)

    def get_config(self):
        return {
            "class_weights": self.class_weights,
            "ignore_class": self.ignore_class,
            "name": self.name,
        }


def _rows_by_class(x):
    """(B, H, W, C) -> (C, B*H*W)."""
    return ops.transpose(ops.reshape(x, (-1, x.shape[-1])))


def _jaccard_gains(truth):
    """(C, N) of 0 and 1 -> (C, N): what the Jaccard loss gains when one more pixel is wrong."""
    total = ops.sum(truth, axis=-1, keepdims=True)
    found = ops.cumsum(truth, axis=-1)
    invented = ops.cumsum(1 - truth, axis=-1)
    # A class that is nowhere divides 0 by its first pixels, never by 0.
    jaccard = 1 - (total - found) / (total + invented + 1e-7)
    return jaccard - ops.pad(jaccard, ((0, 0), (1, 0)))[:, :-1]


def median_frequency_weights(shares):
    """Class weights median(f) / f_c from the classes' shares of the labelled pixels.

    Median frequency balancing (Eigen and Fergus, 2015, arXiv:1411.4734, sec. 6.3.2). There, f_c is
    the share of c in the images that show c; here in all images, as the manifest has it. The
    median is over the classes that occur; one that does not weighs 1. Returns a list of floats.
    """
    median = statistics.median([share for share in shares if share > 0])
    return [median / share if share > 0 else 1.0 for share in shares]


def _mean(costs, present, class_weights):
    """Mean of (C,) costs over the classes that are present, by weight; 0 when none is."""
    weights = ops.cast(present, costs.dtype)
    if class_weights is not None:
        weights = weights * ops.convert_to_tensor(class_weights, costs.dtype)
    return ops.sum(costs * weights) / ops.maximum(ops.sum(weights), 1e-6)


def _class_weights(class_weights, y_pred):
    if class_weights is None:
        class_weights = [1.0] * y_pred.shape[-1]
    return ops.convert_to_tensor(class_weights, "float32")


def _one_hot(y_true, y_pred, ignore_class):
    """Returns the truth (B, H, W, C), all zeros where ignored, and what counts (B, H, W): 0 or 1.

    A stray axis would broadcast into a wrong loss without a word: ValueError.
    """
    if len(y_true.shape) == 4 and y_true.shape[-1] == 1:
        y_true = ops.squeeze(y_true, -1)
    if len(y_pred.shape) != 4 or len(y_true.shape) != 3 or y_true.shape[1:] != y_pred.shape[1:3]:
        raise ValueError(
            f"expected masks (B, H, W) and logits (B, H, W, C), got {tuple(y_true.shape)} and "
            f"{tuple(y_pred.shape)}"
        )
    ids = ops.cast(y_true, "int32")
    counted = ops.cast(ids != ignore_class, "float32")
    return ops.one_hot(ids, y_pred.shape[-1], dtype="float32") * counted[..., None], counted
