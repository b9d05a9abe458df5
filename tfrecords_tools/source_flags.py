"""The flags of tfrecords_tools.build that choose a source and say how to read its labels."""

import argparse
import dataclasses

from kseg.errors import InputError
from tfrecords_tools import splits
from tfrecords_tools.class_names import with_drivable
from tfrecords_tools.datasets import (
    LayoutError,
    Source,
    bdd100k,
    camvid,
    cityscapes,
    cvat,
    folder,
    idd,
    kitti_road,
    labelme,
)

# Sources with several tasks: their modules have TASKS.
TASKED = {"camvid": camvid, "cityscapes": cityscapes, "idd": idd, "kitti-road": kitti_road}
# Sources whose files name the classes, but not which of them are drivable.
NAMED = {"cvat": cvat, "labelme": labelme}
CODINGS = {"bdd100k": bdd100k.CODINGS, "cityscapes": cityscapes.CODINGS}
FLAGS_OF_ONE_SOURCE = {
    "labels": "bdd100k",
    "mask_values": "folder",
    "mask_reading": "folder",
}


# What each source reads below --data, in short; its module has the details.
LAYOUTS = {
    "bdd100k": "images/100k/{train,val}/ and labels/drivable/ or drivable_maps/, as unpacked",
    "camvid": "images/{train,val,test}/ and labels/{train,val,test}/*.png, or SPLIT/ and "
    "SPLIT_labels/, or 701_StillsRaw_full/ and LabeledApproved_full/",
    "cityscapes": "leftImg8bit/{train,val}/CITY/ and gtFine/{train,val}/CITY/, as unpacked",
    "cvat": "labelmap.txt, SegmentationClass/, ImageSets/Segmentation/ and JPEGImages/, CVAT's "
    "export 'Segmentation mask 1.1', unpacked",
    "folder": "classes.json, images/[SPLIT/] and masks/[SPLIT/]*.png, named like their images",
    "idd": "leftImg8bit/{train,val}/DRIVE/ and gtFine/{train,val}/DRIVE/, as unpacked",
    "kitti-road": "training/image_2/*.png and training/gt_image_2/*.png, as data_road.zip "
    "unpacks them",
    "labelme": "labels.txt and [SPLIT/]*.json, with their images unless they hold imageData",
}


def add_to(parser: argparse.ArgumentParser) -> None:
    """Adds the flags to a parser, in a group of their own."""
    add = parser.add_argument_group("source and labels").add_argument
    add(
        "--source",
        required=True,
        choices=("bdd100k", *TASKED, "folder", *NAMED),
        help="layout and labels of the data set; your own labels: folder, labelme or cvat",
    )
    tasks = "; ".join(f"{name}: {' or '.join(module.TASKS)}" for name, module in TASKED.items())
    add("--task", metavar="NAME", help=f"set of classes (default: road). {tasks}")
    add(
        "--labels",
        choices=bdd100k.LABELS,
        default="auto",
        help="bdd100k only: which kind of label files to read (default: auto, the first kind in "
        "this order that exists)",
    )
    add(
        "--coding",
        choices=(*bdd100k.CODINGS, *cityscapes.CODINGS[1:]),
        default="auto",
        help="the meaning of ids in masks. bdd100k: current (0 direct, 1 alternative, 2 "
        "background) or legacy (0 background, 1 direct, 2 alternative); cityscapes: label-ids (7 "
        "is road) or train-ids (0 is road) (default: auto, which stops unless folder name, file "
        "names and pixels agree)",
    )
    add(
        "--mask-values",
        nargs="+",
        metavar="V:ID",
        help="folder only: class ids of the values in masks, for example 0:0 255:1 7:ignore",
    )
    add(
        "--mask-reading",
        choices=folder.READINGS,
        default="auto",
        help="folder only: what masks hold. ids: class ids or palette indices; colors: the colours "
        "of classes.json (default: auto, which stops where both are possible)",
    )
    add(
        "--drivable",
        nargs="+",
        metavar="NAME",
        help="cvat and labelme only: the classes on which a car may drive",
    )
    add(
        "--skip-unpaired",
        action="store_true",
        help="leave out images without a mask and masks without an image instead of stopping "
        "(BDD100K has 137 such training images)",
    )


def check(args: argparse.Namespace) -> None:
    """Fills in the default task. Raises InputError on a flag that the source does not have."""
    tasks = list(TASKED[args.source].TASKS) if args.source in TASKED else []
    if args.task is None:
        args.task = tasks[0] if tasks else None
    elif args.task not in tasks:
        known = f"has {' and '.join(tasks)}" if tasks else "has only one task; leave --task out"
        raise InputError(f"--task {args.task}: --source {args.source} {known}")
    if args.drivable and args.source not in NAMED:
        raise InputError(f"--drivable {args.drivable[0]}: only valid with {' or '.join(NAMED)}")
    codings = CODINGS.get(args.source, ("auto",))
    if args.coding not in codings:
        known = f"has {' and '.join(codings[1:])}" if codings[1:] else "has only one; leave it out"
        raise InputError(f"--coding {args.coding}: --source {args.source} {known}")
    for flag, owner in FLAGS_OF_ONE_SOURCE.items():
        value = getattr(args, flag)
        if args.source != owner and value not in (None, "auto"):
            given = " ".join(value) if isinstance(value, list) else value
            name = flag.replace("_", "-")
            raise InputError(f"--{name} {given}: only valid with --source {owner}")


def open_source(args: argparse.Namespace) -> Source:
    """Returns the Source that the flags name. Raises InputError."""
    try:
        source = _read_source(args)
    except LayoutError as error:
        raise InputError(
            f"{error}; --source {args.source} reads, below --data: {LAYOUTS[args.source]}; put the "
            "files there, or choose the --source that fits them"
        ) from error
    if args.group_by in (None, splits.BY_FRAME):
        return source
    splits.check_pattern(args.group_by, source.splits)
    return dataclasses.replace(source, drive_pattern=args.group_by)


def _read_source(args: argparse.Namespace) -> Source:
    if args.source == "bdd100k":
        return bdd100k.source(
            args.data, labels=args.labels, coding=args.coding, skip_unpaired=args.skip_unpaired
        )
    if args.source == "cityscapes":
        return cityscapes.source(
            args.data, task=args.task, coding=args.coding, skip_unpaired=args.skip_unpaired
        )
    if args.source in TASKED:
        module = TASKED[args.source]
        return module.source(args.data, task=args.task, skip_unpaired=args.skip_unpaired)
    if args.source in NAMED:
        source = NAMED[args.source].source(args.data, skip_unpaired=args.skip_unpaired)
        return dataclasses.replace(source, labels=with_drivable(source.labels, args.drivable or []))
    return folder.source(
        args.data,
        mask_values=args.mask_values,
        reading=args.mask_reading,
        skip_unpaired=args.skip_unpaired,
    )
