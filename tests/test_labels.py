"""Label sets: reading, writing, and what is refused."""

import pytest

from kseg.errors import InputError
from kseg.labels import (
    BDD100K_DRIVABLE,
    CAMVID_11,
    CAMVID_ROAD,
    CITYSCAPES_19,
    CITYSCAPES_ROAD,
    IDD_7,
    IDD_ROAD,
    KITTI_EGO_LANE,
    KITTI_LANE,
    KITTI_ROAD,
    LabelSet,
)

ALL = [
    BDD100K_DRIVABLE,
    CAMVID_11,
    CAMVID_ROAD,
    CITYSCAPES_19,
    CITYSCAPES_ROAD,
    IDD_7,
    IDD_ROAD,
    KITTI_EGO_LANE,
    KITTI_LANE,
    KITTI_ROAD,
]


@pytest.mark.parametrize("labels", ALL)
def test_dict_round_trip(labels):
    assert LabelSet.from_dict(labels.to_dict()) == labels


@pytest.mark.parametrize("drivable", ["false", 0, None])
def test_drivable_is_true_or_false(drivable):
    document = BDD100K_DRIVABLE.to_dict()
    document["classes"][2]["drivable"] = drivable
    with pytest.raises(InputError, match=rf"'drivable' of background is {drivable!r}, .* true"):
        LabelSet.from_dict(document)


def test_bdd100k_class_ids():
    assert BDD100K_DRIVABLE.names == ["direct", "alternative", "background"]
    assert BDD100K_DRIVABLE.drivable_ids == [0, 1]


@pytest.mark.parametrize(
    "classes",
    [
        [{"id": 0, "name": "a", "color": [0, 0, 0]}, {"id": 2, "name": "b", "color": [0, 0, 0]}],
        [{"id": 0, "name": "a", "color": [0, 0, 300]}, {"id": 1, "name": "b", "color": [0, 0, 0]}],
        [{"id": 0, "name": "a", "color": [0, 0]}, {"id": 1, "name": "b", "color": [0, 0, 0]}],
        [{"id": 0, "color": [0, 0, 0]}, {"id": 1, "name": "b", "color": [0, 0, 0]}],
        [{"id": 0, "name": "a", "color": [0, 0, 0]}],
        [{"id": 0, "name": "a", "color": [0, 0, 0]}, {"id": 1, "name": "a", "color": [0, 0, 0]}],
    ],
)
def test_gaps_in_ids_bad_colours_and_missing_or_duplicate_names_are_refused(classes):
    with pytest.raises(InputError, match="here"):
        LabelSet.from_dict({"name": "x", "classes": classes}, where="here")
