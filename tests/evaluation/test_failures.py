"""Failures on hand-worked frames. Ids: 0 direct, 1 alternative, 2 background."""

import numpy as np

from kseg.evaluation import failures
from kseg.labels import BDD100K_DRIVABLE, IGNORE_ID, LabelClass, LabelSet

# Sky, then an obstacle in the second column, then the road.
TRUTH = np.array([[2, 2, 2, 2], [0, 2, 1, 2], [0, 0, 1, 2]], np.uint8)


def count(predicted, truth=TRUTH, labels=BDD100K_DRIVABLE):
    return failures.counts(truth, np.array(predicted, np.uint8), labels).tolist()


def test_a_right_prediction_has_no_failure():
    assert count(TRUTH) == [0, 0, 0, 0]


def test_invented_road_is_beside_the_drivable_area_or_above_it():
    # The last column has no drivable area; the second has an obstacle on the road.
    assert count([[2, 2, 2, 2], [0, 2, 1, 1], [0, 0, 1, 0]]) == [2, 0, 0, 0]
    assert count([[2, 2, 2, 2], [0, 0, 1, 2], [0, 0, 1, 2]]) == [0, 1, 0, 0]
    assert count([[0, 2, 1, 2], [0, 2, 1, 2], [0, 0, 1, 2]]) == [0, 2, 0, 0]


def test_the_lane_is_lost_to_any_class_and_alternative_can_be_taken_for_it():
    assert count([[2, 2, 2, 2], [1, 2, 1, 2], [2, 0, 1, 2]]) == [0, 0, 2, 0]
    assert count([[2, 2, 2, 2], [0, 2, 0, 2], [0, 0, 1, 2]]) == [0, 0, 0, 1]
    # An alternative lane that is missed is no danger.
    assert count([[2, 2, 2, 2], [0, 2, 2, 2], [0, 0, 2, 2]]) == [0, 0, 0, 0]


def test_ignored_pixels_are_no_failures():
    ignored = np.full_like(TRUTH, IGNORE_ID)
    assert count(np.zeros((3, 4)), ignored) == [0, 0, 0, 0]
    assert failures.shares(np.zeros((1, 4), np.int64), np.array([0])).tolist() == [[0.0] * 4]


def test_the_kinds_follow_the_drivable_classes():
    titles = [kind.title for kind in failures.kinds(BDD100K_DRIVABLE)]
    assert titles[2:] == ["direct lost", "alternative taken for direct"]
    road, rest = LabelClass("road", (1, 2, 3), drivable=True), LabelClass("rest", (0, 0, 0))
    one = LabelSet("one", (rest, road))
    assert len(failures.kinds(one)) == 3
    assert count([[1, 0]], np.array([[0, 1]], np.uint8), one) == [1, 0, 1]
    none = LabelSet("none", (rest, LabelClass("sky", (4, 5, 6))))
    assert failures.kinds(none) == [] and count([[1, 0]], np.array([[0, 1]], np.uint8), none) == []
