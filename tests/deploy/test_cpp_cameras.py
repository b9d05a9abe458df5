"""kseg_run with OpenCV: videos, lost cameras, signals, and a model file replaced during a run.

The camera is a video in /dev/shm. By its path kseg_run takes it for a camera; it ends and can be
removed, like a camera that is unplugged.
"""

import contextlib
import json
import os
import re
import resource
import signal
import subprocess
import threading
import time
import uuid
from pathlib import Path

import cv2
import numpy as np
import pytest
from kseg_run import camera_capture

from tests import gstreamer
from tests.deploy.mjpeg_server import LIMIT_S
from tests.deploy.test_cpp import GOLDEN, LITERT, SOURCE, assert_equal_to_python, build, run

pytestmark = pytest.mark.slow
MODEL = GOLDEN / "model.tflite"
FRAMES = 60


@pytest.fixture(scope="session")
def with_opencv(tmp_path_factory):
    return build_with_opencv(tmp_path_factory)


def build_with_opencv(tmp_path_factory):
    folder = tmp_path_factory.mktemp("configured")
    configure = ["cmake", "-S", str(SOURCE), "-B", str(folder)]
    done = subprocess.run(configure, capture_output=True, text=True, check=False)
    if 'configuration file provided by "OpenCV"' in done.stderr:
        pytest.skip("no OpenCV for C++ (apt-get install libopencv-dev)")
    return build(tmp_path_factory)


@pytest.fixture
def video(tmp_path):
    """An .avi of FRAMES frames, each compressed on its own."""
    return write_video(tmp_path / "drive.avi", (64, 97))


@pytest.fixture
def camera(video):
    """A path under /dev that delivers the video's frames."""
    folder = Path("/dev/shm")
    if not os.access(folder, os.W_OK):
        pytest.skip("no /dev/shm for a stand-in camera")
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
    """Starts a runner, which is killed after LIMIT_S."""
    process = subprocess.Popen(
        [str(folder / "kseg_run"), *map(str, argv)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "KSEG_LITERT": LITERT},
    )
    limit = threading.Timer(LIMIT_S, process.kill)
    limit.daemon = True
    limit.start()
    return process


def wait_for(process, words):
    """Reads stderr until a line contains these words."""
    for line in process.stderr:
        if words in line:
            return
    raise AssertionError(f"ended without '{words}'")


def wait_until_open(process, path):
    """Waits until a process has a file open."""
    while process.poll() is None:
        if str(path) in open_files(process):
            return
        time.sleep(0.01)
    raise AssertionError(process.stderr.read())


def wait_until_written(process, path):
    while not path.exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)


def open_files(process):
    """Returns the paths of a process's open files, as far as they can be read."""
    paths = []
    with contextlib.suppress(OSError):  # The process has ended.
        for entry in Path(f"/proc/{process.pid}/fd").iterdir():
            with contextlib.suppress(OSError):  # The file was closed in the meantime.
                paths.append(os.readlink(entry))
    return paths


def read_to_end(process):
    """Returns the rest of stdout and stderr, once the process has ended."""
    err = process.stderr.read()
    out = process.stdout.read()
    process.wait()
    return out, err


def plug_in(camera, video):
    """Puts a video in the camera's place, atomically."""
    partial = camera.with_suffix(".partial")
    partial.write_bytes(video.read_bytes())
    partial.replace(camera)


def count_frames(path):
    reader, count = cv2.VideoCapture(str(path)), 0
    while reader.read()[0]:
        count += 1
    return count


def test_two_images_with_the_same_stem_are_refused(with_opencv, tmp_path):
    for name in ("a.jpg", "a.png"):
        cv2.imwrite(str(tmp_path / name), cv2.imread(str(GOLDEN / "half.png")))
    done = run(with_opencv, MODEL, tmp_path, "--out", tmp_path / "o")
    assert done.returncode == 2 and not (tmp_path / "o").exists()
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"error: {tmp_path}/a.png: ") and f"{tmp_path}/a.jpg" in last


def test_files_of_an_operating_system_are_no_images(with_opencv, runner, tmp_path, capsys):
    picture = (GOLDEN / "half.png").read_bytes()
    folder = tmp_path / "images"
    (folder / "__MACOSX").mkdir(parents=True)
    (folder / "a.png").write_bytes(picture)
    for name in ("._a.png", ".DS_Store", ".b.jpg", "Thumbs.db", "desktop.ini", "__MACOSX/._a.png"):
        (folder / name).write_bytes(b"Mac OS X")
    done = run(with_opencv, MODEL, folder, "--out", tmp_path / "cpp")
    assert runner.main([str(MODEL), str(folder), "--out", str(tmp_path / "python")]) == 0
    for output, out in ((done.stdout, "cpp"), (capsys.readouterr().out, "python")):
        assert output.startswith("1 frames") and "skipped" not in output
        assert [p.name for p in (tmp_path / out).iterdir()] == ["a.png"]
    assert done.returncode == 0 and "skipped" not in done.stderr


def test_class_maps_equal_the_python_runners(with_opencv, runner, tmp_path):
    assert_equal_to_python(with_opencv, runner, tmp_path, "png")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_leaves_a_complete_video(with_opencv, camera, tmp_path, name):
    with start(with_opencv, MODEL, camera, "--out", tmp_path / "o") as running:
        wait_until_written(running, tmp_path / "o" / "camera.mp4")
        running.send_signal(getattr(signal, name))
        out, _ = read_to_end(running)
    assert running.returncode == 0 and f"stopped by {name}" in out
    count = int(re.match(r"(\d+) frames, ", out)[1])
    assert count > 0 and count_frames(tmp_path / "o" / "camera.mp4") == count


def test_a_camera_comes_back_once_and_then_stays_lost(with_opencv, camera, video):
    with start(with_opencv, MODEL, camera, "--no-overlays", "--reconnect", "5") as running:
        wait_until_open(running, camera)
        camera.unlink()
        wait_for(running, "camera lost")
        plug_in(camera, video)
        wait_for(running, "camera back after")
        camera.unlink()
        out, err = read_to_end(running)
    assert running.returncode == 3
    assert err.splitlines()[-1].startswith(f"error: {camera}: no frame")
    lost = re.search(r"frames arrived: .*, 0 not decoded .* camera lost (\d+) times", out)
    assert int(lost[1]) >= 2


def test_a_signal_ends_the_wait_for_a_camera(with_opencv, camera):
    with start(with_opencv, MODEL, camera, "--no-overlays", "--reconnect", "600") as running:
        wait_until_open(running, camera)
        camera.unlink()
        wait_for(running, "camera lost")
        running.terminate()
        out, _ = read_to_end(running)
    assert running.returncode == 0 and "stopped by SIGTERM" in out


def test_another_frame_size_starts_another_video(with_opencv, camera, tmp_path):
    path = tmp_path / "lines.json"
    with start(with_opencv, MODEL, camera, "--out", tmp_path, "--json", path) as running:
        wait_until_written(running, tmp_path / "camera.mp4")
        plug_in(camera, write_video(tmp_path / "other.avi", (48, 64)))
        wait_until_written(running, tmp_path / "camera-2.mp4")
        running.terminate()
        out, _ = read_to_end(running)
    assert running.returncode == 0
    first, second = (count_frames(tmp_path / name) for name in ("camera.mp4", "camera-2.mp4"))
    assert first > 0 and second > 0 and out.startswith(f"{first + second} frames, ")
    dropped = [json.loads(line)["dropped"] for line in path.read_text().splitlines()]
    assert dropped == sorted(dropped)  # The second video came after a reconnection.


def test_truncating_or_replacing_the_model_file_during_a_run_changes_nothing(
    with_opencv, camera, tmp_path
):
    model = tmp_path / "model.tflite"
    model.write_bytes(MODEL.read_bytes())
    with start(with_opencv, model, camera, "--no-overlays") as running:
        wait_for(running, "camera back")
        os.truncate(model, 0)
        wait_for(running, "camera back")
        model.write_bytes(b"another" * 10_000)
        wait_for(running, "camera back")
        running.terminate()
        read_to_end(running)
    assert running.returncode == 0


def test_corrupt_frames_of_a_video_are_skipped_and_counted(with_opencv, video, tmp_path):
    data = bytearray(video.read_bytes())
    middle = len(data) // 2
    data[middle : middle + len(data) // 20] = bytes(len(data) // 20)
    video.write_bytes(data)
    done = run(with_opencv, MODEL, video, "--out", tmp_path / "o")
    assert done.returncode == 0, done.stderr
    segmented, arrived, failed = map(
        int,
        re.search(r"(\d+) frames, .*\n(\d+) frames arrived: .*, (\d+) not", done.stdout).groups(),
    )
    assert arrived == FRAMES and 0 < failed < FRAMES // 2 and segmented == arrived - failed
    assert count_frames(tmp_path / "o" / "drive.mp4") == segmented


def test_a_full_disk_is_reported_although_opencv_does_not_report_it(with_opencv, video, tmp_path):
    limit = 1 << 12  # Bytes per file. Further writes fail, as on a full disk.
    done = subprocess.run(
        [str(with_opencv / "kseg_run"), str(MODEL), str(video), "--out", str(tmp_path / "o")],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        restore_signals=False,  # Python ignores SIGXFSZ, which a full disk does not send.
        capture_output=True,
        text=True,
        env={**os.environ, "KSEG_LITERT": LITERT},
        check=False,
    )
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"error: {tmp_path / 'o' / 'drive.mp4'}: ") and "disk full" in last
    assert done.returncode == 2
    assert f"{FRAMES} frames, " in done.stdout


@pytest.fixture
def long_video(tmp_path):
    """A video whose JSON lines fill up an unread pipe."""
    return write_video(tmp_path / "drive.avi", (16, 16), frames=3000)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_while_a_json_line_waits_for_its_reader(with_opencv, long_video, tmp_path, name):
    with start(with_opencv, MODEL, long_video, "--out", tmp_path / "o", "--json", "-") as running:
        running.stdout.readline()
        wait_until_asleep(running)
        send_and_wait_until_handled(running, getattr(signal, name))
        out, err = running.stdout.read(), running.stderr.read()
    assert running.returncode == 0, err
    segmented = 1 + len(out.splitlines())
    assert f"{segmented} frames, " in err and f"stopped by {name}" in err
    assert out.endswith("}\n") and 1 < segmented < 3000
    assert count_frames(tmp_path / "o" / "drive.mp4") == segmented


def test_a_second_signal_ends_the_run_at_once(with_opencv, long_video):
    with start(with_opencv, MODEL, long_video, "--no-overlays", "--json", "-") as running:
        running.stdout.readline()
        wait_until_asleep(running)
        send_and_wait_until_handled(running, signal.SIGINT)
        running.send_signal(signal.SIGTERM)
        running.wait(60)
    assert running.returncode == -signal.SIGTERM


def test_a_closed_pipe_is_a_one_line_error_and_leaves_a_complete_video(
    with_opencv, long_video, tmp_path
):
    with start(with_opencv, MODEL, long_video, "--out", tmp_path / "o", "--json", "-") as running:
        running.stdout.readline()
        running.stdout.close()
        err = running.stderr.read()
    assert running.returncode == 2 and err.splitlines()[-1] == "error: --json -: Broken pipe"
    assert 1 <= count_frames(tmp_path / "o" / "drive.mp4") < 3000


def wait_until_asleep(process):
    """Waits until a process's main thread sleeps in the kernel, ten checks in a row."""
    asleep = 0
    while asleep < 10:
        assert process.poll() is None
        state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        asleep = asleep + 1 if state == "S" else 0
        time.sleep(0.02)


def send_and_wait_until_handled(process, number):
    process.send_signal(number)
    pending = r"ShdPnd:\s*0*[1-9a-f]"
    while re.search(pending, Path(f"/proc/{process.pid}/status").read_text()):
        time.sleep(0.01)


def test_a_gstreamer_pipeline_plays_the_csi_camera(with_opencv, tmp_path):
    flags = ("--frames", gstreamer.FRAMES, "--save-masks", "--no-overlays", "--out", tmp_path)
    done = run(with_opencv, GOLDEN / "tensor-uint8.tflite", gstreamer.csi_stand_in(), *flags)
    assert done.returncode == 0, done.stderr
    gstreamer.assert_masks_show_the_camera(tmp_path / "masks")
    assert "128x72" in done.stdout + done.stderr


def test_both_runners_have_the_same_pipeline_for_csi_cameras():
    source = (SOURCE / "run/camera_capture.cc").read_text()
    words = "".join(re.findall(r'"([^"\n]*)"', source[source.index("nvarguscamerasrc") - 1 :]))
    python = camera_capture.CSI_PIPELINE
    before, after = python.split("{number} ! video/x-raw(memory:NVMM){caps}")
    assert words.startswith(f"{before} ! {after}")
