"""Segmentation losses on logits with integer masks, class weights and an ignore label.

Those of keras.losses do not suffice. Its Dice and Tversky accept neither logits, nor integer masks,
nor an ignore label (and are silently wrong on (B, H, W, 1) masks); its cross-entropy accepts no
class weights.

All losses here take y_true (B, H, W) or (B, H, W, 1) integer ids and y_pred (B, H, W, C) float
logits. Pixels of ignore_class do not count; the loss of a batch in which all pixels are ignored is
0. class_weights: C numbers; None weighs all classes equally. Raises ValueError for other shapes.

Each loss is that of the complete batch, also where TensorFlow splits the batch among devices: the
sums over pixels run over all devices, and the gradients that the devices add up are those of one
device.

unions: classes that some labels do not distinguish; kseg.training.unions has their definition.
"""

import statistics
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kseg.config import loss_terms
from kseg.labels import IGNORE_ID
from kseg.training import distributed
from kseg.training.unions import (
    Unions,
    decided_regions,
    one_hot_labels,
    region_weights,
    with_unions,
)

# The best value of Abraham and Khan: (1 - Tversky) ** (1 / (4 / 3)).
FOCAL_TVERSKY_GAMMA = 4 / 3


ClassWeights = Sequence[float] | None


def build(
    expression: str,
    class_weights: ClassWeights = None,
    *,
    focal_gamma: float = 2.0,
    tversky_beta: float = 0.7,
    unions: Unions = (),
) -> keras.losses.Loss:
    """Returns the loss that a Config names: one loss, or a sum such as "dice+0.5*cross_entropy".

    The names are kseg.model_names.LOSSES. Raises InputError for any other expression.
    """
    common: dict[str, Any] = {"class_weights": class_weights, "unions": unions}
    builders = {
        "cross_entropy": lambda name: CrossEntropy(**common, name=name),
        "focal": lambda name: CrossEntropy(gamma=focal_gamma, **common, name=name),
        "dice": lambda name: Dice(**common, name=name),
        "log_dice": lambda name: Dice(log=True, **common, name=name),
        "tversky": lambda name: Tversky(tversky_beta, **common, name=name),
        "focal_tversky": lambda name: Tversky(
            tversky_beta, gamma=FOCAL_TVERSKY_GAMMA, **common, name=name
        ),
        "lovasz": lambda name: LovaszSoftmax(**common, name=name),
    }
    terms = [(weight, builders[name](name)) for weight, name in loss_terms(expression)]
    return terms[0][1] if len(terms) == 1 and terms[0][0] == 1 else Sum(terms)


class _BatchLoss(keras.losses.Loss):
    """A loss that is one number per batch, which subclasses compute in `cost`."""

    def call(self, y_true, y_pred):
        # Shape (1,), not (): on several devices, Keras divides only a loss that it averages itself.
        return ops.reshape(self.cost(y_true, y_pred), (1,))


class Sum(_BatchLoss):
    """A weighted sum of losses, [(weight, loss), ...]."""

    def __init__(self, terms: Sequence[tuple[float, _BatchLoss]], name: str = "sum"):
        super().__init__(name=name)
        self.terms = terms

    def cost(self, y_true, y_pred):
        return sum(weight * loss.cost(y_true, y_pred) for weight, loss in self.terms)


class CrossEntropy(_BatchLoss):
    """Cross-entropy; with gamma above 0 focal loss (Lin et al., 2017, arXiv:1708.02002, eq. 4).

    A pixel of class c costs w_c * (1 - p_c)**gamma * -log(p_c). The loss is the sum over pixels
    divided by the sum of their weights w_c, like PyTorch's weighted mean. The paper divides by the
    number of foreground boxes instead, which segmentation does not have.

    A pixel of a union has the union's p, and the mean of its classes' weights.
    """

    def __init__(
        self,
        class_weights: ClassWeights = None,
        gamma: float = 0.0,
        *,
        unions: Unions = (),
        ignore_class: int = IGNORE_ID,
        name: str = "cross_entropy",
    ):
        super().__init__(name=name)
        self.class_weights, self.gamma = class_weights, gamma
        self.unions, self.ignore_class = unions, ignore_class

    def cost(self, y_true, y_pred):
        truth, _ = one_hot_labels(y_true, y_pred, self.ignore_class, self.unions)
        log_all = with_unions(ops.log_softmax(y_pred), self.unions, ops.logsumexp)
        log_p = ops.sum(truth * log_all, axis=-1)
        class_weights = self.class_weights or [1.0] * y_pred.shape[-1]
        weights = ops.sum(truth * region_weights(class_weights, self.unions), axis=-1)
        cost = -log_p
        if self.gamma:
            # Kept above 0, where the gradient is infinite for gamma below 1.
            cost = cost * ops.power(ops.maximum(1 - ops.exp(log_p), 1e-6), self.gamma)
        total, weight = ops.unstack(
            distributed.sum_over_replicas(ops.stack([ops.sum(weights * cost), ops.sum(weights)])), 2
        )
        return total / ops.maximum(weight, 1e-6)

    def get_config(self):
        return {
            "class_weights": self.class_weights,
            "gamma": self.gamma,
            "unions": self.unions,
            "ignore_class": self.ignore_class,
            "name": self.name,
        }


class Tversky(_BatchLoss):
    """Soft Tversky loss (Salehi et al., 2017, arXiv:1706.05721) over the classes of a batch.

    For each class, with sums over all pixels of the batch that are not ignored,

        index = (TP + smooth / 2) / (TP + (1 - beta) FP + beta FN + smooth / 2)
        TP = sum(p t)    FP = sum(p (1 - t))    FN = sum((1 - p) t)

    so beta above 1/2 weighs false negatives more than false positives, and beta 1/2 is Dice with
    its usual smoothing. The loss is the mean over classes, weighted by class_weights, of
    (1 - index)**(1 / gamma) (gamma above 1: focal Tversky, Abraham and Khan, 2018,
    arXiv:1810.07842), or with log of -log(index). A class without a pixel in the batch is left out
    of the mean: where it is predicted wrongly, the classes that are present lose those pixels.
    """

    def __init__(
        self,
        beta: float = 0.7,
        *,
        log: bool = False,
        gamma: float = 1.0,
        class_weights: ClassWeights = None,
        unions: Unions = (),
        ignore_class: int = IGNORE_ID,
        smooth: float = 1.0,
        name: str = "tversky",
    ):
        super().__init__(name=name)
        self.beta, self.log, self.gamma, self.smooth = beta, log, gamma, smooth
        self.class_weights, self.unions, self.ignore_class = class_weights, unions, ignore_class

    def cost(self, y_true, y_pred):
        truth, counted, present = decided_regions(y_true, y_pred, self.ignore_class, self.unions)
        probabilities = with_unions(ops.softmax(y_pred), self.unions, ops.sum) * counted
        sums = [ops.sum(x, axis=(0, 1, 2)) for x in (probabilities * truth, truth, probabilities)]
        overlap, in_truth, predicted = ops.unstack(
            distributed.sum_over_replicas(ops.stack(sums)), 3
        )
        index = 2 * overlap + self.smooth
        total = 2 * (1 - self.beta) * predicted + 2 * self.beta * in_truth + self.smooth
        index = index / ops.maximum(total, 1e-7)
        # Absent classes get index 1 before the log or root, not cost 0 after it: the gradients of
        # log and root are infinite at 0, and 0 * infinity is NaN.
        costs = self._cost_of_index(ops.where(present, index, 1.0))
        return _mean(costs, present, self.class_weights, self.unions)

    def _cost_of_index(self, index):
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
            "unions": self.unions,
            "ignore_class": self.ignore_class,
            "smooth": self.smooth,
            "name": self.name,
        }


class Dice(Tversky):
    """Soft Dice loss (Milletari et al., 2016, arXiv:1606.04797): Tversky with beta 1/2.

    For each class Dice = (2 * sum(p * t) + smooth) / (sum(p) + sum(t) + smooth).
    """

    def __init__(
        self,
        log: bool = False,
        class_weights: ClassWeights = None,
        unions: Unions = (),
        ignore_class: int = IGNORE_ID,
        smooth: float = 1.0,
        name: str = "dice",
    ):
        super().__init__(
            0.5,
            log=log,
            class_weights=class_weights,
            unions=unions,
            ignore_class=ignore_class,
            smooth=smooth,
            name=name,
        )

    def get_config(self):
        config = super().get_config()
        return {key: value for key, value in config.items() if key not in ("beta", "gamma")}


class LovaszSoftmax(_BatchLoss):
    """Lovasz-softmax (Berman et al., 2018, arXiv:1705.08790, algorithm 1), a surrogate of IoU.

    For each class, the errors |t - p| of all pixels of the batch are sorted from large to small,
    and each is weighted by how much it increases the Jaccard loss. The mean is over the classes
    that are present, as in the authors' code with classes="present", per_image=False. The counts
    are float32: exact for batches of up to 2**24 pixels. The order is that of all pixels, so on
    several TensorFlow devices each of them sorts the errors of the complete batch.
    """

    def __init__(
        self,
        class_weights: ClassWeights = None,
        *,
        unions: Unions = (),
        ignore_class: int = IGNORE_ID,
        name: str = "lovasz",
    ):
        super().__init__(name=name)
        self.class_weights, self.unions, self.ignore_class = class_weights, unions, ignore_class

    def cost(self, y_true, y_pred):
        truth, counted, present = decided_regions(y_true, y_pred, self.ignore_class, self.unions)
        probabilities = with_unions(ops.softmax(y_pred), self.unions, ops.sum)
        errors = ops.abs(truth - probabilities) * counted
        rows = ops.stack([_rows_by_class(truth), _rows_by_class(errors)])
        truth, errors = ops.unstack(distributed.gather_replicas(rows, axis=-1), 2)
        # Pixels that do not count have error 0, so they come last and add nothing.
        order = ops.argsort(-errors, axis=-1)
        errors = ops.take_along_axis(errors, order, axis=-1)
        truth = ops.take_along_axis(truth, order, axis=-1)
        weights = ops.stop_gradient(_jaccard_increases(truth))
        return _mean(ops.sum(errors * weights, axis=-1), present, self.class_weights, self.unions)

    def get_config(self):
        return {
            "class_weights": self.class_weights,
            "unions": self.unions,
            "ignore_class": self.ignore_class,
            "name": self.name,
        }


def _rows_by_class(x):
    """(B, H, W, C) -> (C, B*H*W)."""
    return ops.transpose(ops.reshape(x, (-1, x.shape[-1])))


def _jaccard_increases(truth):
    """(C, N) of 0 and 1 -> (C, N): how much the Jaccard loss grows when one more pixel is wrong."""
    total = ops.sum(truth, axis=-1, keepdims=True)
    false_negatives = ops.cumsum(truth, axis=-1)
    false_positives = ops.cumsum(1 - truth, axis=-1)
    # No division by 0: for an absent class, every pixel so far is a false positive.
    jaccard = 1 - (total - false_negatives) / (total + false_positives + 1e-7)
    return jaccard - ops.pad(jaccard, ((0, 0), (1, 0)))[:, :-1]


def median_frequency_weights(shares: Sequence[float]) -> list[float]:
    """Returns class weights median(f) / f_c from the classes' shares of the labelled pixels.

    Median frequency balancing (Eigen and Fergus, 2015, arXiv:1411.4734, sec. 6.3.2). There, f_c is
    the share of c in the images that contain c; here it is the share in all images, as the manifest
    has it. The median is over the classes that occur; a class that does not occur weighs 1.
    """
    median = statistics.median([share for share in shares if share > 0])
    return [median / share if share > 0 else 1.0 for share in shares]


def _mean(costs, present, class_weights, unions):
    """Weighted mean of costs over the classes and unions that are present; 0 when none is."""
    weights = ops.cast(present, costs.dtype)
    if class_weights is not None:
        weights = weights * ops.cast(region_weights(class_weights, unions), costs.dtype)
    return ops.sum(costs * weights) / ops.maximum(ops.sum(weights), 1e-6)
