"""Frames by brightness, and by scene where that is known."""

import json
from pathlib import Path, PurePosixPath

import numpy as np

from kseg.errors import InputError

# Data sets whose frames are named SCENE_REST, and what SCENE is.
NAMED = {"camvid": "drive", "cityscapes": "city", "kitti-road": "kind of road"}
_MOST = 30  # Scenes in one table.


def thirds(luma):
    """Returns [(name, frame numbers)]: the darkest third of the frames, the next, the brightest.

    luma (N,) 0..255. Thirds, because a data set need not have night or day. Empty below 3 frames.
    """
    if len(luma) < 3:
        return []
    parts = np.array_split(np.argsort(luma, kind="stable"), 3)
    return [
        (f"{name} third, luma {luma[part].min():.0f} to {luma[part].max():.0f}", part)
        for name, part in zip(("darkest", "middle", "brightest"), parts, strict=True)
    ]


def scenes(keys, source, attributes):
    """Yields (heading, [(name, frame numbers)]) for all that is known of the frames' scenes.

    keys: names of the frames; source: the manifest's (build's --source); attributes: `read`'s.
    Something that is the same for all frames, or another for each, tells nothing and is left out.
    """
    known = dict(attributes)
    if source in NAMED:
        known.setdefault(NAMED[source], {key: key.split("_")[0] for key in keys})
    for heading, values in known.items():
        groups = {}
        for number, key in enumerate(keys):
            groups.setdefault(values.get(key, "not known"), []).append(number)
        if 1 < len(groups) <= min(_MOST, max(2, len(keys) // 2)):
            yield heading, [(name, np.array(numbers)) for name, numbers in sorted(groups.items())]


def read(path):
    """Reads what is known of frames: {attribute: {key: value}}. Raises InputError.

    A JSON list of {"name": "KEY.jpg", "attributes": {"weather": "rainy", ...}}, as in BDD100K's
    det_20/det_val.json, or an object {"KEY": {"weather": "rainy", ...}}.
    """
    try:
        document = json.loads(Path(path).read_text())
        if isinstance(document, dict):
            frames = list(document.items())
        else:
            frames = [(PurePosixPath(f["name"]).stem, f.get("attributes") or {}) for f in document]
        known = {}
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
