"""Chosen frames as pictures: as they are, labelled, answered, and where an answer is wrong."""

from typing import NamedTuple

import cv2
import numpy as np

from kseg.data import pipeline
from kseg.export.frame_figures import shrunk
from kseg.labels import IGNORE_ID
from kseg.visualize.html import PATTERNS

# Okabe and Ito's colours on dark grey; they differ in brightness too, and larger areas in pattern.
INVENTED = (213, 94, 0)  # Called drivable and is not: what a car must not do.
MISSED = (86, 180, 233)  # Drivable and not called so.
CONFUSED = (240, 228, 66)  # Another wrong class.
MISTAKES = (
    ("called drivable and is not", INVENTED, PATTERNS[0]),
    ("drivable and missed", MISSED, PATTERNS[2]),
    ("another wrong class", CONFUSED, None),
)


class Answer(NamedTuple):
    """A frame as one run sees it: image (H, W, 3) uint8 RGB, truth and predicted (H, W) uint8."""

    image: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray


def answers(measured, config, split, every, numbers):
    """Returns {frame number: Answer}; numbers count each `every`th frame of the split."""
    wanted, found = set(numbers), {}
    frames = pipeline.labelled_frames(config, split, every).unbatch() if wanted else ()
    for number, frame in enumerate(frames):
        if number in wanted:
            found[number] = Answer(
                frame["image"].numpy().astype(np.uint8),
                frame["mask"].numpy().astype(np.uint8),
                measured.answer(number),
            )
            if len(found) == len(wanted):
                break
    return found


def kinds_of_mistake(truth, predicted, labels):
    """(H, W) uint8: 0 right or ignored, else 1 + the mistake's place in MISTAKES."""
    drivable = np.isin(np.arange(256), labels.drivable_ids)
    wrong = (truth != predicted) & (truth != IGNORE_ID)
    kinds = np.full(truth.shape, 3, np.uint8)
    kinds[drivable[predicted] & ~drivable[truth]] = 1
    kinds[~drivable[predicted] & drivable[truth]] = 2
    return np.where(wrong, kinds, 0).astype(np.uint8)


def mistakes(answer, labels):
    """Returns (h, w, 3) uint8 RGB, as wide as pages show: a dark grey frame, mistakes in colour."""
    image = shrunk(answer.image)
    kinds = kinds_of_mistake(answer.truth, answer.predicted, labels)
    kinds = cv2.resize(kinds, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return draw_mistakes(image, kinds)


def draw_mistakes(image, kinds):
    # In few steps: noise would make the PNG large.
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) // 24 * 8
    picture = np.repeat(gray[..., None], 3, axis=-1)
    rows, columns = np.indices(kinds.shape)
    for place, (_, color, pattern) in enumerate(MISTAKES):
        where = kinds == place + 1
        picture[where] = color
        if pattern:
            picture[where & pattern[1](rows, columns)] = np.array(color) // 3
    return picture


def swatch(place):
    """(30, 50, 3) uint8 RGB: a piece of what MISTAKES[place] looks like."""
    return draw_mistakes(np.full((30, 50, 3), 60, np.uint8), np.full((30, 50), place + 1, np.uint8))
