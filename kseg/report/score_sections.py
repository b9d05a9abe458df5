"""The values of the report's sections on scores, curves, classes, confusion and calibration."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kseg.evaluation import calibration
from kseg.report import charts
from kseg.report.frame_groups import Groups
from kseg.report.run_counts import RunCounts
from kseg.report.runs import Run
from kseg.visualize.percent import percent

_COLUMNS = {
    "mean_iou": "mean IoU",
    "drivable_iou": "drivable IoU",
    "mean_boundary_iou": "boundary IoU",
    "pixel_accuracy": "pixels right",
}
_CLASS_SCORES = {
    "iou": "IoU",
    "boundary_iou": "Boundary IoU: within strips along the borders, 2 % of the diagonal wide",
    "precision": "Precision: the share of the predicted pixels that are right",
    "recall": "Recall: the share of the ground truth that is predicted",
    "f1": "F1: the harmonic mean of precision and recall",
}


def verdict(runs: Sequence[Run], counts: Sequence[RunCounts], split: str) -> str:
    """Says which run is ahead, by how much, and on how many of the frames."""
    labels = runs[0].labels
    scores = [c.scores(labels)["mean_iou"] for c in counts]
    first, *others = sorted(range(len(runs)), key=lambda i: -scores[i])
    measured, available = len(counts[0].keys), runs[0].manifest.splits[split].examples
    frames = f"{measured:,}" if measured == available else f"{measured:,} of the {available:,}"
    text = (
        f"{runs[first].name} has a mean IoU of {percent(scores[first])} on {frames} frames of "
        f"{runs[0].manifest.dataset}, {split}"
    )
    if not others:
        return f"{text}."
    second = others[0]
    ahead = 100 * (scores[first] - scores[second])
    lead = counts[first].by_frame(labels) - counts[second].by_frame(labels)
    return (
        f"{text}, {ahead:.2f} points ahead of {runs[second].name}, and is the better of the two on "
        f"{int((lead > 0).sum()):,} of the {int(np.isfinite(lead).sum()):,} frames."
    )


def summary(runs: Sequence[Run], counts: Sequence[RunCounts]) -> dict[str, Any]:
    """The table of runs: (score, whether it is the best of its column), size and cost."""
    values = [c.scores(run.labels) for run, c in zip(runs, counts, strict=True)]
    errors = [calibration.ece(c.calibration.sum(axis=0)) for c in counts]
    names = [name for name in _COLUMNS if name in values[0]]
    best = [
        max((value[name] for value in values if value[name] is not None), default=math.nan)
        for name in names
    ] + [min(errors, key=lambda error: math.inf if error is None else error)]
    scores = [
        [value[name] for name in names] + [e] for value, e in zip(values, errors, strict=True)
    ]
    return {
        "columns": [_COLUMNS[name] for name in names],
        "rows": [
            {
                "model": run.config.model,
                "scores": [(v, v == b) for v, b in zip(scores[i], best, strict=True)],
                "parameters": counts[i].parameters,
                "gflops": 2 * counts[i].multiply_adds / 1e9,
            }
            for i, run in enumerate(runs)
        ],
    }


def curves(runs: Sequence[Run]) -> list[charts.LineChart]:
    """A chart of mean IoU, of both losses and of each class, with a line for each run."""
    columns = [
        ("val_mean_iou", "mean IoU, validation", True),
        ("val_loss", "loss, validation", False),
        ("loss", "loss, training", False),
        *((f"val_iou/{name}", f"IoU of {name}, validation", True) for name in runs[0].labels.names),
    ]
    drawn = [_curve(runs, f"curve-{i}", *column) for i, column in enumerate(columns)]
    return [chart for chart in drawn if chart]


def _curve(runs, id, column, title, is_share):
    series, descriptions = [], []
    for i, run in enumerate(runs):
        # NaN: no pixel of the class.
        points = [
            (int(row["epoch"] + 1), row[column])
            for row in run.history
            if math.isfinite(row.get(column, math.nan))
        ]
        if points:
            xs, ys = zip(*points, strict=True)
            best = (max if is_share else min)(ys)
            text = percent if is_share else "{:.4g}".format
            epoch = xs[ys.index(best)]
            descriptions.append(
                f"{run.name}: {text(ys[0])} at first, best {text(best)} in epoch {epoch}"
            )
            series.append((i, xs, ys))
    if not series:
        return None
    return charts.line_chart(
        id,
        title,
        "; ".join(descriptions),
        series,
        x_label="epoch",
        y_range=(0, 1) if is_share else None,
        percent=is_share,
    )


def class_scores(runs: Sequence[Run], counts: Sequence[RunCounts]) -> list[dict[str, Any]]:
    """IoU by class, followed by the other scores: for each class, the shares of the runs."""
    labels = runs[0].labels
    values = [c.scores(labels) for c in counts]
    return [
        {
            "title": title,
            "label": f"{kind} by class",
            "shares": [[value[f"{kind}/{name}"] for value in values] for name in labels.names],
        }
        for kind, title in _CLASS_SCORES.items()
    ]


def confusion(counts: Sequence[RunCounts]) -> list[list[list[tuple[float | None, int]]]]:
    """For each run its matrix; cells are (share of the row or None, pixels)."""

    def cells(row):
        total = sum(row)
        return [(count / total if total else None, count) for count in row]

    return [[cells(row) for row in c.confusion.sum(axis=0).tolist()] for c in counts]


def calibrations(runs: Sequence[Run], counts: Sequence[RunCounts]) -> Iterator[dict[str, Any]]:
    """Yields the reliability diagram and the numbers of each run that has labelled pixels."""
    for i, (run, c) in enumerate(zip(runs, counts, strict=True)):
        total = c.calibration.sum(axis=0)
        ece, confidence = calibration.ece(total), calibration.mean_confidence(total)
        if confidence is None:
            continue
        accuracy = int(total[:, 1].sum()) / max(1, int(total[:, 0].sum()))
        description = (
            f"{run.name} has a mean confidence of {percent(confidence)} and is right on "
            f"{percent(accuracy)} of the pixels: "
            f"{'overconfident' if confidence > accuracy else 'underconfident'}. ECE {percent(ece)}."
        )
        yield {
            "id": f"reliability-{i}",
            "title": run.name,
            "description": description,
            "run": i,
            "bins": calibration.reliability(total),
            "confidence": confidence,
            "accuracy": accuracy,
            "ece": ece,
        }


def group_scores(
    runs: Sequence[Run], counts: Sequence[RunCounts], heading: str, groups: Groups
) -> dict[str, Any]:
    """Mean and drivable IoU by group of frames."""

    def scores(frames):
        values = [c.scores(runs[0].labels, frames) for c in counts]
        return [(value["mean_iou"], value.get("drivable_iou")) for value in values]

    rows = [
        {"name": name, "frames": len(frames), "scores": scores(frames)} for name, frames in groups
    ]
    return {"heading": heading, "rows": rows}
