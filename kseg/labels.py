"""Class ids, names and colours. One LabelSet per task; it travels in manifest and contract."""

from dataclasses import dataclass

from kseg.errors import InputError

IGNORE_ID = 255  # Pixels with this id count in no loss and no metric.


@dataclass(frozen=True)
class LabelClass:
    """One class: its name, its RGB colour (0..255), and whether a car may drive on it."""

    name: str
    color: tuple[int, int, int]
    drivable: bool = False


@dataclass(frozen=True)
class LabelSet:
    """The classes of a task; a class's id is its place in `classes`."""

    name: str
    classes: tuple[LabelClass, ...]

    @property
    def names(self):
        return [c.name for c in self.classes]

    @property
    def palette(self):
        return [c.color for c in self.classes]

    @property
    def drivable_ids(self):
        return [i for i, c in enumerate(self.classes) if c.drivable]

    def to_dict(self):
        classes = [
            {"id": i, "name": c.name, "color": list(c.color), "drivable": c.drivable}
            for i, c in enumerate(self.classes)
        ]
        return {"name": self.name, "classes": classes}

    @classmethod
    def from_dict(cls, document, where="labels"):
        """Reads what `to_dict` wrote. Raises InputError, naming `where`, on anything else."""
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
        if ids != list(range(len(ids))) or not 2 <= len(ids) < IGNORE_ID:
            raise InputError(f"{where}: class ids must be 0, 1, 2, ... without gaps, got {ids}")
        return cls(name, classes)


def _label_class(entry):
    red, green, blue = (int(v) for v in entry["color"])
    if not all(0 <= v <= 255 for v in (red, green, blue)):
        raise ValueError(f"colour {entry['color']} is outside 0..255")
    return LabelClass(str(entry["name"]), (red, green, blue), bool(entry.get("drivable", False)))


# Colours: bdd100k/bdd100k, label/label.py (drivables).
BDD100K_DRIVABLE = LabelSet(
    "bdd100k-drivable",
    (
        LabelClass("direct", (219, 94, 86), drivable=True),
        LabelClass("alternative", (86, 211, 219), drivable=True),
        LabelClass("background", (0, 0, 0)),
    ),
)

# CamVid with BDD100K's imbalance: a common and a rarer ground class, and all the rest.
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
