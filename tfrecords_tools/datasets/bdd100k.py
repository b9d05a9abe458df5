"""BDD100K drivable area, in every form it was released in.

    DATA/images/100k/{train,val}/KEY.jpg                               1280x720

    current release (bdd100k/bdd100k doc/source/download.rst, format.rst):
    DATA/labels/drivable/masks/{train,val}/KEY.png                     ids
    DATA/labels/drivable/colormaps/{train,val}/KEY.png                 colours
    DATA/labels/drivable/rles/drivable_{train,val}.json                run lengths
    DATA/labels/drivable/polygons/drivable_{train,val}.json            polygons

    legacy releases, 2018 (the same repository's history: README.md, doc/format.md):
    DATA/drivable_maps/labels/{train,val}/KEY_drivable_id.png          ids
    DATA/drivable_maps/color_labels/{train,val}/KEY_drivable_color.png colours
    DATA/labels/bdd100k_labels_images_{train,val}.json                 polygons, one file
    DATA/labels/100k/{train,val}/KEY.json                              polygons, one file a frame

The test split has no public labels. Ids and colours differ between the two codings
(bdd100k_coding.py has the tables and refuses what it cannot tell for certain); what the JSON
files mean is in bdd100k_json.py. Whatever is read becomes 0 direct, 1 alternative, 2 background.
"""

from functools import partial
from typing import NamedTuple

from kseg.errors import InputError
from kseg.labels import BDD100K_DRIVABLE
from kseg.paths import to_path
from tfrecords_tools.datasets import (
    IMAGE_SUFFIXES,
    Card,
    Source,
    bdd100k_coding,
    bdd100k_json,
    files_by_key,
    match,
    split_folders,
)

CARD = Card(
    description="BDD100K drivable area: the lane driven in, lanes to change to, and the rest.",
    homepage="https://www.vis.xyz/bdd100k/",
    license="BDD100K licence: research and education; read it where you download",
    citation="""@inproceedings{bdd100k,
  title={BDD100K: A Diverse Driving Dataset for Heterogeneous Multitask Learning},
  author={Yu, Fisher and Chen, Haofeng and Wang, Xin and Xian, Wenqi and Chen, Yingying and
          Liu, Fangchen and Madhavan, Vashisht and Darrell, Trevor},
  booktitle={CVPR},
  year={2020}
}""",
    download="After registration: `100K Images` and `Drivable Area`, unpacked into one folder.",
)

LABELS = ("auto", "masks", "colormaps", "rles", "polygons")
CODINGS = ("auto", "current", "legacy")


class Layout(NamedTuple):
    """Where one kind of label lies, and how its files' names end."""

    kind: str
    coding: str
    path: str
    suffix: str = ""

    @property
    def is_png(self):
        return self.suffix.endswith(".png")


# In order of preference: all kinds of one release say the same, the first are read fastest.
LAYOUTS = (
    Layout("masks", "current", "labels/drivable/masks/{split}", ".png"),
    Layout("masks", "legacy", "drivable_maps/labels/{split}", "_drivable_id.png"),
    Layout("colormaps", "current", "labels/drivable/colormaps/{split}", ".png"),
    Layout("colormaps", "legacy", "drivable_maps/color_labels/{split}", "_drivable_color.png"),
    Layout("rles", "current", "labels/drivable/rles/drivable_{split}.json"),
    Layout("polygons", "current", "labels/drivable/polygons/drivable_{split}.json"),
    Layout("polygons", "legacy", "labels/bdd100k_labels_images_{split}.json"),
    Layout("polygons", "legacy", "labels/100k/{split}", ".json"),
)


def source(data, labels="auto", coding="auto", skip_unpaired=False):
    """Returns the Source of an unpacked BDD100K (or demo) folder. Raises InputError.

    `labels` (of LABELS) chooses the kind, `coding` (of CODINGS) how ids and colours are read;
    "auto" looks, and raises InputError where folders, names and pixels do not agree.
    """
    data = to_path(data)
    images = data / "images" / "100k"
    for folder in (data, images):
        if not folder.is_dir():
            raise InputError(
                f"{folder}: no such folder; --data must hold images/100k/ and labels/ or "
                "drivable_maps/ as BDD100K unpacks them"
            )
    names = split_folders(images, ("train", "val"))
    layout = _choose(data, names, labels, coding)
    splits = {}
    for name in names:
        here, there = images / name, data / layout.path.format(split=name)
        frames = files_by_key(here, IMAGE_SUFFIXES)
        splits[name] = match(frames, _read_labels(layout, there), here, there, skip_unpaired)
    read_mask, coding = _reader(layout, coding, splits)
    origin = f"{layout.path.format(split='*')}, {coding} coding"
    return Source("bdd100k-drivable", BDD100K_DRIVABLE, splits, read_mask, CARD, origin)


def _choose(data, names, kind, coding):
    """Returns the Layout to read. Raises InputError when there is none, or no telling which."""
    found = [
        layout
        for layout in LAYOUTS
        if kind in ("auto", layout.kind)
        and any(_holds(data / layout.path.format(split=name)) for name in names)
    ]
    if not found:
        wanted = [layout.path for layout in LAYOUTS if kind in ("auto", layout.kind)]
        raise InputError(f"{data}: no such folder or file in it: {' or '.join(wanted)}")
    if coding != "auto":
        # Pixels first: they are what the flag is about. Those in the other coding's folder serve
        # where its own is missing: then the flag says that the folder's name is wrong.
        return min(found, key=lambda layout: (not layout.is_png, layout.coding != coding))
    pixels = {layout.coding: layout.path for layout in reversed(found) if layout.is_png}
    if len(pixels) > 1:
        raise InputError(
            f"{data}: holds {pixels['current']} (current coding) and {pixels['legacy']} (legacy "
            "coding); decide with --coding current or --coding legacy"
        )
    return found[0]


def _holds(path):
    return path.is_file() or (path.is_dir() and any(path.iterdir()))


def _read_labels(layout, path):
    """Returns {key: label} of one split."""
    if layout.is_png:
        return files_by_key(path, (bdd100k_coding.file_suffix(layout.kind, path),))
    if layout.suffix:
        return files_by_key(path, (layout.suffix,))
    return bdd100k_json.read_file(path, layout.kind, layout.coding)


def _reader(layout, coding, splits):
    """Returns (read_mask, coding). Raises InputError when "auto" cannot tell the coding."""
    if layout.kind == "rles":
        return bdd100k_json.read_runs, layout.coding
    if layout.kind == "polygons":
        per_frame = layout.suffix == ".json"
        return bdd100k_json.read_legacy if per_frame else bdd100k_json.read_polygons, layout.coding
    if coding == "auto":
        for frames in splits.values():
            bdd100k_coding.confirm(layout.kind, layout.coding, frames)
        coding = layout.coding
    return partial(bdd100k_coding.READERS[layout.kind], coding=coding), coding
