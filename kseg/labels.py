"""Class ids, names and colours. Each task has one LabelSet, stored in manifest and contract."""

from dataclasses import dataclass
from typing import Any

from kseg.errors import InputError

IGNORE_ID = 255  # Losses and metrics leave out pixels with this id.


@dataclass(frozen=True)
class LabelClass:
    """One class: name, RGB colour (0..255), and whether a car may drive on it."""

    name: str
    color: tuple[int, int, int]
    drivable: bool = False


@dataclass(frozen=True)
class LabelSet:
    """The classes of a task; the id of a class is its index in `classes`."""

    name: str
    classes: tuple[LabelClass, ...]

    @property
    def names(self) -> list[str]:
        return [c.name for c in self.classes]

    @property
    def palette(self) -> list[tuple[int, int, int]]:
        return [c.color for c in self.classes]

    @property
    def drivable_ids(self) -> list[int]:
        return [i for i, c in enumerate(self.classes) if c.drivable]

    def to_dict(self) -> dict[str, Any]:
        classes = [
            {"id": i, "name": c.name, "color": list(c.color), "drivable": c.drivable}
            for i, c in enumerate(self.classes)
        ]
        return {"name": self.name, "classes": classes}

    @classmethod
    def from_dict(cls, document: Any, where: str = "labels") -> "LabelSet":
        """Reads the output of `to_dict`. Raises InputError, naming `where`, on anything else."""
        try:
            entries = sorted(document["classes"], key=lambda c: c["id"])
            classes = tuple(_label_class(entry) for entry in entries)
            ids = [c["id"] for c in entries]
            name = str(document["name"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{where}: not a list of classes ({type(error).__name__}: {error}); expected "
                '{"name": ..., "classes": [{"id": 0, "name": "road", "color": [r, g, b], '
                '"drivable": true}, ...]}'
            ) from error
        if not 2 <= len(ids) < IGNORE_ID:
            raise InputError(
                f"{where}: {len(ids)} classes, expected 2 to {IGNORE_ID - 1}; everything else is a "
                "class too, such as 'background'"
            )
        if ids != list(range(len(ids))):
            raise InputError(
                f"{where}: class ids must be 0, 1, 2, ... without gaps, got {ids}; number the "
                f"classes 0 to {len(ids) - 1}, and map the values of masks with --mask-values "
                f"{' '.join(f'{value}:{i}' for i, value in enumerate(ids))}"
            )
        names = [c.name for c in classes]
        if len(set(names)) < len(names):
            raise InputError(f"{where}: two classes have the same name: {', '.join(names)}")
        return cls(name, classes)


def _label_class(entry: dict[str, Any]) -> LabelClass:
    red, green, blue = (int(v) for v in entry["color"])
    if not all(0 <= v <= 255 for v in (red, green, blue)):
        raise ValueError(f"colour {entry['color']} is outside 0..255")
    drivable = entry.get("drivable", False)
    if not isinstance(drivable, bool):
        raise ValueError(f"'drivable' of {entry['name']} is {drivable!r}, expected true or false")
    return LabelClass(str(entry["name"]), (red, green, blue), drivable)


# Colours: bdd100k/bdd100k, label/label.py (drivables).
BDD100K_DRIVABLE = LabelSet(
    "bdd100k-drivable",
    (
        LabelClass("direct", (219, 94, 86), drivable=True),
        LabelClass("alternative", (86, 211, 219), drivable=True),
        LabelClass("background", (0, 0, 0)),
    ),
)

# CamVid with BDD100K's class imbalance: a common and a rarer ground class, and the rest.
CAMVID_ROAD = LabelSet(
    "camvid-road",
    (
        LabelClass("road", (219, 94, 86), drivable=True),
        LabelClass("pavement", (86, 211, 219)),
        LabelClass("background", (0, 0, 0)),
    ),
)

# The 11 classes of SegNet (arXiv:1511.00561); colours as in its CamVid plots.
CAMVID_11 = LabelSet(
    "camvid-11",
    (
        LabelClass("sky", (128, 128, 128)),
        LabelClass("building", (128, 0, 0)),
        LabelClass("pole", (192, 192, 128)),
        LabelClass("road", (128, 64, 128), drivable=True),
        LabelClass("pavement", (60, 40, 222)),
        LabelClass("tree", (128, 128, 0)),
        LabelClass("sign_symbol", (192, 128, 128)),
        LabelClass("fence", (64, 64, 128)),
        LabelClass("car", (64, 0, 128)),
        LabelClass("pedestrian", (64, 64, 0)),
        LabelClass("bicyclist", (0, 128, 192)),
    ),
)

# The 19 classes of the benchmark, in the order of their train ids, with the official colours
# (mcordts/cityscapesScripts, helpers/labels.py).
CITYSCAPES_19 = LabelSet(
    "cityscapes-19",
    (
        LabelClass("road", (128, 64, 128), drivable=True),
        LabelClass("sidewalk", (244, 35, 232)),
        LabelClass("building", (70, 70, 70)),
        LabelClass("wall", (102, 102, 156)),
        LabelClass("fence", (190, 153, 153)),
        LabelClass("pole", (153, 153, 153)),
        LabelClass("traffic light", (250, 170, 30)),
        LabelClass("traffic sign", (220, 220, 0)),
        LabelClass("vegetation", (107, 142, 35)),
        LabelClass("terrain", (152, 251, 152)),
        LabelClass("sky", (70, 130, 180)),
        LabelClass("person", (220, 20, 60)),
        LabelClass("rider", (255, 0, 0)),
        LabelClass("car", (0, 0, 142)),
        LabelClass("truck", (0, 0, 70)),
        LabelClass("bus", (0, 60, 100)),
        LabelClass("train", (0, 80, 100)),
        LabelClass("motorcycle", (0, 0, 230)),
        LabelClass("bicycle", (119, 11, 32)),
    ),
)

CITYSCAPES_ROAD = LabelSet(
    "cityscapes-road",
    (
        LabelClass("road", (128, 64, 128), drivable=True),
        LabelClass("background", (0, 0, 0)),
    ),
)

# The first level of IDD's label hierarchy, in the order of its ids, with the colour of each level's
# commonest class (AutoNUE/public-code, helpers/anue_labels.py).
IDD_7 = LabelSet(
    "idd-7",
    (
        LabelClass("drivable", (128, 64, 128), drivable=True),
        LabelClass("non-drivable", (244, 35, 232)),
        LabelClass("living thing", (220, 20, 60)),
        LabelClass("vehicle", (0, 0, 142)),
        LabelClass("roadside object", (220, 190, 40)),
        LabelClass("far object", (107, 142, 35)),
        LabelClass("sky", (70, 130, 180)),
    ),
)

IDD_ROAD = LabelSet(
    "idd-road",
    (
        LabelClass("drivable", (128, 64, 128), drivable=True),
        LabelClass("background", (0, 0, 0)),
    ),
)

# Colours as in BDD100K_DRIVABLE, for comparison; KITTI's own are the same for road and lane.
KITTI_ROAD = LabelSet(
    "kitti-road",
    (
        LabelClass("road", (219, 94, 86), drivable=True),
        LabelClass("background", (0, 0, 0)),
    ),
)

KITTI_LANE = LabelSet(
    "kitti-lane",
    (
        LabelClass("ego_lane", (219, 94, 86), drivable=True),
        LabelClass("other_road", (86, 211, 219)),  # Mostly the oncoming lane.
        LabelClass("background", (0, 0, 0)),
    ),
)

KITTI_EGO_LANE = LabelSet(
    "kitti-ego-lane",
    (
        LabelClass("ego_lane", (219, 94, 86), drivable=True),
        LabelClass("background", (0, 0, 0)),
    ),
)
