"""Unions: classes that a label does not distinguish, and how losses count their pixels.

unions: class ids, such as ((0, 1),). A pixel with id C + k belongs to one of the classes unions[k];
which one is unknown. Its probability is the sum of theirs (marginal loss: Shi et al., 2021,
arXiv:2007.03868; label-set loss: Fidon et al., 2021, arXiv:2107.03846), so no loss depends on how
the model divides that sum among the classes.

Dice, Tversky and Lovasz, which count pixels by class, count unions as further classes:

- For a class or union, only those pixels count whose label decides whether they belong to it. A
  pixel of direct|alternative counts for direct|alternative and against background; for direct and
  alternative it is as good as ignored. A pixel of direct counts for direct and direct|alternative.
- A union is in the mean over classes if a pixel of the batch has its id, as a class is if it has a
  pixel. Without such a pixel, the loss is the same as without unions.

For example, classes direct, alternative, background and two pixels: one of direct with P = 0.5,
0.25, 0.25, one of direct|alternative with P = 0.25, 0.5, 0.25. Dice of direct, from the first pixel
alone: 2 * 0.5 / (0.5 + 1) = 2/3. Dice of direct|alternative: 2 * 1.5 / (1.5 + 2) = 6/7. Alternative
and background have no pixel. The loss is the mean of 1/3 and 1/7.

Fidon et al. spread such a pixel over its classes instead, with target 1/2 each. With their squared
denominators, a right prediction then has Dice 1; with those used here it would have 1/2.
"""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from keras import ops

from kseg.training import distributed

Unions = Sequence[Sequence[int]]


def region_weights(class_weights: Sequence[float], unions: Unions) -> Any:
    """(C,) -> (C + K,): a union has the mean of its classes' weights."""
    of_unions = [statistics.fmean(class_weights[c] for c in union) for union in unions]
    return ops.convert_to_tensor([*class_weights, *of_unions], "float32")


def with_unions(values: Any, unions: Unions, reduce: Callable[..., Any]) -> Any:
    """(B, H, W, C) -> (B, H, W, C + K); `reduce` combines the values of a union's classes."""
    if not unions:
        return values
    of_unions = [
        reduce(ops.take(values, list(union), axis=-1), axis=-1, keepdims=True) for union in unions
    ]
    return ops.concatenate([values, *of_unions], axis=-1)


def decided_regions(
    y_true: Any, y_pred: Any, ignore_class: int, unions: Unions
) -> tuple[Any, Any, Any]:
    """Returns ground truth by class and union, as losses need it that count pixels by class.

    truth (B, H, W, C + K): 1 where the label lies within that class or union. counted (B, H, W, C +
    K) or (B, H, W, 1): 1 where the label decides that. present (C + K,): whether a pixel has that
    label.
    """
    labels, counted = one_hot_labels(y_true, y_pred, ignore_class, unions)
    present = distributed.sum_over_replicas(ops.sum(labels, axis=(0, 1, 2))) > 0
    if not unions:
        return labels, counted[..., None], present
    regions = [{c} for c in range(y_pred.shape[-1])] + [set(union) for union in unions]
    within = [[float(label <= region) for region in regions] for label in regions]
    decided = [
        [float(label <= region or not label & region) for region in regions] for label in regions
    ]
    truth, counted = (ops.matmul(labels, ops.convert_to_tensor(t)) for t in (within, decided))
    return truth, counted, present


def one_hot_labels(y_true: Any, y_pred: Any, ignore_class: int, unions: Unions) -> tuple[Any, Any]:
    """Returns labels (B, H, W, C + K), zeros where ignored, and counted pixels (B, H, W), 0 or 1.

    Raises ValueError for other shapes: a stray axis would silently broadcast into a wrong loss.
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
    depth = y_pred.shape[-1] + len(unions)
    return ops.one_hot(ids, depth, dtype="float32") * counted[..., None], counted
