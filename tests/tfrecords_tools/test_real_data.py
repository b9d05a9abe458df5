"""Real frames of BDD100K, IDD lite and KITTI road, converted as they were downloaded.

Expected pixels are counted here, with Pillow.
"""

import numpy as np
import pytest
from PIL import Image

from kseg.manifest import read_manifest
from tests.conftest import assert_one_line, run_build


@pytest.fixture
def real(shared_data):
    """A function (name of a data set) -> its folder; skips the test where it is absent."""

    def folder(name):
        if not (shared_data / name).is_dir():
            pytest.skip(f"no {name} in {shared_data}")
        return shared_data / name

    return folder


def count(paths):
    """Pixels of each of the 256 ids in these masks."""
    paths = sorted(paths)
    assert paths
    return sum(np.bincount(np.asarray(Image.open(p)).ravel(), minlength=256) for p in paths)


def assert_complete(folder):
    assert not (folder / "quarantine.jsonl").exists()


@pytest.mark.slow
def test_bdd100k(real, tmp_path, capsys):
    data = real("bdd100k")
    assert run_build(data, tmp_path / "out") == 0
    assert "drivable_maps/labels/*, legacy coding" in capsys.readouterr().out
    manifest = read_manifest(tmp_path / "out")
    train, val = manifest.splits["train"], manifest.splits["val"]
    assert (train.examples, val.examples, manifest.size) == (447, 60, (720, 1280))
    for name, split in manifest.splits.items():
        ids = count((data / "drivable_maps/labels" / name).glob("*_drivable_id.png"))
        assert split.pixels == (ids[1], ids[2], ids[0]) and split.ignored == 0
    assert (len(train.drives), len(val.drives)) == (290, 34)
    assert not train.drives.keys() & val.drives.keys()
    assert_complete(tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("task", ["7", "road"])
def test_idd_lite(real, tmp_path, task):
    data = real("idd20k_lite")
    assert run_build(data, tmp_path / "out", "--task", task, source="idd") == 0
    manifest = read_manifest(tmp_path / "out")
    assert manifest.size == (227, 320)
    assert [split.examples for split in manifest.splits.values()] == [1403, 204]
    assert [len(split.drives) for split in manifest.splits.values()] == [309, 61]
    for name, split in manifest.splits.items():
        ids = count((data / "gtFine" / name).glob("*/*_label.png"))
        expected = ids[:7] if task == "7" else (ids[0], ids[1:7].sum())
        assert split.pixels == tuple(expected) and split.ignored == ids[255]
        assert ids[7:255].sum() == 0
    assert_complete(tmp_path / "out")


def test_kitti_road(real, tmp_path, capsys):
    data = real("kitti_road")
    assert run_build(data, tmp_path / "out", source="kitti-road") == 2
    assert_one_line(capsys, "um_lane_000000.png", "um_road_000000.png", "--task ego-lane")
    assert run_build(data, tmp_path / "out", "--task", "ego-lane", source="kitti-road") == 0
    train = read_manifest(tmp_path / "out").splits["train"]
    masks = [np.asarray(Image.open(p)) for p in (data / "training/gt_image_2").glob("*.png")]
    red, blue = (np.concatenate([mask[..., c].ravel() for mask in masks]) > 0 for c in (0, 2))
    # As in the devkit's getGroundTruth: red is valid, blue is lane.
    assert train.pixels == ((red & blue).sum(), (red & ~blue).sum())
    assert train.ignored == (~red).sum() and train.drives == {"um": 11}
    assert_complete(tmp_path / "out")
