"""verify reports every kind of problem of a data set, and none for a correct one."""

import dataclasses
import shutil

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kseg.data import records
from kseg.labels import BDD100K_DRIVABLE, IGNORE_ID
from kseg.manifest import FILE_NAME, Manifest, Split, read_manifest
from tests.conftest import assert_one_line, command, write_shard
from tests.odd_images import saved, tagged
from tfrecords_tools import build, checks, duplicates, verify

SIZE = (96, 160)  # JPEG artefacts change smaller frames too much to be recognised.


def run_verify(folder, *flags):
    return command(verify.main, [folder, *flags])


def blobs(seed, size=SIZE):
    """(H, W, 3) uint8 RGB of soft blobs, different for every seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def jpeg(image, quality=95):
    data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return data.tobytes()


def png(mask):
    return cv2.imencode(".png", mask)[1].tobytes()


def labelled(size=SIZE):
    """(H, W) uint8: left half direct, right half background, one row alternative, one ignored."""
    mask = np.full(size, 2, np.uint8)
    mask[:, : size[1] // 2] = 0
    mask[0], mask[1] = 1, IGNORE_ID
    return mask


@dataclasses.dataclass
class Frame:
    """The content of one record, which tests may change."""

    key: str
    image: bytes
    mask: bytes = png(labelled())
    size: tuple[int, int] = SIZE

    def encode(self):
        return records.encode(self.key, self.image, self.mask, self.size)


@pytest.fixture
def frames():
    """{split: Frames}: 12 train and 4 val, all different."""
    return {
        "train": [Frame(f"t{i}", jpeg(blobs(i))) for i in range(12)],
        "val": [Frame(f"v{i}", jpeg(blobs(100 + i))) for i in range(4)],
    }


def write(folder, frames, wrong_values=lambda split: {}):
    """Writes {split: Frames or serialized examples} as shards of 6, with a matching manifest."""
    folder.mkdir()
    splits = {}
    rows, columns = SIZE
    for name, members in frames.items():
        groups = [members[i : i + 6] for i in range(0, len(members), 6)]
        shards = []
        for number, group in enumerate(groups):
            path = folder / f"x-{name}.tfrecord-{number:05d}-of-{len(groups):05d}"
            examples = [f if isinstance(f, bytes) else f.encode() for f in group]
            shards.append(write_shard(path, examples))
        half = (rows - 2) * columns // 2
        pixels = tuple(len(members) * n for n in (half, columns, half))
        split = Split(len(members), pixels, len(members) * columns, tuple(shards))
        splits[name] = dataclasses.replace(split, **wrong_values(name))
    manifest = Manifest("x", BDD100K_DRIVABLE, SIZE, splits, {})
    (folder / FILE_NAME).write_text(manifest.to_json())
    return folder


def lines(capsys, word="problem"):
    return [x for x in capsys.readouterr().out.splitlines() if x.startswith(f"{word}: ")]


def assert_problems(folder, capsys, *expected):
    """Asserts exit code 1 and exactly these problem lines, each given by the words it holds."""
    assert run_verify(folder) == 1
    got = lines(capsys)
    assert len(got) == len(expected), got
    for words in expected:
        assert any(all(word in line for word in words) for line in got), (words, got)


def test_a_correct_data_set_has_no_problem_and_no_warning(frames, tmp_path, capsys):
    assert run_verify(write(tmp_path / "x", frames)) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path / 'x'}: x, 16 frames in 3 shards: no problems, no warnings"
    ]


def test_a_built_data_set_passes(bdd100k, tmp_path, capsys):
    # The fixture's frames differ only in where the road ends, so two splits may hold similar ones
    # by chance. Every other check must pass.
    flags = ["--source", "bdd100k", "--data", bdd100k, "--out", tmp_path / "x"]
    assert command(build.main, flags) == 0
    manifest = read_manifest(tmp_path / "x")
    assert {p.kind for p in verify.find_problems(tmp_path / "x", manifest)} <= {
        "duplicate",
        "leakage",
    }


@pytest.mark.parametrize("place", [4, 40, -2])
def test_a_flipped_byte_is_reported(frames, tmp_path, capsys, place):
    # Bytes of the length's checksum, of the data, and of the data's checksum.
    folder = write(tmp_path / "x", frames)
    path = next(folder.glob("x-val*"))
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    assert_problems(
        folder,
        capsys,
        (path.name, "SHA-256"),
        (path.name, "corrupt record", f"after {3 if place < 0 else 0} good"),
    )


def test_a_truncated_shard_is_reported(frames, tmp_path, capsys):
    folder = write(tmp_path / "x", frames)
    path = next(folder.glob("x-val*"))
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-9])
    assert_problems(
        folder,
        capsys,
        (path.name, f"got {size - 9} bytes, expected {size}"),
        (path.name, "SHA-256"),
        (path.name, "corrupt record after 3 good"),
    )


def test_a_missing_shard_is_reported(frames, tmp_path, capsys):
    folder = write(tmp_path / "x", frames)
    (folder / "x-train.tfrecord-00001-of-00002").unlink()
    assert_problems(folder, capsys, ("x-train.tfrecord-00001-of-00002", "no such file"))


def test_an_extra_shard_is_reported_but_no_other_file(frames, tmp_path, capsys):
    folder = write(tmp_path / "x", frames)
    (folder / "inspect.html").write_text("a report may lie here")
    shutil.copy(folder / "x-val.tfrecord-00000-of-00001", folder / "x-test.tfrecord-00000-of-00001")
    assert_problems(folder, capsys, ("x-test.tfrecord", "does not list"))


def test_another_number_of_records_than_the_manifest_says_is_reported(frames, tmp_path, capsys):
    # The file's checksum is right, but the manifest has another number of records.
    folder = write(tmp_path / "x", frames)
    path = folder / FILE_NAME
    text = path.read_text().replace('"examples": 4', '"examples": 5')
    path.write_text(text)
    assert_problems(folder, capsys, ("x-val.tfrecord", "got 4 records, expected 5"))


def test_same_frame_as_another_jpeg_in_both_splits_is_a_leak(frames, tmp_path, capsys):
    # With another name, re-encoded, and at another index.
    frames["val"][2].image = jpeg(blobs(3), quality=40)
    folder = write(tmp_path / "x", frames)
    assert_problems(folder, capsys, ("'v2' of split 'val'", "same image", "'t3' of split 'train'"))


def test_same_frame_twice_in_one_split_is_a_warning(frames, tmp_path, capsys):
    frames["train"][9].image = jpeg(blobs(3), quality=40)
    assert run_verify(write(tmp_path / "x", frames)) == 0
    (line,) = lines(capsys, "warning")
    assert "'t9'" in line and "'t3'" in line


def test_key_twice_in_a_split_is_a_problem_and_across_splits_a_warning(frames, tmp_path, capsys):
    frames["train"][8].key = "t1"
    frames["val"][0].key = "t4"
    folder = write(tmp_path / "x", frames)
    assert run_verify(folder) == 1
    out = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in out[:-1]] == ["problem", "warning"]
    assert "'t1'" in out[0] and "already" in out[0] and "'t4'" in out[1] and "'val'" in out[1]


def changed(**values):
    return lambda frame: dataclasses.replace(frame, **values).encode()


def without_mask(frame):
    example = tf.train.Example.FromString(frame.encode())
    del example.features.feature["mask"]
    return example.SerializeToString()


def two_heights(frame):
    example = tf.train.Example.FromString(frame.encode())
    example.features.feature["height"].int64_list.value.append(48)
    return example.SerializeToString()


def id_out_of_range(frame):
    mask = labelled()
    mask[20, 30:33] = 7
    return changed(mask=png(mask))(frame)


IMAGE = jpeg(blobs(50))
OTHER = (96, 100)

BAD = [
    (without_mask, ["feature 'mask' got nothing"]),
    (two_heights, ["feature 'height' got 2 values"]),
    (lambda frame: b"no example", ["no tf.train.Example"]),
    (changed(image=IMAGE[:-200]), ["'v1': image is truncated"]),
    (changed(image=b""), ["'v1': image is empty"]),
    # Training would ignore the tag, and decode the others to other pixels or not at all.
    (changed(image=tagged(blobs(50), 3, "JPEG")), ["'v1': image", "EXIF orientation 3"]),
    (changed(image=saved(blobs(50), "WEBP")), ["'v1': image is WebP"]),
    (changed(image=saved(Image.fromarray(blobs(50)).convert("CMYK"), "JPEG")), ["v1", "CMYK"]),
    (changed(mask=png(labelled())[:-30]), ["'v1': mask cannot be decoded"]),
    # TensorFlow would decode these three, into wrong ids.
    (changed(mask=jpeg(blobs(1))), ["'v1': mask got another format"]),
    (changed(mask=png(blobs(1))), ["'v1': mask got another format"]),
    (changed(mask=png(labelled().astype(np.uint16))), ["'v1': mask got another format"]),
    (changed(mask=png(labelled(OTHER))), ["'v1': mask got 96x100, expected 96x160"]),
    (changed(size=(160, 96)), ["'v1': height and width features got 160x96, expected 96x160"]),
    (
        changed(image=jpeg(blobs(50, OTHER)), mask=png(labelled(OTHER)), size=OTHER),
        ["'v1': image got 96x100, expected 96x160 by the manifest.json"],
    ),
    (id_out_of_range, ["'v1': mask got ids [7] in 3 pixels, expected 0 to 2 or 255"]),
]


@pytest.mark.parametrize(("damage", "words"), BAD)
def test_a_bad_record_is_reported(frames, tmp_path, damage, words):
    frames["val"][1] = damage(frames["val"][1])
    folder = write(tmp_path / "x", frames)
    problems = verify.find_problems(folder, read_manifest(folder))
    # A mask with other pixels changes the pixel counts too, which is another kind.
    first, *rest = problems
    assert all(word in first.text for word in words) and not first.warning, problems
    assert {p.kind for p in rest} <= {"pixel count"}


def test_frame_without_a_label_is_a_warning_and_a_split_without_one_a_problem(
    frames, tmp_path, capsys
):
    unlabelled = changed(mask=png(np.full(SIZE, IGNORE_ID, np.uint8)))(frames["val"][0])
    pixels, half = SIZE[0] * SIZE[1], (SIZE[0] - 2) * SIZE[1] // 2
    for name, val, right, code in (
        ("some", [unlabelled, frames["val"][1]], (half, SIZE[1], half), 0),
        ("all", [unlabelled], (0, 0, 0), 1),
    ):
        values = {"pixels": right, "ignored": len(val) * pixels - sum(right)}
        folder = write(
            tmp_path / name,
            frames | {"val": val},
            lambda split, values=values: values if split == "val" else {},
        )
        assert run_verify(folder) == code
        out = capsys.readouterr().out
        assert "warning: " in out and f"every pixel is ignored ({IGNORE_ID})" in out
        assert out.count("no pixel of class") == 3 * code
        assert ("problem: " in out) == bool(code)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"pixels": (30080, 641, 30080)}, ("'alternative': got 640 pixels", "expected 641")),
        ({"ignored": 0}, ("'ignored': got 640 pixels", "expected 0")),
        ({"examples": 5}, ("got 5 frames, expected the 4 of its shards",)),
        ({"pixels": (30080, 640)}, ("pixel counts of 2 classes, expected 3",)),
    ],
)
def test_wrong_counts_in_the_manifest_are_reported(frames, tmp_path, capsys, values, words):
    folder = write(tmp_path / "x", frames, lambda split: values if split == "val" else {})
    assert_problems(folder, capsys, ("split 'val'", *words))


def test_many_of_a_kind_are_summarised(frames, tmp_path, capsys):
    frames["train"] = [changed(size=(1, 1))(frame) for frame in frames["train"]]
    folder = write(tmp_path / "x", frames)
    assert run_verify(folder) == 1
    out = lines(capsys)
    assert len(out) == 11 and "2 more of this kind (image size)" in out[-1]
    assert run_verify(folder, "--all") == 1
    assert len(lines(capsys)) == 12


def test_no_folder_and_no_manifest_get_one_line(tmp_path, capsys):
    assert run_verify(tmp_path / "nowhere") == 2
    assert_one_line(capsys, "nowhere", "no such folder")
    assert run_verify(tmp_path) == 2
    assert_one_line(capsys, tmp_path, "no manifest.json")


def test_features_are_those_that_records_writes():
    example = tf.train.Example.FromString(records.encode("k", b"i", b"m", (1, 2)))
    kinds = {name: f.WhichOneof("kind") for name, f in example.features.feature.items()}
    assert kinds == checks.FEATURES


def test_similar_pairs_are_all_pairs_up_to_max_bits_apart_and_no_others():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, 300, dtype=np.uint64)
    for i in range(0, 200, 2):
        flipped = rng.choice(64, i // 2 % 10, replace=False).astype(np.uint64)
        hashes[i + 1] = hashes[i] ^ np.bitwise_or.reduce(np.uint64(1) << flipped, initial=0)
    got = {tuple(sorted(pair)) for pair in duplicates.similar_pairs(hashes)}
    bits = np.bitwise_count(hashes[:, None] ^ hashes[None])
    assert (
        got == {(i, j) for i, j in np.argwhere(bits <= duplicates.MAX_BITS) if i < j}
        and len(got) >= 60
    )


def test_groups_hold_all_copies_and_blank_frames_are_one_group():
    images = [blobs(i) for i in range(30)]
    images[7] = images[21] = cv2.resize(blobs(3), (120, 72), interpolation=cv2.INTER_AREA)
    images[10] = images[11] = np.zeros((*SIZE, 3), np.uint8)
    thumbnails = np.array([duplicates.thumbnail(image) for image in images])
    assert duplicates.groups(thumbnails) == [[3, 7, 21], [10, 11]]


def test_a_pedestrian_or_another_exposure_makes_another_image():
    frame = duplicates.thumbnail(blobs(3)) // 2
    pedestrian, exposure, noise = frame.copy(), frame + 4, frame.copy()
    pedestrian[14:17, 9] += 40
    noise[::2] += 2
    stack = np.array([frame, pedestrian, exposure, noise])
    assert duplicates.same_image(frame, stack).tolist() == [True, False, False, True]
    assert duplicates.groups(stack) == [[0, 3]]


@pytest.mark.slow
def test_successive_video_frames_are_not_duplicates(shared_data, tmp_path, capsys):
    # Parts of CamVid's sequences have frames 0.07 s apart.
    flags = ["--source", "camvid", "--data", shared_data / "camvid", "--out", tmp_path / "x"]
    assert command(build.main, [*flags, "--size", 120, 160]) == 0
    capsys.readouterr()
    assert run_verify(tmp_path / "x") == 0
    # CamVid's own splits have one drive in train and val, which is another warning.
    warnings = [line for line in capsys.readouterr().out.splitlines() if "warning:" in line]
    assert len(warnings) == 1 and "drive '0016E5'" in warnings[0]
