"""Every source of labels, on files written in its layout. Expected ids are derived by hand."""

import argparse
import json
import pickle

import numpy as np
import pytest
from PIL import Image

from kseg.errors import InputError
from kseg.labels import CITYSCAPES_19, IGNORE_ID
from tests.bdd100k_files import (
    ALTERNATIVE,
    BACKGROUND,
    CURRENT_COLORS,
    DIRECT,
    LEGACY_COLORS,
    PIXELS,
    SIZE,
    WRITERS,
    colored,
    read,
    true_mask,
    write_legacy_masks,
    write_png,
)
from tests.conftest import run_build
from tfrecords_tools import source_flags
from tfrecords_tools.datasets import bdd100k, camvid, cityscapes, fingerprint, kitti_road


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_of_bdd100k_gives_the_same_ids(bdd, kind):
    source = bdd100k.source(bdd(kind))
    assert source.labels.names == ["direct", "alternative", "background"]
    for split in ("train", "val"):
        mask = read(source, split)
        assert mask.dtype == np.uint8 and {c: mask[p] for c, p in PIXELS.items()} == {
            DIRECT: 0, ALTERNATIVE: 1, BACKGROUND: 2
        }  # fmt: skip
        assert np.array_equal(mask, true_mask())
    assert ("legacy" in source.origin) == ("legacy" in kind)


@pytest.mark.parametrize("kind", WRITERS)
def test_frames_and_readers_can_be_pickled(bdd, kind):
    source = bdd100k.source(bdd(kind))
    frame, read_mask = pickle.loads(pickle.dumps((source.splits["val"][0], source.read_mask)))
    assert np.array_equal(read_mask(frame, SIZE), true_mask())
    assert fingerprint(frame.label) == fingerprint(source.splits["val"][0].label)


@pytest.mark.parametrize("kind", [k for k in WRITERS if "legacy" not in k])
def test_the_labels_flag_chooses_the_format(bdd, kind):
    data = bdd("masks", "colormaps", "rles", "polygons")
    assert f"labels/drivable/{kind}/" in bdd100k.source(data, labels=kind).origin
    assert "labels/drivable/masks/" in bdd100k.source(data).origin


# Each arranges files of doubtful coding, and returns --labels and the words of the error.
def legacy_ids_under_current_names(data):
    for path in data.glob("labels/drivable/masks/*/*.png"):
        write_png(path, np.array([1, 2, 0], np.uint8)[true_mask()])
    return "masks", "folder's name says current", "pixels legacy"


def current_ids_under_legacy_names(data):
    for path in data.glob("labels/drivable/masks/*/*.png"):
        new = data / "drivable_maps/labels" / path.parent.name / "a_drivable_id.png"
        new.parent.mkdir(parents=True)
        path.rename(new)
    return "masks", "folder's name says legacy", "file names legacy", "pixels current"


def legacy_files_in_the_current_folder(data):
    for path in data.glob("labels/drivable/masks/*/*.png"):
        write_png(path.with_name("a_drivable_id.png"), np.array([1, 2, 0], np.uint8)[true_mask()])
        path.unlink()
    return "masks", "folder's name says current", "file names legacy", "pixels legacy"


def current_names_in_the_legacy_folder(data):
    for path in data.glob("labels/drivable/masks/*/*.png"):
        new = data / "drivable_maps/labels" / path.parent.name / "a.png"
        write_png(new, np.array([1, 2, 0], np.uint8)[true_mask()])
        path.unlink()
    return "masks", "folder's name says legacy", "file names current", "pixels legacy"


def road_up_to_the_sky(data):
    for path in data.glob("labels/drivable/masks/*/*.png"):
        write_png(path, np.ones(SIZE, np.uint8))
    return "masks", "pixels neither"


def only_val_is_legacy(data):
    path = data / "labels/drivable/masks/val/a.png"
    write_png(path, np.array([1, 2, 0], np.uint8)[true_mask()])
    return "masks", "masks/val", "pixels legacy"


def legacy_colors_under_current_names(data):
    for split in ("train", "val"):
        path = data / f"labels/drivable/colormaps/{split}/a.png"
        write_png(path, colored(true_mask(), LEGACY_COLORS))
    return "colormaps", "folder's name says current", "pixels legacy", "(217, 83, 79)"


def both_folders(data):
    for split in ("train", "val"):
        write_legacy_masks(data, split)
    return "auto", "labels/drivable/masks", "drivable_maps/labels"


@pytest.mark.parametrize(
    "arrange",
    [
        legacy_ids_under_current_names,
        current_ids_under_legacy_names,
        legacy_files_in_the_current_folder,
        current_names_in_the_legacy_folder,
        road_up_to_the_sky,
        only_val_is_legacy,
        legacy_colors_under_current_names,
        both_folders,
    ],
)
def test_a_doubtful_coding_stops_and_names_the_flag(bdd, arrange):
    data = bdd("masks")
    labels, *words = arrange(data)
    with pytest.raises(InputError) as caught:
        bdd100k.source(data, labels=labels)
    message = str(caught.value)
    assert "\n" not in message
    for word in ("--coding current", "--coding legacy", *words):
        assert word in message


@pytest.mark.parametrize(
    ("arrange", "coding"),
    [
        (legacy_ids_under_current_names, "legacy"),
        (current_ids_under_legacy_names, "current"),
        (legacy_files_in_the_current_folder, "legacy"),
        (current_names_in_the_legacy_folder, "legacy"),
        (legacy_colors_under_current_names, "legacy"),
        (both_folders, "legacy"),
        (both_folders, "current"),
    ],
)
def test_the_coding_flag_decides(bdd, arrange, coding):
    data = bdd("masks")
    labels, *_ = arrange(data)
    source = bdd100k.source(data, labels=labels, coding=coding)
    assert np.array_equal(read(source), true_mask())
    assert f"{coding} coding" in source.origin


def test_a_wrong_coding_flag_is_obeyed_but_ids_are_still_checked(bdd):
    data = bdd("masks")
    source = bdd100k.source(data, coding="legacy")
    assert {c: read(source)[p] for c, p in PIXELS.items()} == {0: 2, 1: 0, 2: 1}
    mask = true_mask()
    mask[9, 9] = 3
    write_png(data / "labels/drivable/masks/train/a.png", mask)
    with pytest.raises(InputError, match=r"a\.png: ids \[3\].*legacy coding has 0 to 2"):
        read(source)


def test_the_coding_flag_prefers_masks_to_the_json_of_2018_beside_them(bdd):
    source = bdd100k.source(bdd("masks", "legacy polygons, one file a frame"), coding="legacy")
    assert "labels/drivable/masks" in source.origin


def test_an_unknown_colour_is_named_with_its_pixel(bdd):
    data = bdd("colormaps")
    pixels = colored(true_mask(), CURRENT_COLORS)
    pixels[7, 11] = (1, 2, 3)
    path = data / "labels/drivable/colormaps/train/a.png"
    write_png(path, pixels)
    with pytest.raises(InputError, match=r"a\.png: colour \(1, 2, 3\) at row 7, column 11"):
        bdd100k.source(data)
    with pytest.raises(InputError, match=r"a\.png: colour \(1, 2, 3\) at row 7, column 11"):
        read(bdd100k.source(data, coding="current"))


def test_colour_maps_may_be_palette_files(bdd):
    data = bdd("colormaps")
    path = data / "labels/drivable/colormaps/train/a.png"
    image = Image.fromarray(true_mask()).convert("P")
    image.putpalette(np.array(CURRENT_COLORS, np.uint8).tobytes())
    image.save(path)
    assert np.array_equal(read(bdd100k.source(data)), true_mask())


def test_ignored_pixels_stay_ignored(bdd):
    data = bdd("legacy masks")
    ids = np.array([1, 2, 0], np.uint8)[true_mask()]
    ids[600:] = IGNORE_ID
    write_png(data / "drivable_maps/labels/train/a_drivable_id.png", ids)
    mask = read(bdd100k.source(data))
    assert (mask[600:] == IGNORE_ID).all() and (mask[:600] != IGNORE_ID).all()


def test_an_error_about_missing_labels_names_the_possible_folders(bdd):
    with pytest.raises(InputError, match=r"labels/drivable/masks.*drivable_maps/labels"):
        bdd100k.source(bdd())


# Cityscapes.
def write_cityscapes(root, ids):
    for split, city in (("train", "aachen"), ("val", "munster")):
        key = f"{city}_000000_000019"
        write_png(
            root / f"leftImg8bit/{split}/{city}/{key}_leftImg8bit.png",
            np.zeros((4, 4, 3), np.uint8),
        )
        folder = root / f"gtFine/{split}/{city}"
        write_png(folder / f"{key}_gtFine_labelIds.png", ids)
        write_png(folder / f"{key}_gtFine_instanceIds.png", ids.astype(np.uint16))
        write_png(folder / f"{key}_gtFine_color.png", np.zeros((4, 4, 3), np.uint8))
    return root


X = IGNORE_ID
CITYSCAPES_IDS = {
    "19": [X] * 7 + [0, 1, X, X, 2, 3, 4, X, X, X, 5, X, *range(6, 16), X, X, 16, 17, 18],
    "road": [X] * 7 + [0, 1, X, X, 1, 1, 1, X, X, X, 1, X, *[1] * 10, X, X, 1, 1, 1],
}


@pytest.mark.parametrize("task", cityscapes.TASKS)
def test_cityscapes_ids(tmp_path, task):
    source = cityscapes.source(
        write_cityscapes(tmp_path, np.arange(34, dtype=np.uint8)[None]), task=task
    )
    assert {n: [f.key for f in frames] for n, frames in source.splits.items()} == {
        "train": ["aachen_000000_000019"],
        "val": ["munster_000000_000019"],
    }
    assert read(source, "val").tolist() == [CITYSCAPES_IDS[task]]
    assert source.labels.names[0] == "road" and source.labels.drivable_ids == [0]


def test_cityscapes_names_and_colours_are_the_official_ones():
    by_name = {c.name: c.color for c in CITYSCAPES_19.classes}
    assert len(by_name) == 19 and CITYSCAPES_19.names[13] == "car"
    assert by_name["traffic light"] == (250, 170, 30) and by_name["bicycle"] == (119, 11, 32)


def test_cityscapes_refuses_ids_and_folders_that_are_not_its_own(tmp_path):
    data = write_cityscapes(tmp_path / "city", np.full((4, 4), 34, np.uint8))
    with pytest.raises(InputError, match=r"labelIds\.png: ids \[34\].*Cityscapes has 0 to 33"):
        read(cityscapes.source(data))
    (data / "gtFine").rename(data / "gtCoarse")
    with pytest.raises(InputError, match="gtFine: no such folder"):
        cityscapes.source(data)


STREET = np.repeat([23, 11, 20, 7, 7, 7], 4).reshape(6, 4).astype(np.uint8)  # Sky to road.
TO_TRAIN_IDS = np.array([*cityscapes.TRAIN_IDS.values()], np.uint8)


def rename_to_train_ids(root):
    for path in root.glob("gtFine/*/*/*_gtFine_labelIds.png"):
        path.rename(path.with_name(path.name.replace("labelIds", "labelTrainIds")))
    return root


@pytest.mark.parametrize("task", cityscapes.TASKS)
def test_cityscapes_train_ids_give_the_same_masks(tmp_path, task):
    label_ids = cityscapes.source(write_cityscapes(tmp_path / "a", STREET), task=task)
    data = rename_to_train_ids(write_cityscapes(tmp_path / "b", TO_TRAIN_IDS[STREET]))
    train_ids = cityscapes.source(data, task=task)
    assert np.array_equal(read(label_ids), read(train_ids))
    assert "train-ids" in train_ids.origin and "label-ids" in label_ids.origin


def train_ids_called_label_ids(root):
    return write_cityscapes(root, TO_TRAIN_IDS[STREET]), "label-ids", "the pixels train-ids"


def label_ids_called_train_ids(root):
    return rename_to_train_ids(write_cityscapes(root, STREET)), "train-ids", "the pixels label-ids"


def road_only_train_ids(root):
    return write_cityscapes(root, np.zeros((6, 4), np.uint8)), "label-ids", "100% are 0"


@pytest.mark.parametrize(
    "arrange", [train_ids_called_label_ids, label_ids_called_train_ids, road_only_train_ids]
)
def test_a_doubtful_coding_of_cityscapes_stops_and_the_flag_decides(tmp_path, arrange):
    data, *words = arrange(tmp_path / "city")
    with pytest.raises(InputError) as caught:
        cityscapes.source(data)
    assert "\n" not in str(caught.value)
    for word in ("--coding label-ids", "--coding train-ids", "gtFine/train", *words):
        assert word in str(caught.value)
    coding = "label-ids" if "label-ids" in words[1] else "train-ids"
    mask = read(cityscapes.source(data, coding=coding))
    assert (mask[3:] == 0).all()  # Road.


# CamVid's original masks.
CAMVID_COLORS = {
    (128, 128, 128): (0, 2),  # Sky: class of task `11`, of task `road`
    (64, 192, 0): (1, 2),  # Wall
    (192, 192, 128): (2, 2),  # Column_Pole
    (128, 0, 192): (3, 0),  # LaneMkgsDriv
    (128, 128, 192): (4, 1),  # RoadShoulder
    (192, 192, 0): (5, 2),  # VegetationMisc
    (0, 64, 64): (6, 2),  # TrafficLight
    (64, 64, 128): (7, 2),  # Fence
    (192, 128, 192): (8, 2),  # Truck_Bus
    (192, 128, 64): (9, 2),  # Child
    (192, 0, 192): (10, 2),  # MotorcycleScooter
    (0, 0, 0): (X, X),  # Void
}


@pytest.mark.parametrize("layout", camvid.LAYOUTS)
def test_camvids_original_colours_in_every_layout(tmp_path, layout):
    for name in ("train", "val"):
        images, masks = (tmp_path / part.format(split=name) for part in layout)
        write_png(images / "0016E5_00001.png", np.zeros((1, 12, 3), np.uint8))
        write_png(masks / "0016E5_00001_L.png", np.array([[*CAMVID_COLORS]], np.uint8))
    for column, task in enumerate(("11", "road")):
        source = camvid.source(tmp_path, task=task)
        assert [f.key for f in source.splits["train"]] == ["0016E5_00001"]
        assert read(source).tolist() == [[classes[column] for classes in CAMVID_COLORS.values()]]
    assert set(source.splits) == ({"train", "val"} if "{split}" in layout[0] else {"train"})


def test_camvid_refuses_a_colour_that_is_not_its_own(tmp_path):
    assert len(camvid.COLOR_IDS) == 32
    write_png(tmp_path / "images/train/a.png", np.zeros((1, 1, 3), np.uint8))
    write_png(tmp_path / "labels/train/a_L.png", np.array([[[60, 40, 222]]], np.uint8))
    with pytest.raises(InputError, match=r"a_L\.png.*\(60, 40, 222\).*label_colors"):
        read(camvid.source(tmp_path))


# BDD100K's two sets of images.
def test_10k_images_beside_100k_labels_get_a_clear_line(bdd):
    data = bdd("masks")
    (data / "images/100k").rename(data / "images/10k")
    with pytest.raises(InputError, match=r"images/10k.*semantic segmentation.*100K Images"):
        bdd100k.source(data)
    (data / "images/10k").rename(data / "images/100k")
    for path in data.glob("images/100k/*/a.jpg"):
        path.rename(path.with_name("b.jpg"))
    with pytest.raises(InputError, match=r"only 0 of its 1 images.*10k.*100K Images"):
        bdd100k.source(data)


# KITTI road.
MAGENTA, RED, BLACK = (255, 0, 255), (255, 0, 0), (0, 0, 0)


def write_kitti(root):
    """um_000000 has lane and road; uu_000003 and umm_000001 have road only."""
    for key in ("um_000000", "umm_000001", "uu_000003"):
        write_png(root / f"training/image_2/{key}.png", np.zeros((1, 4, 3), np.uint8))
        road = np.array([[MAGENTA, MAGENTA, RED, BLACK]], np.uint8)
        write_png(root / f"training/gt_image_2/{key.replace('_', '_road_')}.png", road)
    lane = np.array([[MAGENTA, RED, RED, RED]], np.uint8)
    write_png(root / "training/gt_image_2/um_lane_000000.png", lane)
    return root


def test_kitti_road_takes_all_frames(tmp_path):
    source = kitti_road.source(write_kitti(tmp_path))
    assert [f.key for f in source.splits["train"]] == ["um_000000", "umm_000001", "uu_000003"]
    for number in range(3):
        assert read(source, number=number).tolist() == [[0, 0, 1, IGNORE_ID]]
    assert source.labels.names == ["road", "background"]


def test_kitti_lane_takes_the_frames_that_have_one(tmp_path):
    data = write_kitti(tmp_path)
    source = kitti_road.source(data, task="lane")
    assert [f.key for f in source.splits["train"]] == ["um_000000"]
    assert read(source).tolist() == [[0, 1, 2, IGNORE_ID]]
    assert source.labels.names == ["ego_lane", "other_road", "background"]
    assert source.labels.drivable_ids == [0]
    lane = np.array([[MAGENTA, BLACK, BLACK, RED]], np.uint8)
    write_png(data / "training/gt_image_2/um_lane_000000.png", lane)
    assert read(source).tolist() == [[0, IGNORE_ID, IGNORE_ID, IGNORE_ID]]
    frame = pickle.loads(pickle.dumps(source.splits["train"][0]))
    assert frame.where.endswith("um_lane_000000.png") and fingerprint(frame.label)


def test_kitti_refuses_other_colours_and_missing_labels(tmp_path):
    data = write_kitti(tmp_path)
    path = data / "training/gt_image_2/um_road_000000.png"
    write_png(path, np.array([[MAGENTA, (0, 255, 0), RED, RED]], np.uint8))
    with pytest.raises(InputError, match=r"colour \(0, 255, 0\) at row 0, column 1"):
        read(kitti_road.source(data))
    (data / "training/gt_image_2/uu_road_000003.png").unlink()
    with pytest.raises(InputError, match=r"uu_000003\.png: image without a mask"):
        kitti_road.source(data)
    assert len(kitti_road.source(data, skip_unpaired=True).splits["train"]) == 2


def test_kitti_with_lane_labels_only_names_both_files_and_the_task_that_reads_them(tmp_path):
    data = write_kitti(tmp_path)
    for path in data.glob("training/gt_image_2/*_road_*.png"):
        path.unlink()
    for task in ("road", "lane"):
        with pytest.raises(InputError) as caught:
            kitti_road.source(data, task=task)
        for word in ("um_lane_000000.png", "um_road_000000.png", f"task {task}", "ego-lane"):
            assert word in str(caught.value)
    source = kitti_road.source(data, task="ego-lane")
    assert [f.key for f in source.splits["train"]] == ["um_000000"]
    assert read(source).tolist() == [[0, 1, 1, 1]]
    assert source.labels.drivable_ids == [0]


# {source: folders in which it looks}
FOLDERS = {
    "bdd100k": ("images/100k/train", "labels/drivable/masks/train"),
    "camvid": ("images/train", "labels/train"),
    "cityscapes": ("leftImg8bit/train/aachen", "gtFine/train/aachen"),
    "cvat": ("SegmentationClass", "JPEGImages", "ImageSets/Segmentation"),
    "folder": ("images", "masks"),
    "idd": ("leftImg8bit/train/0", "gtFine/train/0"),
    "kitti-road": ("training/image_2", "training/gt_image_2"),
    "labelme": ("train",),
}
CLASSES = [{"id": i, "name": f"c{i}", "color": [i, 0, 0]} for i in (0, 1)]


@pytest.mark.parametrize("source", FOLDERS)
def test_a_folder_without_the_files_of_a_source_says_where_they_belong(source, tmp_path, capsys):
    data = tmp_path / "data"
    for make in (
        lambda: None,  # Not even --data exists.
        data.mkdir,
        lambda: (data / FOLDERS[source][0]).mkdir(parents=True),
        lambda: [(data / name).mkdir(parents=True, exist_ok=True) for name in FOLDERS[source]],
        lambda: (data / "classes.json").write_text(json.dumps({"name": "x", "classes": CLASSES})),
    ):
        make()
        assert run_build(data, tmp_path / "out", source=source) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: {data}")
        ways_on = ("--data must hold", f"--source {source} reads", "it must list", "put the images")
        assert any(words in line for words in (*ways_on, "makes such files"))


def test_other_sources_state_their_layout_too(tmp_path):
    """A source that is added later needs an entry in the list of layouts."""
    parser = argparse.ArgumentParser()
    source_flags.add_to(parser)
    (choices,) = (a.choices for a in parser._actions if a.dest == "source")
    assert set(choices) == set(source_flags.LAYOUTS) == set(FOLDERS)
