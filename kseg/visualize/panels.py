"""Predictions of one or more runs for a frame, side by side, with legend and confidence."""

from collections.abc import Sequence

import cv2
import numpy as np

from kseg import preprocess
from kseg.evaluation.predictor import MAX_CONFIDENCE, Prediction
from kseg.labels import IGNORE_ID
from kseg.visualize import overlay

_OPACITY = 0.65  # Of the confidence map over the grey image.


def draw_panels(
    frame: np.ndarray, predictions: Sequence[Prediction], width: int | None = None
) -> np.ndarray:
    """(h, w, 3) uint8 RGB and a Prediction per run -> (rows*h, runs*w, 3) uint8 RGB.

    Overlays with legend stand side by side, with the name of the run if there are several.
    Confidence maps are below them if the predictions have any. width: of each panel, instead of
    the frame's.
    """
    if width and width != frame.shape[1]:
        size = (max(1, round(frame.shape[0] * width / frame.shape[1])), width)
        frame = preprocess.resize_image(frame, size)
        predictions = [_resized(prediction, size) for prediction in predictions]
    columns = []
    for number, prediction in enumerate(predictions):
        panel = overlay.overlay(frame, prediction.class_map, prediction.labels)
        if number == 0 or prediction.labels != predictions[0].labels:
            overlay.draw_legend(panel, prediction.labels)
        if len(predictions) > 1:
            _draw_name(panel, prediction.name)
        rows = [panel]
        if prediction.confidence is not None:
            classes = len(prediction.labels.classes)
            rows.append(confidence_map(frame, prediction.confidence, classes))
        columns.append(np.concatenate(rows))
    return np.concatenate(columns, axis=1)


def confidence_map(frame: np.ndarray, confidence: np.ndarray, classes: int) -> np.ndarray:
    """Colours the largest softmax probability over the grey frame, and draws the colour scale.

    Dark where all classes are equally likely (1/classes, the minimum), light where the model is
    confident. Pixels outside the model's input stay grey.
    """
    least = 1 / classes
    level = np.clip((confidence / MAX_CONFIDENCE - least) / (1 - least), 0, 1)
    gray = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    blended = cv2.addWeighted(gray, 1 - _OPACITY, _heat(level), _OPACITY, 0)
    panel = np.where((confidence == IGNORE_ID)[..., None], gray, blended)
    _draw_scale(panel, least)
    return panel


def _heat(level):
    """[0, 1] -> uint8 RGB; the level is readable by lightness alone."""
    colors = cv2.applyColorMap(np.rint(255 * level).astype(np.uint8), cv2.COLORMAP_INFERNO)
    return cv2.cvtColor(colors, cv2.COLOR_BGR2RGB)


def _draw_scale(panel, least):
    height, width = panel.shape[:2]
    scale = max(0.35, height / 700)
    line = int(32 * scale)
    left, top, length = line // 3, line // 3, max(2, width // 4)
    bar = _heat(np.linspace(0, 1, length)[None])
    bottom, right = min(top + line // 2, height), min(left + length, width)
    panel[top:bottom, left:right] = bar[:, : right - left]
    cv2.rectangle(panel, (left, top), (right, bottom), (255, 255, 255), 1)
    overlay.put_text(panel, f"{least:.0%}", (left, bottom + line * 2 // 3), scale)
    overlay.put_text(panel, "100% sure", (right + line // 3, bottom), scale)


def _draw_name(panel, name):
    """Writes a run's name at the bottom left."""
    scale = max(0.35, panel.shape[0] / 700)
    overlay.put_text(panel, name, (int(10 * scale), panel.shape[0] - int(12 * scale)), scale)


def _resized(prediction, size):
    class_map = preprocess.resize_mask(prediction.class_map, size)
    confidence = prediction.confidence
    if confidence is not None:
        confidence = preprocess.resize_mask(confidence, size)
    return prediction._replace(class_map=class_map, confidence=confidence)
