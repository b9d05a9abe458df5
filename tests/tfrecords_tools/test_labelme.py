"""labelme's JSON files, written as labelme writes them. Expected ids are derived by hand."""

import base64
import json
import pickle

import cv2
import numpy as np
import pytest

from kseg.errors import InputError
from kseg.labels import IGNORE_ID
from kseg.manifest import read_manifest
from tests.bdd100k_files import read, write_png
from tests.conftest import assert_one_line, run_build
from tfrecords_tools.class_names import voc_color
from tfrecords_tools.datasets import fingerprint, labelme

SIZE = (40, 60)
X = IGNORE_ID
LABELS = "__ignore__\n_background_\nroad\ncar\n"


def shape(label, points, kind="polygon", **more):
    return {"label": label, "points": points, "shape_type": kind, "group_id": None} | more


def png_bytes(pixels):
    return cv2.imencode(".png", pixels)[1].tobytes()


def base64_png(pixels):
    return base64.b64encode(png_bytes(pixels)).decode()


def write(root, shapes, *, key="a", embedded=False, labels=LABELS, **more):
    root.mkdir(parents=True, exist_ok=True)
    if labels is not None:
        (root / "labels.txt").write_text(labels)
    image = np.full((*SIZE, 3), 90, np.uint8)
    if not embedded:
        write_png(root / f"{key}.png", image)
    document = {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": f"{key}.png",
        "imageData": base64_png(image) if embedded else None,
        "imageHeight": SIZE[0],
        "imageWidth": SIZE[1],
    }
    (root / f"{key}.json").write_text(json.dumps(document | more))
    return root


def expected(*boxes):
    """Zeros with boxes (class, top, bottom, left, right), ends included."""
    mask = np.zeros(SIZE, np.uint8)
    for class_id, top, bottom, left, right in boxes:
        mask[top : bottom + 1, left : right + 1] = class_id
    return mask


ROAD = shape("road", [[10, 20], [50, 20], [50, 39], [10, 39]])


def test_ids_follow_labels_txt_and_later_shapes_cover_earlier_ones(tmp_path):
    car = shape("car", [[20, 25], [5, 30]], "rectangle")
    unsure = shape("__ignore__", [[0, 0], [3, 0], [3, 3], [0, 3]])
    source = labelme.source(write(tmp_path, [ROAD, car, unsure]))
    assert source.labels.names == ["_background_", "road", "car"]
    assert [c.color for c in source.labels.classes] == [(0, 0, 0), (128, 0, 0), (0, 128, 0)]
    boxes = [(1, 20, 39, 10, 50), (2, 25, 30, 5, 20), (X, 0, 3, 0, 3)]
    assert np.array_equal(read(source, size=SIZE), expected(*boxes))
    write(tmp_path, [car, ROAD, unsure])
    assert read(labelme.source(tmp_path), size=SIZE)[27, 15] == 1


def test_without_a_background_line_pixels_outside_of_shapes_are_ignored(tmp_path):
    source = labelme.source(write(tmp_path, [ROAD], labels="road\ncar\n"))
    mask = read(source, size=SIZE)
    assert mask[30, 30] == 0 and mask[0, 0] == X
    assert source.origin.endswith("pixels outside of them: ignored")


def ring(radius):
    """Pixels within `radius` of (30, 20)."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.hypot(rows - 20, columns - 30) <= radius


PATCH = np.array([[0, 255, 255], [255, 255, 0]], np.uint8)

# kind: (shape, what it must cover, what it must not touch)
KINDS = {
    "circle": (shape("road", [[30, 20], [30, 30]], "circle"), ring(9.3), ~ring(11)),
    "point": (shape("road", [[30, 20]], "point"), ring(4.3), ~ring(6)),
    "line": (
        shape("road", [[10, 20], [50, 20]], "line"),
        expected((1, 16, 24, 10, 50)) > 0,
        expected((1, 14, 26, 9, 51)) == 0,
    ),
    "linestrip": (
        shape("road", [[10, 20], [30, 20], [30, 35]], "linestrip"),
        expected((1, 16, 23, 10, 30), (1, 20, 35, 26, 33)) > 0,
        expected((1, 14, 26, 9, 36), (1, 14, 36, 24, 36)) == 0,
    ),
    "oriented rectangle": (
        shape("road", [[10, 10], [20, 10], [20, 20], [10, 20]], "oriented_rectangle"),
        expected((1, 10, 20, 10, 20)) > 0,
        expected((1, 10, 20, 10, 20)) == 0,
    ),
    "mask": (
        shape("road", [[58, 5], [60, 6]], "mask", mask=base64_png(PATCH)),
        expected((1, 5, 5, 59, 59), (1, 6, 6, 58, 59)) > 0,
        expected((1, 5, 5, 59, 59), (1, 6, 6, 58, 59)) == 0,
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_shape(tmp_path, kind):
    drawn, covered, untouched = KINDS[kind]
    mask = read(labelme.source(write(tmp_path, [drawn])), size=SIZE)
    assert covered.any() and (mask[covered] == 1).all() and (mask[untouched] == 0).all()


def test_the_image_inside_the_json_is_used_and_splits_are_folders(tmp_path, capsys):
    data = tmp_path / "own"
    write(data / "train", [ROAD], embedded=True, labels=None)
    write(data / "val", [ROAD], key="b", labels=None, imagePath="..\\val\\b.png")
    (data / "labels.txt").write_text(LABELS)
    frame = pickle.loads(pickle.dumps(labelme.source(data).splits["train"][0]))
    assert frame.image_path.read_bytes().startswith(b"\x89PNG") and fingerprint(frame.image_path)
    assert run_build(data, tmp_path / "out", "--drivable", "road", source="labelme") == 0
    assert "2 road; pixels outside of them: class '_background_'" in capsys.readouterr().out
    manifest = read_manifest(tmp_path / "out")
    assert manifest.labels.drivable_ids == [1]
    assert {name: split.pixels for name, split in manifest.splits.items()} == {
        "train": (2400 - 820, 820, 0),
        "val": (2400 - 820, 820, 0),
    }
    assert run_build(data, tmp_path / "other", "--drivable", "raod", source="labelme") == 2
    assert_one_line(capsys, "--drivable raod", "nearest: road")


# Each writes a folder that is refused, and returns the words.
def beside_a_split(root):
    write(root, [ROAD], embedded=True)
    write(root / "train", [ROAD], key="b", labels=None)
    return "a.json: would be left out", "read from train only"


def split_of_another_name(root):
    write(root, [ROAD])
    write(root / "validation", [ROAD], key="b", labels=None)
    return "validation/b.json: would be left out", "train, val, test"


def no_labels_txt(root):
    write(root, [ROAD], labels=None)
    return "labels.txt", r"printf '__ignore__\n_background_\nroad\n'"


def unknown_label(root):
    write(root, [ROAD, shape("rood", [[0, 0]], "point"), shape("rood", [[0, 0]], "point")])
    return "labels.txt", "'rood' (2 shapes)", "__ignore__"


def no_image(root):
    (write(root, [ROAD]) / "a.png").unlink()
    return "a.json", "a.png does not exist (1 of 1 files)", "--skip-unpaired"


def no_json(root):
    write_png(write(root, [ROAD]) / "b.png", np.zeros((*SIZE, 3), np.uint8))
    return "b.png: image without a JSON file (1", "--skip-unpaired"


def damaged_json(root):
    (write(root, [ROAD]) / "a.json").write_text("{}")
    return "a.json", "no 'shapes'"


ARRANGED = [
    *(beside_a_split, split_of_another_name, no_labels_txt, unknown_label, no_image, no_json),
    damaged_json,
]


@pytest.mark.parametrize("arrange", ARRANGED)
def test_an_incomplete_folder_gets_one_line(tmp_path, arrange):
    words = arrange(tmp_path)
    with pytest.raises(InputError) as caught:
        labelme.source(tmp_path)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_other_files_in_other_folders_are_not_missed(tmp_path):
    write(tmp_path / "train", [ROAD], labels=None)
    write(tmp_path / "__MACOSX", [ROAD], labels=None)
    (tmp_path / "labels.txt").write_text(LABELS)
    (tmp_path / "info.json").write_text("{}")
    assert len(labelme.source(tmp_path).splits["train"]) == 1


def test_files_of_macos_and_windows_are_no_images_without_labels(tmp_path):
    write(tmp_path, [ROAD])
    for name in ("._a.png", "._a.json", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"junk")
    assert len(labelme.source(tmp_path).splits["train"]) == 1


def test_an_image_whose_name_macos_has_decomposed_is_found(tmp_path):
    write(tmp_path, [ROAD], key="str\u00e4\u00dfe")
    (tmp_path / "str\u00e4\u00dfe.png").rename(tmp_path / "stra\u0308\u00dfe.png")
    assert labelme.source(tmp_path).splits["train"][0].image_path.is_file()


def test_skip_unpaired_leaves_images_without_labels_out(tmp_path):
    no_json(tmp_path)
    assert len(labelme.source(tmp_path, skip_unpaired=True).splits["train"]) == 1


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        ({"shapes": [shape("road", [[0, 0], [1, 1]])]}, "shape 0 (polygon): has 2 points"),
        ({"shapes": [ROAD, shape("car", [[0, 0]], "ellipse")]}, "shape 1 (ellipse): unknown kind"),
        ({"shapes": [shape("car", [[0, float("nan")]], "point")]}, "not a finite number"),
        ({"imageHeight": 80, "imageWidth": 120}, "80x120 image, but the image is 40x60"),
    ],
)
def test_a_label_that_cannot_be_drawn_names_its_file(tmp_path, damage, word):
    source = labelme.source(write(tmp_path, **({"shapes": [ROAD]} | damage)))
    with pytest.raises(InputError) as caught:
        read(source, size=SIZE)
    assert "a.json" in str(caught.value) and word in str(caught.value)


def test_colours_of_pascal_voc():
    assert [voc_color(i) for i in (0, 1, 4, 15, 20)] == [
        (0, 0, 0), (128, 0, 0), (0, 0, 128), (192, 128, 128), (0, 64, 128)
    ]  # fmt: skip
    assert len({voc_color(i) for i in range(256)}) == 256
