"""inspect's numbers match those counted by hand, and its page is self-contained."""

import json
import re

import cv2
import numpy as np
import pytest

from kseg.data import records
from kseg.labels import BDD100K_DRIVABLE, CAMVID_11, IGNORE_ID
from kseg.manifest import FILE_NAME, Manifest, Split, read_manifest
from kseg.visualize import patterns
from tests.browser import Page
from tests.conftest import assert_one_line, command, write_shard
from tests.odd_images import exif, saved
from tfrecords_tools import inspect, inspect_facts, inspect_figures, split_statistics

SIZE = (32, 64)


def run_inspect(folder, *flags):
    return command(inspect.main, [folder, *flags])


def corner_mask():
    """Upper left quarter direct, lower right quarter alternative, two rows ignored at the top."""
    mask = np.full(SIZE, 2, np.uint8)
    mask[:16, :32], mask[16:, 32:] = 0, 1
    mask[:2] = IGNORE_ID
    return mask


@pytest.fixture
def grays(tmp_path):
    """60 train frames of corner_mask, 20 of luma 30 and 40 of luma 140, and an odd one in val."""
    folder = tmp_path / "grays"
    folder.mkdir()
    background = np.full(SIZE, 2, np.uint8)
    masks = {"train": [corner_mask()] * 60, "val": [background]}
    splits = {}
    for name, manifest in masks.items():
        examples = [
            records.encode(f"{name}&{i}", png(gray(30 if i < 20 else 140)), png(mask), SIZE)
            for i, mask in enumerate(manifest)
        ]
        shard = write_shard(folder / f"grays-{name}.tfrecord-00000-of-00001", examples)
        counts = np.bincount(np.concatenate(manifest).ravel(), minlength=256).tolist()
        splits[name] = Split(len(manifest), tuple(counts[:3]), counts[IGNORE_ID], (shard,))
    manifest = Manifest("grays", BDD100K_DRIVABLE, SIZE, splits, {})
    (folder / FILE_NAME).write_text(manifest.to_json())
    return folder


def gray(level):
    return np.full((*SIZE, 3), level, np.uint8)


def png(image):
    return cv2.imencode(".png", image)[1].tobytes()


def measured(folder, split):
    return split_statistics.compute_statistics(folder, read_manifest(folder), split, lambda: None)


def test_counts_by_hand(grays):
    train = measured(grays, "train")
    # Of 32x64 pixels, two rows are ignored: 14x32 direct, 16x32 alternative.
    assert train.counts[[0, 1, 2, IGNORE_ID]].tolist() == [60 * n for n in (448, 512, 960, 128)]
    assert train.present[[0, 1, 2, 3, IGNORE_ID]].tolist() == [60, 60, 60, 0, 60]
    assert train.luma.tolist() == [30] * 20 + [140] * 40
    assert train.keys[:2] == ["train&0", "train&1"]
    assert measured(grays, "val").present[:3].tolist() == [0, 0, 1]


def test_heat_lies_where_the_labels_lie(grays):
    heat = measured(grays, "train").heat
    assert heat[0].shape == (32, 64)
    expected = corner_mask()
    for class_id in (0, 1, 2, IGNORE_ID):
        assert np.allclose(heat[class_id], expected == class_id)


def test_heat_is_the_mean_over_frames_at_small_resolution(dataset):
    values = measured(dataset, "val")
    manifest = read_manifest(dataset)
    total = sum(heat.mean() * 8 for i, heat in values.heat.items() if i != IGNORE_ID)
    assert values.heat[0].shape == (42, 64) and total == pytest.approx(8, abs=1e-3)
    assert values.heat[0].mean() == pytest.approx(manifest.splits["val"].shares[0], abs=1e-3)
    assert values.heat[2][:20].min() > 0.99 and values.heat[0][-1, 2:30].min() > 0.99


def test_page_has_the_numbers_of_the_manifest(dataset, tmp_path):
    out = tmp_path / "page.html"
    assert run_inspect(dataset, "--out", out) == 0
    page = Page(out.read_text())
    for name, split in read_manifest(dataset).splits.items():
        assert name in page.text and f" {split.examples} " in page.text
        for share, pixels in zip(split.shares, split.pixels, strict=True):
            assert f"{share:.1%}" in page.text and f"{pixels:,} px" in page.text
    assert "Warning" not in page.text


def test_table_has_the_shares_of_the_manifest(dataset, tmp_path, capsys):
    assert run_inspect(dataset, "--out", tmp_path / "page.html") == 0
    out = capsys.readouterr().out
    rows = {line.split("│")[1].strip(): line for line in out.splitlines() if line[:1] == "│"}
    train, val = read_manifest(dataset).splits.values()
    assert "24" in rows["frames"] and "8" in rows["frames"]
    for i, name in enumerate(("direct", "alternative", "background")):
        assert f"{train.shares[i]:.1%}" in rows[name] and f"{val.shares[i]:.1%}" in rows[name]


def test_page_is_self_contained_and_accessible(grays, tmp_path):
    out = tmp_path / "page.html"
    assert run_inspect(grays, "--out", out, "--frames", 5) == 0
    text = out.read_text()
    page = Page(text)
    names = [tag for tag, _ in page.tags]
    assert not {"script", "link", "iframe", "object"} & set(names)
    rest = re.sub(r'"data:image/(png|jpeg);base64,[A-Za-z0-9+/=]+"', "", text)
    assert not any(word in rest for word in ("http", "//", "@import", "url(", "data:"))
    for tag, attributes in page.tags:
        assert "href" not in attributes and not any(a.startswith("on") for a in attributes)
        if tag == "img":
            assert attributes["src"].startswith("data:image/") and "alt" in attributes
        if tag == "svg":
            assert attributes["aria-label"]
    assert "prefers-color-scheme: dark" in text and 'name="viewport"' in text
    assert sum("loading" in attributes for _, attributes in page.tags) == 5


def test_page_escapes_names_and_warns_when_the_manifest_is_wrong(grays, tmp_path, capsys):
    path = grays / FILE_NAME
    document = json.loads(path.read_text())
    document["labels"]["classes"][0]["name"] = "<b>lane</b>"
    document["splits"]["val"]["pixels"][2] -= 1
    path.write_text(json.dumps(document))
    out = tmp_path / "page.html"
    assert run_inspect(grays, "--out", out) == 0
    page = Page(out.read_text())
    assert "<b>lane</b>" in page.text and "b" not in [tag for tag, _ in page.tags]
    assert all(word in page.text for word in ("Warning", "'val'", "manifest.json"))
    assert "warning" in capsys.readouterr().out


def test_frames_are_spread_over_brightness_and_seeded(grays):
    values = {name: measured(grays, name) for name in ("train", "val")}
    chosen = split_statistics.choose_frames(values, 3, seed=0)
    # 21 dark and 40 bright of 61: cut into thirds, the first is dark, the others bright.
    lumas = [values[split].luma[number] for split, number in chosen]
    assert lumas == [30, 140, 140]
    assert (
        chosen
        == split_statistics.choose_frames(values, 3, seed=0)
        != split_statistics.choose_frames(values, 3, seed=1)
    )
    assert len(set(split_statistics.choose_frames(values, 1000, seed=0))) == 61
    assert split_statistics.choose_frames(values, 0, seed=0) == []


def test_chosen_frames_are_the_ones_shown(grays):
    frames = split_statistics.load_frames(grays, read_manifest(grays), "train", [19, 20])
    assert frames[19][0].mean() == 30 and frames[20][0].mean() == 140
    assert np.array_equal(frames[19][1], corner_mask())


def statistics(counts, keys, formats, sizes):
    pixels = np.zeros(256, np.int64)
    pixels[: len(counts)] = counts
    return split_statistics.SplitStatistics(
        pixels, pixels, {}, np.zeros(len(keys)), keys, sizes, formats
    )


def odd_set():
    """Three frames of two drives in train, one of them in val too; val lacks two classes."""
    train = statistics(
        (5, 6, 7),
        ["a_1", "a_2", "b_1"],
        {"JPEG": 2, "JPEG, EXIF orientation 6": 1},
        {(720, 1280): 2, (600, 800): 1},
    )
    val = statistics((0, 0, 9), ["b_2"], {"PNG": 1}, {(720, 1280): 1})
    manifest = Manifest("odd", BDD100K_DRIVABLE, None, {}, {}, drive_pattern="^[^_]+")
    return manifest, {"train": train, "val": val}


def test_facts_of_files_sizes_and_drives():
    assert dict(inspect_facts.facts(*odd_set())) == {
        "classes without a pixel": ["none", "direct, alternative"],
        "sizes": ["720x1280 (2), 600x800 (1)", "720x1280"],
        "image files": ["JPEG (2), JPEG, EXIF orientation 6 (1)", "PNG"],
        "drives": ["2 of 1 to 2 frames", "1 of 1 to 1 frames"],
        "drives also in other splits": ["1", "1"],
    }


def test_what_is_odd_is_a_warning():
    tagged, empty, shared = inspect_facts.oddities(*odd_set())
    assert "'train': 1 images have an EXIF orientation" in tagged
    assert "'val' has no pixel of direct, alternative" in empty
    assert "1 drives are in two splits (b" in shared


def test_formats_and_sizes_are_those_of_the_records(grays):
    values = measured(grays, "train")
    assert values.sizes == {SIZE: 60} and values.formats == {"PNG": 60}
    tagged = saved(gray(9), "JPEG", exif=b"Exif\0\0" + exif(3))
    assert split_statistics.format_of(tagged) == "JPEG, EXIF orientation 3"


def test_page_and_table_show_facts_and_warnings(grays, tmp_path, capsys):
    path = grays / FILE_NAME
    document = json.loads(path.read_text())
    document["notes"] = {"images were turned upright": 7}
    document["request"]["labels"] = "masks: palette indices"
    path.write_text(json.dumps(document))
    out = tmp_path / "page.html"
    assert run_inspect(grays, "--out", out, "--frames", 1) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "masks: palette indices" in printed and "7 images were turned upright" in printed
    warning = "split 'val' has no pixel of direct, alternative"
    assert "image files" in printed and warning in printed
    text = " ".join(Page(out.read_text()).text.split())
    assert warning in text and "sizes 32x64 32x64" in text and "image files PNG PNG" in text
    assert "masks: palette indices" in text and "7 images were turned upright" in text


def test_day_and_night():
    rng = np.random.default_rng(0)
    night, day = rng.normal(40, 8, 100), rng.normal(120, 20, 900)
    assert 55 < split_statistics.dark_threshold(np.concatenate([day, night])) < 80
    assert split_statistics.dark_threshold(day) is None
    assert split_statistics.dark_threshold(np.array([30.0] * 20 + [140.0] * 40)) is not None
    # A dull and a sunny day, a handful of dark frames, and too few frames.
    assert split_statistics.dark_threshold(rng.choice([100.0, 170.0], 200)) is None
    assert split_statistics.dark_threshold(np.concatenate([day, night[:20]])) is None
    assert split_statistics.dark_threshold(np.array([30.0, 140.0])) is None


def test_classes_are_distinguishable_without_colour():
    grays = [cv2.cvtColor(patterns.swatch(CAMVID_11, i), cv2.COLOR_RGB2GRAY) for i in range(11)]
    outlines = [gray != np.median(gray) for gray in grays]
    for i in range(11):
        for j in range(i):
            assert (outlines[i] != outlines[j]).mean() > 0.05, (i, j)
    assert len({patterns.pattern_name(CAMVID_11, i) for i in range(11)}) == 11


def test_heat_maps_have_a_line_at_half():
    heat = np.zeros((10, 10))
    heat[:, 5:] = 0.4
    drawn = inspect_figures.heat_map(heat, 0.4)
    white = (drawn == 255).all(axis=-1)
    assert drawn.shape == (40, 40, 3) and set(np.flatnonzero(white.any(axis=0))) <= {19, 20, 21}
    assert white.any() and drawn[20, 39].tolist() != drawn[20, 0].tolist()


def test_page_is_written_next_to_the_folder_and_leaves_no_partial_file(grays, monkeypatch):
    before = sorted(grays.iterdir())
    assert run_inspect(grays, "--frames", 1) == 0
    out = grays.with_name("grays.inspect.html")
    first = out.read_bytes()
    assert sorted(grays.iterdir()) == before and not list(grays.parent.glob("partial-*"))
    assert run_inspect(grays, "--frames", 1) == 0
    assert out.read_bytes() == first  # Same data, same page.
    monkeypatch.chdir(grays)
    assert run_inspect(".", "--frames", 2) == 0
    assert out.read_bytes() != first


def test_bad_input_gets_one_line(grays, tmp_path, capsys):
    for flags, words in (
        ([tmp_path / "nowhere"], ["no such folder"]),
        ([tmp_path], ["no manifest.json"]),
        ([grays, "--frames", -1], ["--frames -1"]),
        ([grays, "--out", tmp_path], ["--out"]),
        ([grays, "--out", tmp_path / "no" / "page.html"], ["--out"]),
    ):
        assert run_inspect(*flags) == 2
        assert_one_line(capsys, *words)


@pytest.mark.parametrize("damage", ["flip", "remove"])
def test_damaged_shards_get_one_line_and_no_page(grays, capsys, damage):
    path = next(grays.glob("grays-val*"))
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    if damage == "flip":
        path.write_bytes(data)
    else:
        path.unlink()
    assert run_inspect(grays) == 2
    assert_one_line(capsys, "verify" if damage == "flip" else path.name)
    assert not list(grays.parent.glob("*.html*"))
