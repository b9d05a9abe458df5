"""CVAT's export of segmentation masks, and Pascal VOC's layout."""

import numpy as np
import pytest

from kseg.errors import InputError
from kseg.labels import IGNORE_ID
from tests.bdd100k_files import read, write_png
from tests.odd_images import PALETTE, chunk, png
from tfrecords_tools.class_names import voc_color
from tfrecords_tools.datasets import cvat

X = IGNORE_ID
LABELMAP = """# label:color_rgb:parts:actions
background:0,0,0::
road:128,64,128::
lane: solid:250,50,83::
"""
IDS = np.array([[0, 0, 1, 1], [2, 2, 1, 0]], np.uint8)
COLORS = np.array([[0, 0, 0], [128, 64, 128], [250, 50, 83]], np.uint8)


def write(root, lists=None, *, labelmap=LABELMAP, mask=None):
    """lists: {name of the list: keys}, as CVAT writes them."""
    for name, keys in (lists or {"default": ["a", "b"]}).items():
        path = root / f"ImageSets/Segmentation/{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{key}\n" for key in keys))
        for key in keys:
            write_png(root / f"JPEGImages/{key}.png", np.zeros((2, 4, 3), np.uint8))
            write_png(root / f"SegmentationClass/{key}.png", COLORS[IDS])
            if mask is not None:
                (root / f"SegmentationClass/{key}.png").write_bytes(mask)
    if labelmap is not None:
        (root / "labelmap.txt").write_text(labelmap)
    return root


def test_ids_follow_labelmap_txt(tmp_path):
    source = cvat.source(write(tmp_path))
    assert source.labels.names == ["background", "road", "lane: solid"]
    assert source.labels.palette == [tuple(c) for c in COLORS.tolist()]
    assert [f.key for f in source.splits["train"]] == ["a", "b"]
    assert np.array_equal(read(source), IDS)


def test_palette_masks_are_read_by_their_colours(tmp_path):
    order = np.array([2, 0, 1])
    palette = chunk(b"PLTE", COLORS[np.argsort(order)].tobytes())
    source = cvat.source(write(tmp_path, mask=png(order[IDS], 8, PALETTE, [palette])))
    assert np.array_equal(read(source), IDS)


def test_subsets_become_splits_and_keys_may_have_folders(tmp_path):
    lists = {"Train": ["drive1/a"], "Validation": ["drive2/a"], "test": ["c"]}
    source = cvat.source(write(tmp_path, lists))
    assert {n: [f.key for f in part] for n, part in source.splits.items()} == {
        "train": ["drive1/a"],
        "val": ["drive2/a"],
        "test": ["c"],
    }


def test_without_labelmap_the_classes_are_pascal_vocs_and_its_border_is_ignored(tmp_path):
    colors = np.array([voc_color(0), voc_color(7), (224, 224, 192)], np.uint8)
    lists = {"train": ["a"], "val": ["b"], "trainval": ["a", "b"]}
    source = cvat.source(write(tmp_path, lists, labelmap=None))
    write_png(tmp_path / "SegmentationClass/a.png", colors[IDS])
    assert np.array_equal(read(source), np.array([0, 7, X])[IDS])
    assert source.labels.names[7] == "car" and len(source.labels.classes) == 21
    assert {n: len(part) for n, part in source.splits.items()} == {"train": 1, "val": 1}


def test_without_lists_all_masks_are_train(tmp_path):
    data = write(tmp_path)
    (data / "ImageSets/Segmentation/default.txt").unlink()
    (data / "SegmentationClass/._a.png").write_bytes(b"junk")
    assert [f.key for f in cvat.source(data).splits["train"]] == ["a", "b"]


def no_images(root):
    (write(root) / "JPEGImages").rename(root / "elsewhere")
    return "JPEGImages", "Save images"


def one_missing_mask(root):
    (write(root) / "SegmentationClass/b.png").unlink()
    return "SegmentationClass/b.png", "1 of 2", "--skip-unpaired"


def frame_in_two_subsets(root):
    write(root, {"train": ["a"], "val": ["a"]})
    return "val.txt", "a is in train.txt"


def one_color_twice(root):
    write(root, labelmap=LABELMAP + "kerb:128,64,128::\n")
    return "labelmap.txt", "'road' and 'kerb'", "(128, 64, 128)"


def one_name_twice(root):
    write(root, labelmap=LABELMAP + "road:1,2,3::\n")
    return "labelmap.txt, line 5", "'road' occurs twice"


def no_color(root):
    write(root, labelmap="background::: \n")
    return "labelmap.txt, line 1", "NAME:R,G,B::"


def no_export(root):
    root.joinpath("annotations.xml").write_text("")
    return "SegmentationClass", "Segmentation mask 1.1"


@pytest.mark.parametrize(
    "arrange",
    [
        *(no_images, one_missing_mask, frame_in_two_subsets, one_color_twice, one_name_twice),
        *(no_color, no_export),
    ],
)
def test_an_incomplete_export_gets_one_line(tmp_path, arrange):
    words = arrange(tmp_path)
    with pytest.raises(InputError) as caught:
        cvat.source(tmp_path)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_an_unknown_colour_names_mask_and_colour(tmp_path):
    source = cvat.source(write(tmp_path, labelmap="a:0,0,0::\nb:1,1,1::\n"))
    with pytest.raises(InputError, match=r"a\.png.*\(128, 64, 128\).*labelmap"):
        read(source)
