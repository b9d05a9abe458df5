"""The table "Odd input" of tfrecords_tools/README.md: one test for each row."""

import json
import re
import unicodedata

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kseg.data import records
from kseg.manifest import read_manifest
from tests.conftest import ROOT, command
from tests.odd_images import GREY, RGB_ALPHA, chunk, picture, png, saved, tagged
from tfrecords_tools import build, verify

IMAGE = picture()
IDS = np.zeros(IMAGE.shape[:2], np.uint8)
IDS[30:] = 1  # The lower part.
JPEG, MASK = saved(IMAGE, "JPEG", quality=95), png(IDS)


class Data:
    """A folder of one's own labels with frame good.jpg, its build, and what that printed."""

    def __init__(self, folder, capsys):
        self.folder, self.capsys = folder / "data", capsys
        self.classes("road", "rest")
        self.add(image=("good.jpg", JPEG), mask=("good.png", MASK))

    def classes(self, *names):
        self.folder.mkdir(exist_ok=True)
        classes = [
            {"id": i, "name": name, "color": [50 * i, 9, 9], "drivable": not i}
            for i, name in enumerate(names)
        ]
        document = json.dumps({"name": "odd", "classes": classes})
        (self.folder / "classes.json").write_text(document)

    def add(self, image=("odd.jpg", JPEG), mask=("odd.png", MASK), split=""):
        for kind, (name, content) in (("images", image), ("masks", mask)):
            path = self.folder / kind / split / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def build(self, *flags, out=None):
        """Returns (exit code, output)."""
        self.out = out or self.folder.with_name("out")
        argv = ["--source", "folder", "--data", self.folder, "--out", self.out, "--workers", 1]
        code = command(build.main, [*argv, *flags])
        printed = self.capsys.readouterr()
        return code, printed.out + printed.err

    def read(self):
        """{key: (image, mask, file format)} of the built training split."""
        shards = [self.out / s.name for s in read_manifest(self.out).splits["train"].shards]
        frames = {}
        for serialized in tf.data.TFRecordDataset([str(path) for path in shards]):
            e = records.parse(serialized)
            example = tf.train.Example.FromString(serialized.numpy())
            file = example.features.feature["image"].bytes_list.value[0]
            frames[e["key"].numpy().decode()] = (e["image"].numpy(), e["mask"].numpy(), file)
        return frames

    def assert_refused(self, *words, file="odd."):
        """One of two frames is quarantined with these words, and the other one built."""
        code, output = self.build("--max-bad", 50)
        assert code == 0 and "1 unusable frames" in output and "1 x " in output
        (line,) = (self.out / "quarantine.jsonl").read_text().splitlines()
        reason = json.loads(line)["reason"]
        assert all(word in reason for word in (file, *words)), reason
        assert list(self.read()) == ["good"]


ROWS = {}


def row(text):
    """Registers a function(data, case) as the test of the row that begins with `text`."""

    def register(check):
        ROWS[text] = check
        return check

    return register


@row("EXIF orientation, all eight values")
def exif(data, case):
    for orientation in range(1, 9):
        stored = np.ascontiguousarray(turned(IMAGE, orientation))
        name = f"exif{orientation}"
        data.add((f"{name}.jpg", tagged(stored, orientation, "PNG")), (f"{name}.png", MASK))
    code, output = data.build()
    assert code == 0 and "7 images turned upright" in output and "7 images stored as PNG" in output
    for name, (image, mask, _) in data.read().items():
        assert name == "good" or np.array_equal(image, IMAGE), name
        assert np.array_equal(mask, IDS)


def turned(image, orientation):
    """The pixels that a camera stores with this orientation, by the EXIF standard's table."""
    return {
        1: image,
        2: image[:, ::-1],
        3: image[::-1, ::-1],
        4: image[::-1],
        5: image.transpose(1, 0, 2),
        6: np.rot90(image),
        7: image[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(image, -1),
    }[orientation]


@row("mask in the size before its image is turned by 90 degrees")
def mask_not_turned(data, case):
    stored = np.ascontiguousarray(np.rot90(IMAGE))
    data.add(("odd.jpg", tagged(stored, 6, "JPEG")), ("odd.png", png(np.rot90(IDS))))
    data.assert_refused("71x52", "52x71", "EXIF orientation 6")


@row("PNG, WebP or BMP in a file called `.jpg`")
def other_content(data, case):
    for format in ("PNG", "WEBP", "BMP"):
        lossless = {"lossless": True} if format == "WEBP" else {}
        data.add((f"{format}.jpg", saved(IMAGE, format, **lossless)), (f"{format}.png", MASK))
    code, output = data.build()
    assert code == 0 and "2 images stored as PNG" in output
    for name, (image, _, file) in data.read().items():
        assert name == "good" or (np.array_equal(image, IMAGE) and file[1:4] == b"PNG")


@row("GIF, TIFF, HEIC, web page or Git LFS pointer")
def no_picture(data, case):
    data.add(("odd.jpg", case[0]))
    data.assert_refused(case[1])


@row("CMYK, 16-bit, transparent or animated picture")
def pixels_undefined(data, case):
    data.add((case[2], case[0]))
    data.assert_refused(case[1])


@row("alpha channel that is opaque throughout")
def opaque(data, case):
    data.add(("odd.png", png(np.dstack([IMAGE, np.full_like(IDS, 255)]), 8, RGB_ALPHA)))
    assert data.build()[0] == 0
    assert np.array_equal(data.read()["odd"][0], IMAGE)


@row("truncated or damaged picture or mask")
def truncated(data, case):
    data.add(*case[:2])
    data.assert_refused(case[2])


@row("mask of 1, 2, 4 or 16 bits a pixel")
def bit_depths(data, case):
    for bits in (1, 2, 4, 16):
        data.add((f"b{bits}.jpg", JPEG), (f"b{bits}.png", png(IDS, bits)))
    assert data.build()[0] == 0
    frames = data.read()
    assert len(frames) == 5 and all(np.array_equal(mask, IDS) for _, mask, _ in frames.values())


@row("JPEG or WebP in a mask called `.png`")
def lossy_mask(data, case):
    for number in range(30):  # So that the odd one is none of those that decide the reading.
        data.add((f"a{number}.jpg", JPEG), (f"a{number}.png", MASK))
    data.add(mask=("odd.png", saved(IDS, case[0])))
    code, output = data.build("--max-bad", 50)
    reason = json.loads((data.out / "quarantine.jsonl").read_text())["reason"]
    assert code == 0 and case[1] in reason and "as PNG" in reason and "1 x mask is" in output


@row("masks of 0 and 255, or other masks in which 255 may be a class")
def zero_and_255(data, case):
    data.add(("good.jpg", JPEG), ("good.png", png(255 * IDS)))
    code, output = data.build()
    assert code == 2 and "--mask-values 0:0 255:1" in output and not data.out.exists()
    assert data.build("--mask-values", "0:0", "255:1")[0] == 0
    assert np.array_equal(data.read()["good"][1], IDS)


@row("split whose pixels are all ignored, or training split of one class")
def useless(data, case):
    split, value, word = case
    for path in data.folder.glob("*/good.*"):
        path.unlink()  # Not of a split.
    data.add(("t.jpg", JPEG), ("t.png", MASK), "train")
    data.add(("v.jpg", JPEG), ("v.png", MASK), "val")
    data.add((f"{split[0]}.jpg", JPEG), (f"{split[0]}.png", png(np.full_like(IDS, value))), split)
    code, output = data.build()
    assert code == 2 and f"split '{split}'" in output and word in output
    assert not data.out.exists()


@row("class without a pixel in train")
def missing_class(data, case):
    data.classes("road", "rest", "ghost")
    code, output = data.build()
    assert code == 0 and "warning: split 'train' has no pixel of ghost" in output
    assert command(verify.main, [data.out]) == 0
    assert "no pixel of class 'ghost'" in data.capsys.readouterr().out


@row("`._x.jpg`, `.DS_Store`, `Thumbs.db`, `__MACOSX/`")
def system_files(data, case):
    for name in ("._good.jpg", ".DS_Store", "Thumbs.db"):
        data.add((name, b"?"), ("._good.png", b"?"))
    data.add(("._good.jpg", b"?"), ("._good.png", b"?"), "__MACOSX")
    assert data.build()[0] == 0 and list(data.read()) == ["good"]


@row("name of an image in Unicode's form NFC, of its mask in NFD")
def unicode_names(data, case):
    name = "Straße-é"
    image, mask = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    assert image != mask
    data.add((f"{image}.jpg", JPEG), (f"{mask}.png", MASK))
    assert data.build()[0] == 0 and set(data.read()) == {"good", image}


@row("image without a mask, or the reverse")
def unpaired(data, case):
    for number in range(3):
        (data.folder / f"images/i{number}.jpg").write_bytes(JPEG)
    (data.folder / "masks/m.png").write_bytes(MASK)
    code, output = data.build()
    assert code == 2 and "i0.jpg" in output and "3 files: image without a mask" in output
    assert "mask without an image" in output and "--skip-unpaired" in output


@row("`--out .`")
def out_here(data, case):
    here = data.folder.with_name("here")
    here.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        code, output = data.build(out=".")
    assert code == 2 and "--out ." in output and not list(here.iterdir())


PICTURE = Image.fromarray(IMAGE)
CASES = {
    no_picture: (
        (saved(PICTURE, "GIF"), "a GIF"),
        (saved(PICTURE, "TIFF"), "a TIFF"),
        (saved(PICTURE, "AVIF"), "HEIC"),
        (b"<html>404", "web page"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
    ),
    pixels_undefined: (
        (saved(PICTURE.convert("CMYK"), "JPEG"), "CMYK", "odd.jpg"),
        (png(IDS, 16, GREY), "16 bits", "odd.png"),
        (png(np.dstack([IMAGE, 255 * IDS]), 8, RGB_ALPHA), "transparent", "odd.png"),
        (png(IDS, extra=[chunk(b"acTL", bytes(8))]), "animated", "odd.png"),
    ),
    truncated: (
        (("odd.jpg", JPEG[:-60]), ("odd.png", MASK), "image is truncated"),
        (("odd.png", png(IDS)[:-20]), ("odd.png", MASK), "image is truncated"),
        (("odd.png", MASK[:-20] + b"????" + MASK[-16:]), ("odd.png", MASK), "checksum"),
    ),
    lossy_mask: (("JPEG", "JPEG data"), ("WEBP", "WebP data")),
    useless: (
        ("val", 255, "ignored"),
        ("train", 255, "ignored"),
        ("train", 1, "'rest'"),
    ),
}
EACH = [
    pytest.param(check, case, id=f"{text}-{number}")
    for text, check in ROWS.items()
    for number, case in enumerate(CASES.get(check, [()]))
]


@pytest.mark.parametrize(("check", "case"), EACH)
def test_odd_input(tmp_path, capsys, check, case):
    check(Data(tmp_path, capsys), case)


def test_every_row_of_the_table_has_a_test():
    text = (ROOT / "tfrecords_tools/README.md").read_text()
    # The second table, of labels and folders, is about single sources: their own tests have it.
    table = text.partition("### Odd input")[2].partition("\nLabels and folders")[0]
    rows = re.findall(r"^\| (.+?) \|", table, re.M)[1:]
    assert set(rows) == set(ROWS)


def test_the_message_of_too_many_bad_frames_counts_them_by_reason(tmp_path, capsys):
    data = Data(tmp_path, capsys)
    for number in range(3):
        data.add((f"a{number}.jpg", JPEG[: -60 - number]), (f"a{number}.png", MASK))
    data.add(("b.jpg", b""), ("b.png", MASK))
    code, output = data.build()
    assert code == 2 and "4 of 5 frames" in output and "(80 %," in output
    assert "3 x image is truncated" in output and "1 x image is empty" in output
    (data.folder / "images/good.jpg").write_bytes(b"")
    assert "(100 %," in data.build()[1]


def test_pictures_of_other_sizes_are_resized_after_they_are_turned(tmp_path, capsys):
    data = Data(tmp_path, capsys)
    stored = np.ascontiguousarray(np.rot90(IMAGE))
    data.add(("odd.jpg", tagged(stored, 6, "PNG")))
    assert data.build("--size", 40, 60, "--fit", "stretch")[0] == 0
    image, mask, _ = data.read()["odd"]
    expected = cv2.resize(IMAGE, (60, 40), interpolation=cv2.INTER_AREA)
    assert np.abs(image.astype(int) - expected).mean() < 12
    assert mask.shape == (40, 60) and mask[-1].all() and not mask[0].any()
