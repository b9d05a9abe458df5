"""Writes BDD100K's labels of one small scene in every format that has been released."""

import json

import cv2
import numpy as np

SIZE = (720, 1280)
DIRECT, ALTERNATIVE, BACKGROUND = 0, 1, 2
# DIRECT and ALTERNATIVE in every frame below are the boxes (top, bottom, left, right), everything
# else is BACKGROUND. PIXELS is one pixel (row, column) of each class.
BOXES = {DIRECT: (400, 700, 300, 700), ALTERNATIVE: (400, 700, 700, 1000)}
PIXELS = {DIRECT: (500, 400), ALTERNATIVE: (500, 800), BACKGROUND: (100, 400)}
CURRENT_COLORS = [(219, 94, 86), (86, 211, 219), (0, 0, 0)]
LEGACY_COLORS = [(217, 83, 79), (91, 192, 222), (0, 0, 0)]


def true_mask():
    mask = np.full(SIZE, BACKGROUND, np.uint8)
    for class_id, (top, bottom, left, right) in BOXES.items():
        mask[top:bottom, left:right] = class_id
    return mask


def corners(class_id):
    top, bottom, left, right = BOXES[class_id]
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def write_png(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(
            pixels, cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
        )
    assert cv2.imwrite(str(path), pixels)


def write_json(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


def colored(ids, colors):
    return np.array(colors, np.uint8)[ids]


def compress(runs):
    """Run lengths -> COCO's string, the inverse of the function under test."""
    text = ""
    for index, run in enumerate(runs):
        number = run - runs[index - 2] if index > 2 else run
        while True:
            low, number = number & 31, number >> 5
            done = number == (-1 if low & 16 else 0)
            text += chr(48 + (low if done else low | 32))
            if done:
                break
    return text


def runs_of(mask):
    flat = np.concatenate([[False], mask.ravel(order="F"), [not mask[-1, -1]]])
    edges = np.flatnonzero(np.diff(flat))
    return np.diff(np.concatenate([[0], edges])).tolist()


# One function per format: each writes the labels of frame `a` of one split.
def write_masks(root, split):
    write_png(root / f"labels/drivable/masks/{split}/a.png", true_mask())


def write_colormaps(root, split):
    pixels = colored(true_mask(), CURRENT_COLORS)
    write_png(root / f"labels/drivable/colormaps/{split}/a.png", pixels)


def write_rles(root, split):
    labels = [
        {"category": name, "rle": {"counts": compress(runs_of(true_mask() == i)), "size": SIZE}}
        for i, name in enumerate(["direct", "alternative"])
    ]
    frames = {"frames": [{"name": "a.jpg", "labels": labels}]}
    write_json(root / f"labels/drivable/rles/drivable_{split}.json", frames)


def polygon_labels(category_of):
    return [
        category_of(name)
        | {"id": str(i), "poly2d": [{"vertices": corners(i), "types": "LLLL", "closed": True}]}
        for i, name in enumerate(["direct", "alternative"])
    ]


def write_polygons(root, split):
    labels = polygon_labels(lambda name: {"category": name})
    write_json(
        root / f"labels/drivable/polygons/drivable_{split}.json",
        [{"name": "a.jpg", "labels": labels}],
    )


def write_legacy_masks(root, split):
    folder = root / f"drivable_maps/labels/{split}"
    write_png(folder / "a_drivable_id.png", np.array([1, 2, 0], np.uint8)[true_mask()])
    write_png(folder / "a_drivable_instance_id.png", np.zeros(SIZE, np.uint16))


def write_legacy_colormaps(root, split):
    rgba = np.dstack([colored(true_mask(), LEGACY_COLORS), np.full(SIZE, 255, np.uint8)])
    write_png(root / f"drivable_maps/color_labels/{split}/a_drivable_color.png", rgba)


def write_2018_file(root, split):
    areas = polygon_labels(
        lambda name: {"category": "drivable area", "attributes": {"areaType": name}}
    )
    car = {"category": "car", "attributes": {}, "box2d": {"x1": 0, "y1": 0, "x2": 9, "y2": 9}}
    lane = {"category": "lane", "poly2d": [{"vertices": [[0, 0], [9, 9]], "types": "LL"}]}
    write_json(
        root / f"labels/bdd100k_labels_images_{split}.json",
        [{"name": "a.jpg", "labels": [car, *areas, lane]}],
    )


def write_2018_files(root, split):
    objects = [
        {"category": category, "id": i, "poly2d": [[x, y, "L"] for x, y in corners(i)]}
        for i, category in enumerate(["area/drivable", "area/alternative"])
    ]
    objects.append({"category": "car", "box2d": {"x1": 0, "y1": 0, "x2": 9, "y2": 9}})
    frames = [{"timestamp": 10000, "objects": objects}]
    write_json(root / f"labels/100k/{split}/a.json", {"name": "a", "frames": frames})


WRITERS = {
    "masks": write_masks,
    "colormaps": write_colormaps,
    "rles": write_rles,
    "polygons": write_polygons,
    "legacy masks": write_legacy_masks,
    "legacy colormaps": write_legacy_colormaps,
    "legacy polygons, one file": write_2018_file,
    "legacy polygons, one file a frame": write_2018_files,
}


def write_images(root):
    """One image in train and one in val, with no real content, as sources read labels only."""
    for split in ("train", "val"):
        path = root / f"images/100k/{split}/a.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"never opened")


def read(source, split="train", number=0, size=SIZE):
    """Returns the mask of one frame of a Source."""
    return source.read_mask(source.splits[split][number], size)
