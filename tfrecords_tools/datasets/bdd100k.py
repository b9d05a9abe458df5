"""BDD100K drivable area, in every format that has been released.

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

The test split has no public labels. Ids and colours differ between the two codings:
bdd100k_coding.py has the tables, and refuses files whose coding is in doubt. bdd100k_json.py
describes the JSON files. All formats become 0 direct, 1 alternative, 2 background.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from kseg.errors import InputError
from kseg.labels import BDD100K_DRIVABLE
from kseg.paths import to_path
from tfrecords_tools.datasets import (
    IMAGE_SUFFIXES,
    Card,
    Frame,
    LayoutError,
    Source,
    bdd100k_coding,
    bdd100k_json,
    files_by_key,
    pair,
    split_folders,
)

CARD = Card(
    description="BDD100K drivable area: the lane driven in, lanes to change to, and the rest.",
    homepage="https://www.vis.xyz/bdd100k/",
    license="BDD100K licence: research and education; see its download page",
    citation="""@inproceedings{bdd100k,
  title={BDD100K: A Diverse Driving Dataset for Heterogeneous Multitask Learning},
  author={Yu, Fisher and Chen, Haofeng and Wang, Xin and Xian, Wenqi and Chen, Yingying and
          Liu, Fangchen and Madhavan, Vashisht and Darrell, Trevor},
  booktitle={CVPR},
  year={2020}
}""",
    download="After registration: `100K Images` and `Drivable Area`, unpacked into one folder.",
)

# Names begin with eight hex digits of the trip.
DRIVE_PATTERN = "^[0-9a-f]{8}(?=-)"

LABELS = ("auto", "masks", "colormaps", "rles", "polygons")
CODINGS = ("auto", "current", "legacy")


class Layout(NamedTuple):
    """The place of one kind of label, and the ending of its file names."""

    kind: str
    coding: str
    path: str
    suffix: str = ""

    @property
    def is_png(self) -> bool:
        return self.suffix.endswith(".png")


# In order of preference: the kinds of one release are equivalent, and the first load fastest.
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


def source(
    data: Path | str, *, labels: str = "auto", coding: str = "auto", skip_unpaired: bool = False
) -> Source:
    """Returns the Source of an unpacked BDD100K (or demo) folder.

    labels: one of LABELS; "auto" takes the first kind that exists. coding: one of CODINGS, the
    meaning of ids and colours; "auto" requires that folder name, file names and pixels agree.
    Raises InputError on missing files, and when "auto" cannot determine the coding.
    """
    root = to_path(data)
    images = root / "images" / "100k"
    for folder in (root, images):
        if not folder.is_dir():
            found = root / "images/10k"
            reason = (
                f"{found} holds the frames of semantic segmentation, which are others than those "
                "with drivable labels; unpack `100K Images` too"
                if found.is_dir()
                else "--data must hold images/100k/ and labels/ or drivable_maps/ as BDD100K "
                "unpacks them"
            )
            raise InputError(f"{folder}: no such folder; {reason}")
    names = split_folders(images, ("train", "val"))
    layout = _choose_layout(root, names, labels, coding)
    splits = {}
    for name in names:
        image_dir, label_dir = images / name, root / layout.path.format(split=name)
        frames = files_by_key(image_dir, IMAGE_SUFFIXES)
        label_of = _read_labels(layout, label_dir)
        if not skip_unpaired:
            _refuse_other_frames(frames, label_of, image_dir, label_dir)
        splits[name] = pair(frames, label_of, image_dir, label_dir, skip_unpaired=skip_unpaired)
    read_mask, coding = _mask_reader(layout, coding, splits)
    origin = f"{layout.path.format(split='*')}, {coding} coding"
    return Source(
        "bdd100k-drivable", BDD100K_DRIVABLE, splits, read_mask, CARD, origin, DRIVE_PATTERN
    )


def _refuse_other_frames(images: dict, labels: dict, image_dir: Path, label_dir: Path) -> None:
    """Raises InputError when most images have no label, as the 10k frames beside 100k labels."""
    both = len(images.keys() & labels.keys())
    if 2 * both < len(images):
        raise InputError(
            f"{image_dir}: only {both} of its {len(images)} images have one of the {len(labels)} "
            f"labels in {label_dir}; are these the 10k frames of semantic segmentation? The "
            "drivable labels belong to `100K Images`; --skip-unpaired uses the frames that match"
        )


def _choose_layout(data: Path, names: list[str], kind: str, coding: str) -> Layout:
    """Returns the Layout to read. Raises InputError when there is none, or more than one coding."""
    present = [
        layout
        for layout in LAYOUTS
        if kind in ("auto", layout.kind)
        and any(_has_content(data / layout.path.format(split=name)) for name in names)
    ]
    if not present:
        wanted = [layout.path for layout in LAYOUTS if kind in ("auto", layout.kind)]
        if kind != "auto":
            raise InputError(
                f"{data}: contains no {' or '.join(wanted)}; leave --labels out to read the labels "
                "that are there"
            )
        raise LayoutError(f"{data}: contains no {' or '.join(wanted)}")
    if coding != "auto":
        # PNG files first, as the flag is about pixels. Where only the other coding's folder exists,
        # it is used: the flag then says that the folder's name is wrong.
        return min(present, key=lambda layout: (not layout.is_png, layout.coding != coding))
    png_paths = {layout.coding: layout.path for layout in reversed(present) if layout.is_png}
    if len(png_paths) > 1:
        raise InputError(
            f"{data}: holds {png_paths['current']} (current coding) and {png_paths['legacy']} "
            "(legacy coding); choose with --coding current or --coding legacy"
        )
    return present[0]


def _has_content(path: Path) -> bool:
    return path.is_file() or (path.is_dir() and any(path.iterdir()))


def _read_labels(layout: Layout, path: Path) -> dict:
    """Returns {key: label} of one split."""
    if layout.is_png:
        return files_by_key(path, (bdd100k_coding.file_suffix(layout.kind, path),))
    if layout.suffix:
        return files_by_key(path, (layout.suffix,))
    return bdd100k_json.read_file(path, layout.kind, layout.coding)


def _mask_reader(
    layout: Layout, coding: str, splits: dict[str, list[Frame]]
) -> tuple[Callable, str]:
    """Returns (read_mask, coding). Raises InputError when "auto" cannot determine the coding."""
    if layout.kind == "rles":
        return bdd100k_json.read_runs, layout.coding
    if layout.kind == "polygons":
        per_frame = layout.suffix == ".json"
        return bdd100k_json.read_legacy if per_frame else bdd100k_json.read_polygons, layout.coding
    if coding == "auto":
        for frames in splits.values():
            bdd100k_coding.confirm_coding(layout.kind, layout.coding, frames)
        coding = layout.coding
    return partial(bdd100k_coding.READERS[layout.kind], coding=coding), coding
