import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import tensorflow as tf

from kseg import files
from kseg.data import records
from kseg.labels import IGNORE_ID
from kseg.manifest import read_manifest
from tests.conftest import ROOT, assert_one_line, run_build, write_bdd100k
from tfrecords_tools import conversion, shards


def read(folder, split):
    manifest = read_manifest(folder)
    paths = [str(folder / shard.name) for shard in manifest.splits[split].shards]
    return {
        e["key"].numpy().decode(): (e["image"].numpy(), e["mask"].numpy())
        for e in map(records.parse, tf.data.TFRecordDataset(paths))
    }


def test_without_size_every_frame_keeps_its_bytes(bdd100k, tmp_path):
    assert run_build(bdd100k, tmp_path / "out") == 0
    frames = read(tmp_path / "out", "train")
    assert sorted(frames) == [f"train{i}" for i in range(6)]
    for key, (image, mask) in frames.items():
        jpeg = bdd100k / "images/100k/train" / f"{key}.jpg"
        assert np.array_equal(image, cv2.imread(str(jpeg), cv2.IMREAD_COLOR_RGB))
        path = bdd100k / "labels/drivable/masks/train" / f"{key}.png"
        assert np.array_equal(mask, cv2.imread(str(path), cv2.IMREAD_UNCHANGED))


def test_the_manifest_agrees_with_the_shards(bdd100k, tmp_path, monkeypatch):
    monkeypatch.setattr(conversion, "SHARD_FRAMES", 4)
    assert run_build(bdd100k, tmp_path / "out", "--size", 60, 100) == 0
    manifest = read_manifest(tmp_path / "out")
    assert manifest.size == (60, 100) and set(manifest.splits) == {"train", "val"}
    train = manifest.splits["train"]
    assert [s.examples for s in train.shards] == [4, 2] and train.examples == 6
    for shard in train.shards:
        data = (tmp_path / "out" / shard.name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (shard.bytes, shard.sha256)
    masks = np.stack([mask for _, mask in read(tmp_path / "out", "train").values()])
    assert list(train.pixels) == [int((masks == i).sum()) for i in range(3)]
    assert sum(train.shares) == pytest.approx(1)


def test_two_builds_are_identical_and_repeating_one_does_nothing(bdd100k, tmp_path, capsys):
    for name in ("a", "b"):
        assert run_build(bdd100k, tmp_path / name, "--size", 60, 100) == 0
    a, b = (read_manifest(tmp_path / name) for name in ("a", "b"))
    assert a == b
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "a").iterdir()}
    assert run_build(bdd100k, tmp_path / "a", "--size", 60, 100) == 0
    assert "already built" in capsys.readouterr().out
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "a").iterdir()}


def test_a_random_split_depends_on_the_seed_only(tmp_path):
    data = write_bdd100k(tmp_path / "d", {"train": 15, "val": 5}, size=(40, 60))
    flags = ["--split", 0.7, 0.2, 0.1, "--seed", 3]
    assert run_build(data, tmp_path / "out", *flags) == 0
    keys = {name: set(read(tmp_path / "out", name)) for name in ("train", "val", "test")}
    assert [len(keys[n]) for n in ("train", "val", "test")] == [14, 4, 2]
    assert len(set.union(*keys.values())) == 20
    assert run_build(data, tmp_path / "again", *flags) == 0
    assert set(read(tmp_path / "again", "test")) == keys["test"]
    assert run_build(data, tmp_path / "other", *flags[:-1], 4) == 0
    assert set(read(tmp_path / "other", "test")) != keys["test"]


def test_rounded_shares_lose_no_frame_and_put_none_in_two_splits(tmp_path):
    data = write_bdd100k(tmp_path / "d", {"train": 7}, size=(40, 60))
    assert run_build(data, tmp_path / "out", "--split", 0, 0.5, 0.5) == 0
    keys = [set(read(tmp_path / "out", name)) for name in ("val", "test")]
    assert len(keys[0]) + len(keys[1]) == len(keys[0] | keys[1]) == 7


def test_limit_is_the_number_of_frames(bdd100k, tmp_path):
    assert run_build(bdd100k, tmp_path / "out", "--limit", 5) == 0
    assert sum(s.examples for s in read_manifest(tmp_path / "out").splits.values()) == 5


def test_letterbox_bars_are_ignored(bdd100k, tmp_path):
    assert run_build(bdd100k, tmp_path / "out", "--size", 100, 100) == 0
    image, mask = read(tmp_path / "out", "val")["val0"]
    # 120x200 becomes 60x100, with 20 rows above and below.
    assert (mask[:20] == IGNORE_ID).all() and (mask[80:] == IGNORE_ID).all()
    assert (mask[20:80] != IGNORE_ID).all() and image[:18].max() < 30


def write_camvid(root):
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        image = rng.integers(0, 256, (36, 48, 3), dtype=np.uint8)
        cv2.imwrite(str(root / "images" / split / "a.png"), image)
        ids = np.repeat(np.arange(12, dtype=np.uint8), 4)[None].repeat(36, axis=0)
        cv2.imwrite(str(root / "labels" / split / "a.png"), ids)
    return root


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("road", [2, 2, 2, 0, 1, 2, 2, 2, 2, 2, 2, IGNORE_ID]),
        ("11", [*range(11), IGNORE_ID]),
    ],
)
def test_camvid_ids(tmp_path, task, expected):
    data = write_camvid(tmp_path / "camvid")
    assert run_build(data, tmp_path / "out", "--task", task, source="camvid") == 0
    _, mask = read(tmp_path / "out", "train")["a"]
    assert mask[0, ::4].tolist() == expected


def test_a_plain_folder_has_its_own_classes(tmp_path):
    data = tmp_path / "own"
    (data / "images").mkdir(parents=True)
    (data / "masks").mkdir()
    classes = [
        {"id": 0, "name": "track", "color": [255, 0, 0], "drivable": True},
        {"id": 1, "name": "field", "color": [0, 0, 0]},
    ]
    (data / "classes.json").write_text(json.dumps({"name": "farm", "classes": classes}))
    cv2.imwrite(str(data / "images/x.jpg"), np.zeros((40, 50, 3), np.uint8))
    cv2.imwrite(str(data / "masks/x.png"), np.repeat([[0], [1]], [15, 25], 0).repeat(50, 1))
    assert run_build(data, tmp_path / "out", source="folder") == 0
    manifest = read_manifest(tmp_path / "out")
    assert manifest.dataset == "farm" and manifest.labels.names == ["track", "field"]
    assert manifest.splits["train"].pixels == (750, 1250)


def test_legacy_masks_become_the_same_records(bdd100k, tmp_path):
    assert run_build(bdd100k, tmp_path / "current") == 0
    for path in (bdd100k / "labels/drivable/masks").rglob("*.png"):
        legacy = bdd100k / "drivable_maps/labels" / path.parent.name
        legacy.mkdir(parents=True, exist_ok=True)
        ids = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(
            str(legacy / f"{path.stem}_drivable_id.png"), np.array([1, 2, 0], np.uint8)[ids]
        )
    assert run_build(bdd100k, tmp_path / "both") == 2
    assert run_build(bdd100k, tmp_path / "legacy", "--coding", "legacy") == 0
    current, legacy = (read_manifest(tmp_path / name) for name in ("current", "legacy"))
    assert current.splits == legacy.splits
    assert legacy.request["labels"] == "drivable_maps/labels/*, legacy coding"


# Each damages a correct data set, and returns what the error message must contain.
def no_mask(data):
    (data / "labels/drivable/masks/train/train2.png").unlink()
    return "train2.jpg", "image without a mask", "--skip-unpaired"


def no_image(data):
    (data / "images/100k/val/val1.jpg").unlink()
    return "val1.png", "mask without an image"


def mask_of_another_size(data):
    cv2.imwrite(
        str(data / "labels/drivable/masks/train/train3.png"), np.full((60, 200), 2, np.uint8)
    )
    return "train3.png", "mask is 60x200", "120x200"


def id_out_of_range(data):
    path = data / "labels/drivable/masks/train/train4.png"
    mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    mask[100, 100] = 7
    cv2.imwrite(str(path), mask)
    return "train4.png", "ids [7]", "0 to 2"


def truncated_jpeg(data):
    path = data / "images/100k/train/train1.jpg"
    path.write_bytes(path.read_bytes()[:-500])
    return "train1.jpg", "truncated"


def garbage_mask(data):
    (data / "labels/drivable/masks/val/val2.png").write_bytes(b"not an image")
    return "val2.png", "no image"


def empty_image(data):
    (data / "images/100k/train/train0.jpg").write_bytes(b"")
    return "train0.jpg", "empty"


def color_map(data):
    path = data / "labels/drivable/masks/train/train5.png"
    cv2.imwrite(str(path), np.zeros((120, 200, 3), np.uint8))
    return "train5.png", "RGB", "class ids"


def legacy_coding(data):
    # 0 background, 1 direct, 2 alternative.
    for path in (data / "labels/drivable/masks").rglob("*.png"):
        ids = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), np.array([1, 2, 0], np.uint8)[ids])
    return "top quarter", "legacy"


def missing_folder(data):
    data.rename(data.with_name("moved"))
    return str(data), "no such folder"


@pytest.mark.parametrize("damage", [no_mask, no_image, legacy_coding, missing_folder])
def test_an_invalid_data_set_gets_one_line_and_leaves_nothing(bdd100k, tmp_path, capsys, damage):
    words = damage(bdd100k)
    assert run_build(bdd100k, tmp_path / "out", "--size", 60, 100) == 2
    assert_one_line(capsys, *words)
    assert not list(tmp_path.glob("out*"))


BAD_FRAMES = [
    mask_of_another_size,
    id_out_of_range,
    truncated_jpeg,
    garbage_mask,
    empty_image,
    color_map,
]


@pytest.mark.parametrize("damage", BAD_FRAMES)
def test_one_bad_frame_of_nine_gets_one_line_and_no_data_set(bdd100k, tmp_path, capsys, damage):
    words = damage(bdd100k)
    assert run_build(bdd100k, tmp_path / "out", "--size", 60, 100) == 2
    assert_one_line(capsys, "1 of 9 frames", "--max-bad", *words)
    assert not (tmp_path / "out").exists()


def test_bad_frames_within_the_limit_are_left_out_and_listed(bdd100k, tmp_path, capsys):
    words = [damage(bdd100k) for damage in (truncated_jpeg, id_out_of_range, garbage_mask)]
    assert run_build(bdd100k, tmp_path / "out", "--max-bad", 40) == 0
    kept = {key for split in ("train", "val") for key in read(tmp_path / "out", split)}
    every = {f"train{i}" for i in range(6)} | {f"val{i}" for i in range(3)}
    assert kept == every - {"train1", "train4", "val2"}
    lines = (tmp_path / "out" / conversion.QUARANTINE).read_text().splitlines()
    reasons = {entry["key"]: entry["reason"] for entry in map(json.loads, lines)}
    assert set(reasons) == {"train1", "train4", "val2"}
    for (name, *parts), key in zip(words, ("train1", "train4", "val2"), strict=True):
        assert name in reasons[key] and all(part in reasons[key] for part in parts)
    assert read_manifest(tmp_path / "out").splits["train"].examples == 4


def test_repaired_frames_are_used_by_the_next_run_which_rewrites_only_their_shard(
    bdd100k, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(conversion, "SHARD_FRAMES", 2)
    path = bdd100k / "images/100k/train/train1.jpg"
    good = path.read_bytes()
    truncated_jpeg(bdd100k)
    assert run_build(bdd100k, tmp_path / "out") == 2
    # Their shard is tried again even though the files look the same: permissions may be repaired.
    assert run_build(bdd100k, tmp_path / "out") == 2
    assert "4 of 5 shards are done" in capsys.readouterr().out
    path.write_bytes(good)
    assert run_build(bdd100k, tmp_path / "out") == 0
    assert "4 of 5 shards are done" in capsys.readouterr().out
    assert len(read(tmp_path / "out", "train")) == 6
    assert not (tmp_path / "out" / conversion.QUARANTINE).exists()


def test_a_finished_shard_that_a_power_cut_filled_with_zeros_is_written_again(
    bdd100k, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(conversion, "SHARD_FRAMES", 2)
    assert run_build(bdd100k, tmp_path / "expected") == 0
    path = bdd100k / "images/100k/train/train1.jpg"
    good = path.read_bytes()
    truncated_jpeg(bdd100k)
    assert run_build(bdd100k, tmp_path / "out") == 2
    path.write_bytes(good)
    shard = next((tmp_path / "out.partial").glob("*val*00000-of-00002"))
    shard.write_bytes(bytes(shard.stat().st_size))
    assert run_build(bdd100k, tmp_path / "out") == 0
    assert "3 of 5 shards are done" in capsys.readouterr().out
    written = (tmp_path / "out" / shard.name).read_bytes()
    assert written == (tmp_path / "expected" / shard.name).read_bytes()


def test_shards_and_the_manifest_are_on_disk_before_the_folder_gets_its_name(
    bdd100k, tmp_path, monkeypatch
):
    synced, sync = [], files.sync

    def record(path):
        synced.append(path.name)
        sync(path)

    monkeypatch.setattr(files, "sync", record)
    assert run_build(bdd100k, tmp_path / "out") == 0
    renamed = len(synced) - synced[::-1].index("out.partial")
    assert {p.name for p in (tmp_path / "out").iterdir()} <= set(synced[:renamed])
    assert synced[renamed:] == [tmp_path.name]  # Last of all, the folder that holds the name.


def test_one_per_cent_of_corrupt_frames_is_quarantined_and_no_other_frame_lost(tmp_path):
    data = write_bdd100k(tmp_path / "d", {"train": 300}, size=(36, 60))
    rng = np.random.default_rng(0)
    for number in (17, 130, 299):
        path = data / "images/100k/train" / f"train{number}.jpg"
        path.write_bytes(rng.bytes(path.stat().st_size))
    assert run_build(data, tmp_path / "out", "--max-bad", 1) == 0
    kept = read(tmp_path / "out", "train")
    assert set(kept) == {f"train{i}" for i in range(300)} - {"train17", "train130", "train299"}


def test_a_rerun_in_another_coding_reuses_no_shard(bdd100k, tmp_path, capsys):
    # The masks are valid in both codings, so only the job's digest distinguishes them.
    truncated_jpeg(bdd100k)
    assert run_build(bdd100k, tmp_path / "out", "--coding", "current") == 2
    assert run_build(bdd100k, tmp_path / "out", "--coding", "legacy", "--max-bad", 50) == 0
    assert "continuing" not in capsys.readouterr().out
    masks = np.stack([mask for _, mask in read(tmp_path / "out", "val").values()])
    assert (masks[:, 0] == 1).all()  # The sky, id 2, is legacy's alternative.


def test_shards_of_another_conversion_are_not_taken_for_these(
    bdd100k, tmp_path, monkeypatch, capsys
):
    truncated_jpeg(bdd100k)
    assert run_build(bdd100k, tmp_path / "part") == 2
    assert run_build(bdd100k, tmp_path / "all", "--max-bad", 50) == 0
    monkeypatch.setattr(shards, "CONVERSION_VERSION", 99)
    capsys.readouterr()
    assert run_build(bdd100k, tmp_path / "part") == 2
    assert "continuing" not in capsys.readouterr().out
    assert run_build(bdd100k, tmp_path / "all", "--max-bad", 50) == 2
    assert_one_line(capsys, tmp_path / "all", "another version", "--out")


def test_a_dangling_link_is_one_bad_frame(bdd100k, tmp_path):
    path = bdd100k / "images/100k/train/train0.jpg"
    path.unlink()
    path.symlink_to("nowhere.jpg")
    assert run_build(bdd100k, tmp_path / "out", "--max-bad", 20) == 0
    assert "train0.jpg: image cannot be read" in (tmp_path / "out/quarantine.jsonl").read_text()


def checksums(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def test_a_killed_build_run_again_ends_with_the_same_bytes_as_an_uninterrupted_one(tmp_path):
    data = write_bdd100k(tmp_path / "d", {"train": 600}, size=(36, 60))
    code = (
        "import sys, time; from kseg.errors import run\n"
        "from tfrecords_tools import build, conversion, shards\n"
        "conversion.SHARD_FRAMES = 100; convert = shards.convert_frame\n"
        "def slow(*a):\n    time.sleep(0.01); return convert(*a)\n"
        "shards.convert_frame = slow; sys.exit(run(build.main))"
    )
    argv = ["--source", "bdd100k", "--data", data, "--out", tmp_path / "out", "--workers", 1]
    child = subprocess.Popen([sys.executable, "-c", code, *map(str, argv)], cwd=ROOT)
    partial = tmp_path / "out.partial"
    while len(list(partial.glob("*.json"))) < 2:
        assert child.poll() is None
        time.sleep(0.05)
    child.kill()
    child.wait()
    assert not (tmp_path / "out").exists()
    done = {p: p.stat().st_mtime_ns for p in partial.glob("*-of-00006")}
    assert 2 <= len(done) < 6
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conversion, "SHARD_FRAMES", 100)
        for name in ("out", "uninterrupted"):
            assert run_build(data, tmp_path / name, "--workers", 1) == 0
    assert checksums(tmp_path / "out") == checksums(tmp_path / "uninterrupted")
    # Finished shards were kept, not written again.
    for path, written in done.items():
        assert (tmp_path / "out" / path.name).stat().st_mtime_ns == written


@pytest.mark.slow
def test_pool_and_beam_write_the_same_bytes_as_this_process(bdd100k, tmp_path, monkeypatch):
    monkeypatch.setattr(conversion, "SHARD_FRAMES", 3)
    assert run_build(bdd100k, tmp_path / "here", "--workers", 1) == 0
    assert run_build(bdd100k, tmp_path / "pool", "--workers", 2) == 0
    assert checksums(tmp_path / "here") == checksums(tmp_path / "pool")
    pytest.importorskip("apache_beam", reason="the extra `beam` is not installed")
    assert run_build(bdd100k, tmp_path / "beam", "--beam_runner", "DirectRunner") == 0
    assert checksums(tmp_path / "here") == checksums(tmp_path / "beam")


def test_an_error_in_a_worker_process_is_one_line(bdd100k, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(conversion, "SHARD_FRAMES", 3)
    # A folder in the place of a shard: not even root can write there.
    (tmp_path / "out.partial" / "bdd100k_drivable-val.tfrecord-00000-of-00001").mkdir(parents=True)
    # The build ends its own workers, and no other child of the caller.
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
    other.start()
    try:
        assert run_build(bdd100k, tmp_path / "out", "--workers", 2) == 2
        assert other.is_alive()
        other.join(0.5)
        assert other.exitcode is None
    finally:
        other.kill()
    assert_one_line(capsys, "bdd100k_drivable-val.tfrecord-00000-of-00001")


def test_tfds_reads_the_same_examples(bdd100k, tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    monkeypatch.setattr(conversion, "SHARD_FRAMES", 4)
    assert run_build(bdd100k, tmp_path / "out", "--size", 60, 100) == 0
    builder = tfds.builder_from_directory(tmp_path / "out")
    assert builder.info.splits["train"].num_examples == 6
    ours = read(tmp_path / "out", "train")
    theirs = {e["key"].decode(): e for e in tfds.as_numpy(builder.as_dataset("train"))}
    assert ours.keys() == theirs.keys()
    for key, (image, mask) in ours.items():
        # TFDS decodes with TensorFlow's fast IDCT, kseg with the accurate one of OpenCV.
        assert np.abs(theirs[key]["image"].astype(int) - image).mean() < 2
        assert np.array_equal(theirs[key]["mask"][..., 0], mask)
        assert (theirs[key]["height"], theirs[key]["width"]) == (60, 100)
    assert "@inproceedings{bdd100k" in builder.info.citation
    assert "| train | 6 |" in (tmp_path / "out" / "README.md").read_text()


def test_skip_unpaired_leaves_such_frames_out(bdd100k, tmp_path):
    no_mask(bdd100k)
    assert run_build(bdd100k, tmp_path / "out", "--skip-unpaired") == 0
    assert sorted(read(tmp_path / "out", "train")) == [f"train{i}" for i in (0, 1, 3, 4, 5)]


def test_a_folder_with_another_data_set_is_not_touched(bdd100k, tmp_path, capsys):
    assert run_build(bdd100k, tmp_path / "out") == 0
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    assert run_build(bdd100k, tmp_path / "out", "--size", 60, 100) == 2
    assert_one_line(capsys, tmp_path / "out", "something else", "(size None there, [60, 100] now)")
    assert before == {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}


def test_a_second_build_of_one_folder_is_one_line(bdd100k, tmp_path, capsys):
    (tmp_path / "out.partial").mkdir()
    with files.lock(tmp_path / "out.partial", "the first"):
        assert run_build(bdd100k, tmp_path / "out") == 2
    assert_one_line(capsys, "out.partial: another tfrecords_tools.build", f"process {os.getpid()}")
    assert run_build(bdd100k, tmp_path / "out") == 0
    assert not (tmp_path / "out" / files.LOCK).exists()


def test_what_the_next_commands_lack_is_said_at_once(tmp_path, capsys):
    write_bdd100k(tmp_path / "d", {"train": 2})
    assert run_build(tmp_path / "d", tmp_path / "swapped", "--size", 100, 60) == 0
    printed = capsys.readouterr()
    assert "2 images fill less than half of the stored frames; is --size HEIGHT" in printed.out
    assert "no split 'val', which kseg.train needs; build with --split" in printed.err
    assert "drivable" not in printed.err
    classes = [{"id": i, "name": f"c{i}", "color": [i, 9, 9]} for i in range(3)]
    own = tmp_path / "own"
    for part in ("images", "masks"):
        (own / part).mkdir(parents=True)
    cv2.imwrite(str(own / "images/a.png"), np.zeros((40, 60, 3), np.uint8))
    cv2.imwrite(str(own / "masks/a.png"), np.eye(40, 60, dtype=np.uint8))
    (own / "classes.json").write_text(json.dumps({"name": "own", "classes": classes}))
    assert run_build(own, tmp_path / "out", source="folder") == 0
    assert "no class is drivable, so" in capsys.readouterr().err


def test_reasons_are_grouped_and_keep_their_numbers():
    reasons = [
        "a.png: ids 7 in the mask",
        "b.png: ids 9, 8 in the mask",
        "c.png: ids 12 in the mask",
    ]
    bad = [{"reason": r, "label": r[:5], "image": "x.jpg"} for r in reasons]
    counts = {"ids 7 in the mask": 2, "ids 9, 8 in the mask": 1}
    assert conversion.count_reasons(bad) == counts


def test_files_left_by_a_killed_build_are_removed(bdd100k, tmp_path):
    partial = tmp_path / "out.partial"
    partial.mkdir()
    (partial / "bdd100k_drivable-train.tfrecord-00000-of-00001.partial").write_bytes(b"half")
    (partial / "bdd100k_drivable-train.tfrecord-00000-of-00009").write_bytes(b"of another plan")
    assert run_build(bdd100k, tmp_path / "out") == 0
    assert not partial.exists()
    # The shard of the other plan is gone too.
    left = {p.name for p in (tmp_path / "out").glob("*.tfrecord*")}
    listed = read_manifest(tmp_path / "out").splits.values()
    assert left == {shard.name for split in listed for shard in split.shards}
    assert len(read(tmp_path / "out", "train")) == 6


def test_unwritable_output_gets_one_line(bdd100k, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run_build(bdd100k, tmp_path / "file" / "out") == 2
    assert_one_line(capsys, "file")


@pytest.mark.parametrize(
    "flags",
    [
        ["--size", 8, 8],
        ["--split", 0.5, 0.2, 0.1],
        ["--split", 1.2, -0.2, 0],
        ["--limit", 0],
        ["--max-bad", 101],
        ["--task", "road"],
    ],
)
def test_bad_flags_get_one_line(bdd100k, tmp_path, capsys, flags):
    assert run_build(bdd100k, tmp_path / "out", *flags) == 2
    assert_one_line(capsys, flags[0])


@pytest.mark.parametrize("flags", [["--task", "19"], ["--labels", "masks"], ["--coding", "legacy"]])
def test_flags_of_another_source_get_one_line(tmp_path, capsys, flags):
    assert run_build(tmp_path, tmp_path / "out", *flags, source="camvid") == 2
    assert_one_line(capsys, *flags)


@pytest.mark.slow
def test_real_camvid(shared_data, tmp_path):
    assert (
        run_build(shared_data / "camvid", tmp_path / "out", "--size", 60, 80, source="camvid") == 0
    )
    manifest = read_manifest(tmp_path / "out")
    assert [manifest.splits[n].examples for n in ("train", "val")] == [367, 101]
    assert manifest.splits["train"].shares[0] == pytest.approx(0.33, abs=0.02)
