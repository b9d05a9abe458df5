"""RUN/history.csv: scores, learning rate and duration of every epoch. Standard library only."""

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from kseg import files
from kseg.config import Config

FILE_NAME = "history.csv"

RunPath = str | os.PathLike[str]
Row = TypeVar("Row", bound=Mapping[str, Any])


def read(run: RunPath) -> list[dict[str, str]]:
    """Returns RUN/history.csv as a list of {column: text}, one per epoch; [] without the file."""
    path = Path(run) / FILE_NAME
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write(run: RunPath, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes RUN/history.csv; the last row has all columns. Raises InputError when it cannot."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[-1]), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    files.write_text(Path(run) / FILE_NAME, text.getvalue())


def to_numbers(rows: Sequence[Mapping[str, str]]) -> list[dict[str, float]]:
    """Converts rows of `read` to numbers. Values that an older version did not write are absent."""
    return [{name: float(text) for name, text in row.items() if text} for row in rows]


def best_row(rows: Sequence[Row]) -> Row:
    """Returns the epoch with the best validation mean IoU, the first in case of a tie.

    NaN, which older versions recorded for ground truth with unknown ids, is worse than any score.
    """
    return max(rows, key=_score)


def is_over(rows: Sequence[Mapping[str, Any]], patience: int) -> bool:
    """Whether the best validation mean IoU is at least `patience` epochs old (0: never)."""
    if not patience or not rows or _score(best_row(rows)) == -math.inf:
        return False
    return len(rows) - 1 - rows.index(best_row(rows)) >= patience


def is_complete(run: RunPath, config: Config) -> bool:
    """Whether RUN has trained all epochs of its Config, or has stopped early by its patience."""
    rows = read(run)
    return len(rows) >= config.epochs or is_over(rows, config.patience)


def best_epoch(run: RunPath) -> int | None:
    """Returns the number of the epoch with the best validation mean IoU, counted from 1."""
    rows = read(run)
    return rows.index(best_row(rows)) + 1 if rows else None


def training_seconds(run: RunPath) -> float | None:
    """Returns the wall-clock seconds of all epochs with their validation, over all resumptions.

    Work lost in an interruption is not counted, since it was repeated. None when a row has no
    seconds, as in runs of older versions.
    """
    seconds = [row.get("seconds") for row in read(run)]
    return sum(float(s) for s in seconds if s) if seconds and all(seconds) else None


def _score(row):
    score = float(row["val_mean_iou"])
    return score if math.isfinite(score) else -math.inf
