"""Your own labels: masks are read as what they hold, or the build stops and names the flag."""

import json

import numpy as np
import pytest
from PIL import Image

from kseg.errors import InputError
from kseg.labels import IGNORE_ID
from kseg.manifest import read_manifest
from tests.bdd100k_files import read, write_png
from tests.conftest import assert_one_line, run_build
from tests.odd_images import PALETTE, RGB, chunk, png
from tfrecords_tools.datasets import folder

IDS = np.array([[0, 0, 1, 1], [2, 2, 1, 0]], np.uint8)
COLORS = [[200, 0, 0], [0, 200, 0], [0, 0, 200]]
X = IGNORE_ID


def write_classes(root, colors=COLORS, ids=None, **more):
    root.mkdir(exist_ok=True)
    classes = [
        {"id": i, "name": f"class{i}", "color": color}
        for i, color in zip(ids or range(len(colors)), colors, strict=True)
    ]
    (root / "classes.json").write_text(json.dumps({"name": "own", "classes": classes} | more))


def write_folder(root, *masks, **classes):
    """A folder with one frame for each mask, the bytes of a PNG file."""
    write_classes(root, **classes)
    (root / "masks").mkdir()
    for number, mask in enumerate(masks):
        write_png(root / f"images/f{number}.png", np.zeros((2, 4, 3), np.uint8))
        (root / f"masks/f{number}.png").write_bytes(mask)
    return root


def palette_png(values, colors):
    return png(values, 8, PALETTE, [chunk(b"PLTE", np.array(colors, np.uint8).tobytes())])


def rgb_png(values, colors):
    return png(np.array(colors, np.uint8)[values], 8, RGB)


GREY_PALETTE = [[v, v, v] for v in range(0, 250, 50)]
OTHER_ORDER = [COLORS[1], COLORS[2], COLORS[0]]

# (mask file, what is printed); all are IDS.
FORMATS = {
    "8 bit": (png(IDS), "masks: ids, 8 bit"),
    "2 bit": (png(IDS, 2), "masks: ids, 2 bit"),
    "16 bit": (png(IDS, 16), "masks: ids, 16 bit"),
    "three equal channels": (rgb_png(IDS, [[v] * 3 for v in range(3)]), "masks: RGB"),
    "palette": (palette_png(IDS, COLORS), "masks: palette indices"),
    "palette of other colours": (palette_png(IDS, GREY_PALETTE), "masks: palette indices"),
    "palette in another order": (
        palette_png(np.array([4, 2, 3], np.uint8)[IDS], [[9, 9, 9]] * 2 + OTHER_ORDER),
        "masks: palette indices, read as the colours",
    ),
    "RGB of 16 bits": (png(np.array(COLORS)[IDS] * 257, 16, RGB), "masks: RGB, 16 bit, read as"),
    "RGB": (rgb_png(IDS, COLORS), "masks: RGB, read as the colours of classes.json"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_masks_are_read_as_what_they_hold(tmp_path, name):
    file, printed = FORMATS[name]
    source = folder.source(write_folder(tmp_path / "own", file))
    assert np.array_equal(read(source, size=(2, 4)), IDS) and source.origin.startswith(printed)


def test_255_is_ignored_in_every_format_of_ids(tmp_path):
    ids = np.where(IDS == 2, X, IDS)
    palette = GREY_PALETTE + [[7, 7, 7]] * 251
    masks = [png(ids), png(ids, 16), palette_png(ids, palette), png(IDS)]
    source = folder.source(write_folder(tmp_path / "own", *masks))
    for number in range(3):
        assert np.array_equal(read(source, number=number), ids)


def test_mask_values_map_ids_of_8_and_16_bit(tmp_path):
    values = np.array([0, 255, 300])[IDS]
    data = write_folder(tmp_path / "a", png(values, 16))
    source = folder.source(data, mask_values=["0:2", "255:1", "300:ignore"])
    assert read(source).tolist() == [[2, 2, 1, 1], [X, X, 1, 2]]
    assert source.origin == "masks: ids, 16 bit, mapped 0:2 255:1 300:ignore"
    stored = {"0": 2, "255": 1, "300": "ignore"}
    write_classes(data, mask_values=stored)
    assert np.array_equal(read(folder.source(data)), read(source))
    # The flag replaces what is stored.
    assert read(folder.source(data, mask_values=["0:0", "255:0", "300:1"]))[1].tolist() == [
        1,
        1,
        0,
        0,
    ]


# Each returns a folder and the words of the refusal.
def masks_of_0_and_255(root):
    data = write_folder(root, png(IDS.clip(0, 1) * 255), colors=COLORS[:2])
    return data, "'class1'", "--mask-values 0:0 255:1", "--mask-values 0:0 255:ignore"


def masks_of_0_1_and_255(root):
    data = write_folder(root, png(np.array([0, 1, 255])[IDS]), png(IDS * 0))
    return data, "[0, 1, 255]", "--mask-values 0:0 1:1 255:2"


def palette_indices_and_colors_differ(root):
    data = write_folder(root, palette_png(IDS, OTHER_ORDER))
    return data, "f0.png", "palette indices", "--mask-reading ids", "--mask-reading colors"


def ids_and_colors_in_one_folder(root):
    data = write_folder(root, png(IDS), rgb_png(IDS, COLORS))
    return data, "f0.png holds class ids", "f1.png colours", "one format"


def unknown_ids(root):
    return write_folder(root, png(IDS + 40)), "f0.png", "40, 41, 42", "--mask-values", "40:ignore"


def unknown_colors(root):
    data = write_folder(root, rgb_png(IDS, [*COLORS[:2], [1, 2, 3]]))
    return data, "f0.png", "(1, 2, 3)", "(200, 0, 0)", "classes.json"


def one_class(root):
    return write_folder(root, png(IDS), colors=COLORS[:1]), "1 classes", "2 to 254", "background"


def ids_with_gaps(root):
    data = write_folder(root, png(IDS), ids=[0, 7, 9])
    return data, "[0, 7, 9]", "--mask-values 0:0 7:1 9:2"


def one_color_twice(root):
    data = write_folder(root, png(IDS), colors=[*COLORS[:2], COLORS[0]])
    return data, "'class0' and 'class2'", "[200, 0, 0]"


def mapped_to_no_class(root):
    data = write_folder(root, png(IDS), mask_values={"0": 0, "1": 3})
    return data, "classes.json: mask_values 1:3", "0 to 2", "ignore"


REFUSED = [
    *(masks_of_0_and_255, masks_of_0_1_and_255, palette_indices_and_colors_differ),
    *(ids_and_colors_in_one_folder, unknown_ids, unknown_colors, one_class, ids_with_gaps),
    *(one_color_twice, mapped_to_no_class),
]


@pytest.mark.parametrize("arrange", REFUSED)
def test_doubt_gets_one_line_with_the_way_on(tmp_path, arrange):
    data, *words = arrange(tmp_path / "own")
    with pytest.raises(InputError) as caught:
        folder.source(data)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("arrange", "flags", "expected"),
    [
        (masks_of_0_and_255, {"mask_values": ["0:0", "255:1"]}, IDS.clip(0, 1)),
        (masks_of_0_and_255, {"mask_values": ["0:0", "255:ignore"]}, IDS.clip(0, 1) * X),
        (palette_indices_and_colors_differ, {"reading": "ids"}, IDS),
        (palette_indices_and_colors_differ, {"reading": "colors"}, np.array([1, 2, 0])[IDS]),
    ],
)
def test_the_flag_of_the_refusal_decides(tmp_path, arrange, flags, expected):
    data, *_ = arrange(tmp_path / "own")
    assert np.array_equal(read(folder.source(data, **flags)), expected)


def test_a_rare_class_beside_ignored_pixels_is_found_outside_the_sample(tmp_path):
    common = np.where(IDS == 2, X, IDS)
    masks = [png(common)] * 60
    data = write_folder(tmp_path / "own", *masks)
    with pytest.raises(InputError, match="255:2"):
        folder.source(data)
    (data / "masks/f59.png").write_bytes(png(IDS))
    assert folder.source(data).origin == "masks: ids, 8 bit"


def test_one_odd_mask_among_many_goes_to_quarantine_with_the_reason(tmp_path, capsys):
    data = write_folder(tmp_path / "own", *[png(IDS)] * 3, rgb_png(IDS, COLORS))
    (data / "masks/f3.png").write_bytes(rgb_png(IDS, [[3, 2, 1]] * 3))
    assert run_build(data, tmp_path / "out", "--max-bad", 30, source="folder") == 0
    assert "folder: masks: RGB and ids, 8 bit" in capsys.readouterr().out
    reason = json.loads((tmp_path / "out/quarantine.jsonl").read_text())["reason"]
    assert "f3.png" in reason and "--mask-reading" in reason
    assert read_manifest(tmp_path / "out").splits["train"].pixels == (9, 9, 6)


@pytest.mark.parametrize("pair", ["0", "a:1", "0:x", "0:9", "-1:0", "70000:0"])
def test_bad_mask_values_get_one_line(tmp_path, capsys, pair):
    data = write_folder(tmp_path / "own", png(IDS))
    assert run_build(data, tmp_path / "out", f"--mask-values={pair}", source="folder") == 2
    assert_one_line(capsys, "--mask-values", pair)
    assert not list(tmp_path.glob("out*"))


def test_a_palette_mask_of_pillow_is_read_by_its_indices(tmp_path):
    """As labelme and VOC tools write it: mode P, Pillow's own palette."""
    data = write_folder(tmp_path / "own", png(IDS))
    image = Image.fromarray(IDS)
    image = image.convert("P")
    image.putpalette(np.array(COLORS, np.uint8).tobytes())
    image.save(data / "masks/f0.png")
    assert np.array_equal(read(folder.source(data)), IDS)


def move(root, part, *places):
    """Moves f0, f1, ... of images or masks to these places below it."""
    for number, place in enumerate(places):
        (root / part / place).mkdir(exist_ok=True)
        (root / part / f"f{number}.png").rename(root / part / place / f"f{number}.png")


@pytest.mark.parametrize(
    ("images", "masks", "words"),
    [
        (["train", "validation"], ["train", "validation"], "images/validation/f1.png: would be"),
        (["train"], ["train"], "images/f1.png: would be left out"),
        (["validation"], ["validation"], "images/validation/f0.png: would be left out"),
        (["train", "train"], ["train", "val"], "masks has a folder 'val' and .*images has none"),
        (["train", "train"], ["train", "old"], "masks/old/f1.png: would be left out"),
    ],
)
def test_no_frame_is_left_out_silently(tmp_path, images, masks, words):
    root = write_folder(tmp_path / "own", png(IDS), png(IDS))
    move(root, "images", *images)
    move(root, "masks", *masks)
    with pytest.raises(InputError, match=words):
        folder.source(root)


def test_skip_unpaired_leaves_out_a_split_of_masks_only(tmp_path):
    root = write_folder(tmp_path / "own", png(IDS), png(IDS))
    move(root, "images", "train", "train")
    move(root, "masks", "train", "val")
    assert len(folder.source(root, skip_unpaired=True).splits["train"]) == 1
