"""The frames shown in export_report.html: their choice, and the five images of each."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import cv2
import numpy as np

from kseg.labels import IGNORE_ID, LabelSet
from kseg.visualize.patterns import darken, pattern_overlay, shrink

_DIFFERENT = (255, 221, 51)  # Light yellow on dark grey: visible by brightness alone.


class ComparedFrame(NamedTuple):
    """A frame and its predictions: image (H, W, 3) uint8 RGB; the others (H, W) uint8 ids."""

    file: str
    key: str
    image: np.ndarray
    truth: np.ndarray
    keras: np.ndarray
    tflite: np.ndarray


def worst_frames(
    model: Any,
    files: dict[str, Callable[[np.ndarray], np.ndarray]],
    frames: Iterable,
    reports: list[dict],
    most: int = 4,
) -> list[ComparedFrame]:
    """Runs the keras.Model and the files again on the worst frames that their reports list.

    files {file name: a function (H, W, 3) uint8 -> (H, W) ids}; frames have key, image and mask.
    At most `most` frames per file, in the order of its report, without those on which all pixels
    agree.
    """
    keys_by_file = {
        report["file"]: [
            worst["key"] for worst in report.get("worst_frames", []) if worst["agreement"] < 1
        ][:most]
        for report in reports
    }
    if not any(keys_by_file.values()):
        return []
    compared = {}
    for frame in frames:
        names = [name for name, keys in keys_by_file.items() if frame.key in keys]
        if names:
            logits = model.predict_on_batch(frame.image[None].astype(np.float32))[0]
            ids = logits.argmax(axis=-1).astype(np.uint8)
            for name in names:
                compared[name, frame.key] = ComparedFrame(
                    name, frame.key, frame.image, frame.mask, ids, files[name](frame.image)
                )
    return [
        compared[name, key]
        for name, keys in keys_by_file.items()
        for key in keys
        if (name, key) in compared
    ]


def frame_figures(frame: ComparedFrame, labels: LabelSet) -> dict[str, Any]:
    """Returns what the page shows of a frame; images are at most patterns.WIDTH pixels wide."""
    image, counted = frame.image, frame.truth != IGNORE_ID
    differs = counted & (frame.keras != frame.tflite)
    return {
        "key": frame.key,
        "differing": int(differs.sum()),
        "pixels": int(counted.sum()),
        "images": {
            "frame": shrink(image),
            "truth": pattern_overlay(image, frame.truth, labels),
            "Keras": pattern_overlay(image, frame.keras, labels),
            "file": pattern_overlay(image, frame.tflite, labels),
            "difference": difference(shrink(image), shrink(differs.astype(np.float32)) > 0),
        },
    }


def difference(image: np.ndarray, differs: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB and (H, W) bool -> the image in dark grey, light where it differs.

    Marks are a pixel larger on all sides, so that a single differing pixel is visible.
    """
    drawn = darken(image)
    drawn[cv2.dilate(differs.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0] = _DIFFERENT
    return drawn
