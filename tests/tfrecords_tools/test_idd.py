"""India Driving Dataset, full and lite, on files in its layout. Expected ids are by hand."""

import json
import pickle

import numpy as np
import pytest

from kseg.errors import InputError
from kseg.labels import IGNORE_ID
from tests.bdd100k_files import read, write_json, write_png
from tfrecords_tools.datasets import fingerprint, idd

SIZE = (6, 8)


def box(label, left, top, right, bottom, **more):
    polygon = [[left, top], [right, top], [right, bottom], [left, bottom]]
    return {"label": label, "polygon": polygon, **more}


def write_full(root, objects):
    document = {"imgHeight": SIZE[0], "imgWidth": SIZE[1], "objects": objects}
    for split, drive in (("train", "0"), ("train", "12"), ("val", "7")):
        image = root / f"leftImg8bit/{split}/{drive}/frame0029_leftImg8bit.png"
        write_png(image, np.zeros((*SIZE, 3), np.uint8))
        write_json(root / f"gtFine/{split}/{drive}/frame0029_gtFine_polygons.json", document)
    return root


def write_lite(root, ids):
    for split, drive in (("train", "0"), ("train", "12"), ("val", "7")):
        image = root / f"leftImg8bit/{split}/{drive}/frame0029_image.jpg"
        write_png(image, np.zeros((*ids.shape, 3), np.uint8))
        write_png(root / f"gtFine/{split}/{drive}/frame0029_label.png", ids)
    return root


def test_later_polygons_cover_earlier_ones_and_what_no_polygon_covers_is_ignored(tmp_path):
    objects = [
        box("sky", 0, 0, 7, 2),
        box("road", 0, 3, 7, 4),
        box("car", 2, 1, 4, 3),
        box("autorickshawgroup", 6, 3, 7, 3),
        box("bus", 0, 0, 7, 5, deleted=1),
        {"label": "pole", "polygon": [[0, 0], [7, 5]]},
        box("license plate", 3, 3, 3, 3),
    ]
    x = IGNORE_ID
    source = idd.source(write_full(tmp_path, objects), task="7")
    assert read(source, size=SIZE).tolist() == [
        [6, 6, 6, 6, 6, 6, 6, 6],
        [6, 6, 3, 3, 3, 6, 6, 6],
        [6, 6, 3, 3, 3, 6, 6, 6],
        [0, 0, 3, x, 3, 0, 3, 3],
        [0, 0, 0, 0, 0, 0, 0, 0],
        [x, x, x, x, x, x, x, x],
    ]
    road = read(idd.source(tmp_path, task="road"), size=SIZE)
    assert road[4].tolist() == [0] * 8 and road[0].tolist() == [1] * 8 and (road[5] == x).all()


def test_ids_of_the_lite_release(tmp_path):
    ids = np.array([[*range(7), IGNORE_ID]], np.uint8)
    data = write_lite(tmp_path, ids)
    assert read(idd.source(data, task="7"), size=(1, 8)).tolist() == [[*range(7), IGNORE_ID]]
    assert read(idd.source(data), size=(1, 8)).tolist() == [[0, *[1] * 6, IGNORE_ID]]
    write_lite(tmp_path, ids + 1)
    with pytest.raises(InputError, match=r"0029_label\.png: ids \[7\].*IDD lite has 0 to 6"):
        read(idd.source(data), size=(1, 8))


@pytest.mark.parametrize(
    "write", [lambda r: write_full(r, []), lambda r: write_lite(r, np.zeros(SIZE, np.uint8))]
)
def test_frames_of_one_name_in_two_drives_are_two_frames(tmp_path, write):
    source = idd.source(write(tmp_path))
    assert {n: [f.key for f in frames] for n, frames in source.splits.items()} == {
        "train": ["0_frame0029", "12_frame0029"],
        "val": ["7_frame0029"],
    }
    frame, read_mask = pickle.loads(pickle.dumps((source.splits["val"][0], source.read_mask)))
    assert read_mask(frame, SIZE).shape == SIZE and fingerprint(frame.label)


def test_every_name_of_idd_has_one_class():
    assert len(idd.IDS) == sum(map(len, idd.LEVEL_1.values())) == 40
    assert [idd.IDS[n] for n in ("parking", "curb", "vegetation", "animal")] == [0, 4, 5, 2]


def unknown_label(path):
    document = json.loads(path.read_text())
    document["objects"] = [box("rood", 0, 0, 3, 3)]
    path.write_text(json.dumps(document))
    return ("unknown label 'rood'",)


def other_size(path):
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"imgHeight": 1080, "imgWidth": 1920}))
    return "1080x1920", "6x8"


def no_json(path):
    path.write_text("{")
    return ("line 1",)


def no_objects(path):
    path.write_text("{}")
    return ("no 'imgHeight'",)


@pytest.mark.parametrize("damage", [unknown_label, other_size, no_json, no_objects])
def test_a_damaged_polygon_file_is_named(tmp_path, damage):
    data = write_full(tmp_path, [])
    words = damage(data / "gtFine/train/0/frame0029_gtFine_polygons.json")
    with pytest.raises(InputError) as caught:
        read(idd.source(data), size=SIZE)
    for word in ("train/0/frame0029_gtFine_polygons.json", *words):
        assert word in str(caught.value)


def test_a_folder_without_labels_names_both_releases(tmp_path):
    data = write_full(tmp_path, [])
    for path in data.glob("gtFine/*/*/*.json"):
        path.unlink()
    with pytest.raises(InputError, match=r"_gtFine_polygons\.json.*_label\.png"):
        idd.source(data)
