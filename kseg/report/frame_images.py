"""Frames with their predictions, and their mistakes as images."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from kseg.config import Config
from kseg.data import pipeline
from kseg.labels import IGNORE_ID, LabelSet
from kseg.report.run_counts import RunCounts
from kseg.visualize.patterns import PATTERNS, Pattern, darken, shrink


class Mistake(NamedTuple):
    """A kind of mistake: what it is, and how it is drawn."""

    name: str
    color: tuple[int, int, int]
    pattern: Pattern | None


# Okabe and Ito's colours on dark grey. They differ in brightness too, and larger areas in pattern.
MISTAKES = (
    Mistake("not drivable, predicted drivable", (213, 94, 0), PATTERNS[0]),  # The dangerous kind.
    Mistake("drivable, predicted not drivable", (86, 180, 233), PATTERNS[2]),
    Mistake("another wrong class", (240, 228, 66), None),
)


class FramePrediction(NamedTuple):
    """A frame and a run's prediction: image (H, W, 3) uint8 RGB; the others (H, W) uint8 ids."""

    image: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray


def load_predictions(
    counts: RunCounts, config: Config, split: str, every: int, numbers: Sequence[int]
) -> dict[int, FramePrediction]:
    """Returns {frame number: FramePrediction}; numbers count each `every`th frame of the split."""
    loaded: dict[int, FramePrediction] = {}
    frames = pipeline.labelled_frames(config, split, every).unbatch() if numbers else ()
    for number, frame in enumerate(frames):
        if number in numbers:
            loaded[number] = FramePrediction(
                frame["image"].numpy().astype(np.uint8),
                frame["mask"].numpy().astype(np.uint8),
                counts.class_map(number),
            )
            if len(loaded) == len(numbers):
                break
    return loaded


def kinds_of_mistake(truth: np.ndarray, predicted: np.ndarray, labels: LabelSet) -> np.ndarray:
    """(H, W) uint8: 0 right or ignored, else 1 + the mistake's index in MISTAKES."""
    drivable = np.isin(np.arange(256), labels.drivable_ids)
    wrong = (truth != predicted) & (truth != IGNORE_ID)
    kinds = np.full(truth.shape, 3, np.uint8)
    kinds[drivable[predicted] & ~drivable[truth]] = 1
    kinds[~drivable[predicted] & drivable[truth]] = 2
    return np.where(wrong, kinds, 0).astype(np.uint8)


def draw_mistakes(frame: FramePrediction, labels: LabelSet) -> np.ndarray:
    """Returns (h, w, 3) uint8 RGB, at most patterns.WIDTH wide: coloured mistakes on dark grey."""
    image = shrink(frame.image)
    kinds = kinds_of_mistake(frame.truth, frame.predicted, labels)
    kinds = cv2.resize(kinds, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return _draw_kinds(image, kinds)


def mistake_legend() -> list[tuple[str, np.ndarray]]:
    """(name, (30, 50, 3) uint8 RGB sample) of each kind of mistake."""
    gray = np.full((30, 50, 3), 60, np.uint8)
    return [
        (mistake.name, _draw_kinds(gray, np.full((30, 50), index + 1, np.uint8)))
        for index, mistake in enumerate(MISTAKES)
    ]


def _draw_kinds(image, kinds):
    drawn = darken(image)
    rows, columns = np.indices(kinds.shape)
    for index, (_, color, pattern) in enumerate(MISTAKES):
        where = kinds == index + 1
        drawn[where] = color
        if pattern:
            drawn[where & pattern.drawn(rows, columns)] = np.array(color) // 3
    return drawn
