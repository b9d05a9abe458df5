"""Text, curves and table that summarise a run for its user."""

import os
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from kseg.config import Config
from kseg.labels import LabelSet
from kseg.manifest import Manifest, resizing
from kseg.mixture import read_mixture
from kseg.training.history import best_row
from kseg.visualize.percent import percent_cell


def describe_run(
    config: Config, manifest: Manifest, cost: tuple[int, int], steps_per_epoch: int
) -> str:
    """Returns two lines on the size of a run, and one for each further data set.

    cost: (parameters, multiply-adds per frame).
    """
    parameters, gflops = cost[0] / 1e6, 2 * cost[1] / 1e9
    total_steps = steps_per_epoch * config.epochs
    _, *others = read_mixture(config, manifest).parts
    frames = f"{manifest.splits['train'].examples} training frames{resizing(manifest, config.size)}"
    # The backward pass costs twice the forward pass: gradients of activations and of weights.
    tflops = 3 * gflops * config.batch_size * total_steps / 1e3
    return (
        f"{config.model}: {parameters:.2f} M parameters, {gflops:.3f} GFLOPs per frame of "
        f"{config.size[0]}x{config.size[1]}\n"
        f"{config.data}: {frames}; {total_steps} steps of {config.batch_size} frames "
        f"({config.epochs} epochs), {tflops:.1f} TFLOPs in total"
        + "".join(f"\n{_describe_part(part, config)}" for part in others)
    )


def _describe_part(part, config):
    frames = part.manifest.splits["train"].examples
    classes = [f"{theirs}={ours}" for theirs, ours in part.classes.items()]
    return (
        f"also {part.data}: {frames} training frames, {part.frames} of the {config.batch_size} of "
        f"each step ({', '.join(classes)})"
    )


def print_best(rows: Sequence[dict[str, float]], labels: LabelSet, title: str) -> None:
    """Prints the scores of the best epoch, class by class."""
    best = best_row(rows)
    table = Table(title=title)
    columns = {"IoU": "val_iou/", "precision": "val_precision/", "recall": "val_recall/"}
    table.add_column("validation, %")
    for heading in columns:
        table.add_column(heading, justify="right")
    for name in labels.names:
        table.add_row(
            name, *(percent_cell(best.get(prefix + name), 1) for prefix in columns.values())
        )
    table.add_section()
    table.add_row("mean", percent_cell(best["val_mean_iou"], 1), "", "")
    if "val_drivable_iou" in best:
        table.add_row("drivable or not", percent_cell(best["val_drivable_iou"], 1), "", "")
    Console().print(table)


def plot(rows: Sequence[dict[str, float]], path: str | os.PathLike[str]) -> None:
    """Plots loss and validation IoU by epoch to an image file."""
    import matplotlib

    matplotlib.use("Agg")  # Needs no screen.
    from matplotlib import pyplot

    epochs = [row["epoch"] + 1 for row in rows]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for name, label in (("loss", "training"), ("val_loss", "validation")):
        left.plot(epochs, [row[name] for row in rows], label=label)
    left.set(title="loss", xlabel="epoch")
    for name in rows[0]:
        if name.startswith("val_iou/") or name == "val_mean_iou":
            width = 2.5 if name == "val_mean_iou" else 1.2
            right.plot(epochs, [row[name] for row in rows], label=name[4:], linewidth=width)
    right.set(title="validation IoU", xlabel="epoch", ylim=(0, 1))
    for axes in (left, right):
        axes.legend()
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
