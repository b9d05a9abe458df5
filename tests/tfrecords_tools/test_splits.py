"""A random split puts no drive into two splits, has the sizes asked for, and verify checks it."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from kseg.errors import InputError
from kseg.manifest import read_manifest
from tests.bdd100k_files import write_png
from tests.conftest import assert_one_line, command, run_build, scene
from tfrecords_tools import splits, verify
from tfrecords_tools.datasets import Frame, bdd100k, camvid, cityscapes, idd, kitti_road

FRAME = "^[0-9a-f]{8}(?=-)"


def frames(counts):
    """{drive: number of frames} -> Frames named like BDD100K's."""
    keys = (f"{drive}-{i:08x}" for drive, count in counts.items() for i in range(count))
    return [Frame(key, Path("a.jpg"), Path("a.png")) for key in keys]


def split(counts, shares, seed=0, pattern=FRAME):
    return splits.split_frames({"train": frames(counts)}, shares, None, seed, pattern=pattern)


def drives(part):
    return {frame.key[:8] for frame in part}


@pytest.mark.parametrize(
    ("module", "key", "drive"),
    [
        (bdd100k, "0000f77c-6257be58", "0000f77c"),
        (bdd100k, "train0", "train0"),
        (camvid, "0016E5_00901", "0016E5"),
        (camvid, "Seq05VD_f02370", "Seq05VD"),
        (cityscapes, "aachen_000123_000019", "aachen"),
        (idd, "119_frame0029", "119"),
        (kitti_road, "umm_000012", "umm"),
    ],
)
def test_the_drive_in_the_names_of_each_source(module, key, drive):
    assert splits.drive_of(key, module.DRIVE_PATTERN) == drive


def test_a_pattern_with_a_group_gives_the_group():
    assert splits.drive_of("2024-05-01_car7_0001", "_(car[0-9]+)_") == "car7"
    assert splits.drive_of("2024-05-01_car7_0001", "^[^_]+") == "2024-05-01"
    assert splits.drive_of("x", "(y)?") == "x"


@pytest.mark.parametrize("seed", range(20))
def test_no_drive_is_in_two_splits_and_sizes_are_those_asked_for(seed):
    rng = np.random.default_rng(seed)
    counts = {f"{i:08x}": int(n) for i, n in enumerate(rng.geometric(0.6, 200))}
    parts = split(counts, [0.7, 0.2, 0.1], seed)
    total = sum(counts.values())
    sizes = [len(parts[name]) for name in ("train", "val", "test")]
    assert sizes == np.diff([0, round(0.7 * total), round((0.7 + 0.2) * total), total]).tolist()
    assert sum(len(drives(part)) for part in parts.values()) == len(counts)


def test_large_drives_come_as_near_to_the_shares_as_they_can():
    sizes = {
        name: len(p)
        for name, p in split(
            {f"{i:08x}": n for i, n in enumerate((305, 101, 62))}, [0.7, 0.2, 0.1]
        ).items()
    }
    assert sizes == {"train": 305, "val": 101, "test": 62}


def test_every_split_asked_for_gets_a_drive():
    for seed in range(10):
        parts = split({"0000000a": 5, "0000000b": 5}, [0.9, 0.1, 0], seed)
        assert {name: len(part) for name, part in parts.items()} == {"train": 5, "val": 5}


def test_the_split_depends_on_the_seed_only():
    counts = {f"{i:08x}": 1 + i % 3 for i in range(60)}
    first, again, other = (split(counts, [0.5, 0.5, 0], seed) for seed in (1, 1, 2))
    assert first == again and drives(first["val"]) != drives(other["val"])


def test_large_drives_are_in_every_split_and_not_only_in_train():
    counts = {f"{i:08x}": 5 if i < 20 else 1 for i in range(200)}
    large = [
        len(drives(split(counts, [0.5, 0.5, 0], s)["val"]) & set(list(counts)[:20]))
        for s in range(10)
    ]
    assert 7 < np.mean(large) < 13


def test_too_few_drives_get_one_line_with_the_flags():
    with pytest.raises(InputError, match=r"8 frames are of 1 drives \(0000000a\).*--group-by none"):
        split({"0000000a": 8}, [0.5, 0.5, 0])


def write_drives(root, counts):
    """A BDD100K folder of drives, in which no two images are alike."""
    rng = np.random.default_rng(0)
    for drive, count in counts.items():
        for number in range(count):
            _, mask = scene(rng, (120, 200))
            image = cv2.resize(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), (200, 120))
            key = f"{drive}-{number:08x}"
            write_png(root / f"images/100k/train/{key}.png", image)
            write_png(root / f"labels/drivable/masks/train/{key}.png", mask)
    return root


COUNTS = {f"{i:08x}": 3 for i in range(8)}


def test_a_build_keeps_drives_together_says_so_and_stores_them(tmp_path, capsys):
    data = write_drives(tmp_path / "d", COUNTS)
    assert run_build(data, tmp_path / "out", "--split", 0.5, 0.25, 0.25) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "split by drive" in printed and "train 12 frames (50.0%) of 4 drives" in printed
    manifest = read_manifest(tmp_path / "out")
    stored = {name: split.drives for name, split in manifest.splits.items()}
    assert {d: n for part in stored.values() for d, n in part.items()} == COUNTS
    assert [len(stored[name]) for name in ("train", "val", "test")] == [4, 2, 2]
    assert command(verify.main, [tmp_path / "out"]) == 0
    assert "drive '" not in capsys.readouterr().out


def test_verify_reports_drives_in_two_splits(tmp_path, capsys):
    data = write_drives(tmp_path / "d", COUNTS)
    flags = ["--split", 0.5, 0.25, 0.25, "--group-by", "none"]
    assert run_build(data, tmp_path / "out", *flags) == 0
    printed = capsys.readouterr().out
    assert "split by frame (--group-by none)" in printed and "8 drives are in two" in printed
    assert command(verify.main, [tmp_path / "out"]) == 1
    printed = capsys.readouterr().out
    assert printed.count("problem: drive '") == 8 and "same image" not in printed
    assert "drive '00000003' has frames in" in printed and "--group-by none" in printed


def test_drives_in_two_of_the_data_sets_own_splits_are_a_warning(tmp_path, capsys):
    data = write_drives(tmp_path / "d", COUNTS)
    for kind in ("images/100k", "labels/drivable/masks"):
        (data / kind / "val").mkdir()
        for path in (data / kind / "train").glob("00000001-0000000[12].png"):
            path.rename(data / kind / "val" / path.name)
    assert run_build(data, tmp_path / "out") == 0
    assert command(verify.main, [tmp_path / "out"]) == 0
    assert "warning: drive '00000001'" in capsys.readouterr().out


def test_group_by_replaces_the_rule_of_the_source(tmp_path, capsys):
    data = write_drives(tmp_path / "d", COUNTS)
    flags = ["--split", 0.5, 0.5, 0]
    assert run_build(data, tmp_path / "a", *flags, "--group-by", "[0-9a-f]$") == 0
    assert set(read_manifest(tmp_path / "a").splits["train"].drives) < {"0", "1", "2"}
    assert run_build(data, tmp_path / "b", *flags, "--group-by", "^x") == 2
    assert_one_line(capsys, "--group-by '^x'", "24 of 24", "00000000-00000000")
    assert run_build(data, tmp_path / "b", *flags, "--group-by", "(") == 2
    assert_one_line(capsys, "--group-by '('", "regular expression")
    assert run_build(data, tmp_path / "b", *flags, "--group-by", "^0") == 2
    assert_one_line(capsys, "of 1 drives", "--group-by")
    assert not list(tmp_path.glob("b*"))
