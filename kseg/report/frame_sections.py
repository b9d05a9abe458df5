"""The values of the report's sections on single frames: the slider and the frames below it.

The slider uses the images of the frames below, so that each is in the page once; without
JavaScript, the page shows only the frames.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from kseg.report import charts
from kseg.report.frame_images import FramePrediction, draw_mistakes, mistake_legend
from kseg.report.run_counts import RunCounts
from kseg.report.runs import Run
from kseg.visualize.patterns import pattern_overlay, shrink
from kseg.visualize.percent import percent


class ShownFrame(NamedTuple):
    """A frame to show: why it was chosen, its number, and the prediction of each run."""

    kind: str
    number: int
    predictions: list[FramePrediction]


class FrameImage(NamedTuple):
    """An image of a frame; row and column are its place on a wide page."""

    view: str
    name: str
    image: np.ndarray
    row: int
    column: int


def frame_values(
    runs: Sequence[Run], counts: Sequence[RunCounts], shown: Sequence[ShownFrame]
) -> dict[str, Any]:
    """Returns the values of the slider and of the frames."""
    scores = np.array([c.by_frame(runs[0].labels) for c in counts])
    views = [("frame", "the frame"), ("truth", "truth")]
    views += [(f"prediction-{i}", run.name) for i, run in enumerate(runs)]
    views += [(f"mistakes-{i}", f"mistakes of {run.name}") for i, run in enumerate(runs)]
    start = ("truth", "prediction-0") if len(runs) == 1 else ("prediction-0", "prediction-1")
    keys = counts[0].keys
    return {
        "views": views,
        "start": start,
        "options": [
            (i, f"{one.kind}: {keys[one.number]}, {percent(scores[:, one.number].mean(), 1)}")
            for i, one in enumerate(shown)
        ],
        "total": scores.shape[1],
        "chart": _quantiles(runs, scores),
        "shown": [
            {
                "kind": one.kind,
                "key": keys[one.number],
                "luma": counts[0].luma[one.number],
                "scores": ", ".join(
                    f"{run.name} {percent(score, 1)}"
                    for run, score in zip(runs, scores[:, one.number], strict=True)
                ),
                "images": _images(runs, views, one),
            }
            for one in shown
        ],
    }


def mistake_swatches(has_drivable_classes: bool) -> list[tuple[str, np.ndarray]]:
    """(name, image) of the kinds of mistake that the page can show."""
    return mistake_legend()[0 if has_drivable_classes else 2 :]


def _images(runs, views, frame):
    labels, first = runs[0].labels, frame.predictions[0]
    images = [shrink(first.image), pattern_overlay(first.image, first.truth, labels)]
    images += [pattern_overlay(each.image, each.predicted, labels) for each in frame.predictions]
    images += [draw_mistakes(each, labels) for each in frame.predictions]
    # On a wide page: frame and predictions above, ground truth and mistakes below.
    places = [(1, 1), (2, 1), *((row, i + 2) for row in (1, 2) for i in range(len(runs)))]
    return [
        FrameImage(view, name, image, row, column)
        for (view, name), image, (row, column) in zip(views, images, places, strict=True)
    ]


def _quantiles(runs, scores):
    """A chart: mean IoU by frame, from each run's worst to its best, of the frames with a score."""
    scores = scores[:, np.isfinite(scores).all(axis=0)]
    shares = np.linspace(0, 100, min(101, max(2, scores.shape[1])))
    description = "; ".join(
        f"{run.name}: worst frame {percent(each.min())}, median {percent(np.median(each))}, best "
        f"{percent(each.max())}"
        for run, each in zip(runs, scores, strict=True)
    )
    return charts.line_chart(
        "frames-chart",
        "Mean IoU of the frames, worst to best",
        description,
        [(i, shares, np.percentile(each, shares)) for i, each in enumerate(scores)],
        x_label="% of the frames are worse",
    )
