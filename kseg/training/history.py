"""RUN/history.csv: one line for each epoch, what it scored and how long it took.

Standard library only.
"""

import csv
from pathlib import Path

FILE_NAME = "history.csv"


def read(run):
    """RUN/history.csv as a list of {column: text}, one for each epoch."""
    path = Path(run) / FILE_NAME
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def is_over(rows, patience):
    """Whether the best validation mean IoU of a history is `patience` epochs old (0: never)."""
    scores = [float(row["val_mean_iou"]) for row in rows]
    return bool(patience and scores and len(scores) - 1 - scores.index(max(scores)) >= patience)


def is_complete(run, config):
    """Whether RUN has every epoch of its Config, or ended by its patience."""
    rows = read(run)
    return len(rows) >= config.epochs or is_over(rows, config.patience)


def best_epoch(run):
    """The number of the epoch with the best validation mean IoU, counted from 1; None before it."""
    scores = [float(row["val_mean_iou"]) for row in read(run)]
    return scores.index(max(scores)) + 1 if scores else None


def training_seconds(run):
    """Wall-clock seconds of all epochs with their validation, over all resumptions.

    Work that was lost in an interruption is not counted, as it was done again. None where an epoch
    does not tell: runs of older versions.
    """
    seconds = [row.get("seconds") for row in read(run)]
    return sum(map(float, seconds)) if seconds and all(seconds) else None
