"""What people see of a run: its opening, its curves, and the table at its end."""

from rich.console import Console
from rich.table import Table


def describe_run(config, manifest, cost, steps):
    """Returns what a run is about to do. cost: (parameters, multiply-adds a frame)."""
    parameters, gflops = cost[0] / 1e6, 2 * cost[1] / 1e9
    total_steps = steps * config.epochs
    # Backward costs twice forward: one pass for the activations, one for the weights.
    frames = manifest.splits["train"].examples
    budget = 3 * gflops * config.batch_size * total_steps / 1e3
    return (
        f"{config.model}: {parameters:.2f} M parameters, {gflops:.3f} GFLOPs a frame of "
        f"{config.size[0]}x{config.size[1]}\n"
        f"{config.data}: {frames} training frames; {total_steps} steps of "
        f"{config.batch_size} ({config.epochs} epochs), {budget:.1f} TFLOPs in all"
    )


def numbers(rows):
    """History rows of text -> rows of floats; what an older run did not write is left out."""
    return [{name: float(text) for name, text in row.items() if text} for row in rows]


def best_row(rows):
    """The epoch with the best validation mean IoU, the first of equals."""
    return max(rows, key=lambda row: row["val_mean_iou"])


def print_best(rows, labels, title):
    """Prints the scores of the best epoch, class by class."""
    best = best_row(rows)
    table = Table(title=title)
    columns = {"IoU": "val_iou/", "precision": "val_precision/", "recall": "val_recall/"}
    table.add_column("validation, %")
    for heading in columns:
        table.add_column(heading, justify="right")
    for name in labels.names:
        table.add_row(name, *(_percent(best.get(prefix + name)) for prefix in columns.values()))
    table.add_section()
    table.add_row("mean", _percent(best["val_mean_iou"]), "", "")
    if "val_drivable_iou" in best:
        table.add_row("drivable or not", _percent(best["val_drivable_iou"]), "", "")
    Console().print(table)


def plot(rows, path):
    """Draws loss and validation IoU by epoch to a picture file."""
    import matplotlib

    matplotlib.use("Agg")  # No screen needed.
    from matplotlib import pyplot

    epochs = [row["epoch"] + 1 for row in rows]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for name, label in (("loss", "training"), ("val_loss", "validation")):
        left.plot(epochs, [row[name] for row in rows], label=label)
    left.set(title="loss", xlabel="epoch")
    for name in rows[0]:
        if name.startswith("val_iou/") or name == "val_mean_iou":
            thick = 2.5 if name == "val_mean_iou" else 1.2
            right.plot(epochs, [row[name] for row in rows], label=name[4:], linewidth=thick)
    right.set(title="validation IoU", xlabel="epoch", ylim=(0, 1))
    for axes in (left, right):
        axes.legend()
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _percent(score):
    return "-" if score is None or score != score else f"{100 * score:.1f}"  # NaN: nowhere.
