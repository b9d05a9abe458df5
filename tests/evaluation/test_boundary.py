import numpy as np
import pytest

from kseg.evaluation import boundary
from kseg.labels import CITYSCAPES_ROAD, IGNORE_ID

SIZE = (30, 40)  # Diagonal 50: strips are one pixel wide.


def square(top, left, side=10):
    mask = np.ones(SIZE, np.uint8)  # Class 0 is the square, class 1 the rest.
    mask[top : top + side, left : left + side] = 0
    return mask


def test_strip_by_hand():
    assert boundary.strip(square(10, 10) == 0, 1).sum() == 36  # The rim of 10 x 10.
    assert boundary.strip(square(10, 10) == 0, 3).sum() == 100 - 16  # All but 4 x 4.
    # Around the hole 44 pixels, along the image's edge 136.
    assert boundary.strip(square(10, 10) == 1, 1).sum() == 44 + 136


def test_counts_by_hand():
    # Shifted by one down and right, the regions share 9 x 9 pixels of 119, but their rims of 36
    # share only the two where they cross.
    counts = boundary.counts(square(10, 10), square(11, 11), 2)
    assert counts[0].tolist() == [2, 36 + 36 - 2]
    scores = boundary.scores(counts, CITYSCAPES_ROAD)
    assert scores["boundary_iou/road"] == pytest.approx(2 / 70)
    assert boundary.counts(square(10, 10), square(10, 10), 2).tolist() == [[36, 36], [180, 180]]


def test_counts_add_up_over_images_and_an_absent_class_has_no_score():
    total = boundary.counts(square(10, 10), square(11, 11), 2)
    total = total + boundary.counts(square(10, 10), square(10, 10), 2)
    assert boundary.scores(total, CITYSCAPES_ROAD)["boundary_iou/road"] == 38 / 106
    nothing = np.full(SIZE, 1, np.uint8)
    scores = boundary.scores(boundary.counts(nothing, nothing, 2), CITYSCAPES_ROAD)
    assert scores["boundary_iou/road"] is None and scores["mean_boundary_iou"] == 1.0


def test_a_frame_with_nothing_but_ignored_pixels_has_no_score():
    ignored = np.full(SIZE, IGNORE_ID, np.uint8)
    scores = boundary.scores(boundary.counts(ignored, square(10, 10), 2), CITYSCAPES_ROAD)
    assert set(scores.values()) == {None}


def test_predictions_on_ignored_pixels_do_not_count():
    truth = square(10, 10)
    truth[:, 25:] = IGNORE_ID
    one, other = square(10, 10), square(10, 10)
    other[5:20, 27:] = 0
    assert np.array_equal(boundary.counts(truth, one, 2), boundary.counts(truth, other, 2))


def test_the_strip_is_two_percent_of_the_diagonal():
    # 288 x 512: diagonal 587.4, 12 pixels.
    mask = np.ones((288, 512), np.uint8)
    mask[100:200, 100:200] = 0
    assert boundary.counts(mask, mask, 2)[0].tolist() == [10000 - 76**2] * 2
