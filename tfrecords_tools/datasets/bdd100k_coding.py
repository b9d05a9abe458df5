"""BDD100K's two codings of ids and colours, and the check that the right one is used.

Both use the same three ids for the same classes, in another order. A mask that is read in the wrong
coding is therefore valid, and background silently becomes road. `confirm_coding` prevents that.
"""

from pathlib import Path

import numpy as np

from kseg.errors import InputError
from kseg.preprocess import Size
from tfrecords_tools.datasets import Frame, read_colors, read_ids, read_table
from tfrecords_tools.mask_file import read_png_mask

DIRECT, ALTERNATIVE, BACKGROUND = 0, 1, 2  # kseg's ids, equal to the current release's.

# {coding: {id in the file: class id}}. Current: bdd100k/bdd100k doc/source/format.rst, "Drivable
# Area". Legacy: README.md of that repository in 2018, "Understanding the Data".
ID_TABLES = {
    "current": {0: DIRECT, 1: ALTERNATIVE, 2: BACKGROUND},
    "legacy": {0: BACKGROUND, 1: DIRECT, 2: ALTERNATIVE},
}

# {coding: {(r, g, b): class id}}. Current: bdd100k/label/label.py, drivables. Legacy:
# drivable2color of bdd_data/show_labels.py in 2018, and the plain red and blue of descriptions of
# that release.
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

_SAMPLE = 25  # Files of a split that are read to confirm its coding.


def read_mask(frame: Frame, size: Size, coding: str) -> np.ndarray:
    """read_mask for masks of ids."""
    return read_table(frame.label, ID_TABLES[coding], f"BDD100K's {coding} coding")


def read_colormap(frame: Frame, size: Size, coding: str) -> np.ndarray:
    """read_mask for colour maps."""
    return read_colors(frame.label, PALETTES[coding], f"BDD100K's {coding} coding")


READERS = {"masks": read_mask, "colormaps": read_colormap}


def file_suffix(kind: str, folder: Path) -> str:
    """Returns the ending of the label files in `folder`: legacy if any file has it, else .png.

    Legacy folders also hold `_drivable_instance_id.png`, which are not masks of classes.
    """
    legacy = LEGACY_SUFFIXES[kind]
    return legacy if any(folder.glob(f"*{legacy}")) else ".png"


def confirm_coding(kind: str, coding: str, frames: list[Frame]) -> None:
    """Raises InputError unless the file names and pixels of `frames` agree with `coding`.

    `coding` is that of the folder's name. The pixels are those of _SAMPLE files: the top quarter of
    a driving frame is background, and each colour belongs to one coding.
    """
    path = frames[0].label
    name_coding = "legacy" if path.name.endswith(LEGACY_SUFFIXES[kind]) else "current"
    step = max(1, len(frames) // _SAMPLE)
    sample = [frame.label for frame in frames[::step][:_SAMPLE]]
    pixel_codings, reason = (_codings_of_ids if kind == "masks" else _codings_of_colors)(sample)
    if name_coding == coding and coding in pixel_codings:
        return
    pixels = " and ".join(pixel_codings) or "neither"
    raise InputError(
        f"{path.parent}: its coding is in doubt: the folder's name says {coding}, the file names "
        f"{name_coding}, the pixels {pixels} ({reason}); choose with --coding current (ids 0 "
        "direct, 1 alternative, 2 background) or --coding legacy (0 background, 1 direct, 2 "
        "alternative)"
    )


def _codings_of_ids(paths: list[Path]) -> tuple[list[str], str]:
    """Returns (codings that agree with the ids of these masks, the reason in words)."""
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


def _codings_of_colors(paths: list[Path]) -> tuple[list[str], str]:
    """Returns the same for colour maps. Raises InputError on a colour of neither coding."""
    indices = {color: i for i, color in enumerate(PALETTES["current"] | PALETTES["legacy"])}
    occurs, black_shares = np.zeros(len(indices), bool), []
    # Files that can be decoded: one with an unknown colour must raise here.
    for path in _readable(paths, read_png_mask):
        colors = read_colors(path, indices, "BDD100K")
        occurs[np.unique(colors)] = True
        black_shares.append(np.mean(_top_quarter(colors) == indices[0, 0, 0]))
    present = {color for color, i in indices.items() if occurs[i]}
    black = np.mean(black_shares)
    reason = f"colours {sorted(present)}, {black:.0%} of the top quarter is black"
    if black <= 0.5:
        return [], reason
    return [coding for coding, palette in PALETTES.items() if present <= set(palette)], reason


def _readable(paths, read):
    """Returns the files that `read` can read, or the first. The conversion reports corrupt ones."""
    readable = []
    for path in paths:
        try:
            read(path)
        except InputError:
            continue
        readable.append(path)
    return readable or paths[:1]


def _top_quarter(mask):
    return mask[: max(1, len(mask) // 4)]


def _id_of(table, class_id):
    return next(i for i, c in table.items() if c == class_id)
