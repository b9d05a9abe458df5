"""BDD100K's two codings of ids and colours, and how to tell them apart.

Both name the same three classes by the same ids in another order, so a mask read in the wrong
coding is a valid mask: background becomes road, and nothing complains. Hence `confirm`.
"""

import numpy as np

from kseg.errors import InputError
from tfrecords_tools.datasets import decode, read_colors, read_ids, read_table

DIRECT, ALTERNATIVE, BACKGROUND = 0, 1, 2  # Ours, and those of the current release.

# {coding: {id in the file: class id}}. Current: bdd100k/bdd100k doc/source/format.rst, "Drivable
# Area". Legacy: README.md of that repository in 2018, "Understanding the Data".
ID_TABLES = {
    "current": {0: DIRECT, 1: ALTERNATIVE, 2: BACKGROUND},
    "legacy": {0: BACKGROUND, 1: DIRECT, 2: ALTERNATIVE},
}

# {coding: {(r, g, b): class id}}. Current: bdd100k/label/label.py, drivables. Legacy:
# drivable2color of bdd_data/show_labels.py in 2018, and the plain red and blue that descriptions
# of the release speak of.
PALETTES = {
    "current": {
        (219, 94, 86): DIRECT,
        (86, 211, 219): ALTERNATIVE,
        (0, 0, 0): BACKGROUND,
    },
    "legacy": {
        (217, 83, 79): DIRECT,
        (91, 192, 222): ALTERNATIVE,
        (255, 0, 0): DIRECT,
        (0, 0, 255): ALTERNATIVE,
        (0, 0, 0): BACKGROUND,
    },
}

LEGACY_SUFFIXES = {"masks": "_drivable_id.png", "colormaps": "_drivable_color.png"}

_SAMPLE = 25  # Files of a split looked at to confirm its coding.


def read_mask(frame, size, coding):
    """The read_mask of masks of ids."""
    return read_table(frame.label, ID_TABLES[coding], f"BDD100K's {coding} coding")


def read_colormap(frame, size, coding):
    """The read_mask of colour maps."""
    return read_colors(frame.label, PALETTES[coding], f"BDD100K's {coding} coding")


READERS = {"masks": read_mask, "colormaps": read_colormap}


def file_suffix(kind, folder):
    """Returns how the names of the labels in `folder` end: as the legacy release's, or ".png".

    Legacy folders also hold `_drivable_instance_id.png`, which are no masks of classes.
    """
    legacy = LEGACY_SUFFIXES[kind]
    return legacy if any(folder.glob(f"*{legacy}")) else ".png"


def confirm(kind, coding, frames):
    """Raises InputError unless folder, file names and pixels of `frames` all speak for `coding`.

    `coding` is what the folder's name says. Pixels are those of _SAMPLE files: the top quarter
    of a driving frame is background, and a colour is of one coding.
    """
    path = frames[0].label
    named = "legacy" if path.name.endswith(LEGACY_SUFFIXES[kind]) else "current"
    step = max(1, len(frames) // _SAMPLE)
    sample = [frame.label for frame in frames[::step][:_SAMPLE]]
    fits, reason = (_id_evidence if kind == "masks" else _color_evidence)(sample)
    if named == coding and coding in fits:
        return
    pixels = " and ".join(fits) or "neither"
    raise InputError(
        f"{path.parent}: cannot tell its coding: the folder's name says {coding}, the file names "
        f"{named}, the pixels {pixels} ({reason}); decide with --coding current (ids 0 direct, 1 "
        "alternative, 2 background) or --coding legacy (0 background, 1 direct, 2 alternative)"
    )


def _id_evidence(paths):
    """Returns (the codings that the ids of these masks speak for, the reason in words)."""
    tops = [_top_quarter(read_ids(path)) for path in _readable(paths, read_ids)]
    shares = {
        coding: np.mean([np.mean(top == _id_of(table, BACKGROUND)) for top in tops])
        for coding, table in ID_TABLES.items()
    }
    reason = ", ".join(
        f"{share:.0%} of the top quarter is id {_id_of(ID_TABLES[coding], BACKGROUND)}"
        for coding, share in shares.items()
    )
    return [coding for coding, share in shares.items() if share > 0.5], reason


def _color_evidence(paths):
    """Returns the same of colour maps. Raises InputError on a colour of neither coding."""
    everything = PALETTES["current"] | PALETTES["legacy"]
    places = {color: place for place, color in enumerate(everything)}
    seen, sky = np.zeros(len(places), bool), []
    # Decodable ones: an unknown colour is ours to report.
    for path in _readable(paths, decode):
        colors = read_colors(path, places, "BDD100K")
        seen[np.unique(colors)] = True
        sky.append(np.mean(_top_quarter(colors) == places[0, 0, 0]))
    present = {color for color, place in places.items() if seen[place]}
    reason = f"colours {sorted(present)}, {np.mean(sky):.0%} of the top quarter is black"
    if np.mean(sky) <= 0.5:
        return [], reason
    return [coding for coding, palette in PALETTES.items() if present <= set(palette)], reason


def _readable(paths, read):
    """The files that `read` can read: a damaged one is the conversion's to report. One at least."""
    good = []
    for path in paths:
        try:
            read(path)
        except InputError:
            continue
        good.append(path)
    return good or paths[:1]


def _top_quarter(mask):
    return mask[: max(1, len(mask) // 4)]


def _id_of(table, class_id):
    return next(i for i, c in table.items() if c == class_id)
