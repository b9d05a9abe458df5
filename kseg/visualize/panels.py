"""Answers of runs to one frame as a picture: a column for each run, legend, confidence."""

import cv2
import numpy as np

from kseg import preprocess
from kseg.evaluation.predictor import MAX_CONFIDENCE
from kseg.labels import IGNORE_ID
from kseg.visualize import overlay

HEAT = 0.65  # Opacity of the confidence map over the grey image.


def picture(frame, answers, width=None):
    """(h, w, 3) uint8 RGB and the Answers of runs -> (rows*h, runs*w, 3) uint8 RGB.

    The overlays side by side, named where there are two or more, with legend; below them the
    confidence, where the answers hold it. width: of each panel, in place of the frame's.
    """
    if width and width != frame.shape[1]:
        size = (max(1, round(frame.shape[0] * width / frame.shape[1])), width)
        frame = preprocess.resize_image(frame, size)
        answers = [_resized(answer, size) for answer in answers]
    columns = []
    for number, answer in enumerate(answers):
        panel = overlay.overlay(frame, answer.class_map, answer.labels)
        if number == 0 or answer.labels != answers[0].labels:
            overlay.draw_legend(panel, answer.labels)
        if len(answers) > 1:
            _caption(panel, answer.name)
        rows = [panel]
        if answer.confidence is not None:
            rows.append(confidence_map(frame, answer.confidence, len(answer.labels.classes)))
        columns.append(np.concatenate(rows))
    return np.concatenate(columns, axis=1)


def confidence_map(frame, confidence, classes):
    """Colours of the largest softmax probability over the grey frame, with their scale.

    Dark where all classes are equally likely (1/classes, the least there can be), light where the
    model is sure. What the model did not see stays grey.
    """
    least = 1 / classes
    level = np.clip((confidence / MAX_CONFIDENCE - least) / (1 - least), 0, 1)
    gray = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    blended = cv2.addWeighted(gray, 1 - HEAT, _heat(level), HEAT, 0)
    panel = np.where((confidence == IGNORE_ID)[..., None], gray, blended)
    _draw_scale(panel, least)
    return panel


def _heat(level):
    """[0, 1] -> uint8 RGB; lightness alone tells the level, also without colour."""
    colors = cv2.applyColorMap(np.rint(255 * level).astype(np.uint8), cv2.COLORMAP_INFERNO)
    return cv2.cvtColor(colors, cv2.COLOR_BGR2RGB)


def _draw_scale(panel, least):
    height, width = panel.shape[:2]
    scale = max(0.35, height / 700)
    line = int(32 * scale)
    left, top, long = line // 3, line // 3, max(2, width // 4)
    bar = _heat(np.linspace(0, 1, long)[None])
    low, right = min(top + line // 2, height), min(left + long, width)
    panel[top:low, left:right] = bar[:, : right - left]
    cv2.rectangle(panel, (left, top), (right, low), (255, 255, 255), 1)
    overlay.put_text(panel, f"{least:.0%}", (left, low + line * 2 // 3), scale)
    overlay.put_text(panel, "100% sure", (right + line // 3, low), scale)


def _caption(panel, name):
    """Writes a run's name at the bottom left."""
    scale = max(0.35, panel.shape[0] / 700)
    overlay.put_text(panel, name, (int(10 * scale), panel.shape[0] - int(12 * scale)), scale)


def _resized(answer, size):
    class_map = preprocess.resize_mask(answer.class_map, size)
    confidence = answer.confidence
    if confidence is not None:
        confidence = preprocess.resize_mask(confidence, size)
    return answer._replace(class_map=class_map, confidence=confidence)
