"""Flicker equals the share counted by hand, and compensated motion is not flicker."""

import math

import cv2
import numpy as np
import pytest

from kseg.evaluation import flicker
from kseg.labels import IGNORE_ID

SIZE = (96, 144)


def street(size, seed=0):
    """(h, w, 3) uint8 RGB with texture everywhere, so that optical flow can follow it."""
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)


def classes(size):
    """Class map of blocks of 16 pixels, with class borders everywhere."""
    rows, columns = np.indices(size)
    return ((rows // 16 + columns // 16) % 3).astype(np.uint8)


def measure(frames, maps):
    meter = flicker.Flicker()
    for frame, class_map in zip(frames, maps, strict=True):
        meter.add(frame, [class_map])
    return [change[0] for change in meter.changes], meter.summary()


def test_flicker_is_the_share_of_pixels_that_change():
    frame, quarter = street(SIZE), np.zeros(SIZE, np.uint8)
    quarter[:48, :72] = 1
    nothing = np.zeros(SIZE, np.uint8)
    # A quarter of the pixels changes, then none, then the same quarter; the image stands still.
    changes, (mean,) = measure([frame] * 4, [nothing, quarter, quarter, nothing])
    assert [c.flicker for c in changes] == [0.25, 0, 0.25]
    assert [c.motion_compensated for c in changes] == [0.25, 0, 0.25]
    assert [c.traced for c in changes] == [1, 1, 1]
    assert mean.flicker == pytest.approx(1 / 6) == mean.motion_compensated


@pytest.mark.parametrize("step", [(0, 4), (3, -2)])
def test_a_translation_is_not_motion_compensated_flicker(step):
    world, labels = street((200, 300)), classes((200, 300))
    windows = [(40 + i * step[0], 60 + i * step[1]) for i in range(4)]
    cut = [np.s_[y : y + SIZE[0], x : x + SIZE[1]] for y, x in windows]
    changes, _ = measure([world[c] for c in cut], [labels[c] for c in cut])
    for change in changes:
        assert change.flicker > 0.15 and change.traced > 0.8
        assert change.motion_compensated == 0


def test_real_flicker_remains_when_motion_is_compensated():
    world, labels = street((200, 300)), classes((200, 300))
    windows = [np.s_[40:136, 60 + 4 * i : 204 + 4 * i] for i in range(2)]
    wrong = labels[windows[1]].copy()
    wrong[32:64, 48:96] += 3
    changes, _ = measure([world[w] for w in windows], [labels[windows[0]], wrong])
    share = 32 * 48 / (SIZE[0] * SIZE[1])
    assert changes[0].motion_compensated == pytest.approx(share, rel=0.15)


def test_ignored_pixels_do_not_count():
    frame, before, now = street(SIZE), np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    now[:12] = 1  # An eighth of the rows, a quarter of those that count.
    before[48:] = now[48:] = IGNORE_ID
    changes, _ = measure([frame] * 2, [before, now])
    assert changes[0].flicker == 0.25 == changes[0].motion_compensated
    ignored = np.full(SIZE, IGNORE_ID, np.uint8)
    changes, (mean,) = measure([frame] * 3, [ignored] * 3)
    assert math.isnan(changes[0].flicker) and math.isnan(mean.flicker) and mean.traced == 0


def test_pixels_that_were_hidden_or_outside_have_no_known_motion():
    backward = np.zeros((4, 6, 2), np.float32)
    backward[..., 0] = 2  # Every pixel was two columns to the right.
    rows, columns, known = flicker.trace(backward, -backward)
    assert columns[1].tolist() == [2, 3, 4, 5, 5, 5] and np.array_equal(rows.T[0], range(4))
    assert known[1].tolist() == [True] * 4 + [False] * 2
    forward = -backward
    forward[:, 4] = 9  # The flow from column 4 does not lead back to column 2.
    known = flicker.trace(backward, forward)[2][1]
    assert known.tolist() == [True, True, False, True, False, False]


def test_each_run_is_measured_separately_and_wide_frames_are_scaled_down():
    size = (200, 2 * flicker.WIDTH)
    frame, top = street(size), np.zeros(size, np.uint8)
    top[:50] = 1
    meter = flicker.Flicker()
    meter.add(frame, [top, top])
    meter.add(frame, [top, np.zeros(size, np.uint8)])
    assert [change.flicker for change in meter.summary()] == [0, 0.25]
    assert flicker.Flicker().summary() == ()
