"""Groups of frames by brightness, and by scene where known."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from kseg.errors import InputError

# Data sets whose frames are named SCENE_REST, and what SCENE is.
_SCENE_IN_NAME = {"camvid": "drive", "cityscapes": "city", "kitti-road": "kind of road"}
Groups = list[tuple[str, np.ndarray]]  # [(name, frame numbers)]
Attributes = dict[str, dict[str, str]]  # {attribute: {key of a frame: value}}

_MAX_SCENES = 30  # In one table.


def brightness_thirds(luma: np.ndarray) -> Groups:
    """Returns [(name, frame numbers)]: the darkest third of the frames, the next, the brightest.

    luma (N,) 0..255. Thirds, because a data set need not contain day and night. Empty below 3
    frames.
    """
    if len(luma) < 3:
        return []
    parts = np.array_split(np.argsort(luma, kind="stable"), 3)
    return [
        (f"{name} third, luma {luma[part].min():.0f} to {luma[part].max():.0f}", part)
        for name, part in zip(("darkest", "middle", "brightest"), parts, strict=True)
    ]


def scene_groups(
    keys: Sequence[str], source: str | None, attributes: Attributes
) -> Iterator[tuple[str, Groups]]:
    """Yields (heading, [(name, frame numbers)]) for every known attribute of the frames' scenes.

    keys: names of the frames; source: the manifest's (build's --source); attributes: those of
    `read_attributes`. An attribute that is the same for all frames, or different for each, is left
    out.
    """
    known = dict(attributes)
    if source in _SCENE_IN_NAME:
        known.setdefault(_SCENE_IN_NAME[source], {key: key.split("_")[0] for key in keys})
    for heading, values in known.items():
        groups: dict[str, list[int]] = {}
        for number, key in enumerate(keys):
            groups.setdefault(values.get(key, "not known"), []).append(number)
        if 1 < len(groups) <= min(_MAX_SCENES, max(2, len(keys) // 2)):
            yield heading, [(name, np.array(numbers)) for name, numbers in sorted(groups.items())]


def read_attributes(path: str) -> Attributes:
    """Reads attributes of frames, {attribute: {key: value}}. Raises InputError.

    A JSON list of {"name": "KEY.jpg", "attributes": {"weather": "rainy", ...}}, as in BDD100K's
    det_20/det_val.json, or an object {"KEY": {"weather": "rainy", ...}}.
    """
    try:
        document = json.loads(Path(path).read_text())
        if isinstance(document, dict):
            frames = list(document.items())
        else:
            frames = [(PurePosixPath(f["name"]).stem, f.get("attributes") or {}) for f in document]
        known: Attributes = {}
        for key, attributes in frames:
            for attribute, value in attributes.items():
                known.setdefault(str(attribute), {})[str(key)] = str(value)
    except OSError as error:
        raise InputError(f"--scenes {path}: cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"--scenes {path}: expected a JSON list of frames with name and attributes, as in "
            "BDD100K's det_val.json"
        ) from error
    return known
