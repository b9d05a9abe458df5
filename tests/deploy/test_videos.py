"""Predict and both runners see the same frames of a video: upright, at the file's times."""

import json
import shutil
import struct
import subprocess

import cv2
import numpy as np
import pytest

from kseg import video_file
from kseg.errors import InputError
from kseg.visualize import video
from tests.conftest import ROOT
from tests.deploy.test_odd_pictures import build_reader
from tests.golden_files import GOLDEN

MODEL = GOLDEN / "model.tflite"
SIZE, RATE, FRAMES = (48, 80), 10, 6
ANGLES = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}
MIRRORED = {"2": (-1, 0, 0, 1), "4": (1, 0, 0, -1), "5": (0, 1, 1, 0), "7": (0, -1, -1, 0)}
TIMES = [0.0, 0.1, 0.5, 0.6, 2.0, 2.1]


def write_video(path, times_s=None):
    """Red and green above black, brighter with every frame: no two corners are alike."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), RATE, SIZE[::-1])
    for number in range(FRAMES):
        frame = np.zeros((*SIZE, 3), np.uint8)
        frame[:24, :40, 2] = frame[:24, 40:, 1] = 150 + 20 * number
        writer.write(frame)
    writer.release()
    if times_s:
        video_file.set_frame_times(path, times_s, RATE)
    return path


def turn(path, matrix):
    """Makes a file declare a matrix (a, b, c, d), as a phone does that was held another way."""
    data = bytearray(path.read_bytes())
    a, b, c, d = (value << 16 for value in matrix)
    struct.pack_into(">9i", data, data.index(b"tkhd") + 4 + 40, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def corners(frame):
    """The colours of the corners, clockwise from the upper left: R, G or - for black."""
    found = (frame[4, 4], frame[4, -5], frame[-5, -5], frame[-5, 4])
    return "".join("R" if c[0] > 100 else "G" if c[1] > 100 else "-" for c in found)


def in_predict(path):
    """[(time_s, frame)] by kseg.predict's reader."""
    return list(video.timed_frames(video.open_clip(path)))


def in_python_runner(path):
    from kseg_run.sources import open_source

    return [(frame.time_s, frame.image) for frame in open_source(str(path))]


@pytest.fixture(scope="module")
def read_frames(tmp_path_factory):
    return build_reader(tmp_path_factory)


def in_cpp(program, path):
    done = subprocess.run([str(program), str(path)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    found, rest = [], done.stdout
    while rest:
        line, _, rest = rest.partition(b"\n")
        if line.startswith(b"corrupt "):
            continue
        kind, _, height, width, time_s = line.decode().rsplit(" ", 4)
        assert kind.startswith("frame")
        shape = (int(height), int(width), 3)
        frame = np.frombuffer(rest[: np.prod(shape)], np.uint8).reshape(shape)
        found.append((float(time_s), frame))
        rest = rest[np.prod(shape) :]
    return found


@pytest.mark.parametrize(
    ("matrix", "seen"),
    [
        (ANGLES[0], "RG--"),
        (ANGLES[90], "-RG-"),
        (ANGLES[180], "--RG"),
        (ANGLES[270], "G--R"),
        (MIRRORED["2"], "GR--"),
        (MIRRORED["4"], "--GR"),
        (MIRRORED["5"], "R--G"),
        (MIRRORED["7"], "-GR-"),
    ],
)
def test_frames_are_turned_as_the_file_says(tmp_path, matrix, seen):
    path = turn(write_video(tmp_path / "drive.mp4"), matrix)
    height, width = SIZE if matrix[0] else SIZE[::-1]
    of_predict, of_runner = in_predict(path), in_python_runner(path)
    assert len(of_predict) == len(of_runner) == FRAMES
    for (_, ours), (_, theirs) in zip(of_predict, of_runner, strict=True):
        assert ours.shape == (height, width, 3) and corners(ours) == seen
        assert np.array_equal(ours, theirs)
    assert video.open_clip(path).video.size == (height, width)


def test_other_angles_are_refused(tmp_path):
    path = turn(write_video(tmp_path / "drive.mp4"), (1, 1, -1, 1))
    with pytest.raises(InputError, match=r"drive\.mp4: .*90 degrees"):
        video.open_clip(path)


def test_files_that_are_cut_or_of_another_format_are_upright(tmp_path):
    data = write_video(tmp_path / "drive.mp4").read_bytes()
    other = tmp_path / "other.mp4"
    for content in (b"", b"RIFF", data[:40], data[: data.index(b"tkhd")], bytes(200)):
        other.write_bytes(content)
        assert video_file.read_orientation(other) == 1


def test_times_are_those_of_the_file(tmp_path):
    path = write_video(tmp_path / "drive.mp4", [5 + t for t in TIMES])  # Does not begin at 0.
    for read in (in_predict, in_python_runner):
        assert np.allclose([t for t, _ in read(path)], TIMES, atol=1e-3)
    clip = video.open_clip(path, 0.5, 1.0)
    assert np.allclose([t for t, _ in video.timed_frames(clip)], [0.5, 0.6], atol=1e-3)


def write_motion_jpegs(path, damage=None, number=3):
    """Noise, brighter with every frame. damage: of the JPEG of frame `number`."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), RATE, SIZE[::-1])
    noise = np.random.default_rng(0).integers(-20, 20, (*SIZE, 3))
    for n in range(FRAMES):
        writer.write((60 + 30 * n + noise).astype(np.uint8))
    writer.release()
    if damage:
        data = bytearray(path.read_bytes())
        begins = [i for i in range(len(data)) if data[i : i + 3] == b"\xff\xd8\xff"]
        assert len(begins) == FRAMES
        begin, end = begins[number], data.index(b"\xff\xd9", begins[number]) + 2
        damage(data, begin, end)
        path.write_bytes(data)
    return path


def truncate(data, begin, end):
    middle = (begin + end) // 2
    data[middle:end] = bytes(end - middle)


def overwrite(data, begin, end):
    data[begin:end] = b"x" * (end - begin)


def brightness(frames):
    return [round(float(frame.mean()) / 30 - 2, 1) for frame in frames]


@pytest.mark.parametrize("damage", [truncate, overwrite])
@pytest.mark.parametrize("name", ["drive.avi", "drive.mkv"])
def test_a_corrupt_motion_jpeg_is_no_frame(tmp_path, damage, name):
    """FFmpeg fills a truncated one with the frame before it."""
    path = write_motion_jpegs(tmp_path / name, damage)
    expected = [0, 1, 2, 4, 5]
    for read in (in_predict, in_python_runner):
        frames = [(t, frame) for t, frame in read(path) if frame is not None]
        assert np.allclose([t for t, _ in frames], [n / RATE for n in expected], atol=1e-3)
        assert np.allclose(brightness(frame for _, frame in frames), expected, atol=0.1)


def test_jpegs_of_half_a_frame_are_left_to_ffmpeg(tmp_path):
    """Interlaced motion JPEG has two JPEGs of half the height in each frame."""
    path = write_motion_jpegs(tmp_path / "drive.avi")
    data = bytearray(path.read_bytes())
    height = data.index(b"strf") + 16  # Of BITMAPINFOHEADER.
    assert struct.unpack_from("<i", data, height) == SIZE[:1]
    struct.pack_into("<i", data, height, 2 * SIZE[0])
    path.write_bytes(data)
    for read in (in_predict, in_python_runner):
        frames = [frame for _, frame in read(path) if frame is not None]
        assert frames and {frame.shape[:2] for frame in frames} == {(2 * SIZE[0], SIZE[1])}


def duration_s(path):
    """The duration that an MP4 file's header declares."""
    data = path.read_bytes()
    ticks, duration = struct.unpack_from(">2I", data, data.index(b"mvhd") + 16)
    return duration / ticks


def test_an_irregular_videos_overlays_have_its_times_and_duration(tmp_path):
    from kseg_run import command

    path = write_video(tmp_path / "drive.mp4", TIMES)
    lines, out = tmp_path / "lines.json", tmp_path / "out"
    assert command.main([str(MODEL), str(path), "--out", str(out), "--json", str(lines)]) == 0
    times = [json.loads(line)["time_s"] for line in lines.read_text().splitlines()]
    assert np.allclose(times, TIMES, atol=1e-3)
    assert np.allclose([t for t, _ in in_predict(out / "drive.mp4")], TIMES, atol=1e-3)
    assert duration_s(out / "drive.mp4") == pytest.approx(duration_s(path), abs=0.3)
    # A regular one is left as OpenCV wrote it.
    regular = write_video(tmp_path / "regular.mp4")
    before = regular.read_bytes()
    video_file.set_frame_times(regular, [n / RATE for n in range(FRAMES)], RATE)
    assert regular.read_bytes() == before and duration_s(regular) == pytest.approx(0.6)


def test_predicts_overlays_have_the_times_of_the_input(trained_run, tmp_path):
    from kseg import predict
    from tests.conftest import command

    path = turn(write_video(tmp_path / "drive.mp4", TIMES), ANGLES[90])
    out = tmp_path / "out"
    assert command(predict.main, [trained_run, path, "--out", out, "--save-masks"]) == 0
    written = in_predict(out / "drive.mp4")
    assert np.allclose([t for t, _ in written], TIMES, atol=1e-3)
    mask = cv2.imread(str(out / "masks" / "drive-000000.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == SIZE[::-1]


def test_the_python_runners_reader_is_a_copy():
    ours = (ROOT / "kseg/video_file.py").read_text().replace("from kseg.", "from kseg_run.")
    assert (ROOT / "deploy/python/kseg_run/video_file.py").read_text() == ours


@pytest.mark.slow
@pytest.mark.parametrize("matrix", [*ANGLES.values(), *MIRRORED.values()])
def test_the_cpp_runner_sees_the_same_frames(read_frames, tmp_path, matrix):
    """Pixels differ by the decoder's version at most: this OpenCV's FFmpeg is not that one's."""
    path = turn(write_video(tmp_path / "drive.mp4", TIMES), matrix)
    ours, theirs = in_predict(path), in_cpp(read_frames, path)
    assert len(theirs) == FRAMES
    for (time_s, frame), (their_time_s, their_frame) in zip(ours, theirs, strict=True):
        assert their_time_s == pytest.approx(time_s, abs=1e-3)
        assert frame.shape == their_frame.shape and corners(frame) == corners(their_frame)
        assert np.abs(frame.astype(int) - their_frame).max() <= 2


@pytest.mark.slow
@pytest.mark.parametrize("damage", [None, truncate, overwrite])
def test_the_cpp_runner_sees_the_same_motion_jpegs(read_frames, tmp_path, damage):
    path = write_motion_jpegs(tmp_path / "drive.avi", damage)
    ours = [(t, frame) for t, frame in in_predict(path) if frame is not None]
    theirs = in_cpp(read_frames, path)
    assert len(ours) == len(theirs) == (FRAMES if damage is None else FRAMES - 1)
    for (time_s, frame), (their_time_s, their_frame) in zip(ours, theirs, strict=True):
        assert their_time_s == pytest.approx(time_s, abs=1e-3)
        assert np.abs(frame.astype(int) - their_frame).max() <= 2


@pytest.mark.slow
@pytest.mark.parametrize("angle", ANGLES)
def test_both_runners_give_equal_class_maps_and_times_of_a_turned_video(
    tmp_path_factory, tmp_path, angle
):
    from kseg_run import command

    test_cpp_cameras = pytest.importorskip("tests.deploy.test_cpp_cameras")
    folder = test_cpp_cameras.build_with_opencv(tmp_path_factory)
    path = turn(write_video(tmp_path / "drive.mp4", TIMES), ANGLES[angle])
    flags = ("--save-masks", "--threads", "1")
    done = test_cpp_cameras.run(folder, MODEL, path, "--out", tmp_path / "cpp", *flags)
    assert done.returncode == 0, done.stderr
    assert command.main([str(MODEL), str(path), "--out", str(tmp_path / "python"), *flags]) == 0
    names = sorted(p.name for p in (tmp_path / "python" / "masks").iterdir())
    assert len(names) == FRAMES and shutil.which("cmake")
    for name in names:
        ours, theirs = (
            cv2.imread(str(tmp_path / runner / "masks" / name), cv2.IMREAD_UNCHANGED)
            for runner in ("python", "cpp")
        )
        assert np.array_equal(ours, theirs), name
    of_cpp = in_predict(tmp_path / "cpp" / "drive.mp4")
    assert np.allclose([t for t, _ in of_cpp], TIMES, atol=1e-3)
