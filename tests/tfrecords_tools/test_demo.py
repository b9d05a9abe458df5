"""The procedural data set: same bytes for the same seed, BDD100K's layout, plausible labels."""

import errno
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from kseg.errors import InputError, run
from kseg.labels import BDD100K_DRIVABLE
from tfrecords_tools.demo.__main__ import main
from tfrecords_tools.demo.dataset import VERSION, draw_frame
from tfrecords_tools.demo.render import render
from tfrecords_tools.demo.sample_scene import sample_scene

SIZE = ["--size", "90", "160"]


def write(out, *extra, train=3, val=2):
    return main(["--out", str(out), "--train", str(train), "--val", str(val), *SIZE, *extra])


def contents(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in Path(root).rglob("*") if p.is_file()}


def low_res_masks(count):
    return np.stack([draw_frame(0, "train", k, (90, 160))[1] for k in range(count)])


@pytest.fixture(scope="module")
def small_set(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "set"
    assert write(out) == 0
    return out


def test_same_seed_gives_same_bytes_with_any_thread_count(small_set, tmp_path):
    for threads in (1, 3):
        again = tmp_path / str(threads)
        assert write(again, "--threads", str(threads)) == 0
        assert contents(again) == contents(small_set)


def test_other_seed_gives_other_frames(small_set, tmp_path):
    write(tmp_path / "other", "--seed", "1", train=1, val=1)
    images = [sorted((d / "images/100k/train").iterdir()) for d in (small_set, tmp_path / "other")]
    assert images[0][0].read_bytes() != images[1][0].read_bytes()


def test_a_frame_does_not_depend_on_the_count(small_set, tmp_path):
    write(tmp_path / "more", train=5, val=3)
    fewer, more = contents(small_set), contents(tmp_path / "more")
    del fewer["demo.json"]
    assert fewer.items() <= more.items()


def test_layout_is_that_of_bdd100k(small_set):
    for split, count in (("train", 3), ("val", 2)):
        images = {p.stem for p in (small_set / "images/100k" / split).glob("*.jpg")}
        assert len(images) == count
        for kind in ("masks", "colormaps"):
            folder = small_set / "labels/drivable" / kind / split
            assert {p.stem for p in folder.glob("*.png")} == images
    spec = json.loads((small_set / "demo.json").read_text())
    assert spec == {"version": VERSION, "seed": 0, "train": 3, "val": 2, "size": [90, 160]}
    assert not small_set.with_name("set.partial").exists()


def test_masks_hold_class_ids_and_colormaps_their_colours(small_set):
    palette = np.array(BDD100K_DRIVABLE.palette, np.uint8)
    for path in (small_set / "labels/drivable/masks").rglob("*.png"):
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert mask.shape == (90, 160) and mask.dtype == np.uint8
        assert set(np.unique(mask)) <= {0, 1, 2}
        colormap = cv2.imread(str(path).replace("/masks/", "/colormaps/"), cv2.IMREAD_COLOR)
        assert np.array_equal(colormap[..., ::-1], palette[mask])


def test_images_have_the_given_size_and_are_not_blank(small_set):
    for path in (small_set / "images").rglob("*.jpg"):
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        assert image.shape == (90, 160, 3)
        assert image.std() > 5


@pytest.mark.parametrize("size", [(91, 163), (300, 160), (90, 400)])
def test_any_shape_can_be_drawn(size):
    for k in range(6):
        image, mask = draw_frame(3, "val", k, size)
        assert image.shape == (*size, 3) and image.dtype == np.uint8
        assert mask.shape == size and mask.dtype == np.uint8


def test_a_second_run_writes_nothing(small_set, capsys):
    before = contents(small_set)
    assert write(small_set) == 0
    assert "already" in capsys.readouterr().out
    assert contents(small_set) == before


@pytest.mark.parametrize("name", ["notes.txt", "demo.json"])
def test_other_content_of_the_folder_is_left_alone(tmp_path, name, capsys):
    (tmp_path / name).write_text("[1]")
    assert run(lambda: write(tmp_path)) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and str(tmp_path) in message
    assert contents(tmp_path) == {name: b"[1]"}


def test_another_demo_set_is_left_alone(small_set):
    before = contents(small_set)
    with pytest.raises(InputError, match="already holds"):
        write(small_set, "--seed", "7")
    assert contents(small_set) == before


def test_an_empty_folder_and_the_rest_of_a_killed_run_are_replaced(tmp_path):
    out, left = tmp_path / "set", tmp_path / "set.partial" / "images"
    out.mkdir()
    left.mkdir(parents=True)
    (left / "half.jpg").write_bytes(b"")
    assert write(out, train=1, val=1) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set"]
    assert "images/half.jpg" not in contents(out)


def test_a_temporary_folder_with_other_files_is_not_removed(tmp_path):
    other = tmp_path / "set.partial" / "thesis.doc"
    other.parent.mkdir()
    other.write_text("text")
    with pytest.raises(InputError, match="thesis"):
        write(tmp_path / "set")
    assert other.read_text() == "text"


def test_an_unreadable_folder_is_one_line(tmp_path, monkeypatch, capsys):
    def denied(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    (tmp_path / "set").mkdir()
    monkeypatch.setattr(Path, "iterdir", denied)  # chmod would not stop root.
    assert run(lambda: write(tmp_path / "set")) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'set'}: Permission denied\n"


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    def full(path, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    assert run(lambda: write(tmp_path / "set")) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'set'}: No space left on device\n"
    assert not list(tmp_path.iterdir())


def test_an_impossible_parent_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run(lambda: write(tmp_path / "file" / "set")) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"error: {tmp_path / 'file'}") and message.count("\n") == 1
    assert "is a file, not a folder" in message


@pytest.mark.parametrize(
    "flags",
    [["--train", "0"], ["--val", "-1"], ["--size", "89", "160"], ["--size", "90", "100000"]]
    + [["--seed", "-1"], ["--threads", "0"]],
)
def test_bad_numbers_name_their_flag(tmp_path, flags):
    with pytest.raises(InputError, match=flags[0]):
        main(["--out", str(tmp_path / "set"), *flags])
    assert not list(tmp_path.iterdir())


def test_class_shares_are_near_those_of_bdd100k():
    masks = low_res_masks(60)
    direct, alternative = ((masks == c).mean() for c in (0, 1))
    assert 0.08 < direct < 0.16
    assert 0.02 < alternative < 0.08
    assert (masks[:, : 90 // 4] == 2).all()


def test_lane_ends_at_its_first_car():
    for k in range(40):
        scene = sample_scene(np.random.default_rng(k), (90, 160))
        middle = (scene.road.ego_lane + 0.5) * scene.road.lanes.width_m
        ahead = [c for c in scene.cars if abs(c.u_m - middle) < 0.5]
        if not ahead:
            continue
        camera, mask = scene.camera, render(scene)[1]
        nearest = min(c.z_m for c in ahead)
        bumper = camera.horizon_px + camera.focal_px * camera.height_m / nearest
        tilt = abs(camera.roll) * camera.size[1] / 2 + 2
        assert (mask[: max(int(bumper - tilt), 0)] != 0).all()
