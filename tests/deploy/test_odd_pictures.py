"""Conversion, training, predict and both runners see the same pixels of a file, or refuse it."""

import shutil
import subprocess

import cv2
import numpy as np
import pytest

from kseg import image_file
from kseg.errors import InputError
from kseg.visualize.images import read_image
from tests.conftest import ROOT
from tests.odd_images import odd_pictures, picture

PICTURES = odd_pictures(picture())
EACH = pytest.mark.parametrize("name", sorted(PICTURES))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The odd pictures, each with a stem of its own, beside files of operating systems."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, (data, _) in PICTURES.items():
        (folder / stem(name)).with_suffix(suffix(name)).write_bytes(data)
    (folder / "._a.jpg").write_bytes(b"of macOS")
    (folder / "Thumbs.db").write_bytes(b"of Windows")
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "._a.jpg").write_bytes(b"of macOS")
    return folder


def stem(name):
    return name.replace(".", "-")


def suffix(name):
    return name[name.index(".") :]


def path_of(folder, name):
    return folder / f"{stem(name)}{suffix(name)}"


def in_predict(path):
    """(pixels, "") or (None, reason), by kseg.predict's reader."""
    try:
        return read_image(path), ""
    except InputError as error:
        return None, str(error)


@EACH
def test_a_file_is_read_or_refused_for_the_true_reason(folder, name):
    pixels, reason = in_predict(path_of(folder, name))
    expected = PICTURES[name][1]
    assert (pixels is None) == bool(expected), reason
    assert expected in reason


@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_orientations_are_turned_upright_as_pillow_does(folder, orientation):
    from PIL import Image, ImageOps

    path = path_of(folder, f"exif{orientation}.jpg")
    with Image.open(path) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(read_image(path), upright)
    assert (read_image(path).shape[:2] == (52, 71)) == (orientation < 5)


def test_the_python_runner_reads_and_refuses_the_same(folder):
    from kseg_run.sources import open_source

    frames = list(open_source(str(folder)))
    assert len(frames) == len(PICTURES)
    by_name = {frame.name: frame for frame in frames}
    for name in PICTURES:
        pixels, reason = in_predict(path_of(folder, name))
        frame = by_name[stem(name)]
        assert frame.problem == reason, name
        assert pixels is None or np.array_equal(frame.image, pixels), name


def test_the_python_runners_decoder_is_a_copy():
    ours = (ROOT / "kseg/image_file.py").read_text()
    assert (ROOT / "deploy/python/kseg_run/image_file.py").read_text() == ours


def build_reader(tmp_path_factory, *options):
    """Builds the C++ program that prints what the runner's reader reads."""
    if not shutil.which("cmake") or not shutil.which("pkg-config"):
        pytest.skip("no cmake (apt-get install cmake g++ pkg-config libopencv-dev)")
    if subprocess.run(["pkg-config", "--exists", "opencv4"], check=False).returncode:
        pytest.skip("no OpenCV for C++ (apt-get install libopencv-dev)")
    build = tmp_path_factory.mktemp("build")
    options = ("-DKSEG_WERROR=ON", "-DKSEG_TESTS=ON", "-DCMAKE_BUILD_TYPE=Debug", *options)
    configure = ["cmake", "-S", str(ROOT / "deploy/cpp"), "-B", str(build), *options]
    make = ["cmake", "--build", str(build), "--parallel", "2", "--target", "read_frames"]
    for step in (configure, make):
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return build / "read_frames"


def in_cpp(program, folder):
    """{stem or path: pixels or reason} of the C++ runner's reader."""
    done = subprocess.run([str(program), str(folder)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    found, rest = {}, done.stdout
    while rest:
        line, _, rest = rest.partition(b"\n")
        kind, _, text = line.decode().partition(" ")
        if kind == "corrupt":
            found[text.partition(": ")[0]] = text
            continue
        name, height, width = text.rsplit(" ", 2)
        shape = (int(height), int(width), 3)
        found[name] = np.frombuffer(rest[: np.prod(shape)], np.uint8).reshape(shape)
        rest = rest[np.prod(shape) :]
    return found


def test_the_cpp_runner_reads_and_refuses_the_same(folder, tmp_path_factory):
    found = in_cpp(build_reader(tmp_path_factory), folder)
    assert len(found) == len(PICTURES)
    for name in PICTURES:
        path = path_of(folder, name)
        pixels, reason = in_predict(path)
        if pixels is None:
            assert found[str(path)] == reason
        else:
            assert np.array_equal(found[stem(name)], pixels), name


@pytest.mark.slow
def test_damaged_files_are_refused_alike_and_crash_nothing(tmp_path, tmp_path_factory):
    read_frames = build_reader(tmp_path_factory, "-DKSEG_SANITIZE=address,undefined")
    rng = np.random.default_rng(0)
    for name in ("exif6.jpg", "exif6.png", "exif6.webp", "palette.bmp", "transparent-palette.png"):
        data = PICTURES[name][0]
        for number in range(40):
            damaged = bytearray(data[: int(rng.integers(len(data))) if number % 2 else len(data)])
            for position in rng.integers(min(len(damaged), 400) or 1, size=3):
                if damaged:
                    damaged[position] = int(rng.integers(256))
            path = tmp_path / f"{stem(name)}-{number}{suffix(name)}"
            path.write_bytes(damaged)
    found = in_cpp(read_frames, tmp_path)
    for path in tmp_path.iterdir():
        try:
            image_file.read_header(path.read_bytes())
        except image_file.ImageFileError as error:
            assert found[str(path)] == f"{path}: {error}"


@pytest.mark.parametrize("size", [None, (40, 60)])
def test_conversion_and_training_see_the_same(folder, tmp_path, size):
    import json

    import tensorflow as tf

    from kseg import preprocess
    from kseg.data import records
    from tfrecords_tools import build

    data = tmp_path / "data"
    (data / "masks").mkdir(parents=True)
    (data / "images").symlink_to(folder)
    classes = [{"id": i, "name": f"c{i}", "color": [i, 0, 0], "drivable": not i} for i in (0, 1)]
    (data / "classes.json").write_text(json.dumps({"name": "odd", "classes": classes}))
    for name in PICTURES:
        pixels, _ = in_predict(path_of(folder, name))
        mask = np.zeros((52, 71) if pixels is None else pixels.shape[:2], np.uint8)
        mask[: len(mask) // 3] = 1
        cv2.imwrite(str(data / "masks" / f"{stem(name)}.png"), mask)
    argv = ["--source", "folder", "--data", data, "--out", tmp_path / "out", "--max-bad", 90]
    argv += ["--fit", "stretch", *(["--size", *size] if size else [])]
    assert build.main([str(x) for x in argv]) == 0
    lines = (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()
    bad = {entry["key"]: entry["reason"] for entry in map(json.loads, lines)}
    shards = [str(path) for path in (tmp_path / "out").glob("*.tfrecord-*")]
    frames = {
        e["key"].numpy().decode(): (e["image"].numpy(), e["mask"].numpy())
        for e in map(records.parse, tf.data.TFRecordDataset(shards))
    }
    for name in PICTURES:
        path = path_of(folder, name)
        pixels, reason = in_predict(path)
        if pixels is None:
            detail = reason.removeprefix(f"{path}: ")
            assert bad[stem(name)].endswith(f"{path.name}: image {detail}")
            continue
        image, mask = frames[stem(name)]
        if size:
            # The resized frame is a JPEG: nearly the same.
            pixels = preprocess.fit_image(pixels, size, "stretch")
            assert np.abs(image.astype(int) - pixels).mean() < 12, name
        else:
            assert np.array_equal(image, pixels), name
        assert mask[0].all() and not mask[-1].any() and mask.shape == image.shape[:2]
    assert len(frames) + len(bad) == len(PICTURES)
