"""Every source of labels, on files written here in its own layout; ids worked out by hand."""

import json
import pickle

import cv2
import numpy as np
import pytest

from kseg.errors import InputError
from kseg.labels import CITYSCAPES_19, IGNORE_ID
from tfrecords_tools.datasets import bdd100k, cityscapes, fingerprint, kitti_road
from tfrecords_tools.shapes import Polygon, check_polygon, decode_runs, draw_polygons

SIZE = (720, 1280)
DIRECT, ALTERNATIVE, BACKGROUND = 0, 1, 2
# Where DIRECT and ALTERNATIVE lie in every frame below: (top, bottom, left, right), BACKGROUND
# elsewhere, and the pixel that is looked at.
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
    """Run lengths -> COCO's string, the inverse of what is tested."""
    text = ""
    for place, run in enumerate(runs):
        number = run - runs[place - 2] if place > 2 else run
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


# The forms of BDD100K: each writes the labels of frame `a` of one split.
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


def polygon_labels(named):
    return [
        named(name)
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


@pytest.fixture
def bdd(tmp_path):
    """A function (names of WRITERS) -> a BDD100K folder with one image in train and one in val."""

    def write(*kinds):
        for split in ("train", "val"):
            path = tmp_path / f"images/100k/{split}/a.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"never opened: sources read labels")
            for kind in kinds:
                WRITERS[kind](tmp_path, split)
        return tmp_path

    return write


def read(source, split="train", number=0, size=SIZE):
    return source.read_mask(source.splits[split][number], size)


@pytest.mark.parametrize("kind", WRITERS)
def test_bdd100k_in_every_form_gives_the_same_ids(bdd, kind):
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
def test_frames_and_readers_travel_to_other_processes(bdd, kind):
    source = bdd100k.source(bdd(kind))
    frame, read_mask = pickle.loads(pickle.dumps((source.splits["val"][0], source.read_mask)))
    assert np.array_equal(read_mask(frame, SIZE), true_mask())
    assert fingerprint(frame.label) == fingerprint(source.splits["val"][0].label)


@pytest.mark.parametrize("kind", [k for k in WRITERS if "legacy" not in k])
def test_the_labels_flag_chooses_the_form(bdd, kind):
    data = bdd("masks", "colormaps", "rles", "polygons")
    assert f"labels/drivable/{kind}/" in bdd100k.source(data, labels=kind).origin
    assert "labels/drivable/masks/" in bdd100k.source(data).origin


# Detection: what lies where, and what the error must say besides the flag.
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


def test_the_coding_flag_is_obeyed_even_where_it_is_wrong_but_ids_stay_checked(bdd):
    data = bdd("masks")
    source = bdd100k.source(data, coding="legacy")
    assert {c: read(source)[p] for c, p in PIXELS.items()} == {0: 2, 1: 0, 2: 1}
    mask = true_mask()
    mask[9, 9] = 3
    write_png(data / "labels/drivable/masks/train/a.png", mask)
    with pytest.raises(InputError, match=r"a\.png: ids \[3\].*legacy coding has 0 to 2"):
        read(source)


def test_the_coding_flag_does_not_turn_to_the_json_of_2018_that_lies_beside_masks(bdd):
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


def test_ignored_pixels_stay_ignored(bdd):
    data = bdd("legacy masks")
    ids = np.array([1, 2, 0], np.uint8)[true_mask()]
    ids[600:] = IGNORE_ID
    write_png(data / "drivable_maps/labels/train/a_drivable_id.png", ids)
    mask = read(bdd100k.source(data))
    assert (mask[600:] == IGNORE_ID).all() and (mask[:600] != IGNORE_ID).all()


# Damage to JSON labels: (form, what is done to the parsed document, words of the error).
def two_frames(document):
    document.append(dict(document[0]))


def direct_is_alternative_too(document):
    labels = document["frames"][0]["labels"]
    labels.append(labels[0] | {"category": "alternative"})


JSON_DAMAGE = {
    "unknown category": (
        "polygons",
        lambda d: d[0]["labels"][0].update(category="car"),
        ("frame 'a'", "category 'car' is none of direct, alternative, background"),
    ),
    "unknown area type": (
        "legacy polygons, one file",
        lambda d: d[0]["labels"][1]["attributes"].update(areaType="maybe"),
        ("frame 'a'", "areaType 'maybe'"),
    ),
    "unknown legacy category": (
        "legacy polygons, one file a frame",
        lambda d: d["frames"][0]["objects"][0].update(category="area/other"),
        ("a.json", "category 'area/other'"),
    ),
    "types of another length": (
        "polygons",
        lambda d: d[0]["labels"][0]["poly2d"][0].update(types="LLL"),
        ("frame 'a'", "types 'LLL' for 4 vertices"),
    ),
    "no vertices": (
        "polygons",
        lambda d: d[0]["labels"][0]["poly2d"][0].pop("vertices"),
        ("frame 'a'", "no 'vertices'"),
    ),
    "two vertices": (
        "polygons",
        lambda d: d[0]["labels"][0]["poly2d"][0].update(vertices=[[0, 0], [1, 1]], types="LL"),
        ("frame 'a'", "at least 3 vertices"),
    ),
    "a vertex that is no number": (
        "polygons",
        lambda d: d[0]["labels"][0]["poly2d"][0]["vertices"].__setitem__(0, [0, "x"]),
        ("frame 'a'", "'x'"),
    ),
    "a frame twice": ("polygons", two_frames, ("frame 'a' comes twice",)),
    "a frame without a name": ("polygons", lambda d: d[0].pop("name"), ("frame 0", "no 'name'")),
    "no areas at all": (
        "legacy polygons, one file",
        lambda d: d[0]["labels"].__delitem__(slice(1, 3)),
        ("none of its 1 frames has a drivable area",),
    ),
    "run lengths that do not fill the frame": (
        "rles",
        lambda d: d["frames"][0]["labels"][0]["rle"].update(counts="11"),
        ("frame 'a'", "do not fill 720x1280"),
    ),
    "characters that are no run lengths": (
        "rles",
        lambda d: d["frames"][0]["labels"][0]["rle"].update(counts="1~"),
        ("frame 'a'", "'~'"),
    ),
    "areas that overlap": (
        "rles",
        direct_is_alternative_too,
        ("frame 'a'", "overlap"),
    ),
    "two frames in one file": (
        "legacy polygons, one file a frame",
        lambda d: d["frames"].append({}),
        ("a.json", "expected one frame, got 2"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", JSON_DAMAGE)
def test_damaged_json_gets_one_line(bdd, damage):
    kind, change, words = JSON_DAMAGE[damage]
    data = bdd(kind)
    path = next(path for path in sorted(data.rglob("*.json")) if "train" in str(path))
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(InputError) as caught:
        read(bdd100k.source(data))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("kind", ["polygons", "legacy polygons, one file a frame"])
def test_truncated_json_gets_one_line(bdd, kind):
    data = bdd(kind)
    path = next(path for path in sorted(data.rglob("*.json")) if "train" in str(path))
    path.write_text(path.read_text()[:-5])
    with pytest.raises(InputError, match="not readable as JSON") as caught:
        read(bdd100k.source(data))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["polygons", "rles", "legacy polygons, one file a frame"])
def test_labels_of_another_size_than_the_image_are_refused(bdd, kind):
    with pytest.raises(InputError, match="720x1280 frames but the image is 360x640"):
        read(bdd100k.source(bdd(kind)), size=(360, 640))


def test_frames_say_their_own_size(bdd):
    data = bdd("polygons")
    path = data / "labels/drivable/polygons/drivable_train.json"
    frames = json.loads(path.read_text())
    frames[0]["size"] = {"width": 1300, "height": 740}
    path.write_text(json.dumps(frames))
    assert read(bdd100k.source(data), size=(740, 1300)).shape == (740, 1300)


def test_a_frame_without_areas_is_background_and_one_that_is_missing_is_unpaired(bdd):
    data = bdd("polygons")
    for name in ("b", "c"):
        (data / f"images/100k/train/{name}.jpg").write_bytes(b"")
    path = data / "labels/drivable/polygons/drivable_train.json"
    path.write_text(json.dumps([*json.loads(path.read_text()), {"name": "b.jpg", "labels": None}]))
    with pytest.raises(InputError, match=r"c\.jpg: image without a mask.*--skip-unpaired"):
        bdd100k.source(data)
    source = bdd100k.source(data, skip_unpaired=True)
    assert [f.key for f in source.splits["train"]] == ["a", "b"]
    assert (read(source, number=1) == BACKGROUND).all()


def test_no_labels_at_all_tells_where_they_are_looked_for(bdd):
    with pytest.raises(InputError, match=r"labels/drivable/masks.*drivable_maps/labels"):
        bdd100k.source(bdd())


# Polygons.
def square(class_id, left, top, side=4):
    right, bottom = left + side, top + side
    return Polygon(class_id, ((left, top), (right, top), (right, bottom), (left, bottom)), "LLLL")


def test_later_polygons_cover_earlier_ones_as_in_to_mask():
    mask = draw_polygons([square(0, 0, 0), square(1, 2, 0)], (4, 8), 2)
    assert mask.tolist() == [[0, 0, 1, 1, 1, 1, 2, 2]] * 4
    mask = draw_polygons([square(1, 2, 0), square(0, 0, 0)], (4, 8), 2)
    assert mask.tolist() == [[0, 0, 0, 0, 1, 1, 2, 2]] * 4


def test_vertices_are_rounded_to_pixel_corners():
    mask = draw_polygons([square(0, 1.4, 0.4), square(1, 4.6, 0.6)], (5, 10), 2)
    assert mask[0].tolist() == [2, 0, 0, 0, 0, 2, 2, 2, 2, 2]
    assert mask[2].tolist() == [2, 0, 0, 0, 0, 1, 1, 1, 1, 2]
    assert mask[4].tolist() == [2, 2, 2, 2, 2, 1, 1, 1, 1, 2]


@pytest.mark.parametrize("end", ["L", "C"])
def test_curves_are_cubic_beziers(end):
    # From (0, 60) over (0, 0) and (90, 0) to (90, 60): its top is at y = 60 - 3/4 * 60 = 15.
    polygon = Polygon(0, ((0, 60), (0, 0), (90, 0), (90, 60)), "LCC" + end)
    check_polygon(polygon)
    mask = draw_polygons([polygon], (60, 90), 2)
    assert (mask[:15] == 2).all() and (mask[15] == 0).any() and (mask[16:, 45] == 0).all()
    assert mask[45:, 5].tolist() == [0] * 15 and (mask[15:30, 5] == 2).all()


def test_an_outline_may_end_in_the_control_points_of_its_closing_curve():
    # The same curve, closed from its end back to the first vertex.
    closing = Polygon(0, ((90, 60), (0, 60), (0, 0), (90, 0)), "LLCC")
    check_polygon(closing)
    whole = Polygon(0, ((0, 60), (0, 0), (90, 0), (90, 60)), "LCCL")
    assert np.array_equal(
        draw_polygons([closing], (60, 90), 2), draw_polygons([whole], (60, 90), 2)
    )
    with pytest.raises(ValueError, match="lacks a control point"):
        check_polygon(Polygon(0, ((0, 0), (9, 0), (9, 9), (0, 9)), "LLLC"))


def test_polygons_equal_what_bdd100ks_own_way_of_drawing_gives():
    """A figure of patches, as BDD100K's tools draw: to the pixel, curves and overlaps included."""
    rng = np.random.default_rng(0)
    polygons = []
    for number in range(12):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 10))
        middle, radius = rng.uniform(20, [140, 70]), rng.uniform(5, 60, (10, 1))
        vertices = middle + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        types = "LLCCLLLCCL" if number % 2 else "L" * 10
        polygons.append(Polygon(number % 2, tuple(map(tuple, vertices.tolist())), types))
    mask = draw_polygons(polygons, (90, 160), 2)
    assert set(np.unique(mask)) == {0, 1, 2}
    assert np.array_equal(mask, draw_as_figure(polygons, 90, 160))


def draw_as_figure(polygons, height, width):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    figure = Figure((width / 100, height / 100), dpi=100, facecolor="black")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes([0, 0, 1, 1])
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    moves = {"L": Path.LINETO, "C": Path.CURVE4}
    for polygon in polygons:
        codes = [Path.MOVETO, *(moves[t] for t in polygon.types[1:]), Path.LINETO]
        path = Path([*polygon.vertices, polygon.vertices[0]], codes)
        color = ((polygon.class_id + 1) / 255, 0, 0)
        axes.add_patch(
            PathPatch(path, facecolor=color, edgecolor=color, lw=0, antialiased=False, snap=True)
        )
    canvas.draw()
    return np.array([2, 0, 1], np.uint8)[np.asarray(canvas.buffer_rgba())[..., 0]]


# Run lengths.
def test_run_lengths_go_down_the_columns():
    # 2 zeros, 3 ones, 1 zero over 3 rows and 2 columns.
    expected = [[False, True], [False, True], [True, False]]
    assert decode_runs([2, 3, 1], (3, 2)).tolist() == expected
    assert decode_runs("231", (3, 2)).tolist() == expected


def test_run_length_strings_hold_long_runs_and_differences():
    # By hand: 40 = 8 + 32 * 1 is "X1" (8 + 32 + 48 = 88, 1 + 48 = 49); 5 is "5"; 52 = 20 + 32 * 1
    # is "d1". The fourth, 3, is a difference of -2 to the second: 30 + 48 = 78, "N".
    assert decode_runs("X15d1N", (10, 10)).ravel(order="F").tolist() == (
        [False] * 40 + [True] * 5 + [False] * 52 + [True] * 3
    )


def test_run_length_strings_of_any_mask_come_back():
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = rng.random((37, 53)) < rng.random()
        assert np.array_equal(decode_runs(compress(runs_of(mask)), mask.shape), mask)


@pytest.mark.parametrize("counts", ["23", "2312", [2, -1, 5], "X", "2 1", []])
def test_run_lengths_that_cannot_be_are_refused(counts):
    with pytest.raises(ValueError):
        decode_runs(counts, (3, 2))


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
