"""kseg_run with OpenCV: videos, cameras that go away, signals, a model file pulled from under it.

The camera is a video in /dev/shm: by its path a camera to kseg_run, which ends and can be removed.
"""

import contextlib
import os
import re
import resource
import signal
import subprocess
import time
import uuid
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.deploy.test_cpp import GOLDEN, LITERT, SOURCE, assert_equal_to_python, build, run

pytestmark = pytest.mark.slow
MODEL = GOLDEN / "model.tflite"
FRAMES = 60


@pytest.fixture(scope="session")
def with_opencv(tmp_path_factory):
    folder = tmp_path_factory.mktemp("configured")
    configure = ["cmake", "-S", str(SOURCE), "-B", str(folder)]
    done = subprocess.run(configure, capture_output=True, text=True, check=False)
    if 'configuration file provided by "OpenCV"' in done.stderr:
        pytest.skip("no OpenCV for C++ (apt-get install libopencv-dev)")
    return build(tmp_path_factory)


@pytest.fixture
def video(tmp_path):
    """An .avi of FRAMES frames, each compressed by itself."""
    return write_video(tmp_path / "drive.avi", (64, 97))


@pytest.fixture
def camera(video):
    """A path under /dev that gives the video's frames."""
    folder = Path("/dev/shm")
    if not os.access(folder, os.W_OK):
        pytest.skip("no /dev/shm to play a camera in")
    path = folder / f"kseg-{uuid.uuid4()}.avi"
    path.write_bytes(video.read_bytes())
    yield path
    path.unlink(missing_ok=True)


def write_video(path, size, frames=FRAMES):
    rng = np.random.default_rng(0)
    codec = cv2.VideoWriter_fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), codec, 25, size[::-1])
    for _ in range(frames):
        writer.write(rng.integers(0, 256, (*size, 3), dtype=np.uint8))
    writer.release()
    return path


def start(folder, *argv):
    return subprocess.Popen(
        [str(folder / "kseg_run"), *map(str, argv)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "KSEG_LITERT": LITERT},
    )


def wait_for(process, words):
    """Reads stderr until a line has these words."""
    for line in process.stderr:
        if words in line:
            return
    raise AssertionError(f"ended without '{words}'")


def wait_until_open(process, path):
    """Waits until a process holds a file."""
    while process.poll() is None:
        if str(path) in open_files(process):
            return
        time.sleep(0.01)
    raise AssertionError(process.stderr.read())


def open_files(process):
    """Returns the paths a process holds at this moment, or as many as can be read of them."""
    paths = []
    with contextlib.suppress(OSError):  # It ended.
        for entry in Path(f"/proc/{process.pid}/fd").iterdir():
            with contextlib.suppress(OSError):  # It closed that file since the list was made.
                paths.append(os.readlink(entry))
    return paths


def rest(process):
    """Returns what else it prints, on stdout and stderr, until it ends."""
    err = process.stderr.read()
    out = process.stdout.read()
    process.wait()
    return out, err


def appear(camera, video):
    """Puts a video in the camera's place, whole from the start."""
    part = camera.with_suffix(".part")
    part.write_bytes(video.read_bytes())
    part.replace(camera)


def count_frames(path):
    reader, count = cv2.VideoCapture(str(path)), 0
    while reader.read()[0]:
        count += 1
    return count


def test_two_images_of_one_name_are_refused(with_opencv, tmp_path):
    for name in ("a.jpg", "a.png"):
        cv2.imwrite(str(tmp_path / name), cv2.imread(str(GOLDEN / "half.png")))
    done = run(with_opencv, MODEL, tmp_path, "--out", tmp_path / "o")
    assert done.returncode == 2 and not (tmp_path / "o").exists()
    names = f"{tmp_path}/a.png: has the same name as {tmp_path}/a.jpg"
    assert done.stderr.splitlines()[-1] == f"error: {names}; rename one of them"


def test_class_maps_are_the_python_runners(with_opencv, runner, tmp_path):
    assert_equal_to_python(with_opencv, runner, tmp_path, "png")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_leaves_a_whole_video(with_opencv, camera, tmp_path, name):
    with start(with_opencv, MODEL, camera, "--out", tmp_path / "o") as running:
        wait_for(running, "camera back")
        running.send_signal(getattr(signal, name))
        out, _ = rest(running)
    assert running.returncode == 0 and f"stopped by {name}" in out
    told = int(re.match(r"(\d+) frames, ", out)[1])
    assert told >= FRAMES and count_frames(tmp_path / "o" / "camera.mp4") == told


def test_a_camera_comes_back_and_at_last_does_not(with_opencv, camera, video):
    with start(with_opencv, MODEL, camera, "--no-overlays", "--reconnect", "5") as running:
        wait_until_open(running, camera)
        camera.unlink()
        wait_for(running, "camera lost; trying again for 5 s")
        appear(camera, video)
        wait_for(running, "camera back after")
        camera.unlink()
        out, err = rest(running)
    assert running.returncode == 3
    assert err.splitlines()[-1] == f"error: {camera}: no frame for 5 s"
    told = re.search(r"frames came: 0 not decoded .* camera lost (\d+) times", out)
    assert int(told[1]) >= 2


def test_a_signal_ends_the_wait_for_a_camera(with_opencv, camera):
    with start(with_opencv, MODEL, camera, "--no-overlays", "--reconnect", "600") as running:
        wait_until_open(running, camera)
        camera.unlink()
        wait_for(running, "camera lost")
        running.terminate()
        out, _ = rest(running)
    assert running.returncode == 0 and "stopped by SIGTERM" in out


def test_another_frame_size_goes_into_another_video(with_opencv, camera, tmp_path):
    argv = (MODEL, camera, "--out", tmp_path, "--frames", 3 * FRAMES)
    with start(with_opencv, *argv) as running:
        wait_until_open(running, camera)
        camera.unlink()
        wait_for(running, "camera lost")
        appear(camera, write_video(tmp_path / "other.avi", (48, 64)))
        rest(running)
    assert running.returncode == 0
    # It may have opened the first video again before that went away.
    first, second = (count_frames(tmp_path / name) for name in ("camera.mp4", "camera-2.mp4"))
    assert first > 0 and first % FRAMES == 0 and second == 3 * FRAMES - first > 0


def test_a_model_file_cut_off_or_exchanged_under_it_is_not_missed(with_opencv, camera, tmp_path):
    model = tmp_path / "model.tflite"
    model.write_bytes(MODEL.read_bytes())
    with start(with_opencv, model, camera, "--no-overlays") as running:
        wait_for(running, "camera back")
        os.truncate(model, 0)
        wait_for(running, "camera back")
        model.write_bytes(b"another" * 10_000)
        wait_for(running, "camera back")
        running.terminate()
        rest(running)
    assert running.returncode == 0


def test_a_damaged_part_of_a_video_is_skipped_and_counted(with_opencv, video, tmp_path):
    data = bytearray(video.read_bytes())
    middle = len(data) // 2
    data[middle : middle + len(data) // 20] = bytes(len(data) // 20)
    video.write_bytes(data)
    done = run(with_opencv, MODEL, video, "--out", tmp_path / "o")
    assert done.returncode == 0, done.stderr
    well, came, failed = map(
        int, re.search(r"(\d+) frames, .*\n(\d+) frames came: (\d+) not", done.stdout).groups()
    )
    assert came == FRAMES and 0 < failed < FRAMES // 2 and well == came - failed
    assert count_frames(tmp_path / "o" / "drive.mp4") == well


def test_a_full_disk_is_told_though_opencv_does_not(with_opencv, video, tmp_path):
    most = 1 << 12  # Bytes in a file: past them a write fails, as on a full disk.
    done = subprocess.run(
        [str(with_opencv / "kseg_run"), str(MODEL), str(video), "--out", str(tmp_path / "o")],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
        restore_signals=False,  # Python ignores SIGXFSZ, which a full disk does not send.
        capture_output=True,
        text=True,
        env={**os.environ, "KSEG_LITERT": LITERT},
        check=False,
    )
    path = tmp_path / "o" / "drive.mp4"
    words = f"error: {path}: could not be written to its end; is the disk full?"
    assert done.returncode == 2 and done.stderr.splitlines()[-1] == words
    assert f"{FRAMES} frames, " in done.stdout


@pytest.fixture
def long_video(tmp_path):
    """A video whose JSON lines fill a pipe that nobody reads."""
    return write_video(tmp_path / "drive.avi", (16, 16), frames=3000)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_while_a_line_waits_for_its_reader(with_opencv, long_video, tmp_path, name):
    with start(with_opencv, MODEL, long_video, "--out", tmp_path / "o", "--json", "-") as running:
        running.stdout.readline()
        wait_until_it_sleeps(running)
        send_and_wait_until_taken(running, getattr(signal, name))
        out, err = running.stdout.read(), running.stderr.read()
    assert running.returncode == 0, err
    answered = 1 + len(out.splitlines())
    assert f"{answered} frames, " in err and f"stopped by {name}" in err
    assert out.endswith("}\n") and 1 < answered < 3000
    assert count_frames(tmp_path / "o" / "drive.mp4") == answered


def test_a_second_signal_ends_it_at_once(with_opencv, long_video):
    with start(with_opencv, MODEL, long_video, "--no-overlays", "--json", "-") as running:
        running.stdout.readline()
        wait_until_it_sleeps(running)
        send_and_wait_until_taken(running, signal.SIGINT)
        running.send_signal(signal.SIGTERM)
        running.wait(60)
    assert running.returncode == -signal.SIGTERM


def test_a_reader_that_leaves_is_one_line_and_a_whole_video(with_opencv, long_video, tmp_path):
    with start(with_opencv, MODEL, long_video, "--out", tmp_path / "o", "--json", "-") as running:
        running.stdout.readline()
        running.stdout.close()
        err = running.stderr.read()
    assert running.returncode == 2 and err.splitlines()[-1] == "error: --json -: Broken pipe"
    assert 1 <= count_frames(tmp_path / "o" / "drive.mp4") < 3000


def wait_until_it_sleeps(process):
    """Waits until a program's main thread waits for something in the kernel, ten times in a row."""
    asleep = 0
    while asleep < 10:
        assert process.poll() is None
        state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        asleep = asleep + 1 if state == "S" else 0
        time.sleep(0.02)


def send_and_wait_until_taken(process, number):
    process.send_signal(number)
    pending = r"ShdPnd:\s*0*[1-9a-f]"
    while re.search(pending, Path(f"/proc/{process.pid}/status").read_text()):
        time.sleep(0.01)
