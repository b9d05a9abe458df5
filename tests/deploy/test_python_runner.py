"""The command kseg-run: what it writes, what it survives, and how it ends."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest
from kseg_run import camera, command, outputs, overlay
from kseg_run.frame_pipeline import FramePipeline, Prediction
from kseg_run.frames import Frame
from kseg_run.lane_measures import LaneMeasures, longest_run
from kseg_run.smoothing import Smoothing

from tests.conftest import ROOT, scene
from tests.deploy.test_python_camera import FakeCapture

GOLDEN = ROOT / "tests" / "golden"
MODEL = GOLDEN / "model.tflite"
COMMAND = [sys.executable, str(ROOT / "deploy" / "python" / "run.py")]
CLASSES = [
    {"id": 0, "name": "direct", "color": [219, 94, 86], "drivable": True},
    {"id": 1, "name": "alternative", "color": [86, 211, 219], "drivable": True},
    {"id": 2, "name": "background", "color": [0, 0, 0], "drivable": False},
]


def write_video(path, count, size=(48, 64)):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, size[::-1])
    frames = [scene(np.random.default_rng(seed), size)[0] for seed in range(5)]
    for number in range(count):
        writer.write(frames[number % 5])
    writer.release()
    return path


def count_frames(path):
    video, count = cv2.VideoCapture(str(path)), 0
    while video.read()[0]:
        count += 1
    return count


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def run_in_process(*argv):
    return command.main([*map(str, argv)])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_with_a_complete_video_and_the_summary(number, tmp_path):
    drive, out = write_video(tmp_path / "drive.avi", 3000), tmp_path / "out"
    # Standard output is a pipe: until it is read here, the runner cannot reach the video's end.
    with subprocess.Popen(
        [*COMMAND, MODEL, drive, "--out", out, "--json", "-"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.readline()
        process.send_signal(number)
        # Not communicate(): it does not know what readline() has read ahead.
        stdout, stderr = process.stdout.read(), process.stderr.read()
    assert process.returncode == 0, stderr
    segmented = 1 + len(stdout.splitlines())
    assert 1 <= segmented < 3000 and count_frames(out / "drive.mp4") == segmented
    assert f"{segmented} frames, " in stderr and "from frame to class map" in stderr


def test_a_second_signal_ends_the_run_at_once(monkeypatch, tmp_path, capsys):
    put, close, waits_s = outputs.JsonLines.put, FramePipeline.close, []

    def put_and_signal(self, prediction):
        put(self, prediction)
        if prediction.frame.number == 2:
            signal.raise_signal(signal.SIGINT)

    def signal_and_close(self):
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            waits_s.append(self.shutdown_s)
            close(self)

    monkeypatch.setattr(outputs.JsonLines, "put", put_and_signal)
    monkeypatch.setattr(FramePipeline, "close", signal_and_close)
    drive, out = write_video(tmp_path / "drive.avi", 40), tmp_path / "out"
    numbers = tmp_path / "numbers.jsonl"
    assert run_in_process(MODEL, drive, "--out", out, "--json", numbers) == 128 + signal.SIGTERM
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1 and "at once, after 3 frames" in printed.err
    assert printed.out == "" and waits_s == [0] and len(read_lines(numbers)) == 3


def test_a_signal_before_the_first_frame_ends_the_run(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(command, "Segmenter", lambda *_, **__: signal.raise_signal(signal.SIGINT))
    assert run_in_process(MODEL, GOLDEN / "half.png", "--out", tmp_path / "out") == 0
    assert capsys.readouterr().err == "stopped before the first frame\n"


def test_the_callers_signal_handlers_are_restored(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    argv = [MODEL, GOLDEN / "half.png", "--out", tmp_path]
    assert run_in_process(*argv) == 0 and signal.getsignal(signal.SIGTERM) == before


def test_an_undecodable_image_is_skipped_and_counted(tmp_path, capsys):
    folder = tmp_path / "frames"
    folder.mkdir()
    for name in ("a", "c"):
        shutil.copy(GOLDEN / "half.png", folder / f"{name}.png")
    (folder / "b.png").write_bytes(b"corrupt")
    numbers = tmp_path / "numbers.jsonl"
    assert run_in_process(MODEL, folder, "--out", tmp_path / "out", "--json", numbers) == 0
    printed = capsys.readouterr()
    assert printed.err.count("skipped: ") == 1 and "b.png" in printed.err
    assert "2 frames" in printed.out and "1 not decoded or not segmented" in printed.out
    assert [(line["frame"], line["name"]) for line in read_lines(numbers)] == [(0, "a"), (2, "c")]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "c.png"]


def test_a_file_in_the_place_of_the_output_folder_is_said_so(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        assert run_in_process(MODEL, GOLDEN / "half.png", "--out", out) == 2
        assert capsys.readouterr().err == f"error: --out {out}: is a file, not a folder\n"


def test_two_images_with_the_same_stem_are_refused_before_anything_is_written(tmp_path, capsys):
    folder = tmp_path / "frames"
    folder.mkdir()
    for name in ("a.png", "a.jpg"):
        shutil.copy(GOLDEN / "half.png", folder / name)
    assert run_in_process(MODEL, folder, "--out", tmp_path / "out") == 2
    jpg, png = folder / "a.jpg", folder / "a.png"
    message = capsys.readouterr().err
    assert message.startswith(f"error: {png}: ") and str(jpg) in message
    assert not (tmp_path / "out").exists()


def test_input_without_a_single_good_frame_is_an_error(tmp_path, capsys):
    corrupt = tmp_path / "corrupt.png"
    corrupt.write_bytes(b"corrupt")
    assert run_in_process(MODEL, corrupt, "--out", tmp_path / "out") == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"error: {corrupt}: is no image")


def test_corrupt_frames_of_a_video_are_skipped_and_counted(tmp_path, capsys):
    data = bytearray(write_video(tmp_path / "drive.avi", 12).read_bytes())
    start = -1
    for number in range(6):  # The fifth and sixth JPEG are overwritten.
        start = data.index(b"\xff\xd8\xff", start + 1)
        if number >= 4:
            data[start : start + 400] = bytes(400)
    (tmp_path / "corrupt.avi").write_bytes(data)
    assert run_in_process(MODEL, tmp_path / "corrupt.avi", "--out", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert (
        "10 frames, " in printed and "12 frames arrived" in printed and "2 not decoded" in printed
    )
    assert count_frames(tmp_path / "out" / "corrupt.mp4") == 10


def test_missing_frames_of_a_truncated_video_are_counted(tmp_path, capsys):
    complete = write_video(tmp_path / "complete.avi", 40).read_bytes()
    (tmp_path / "cut.avi").write_bytes(complete[: len(complete) // 2])
    assert run_in_process(MODEL, tmp_path / "cut.avi", "--out", tmp_path / "out") == 0
    words = capsys.readouterr().out.split()
    segmented, arrived = int(words[0]), int(words[words.index("arrived:") - 2])
    assert 0 < segmented < 40 and arrived == 40


def fake_camera(monkeypatch, *captures):
    """Makes the camera deliver one of `captures` each time it is opened, then no frames."""
    remaining = iter(captures)

    def open_source(source, options):
        captures[0].camera = []  # It waits until the run wants frames.
        opened = camera.Camera(
            source, options, open_capture=lambda *_: next(remaining, FakeCapture([]))
        )
        captures[0].camera.append(opened)
        return opened

    monkeypatch.setattr(command, "open_source", open_source)


def test_a_lost_camera_that_comes_back_continues_the_run(monkeypatch, tmp_path, capsys):
    fake_camera(
        monkeypatch, FakeCapture([10] * 3), FakeCapture([]), FakeCapture(iter(lambda: 20, None))
    )
    monkeypatch.setattr(camera, "RETRY_S", 0)
    out, numbers = tmp_path / "out", tmp_path / "numbers.jsonl"
    assert run_in_process(MODEL, "0", "--out", out, "--frames", 5, "--json", numbers) == 0
    printed = capsys.readouterr()
    assert "0: camera lost" in printed.err and "0: camera back after" in printed.err
    assert "5 frames, " in printed.out and "camera lost 1 times" in printed.out
    assert count_frames(out / "camera.mp4") == 5
    lines = read_lines(numbers)
    assert len(lines) == 5 and all(line["time_s"] >= 0 for line in lines)


def test_a_camera_that_stays_lost_exits_with_code_3_and_a_complete_video(
    monkeypatch, tmp_path, capsys
):
    fake_camera(monkeypatch, FakeCapture([10]))
    assert run_in_process(MODEL, "0", "--out", tmp_path, "--reconnect", 0) == 3
    printed = capsys.readouterr()
    assert printed.err.splitlines()[-1].startswith("error: 0: no frame")
    assert "1 frames, " in printed.out and "camera lost 1 times" in printed.out
    assert count_frames(tmp_path / "camera.mp4") == 1


def test_a_camera_that_comes_back_with_another_size_starts_another_video(monkeypatch, tmp_path):
    files = outputs.FileOutput(tmp_path, 10, tmp_path / "none", {"labels": {"classes": CLASSES}})
    for size in ((48, 64), (48, 64), (32, 64)):
        image = np.zeros((*size, 3), np.uint8)
        files.put(Prediction(Frame(0, "camera", image), image[..., 0], 1.0, 0.0))
    files.close()
    counts = [count_frames(tmp_path / name) for name in ("camera.mp4", "camera-2.mp4")]
    assert counts == [2, 1] and "camera.mp4, " in str(files)


def test_a_full_disk_is_reported_although_opencv_does_not_report_it(tmp_path):
    drive, out = write_video(tmp_path / "drive.avi", 60), tmp_path / "out"
    limit = 1 << 12  # Bytes per file. Further writes fail, as on a full disk.
    done = subprocess.run(
        [*COMMAND, MODEL, drive, "--out", out],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 2 and last.startswith(f"error: {out / 'drive.mp4'}: ")
    assert "disk full" in last
    assert "60 frames, " in done.stdout


def test_a_closed_pipe_for_json_lines_is_a_one_line_error():
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [*COMMAND, MODEL, GOLDEN / "half.png", "--no-overlays", "--json", "-"],
        stdout=write_end,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
        text=True,
        check=False,
    )
    os.close(write_end)
    assert done.returncode == 2 and done.stderr.endswith("error: --json -: Broken pipe\n")


def test_measures_of_a_hand_drawn_class_map():
    class_map = np.full((10, 12), 2, np.uint8)
    class_map[4:, 2:9] = 0  # Our lane: 6 rows of 7.
    class_map[6:, 9:] = 1  # Next to it from row 6 on: 4 rows of 3.
    class_map[8, :] = 2  # A car across all lanes.
    class_map[0] = 255  # Not seen.
    measures = LaneMeasures(CLASSES, [0.5, 0.65, 0.8, 0.99, 0.0])(class_map)
    drivable = 7 * 6 + 3 * 4 - (7 + 3)
    assert measures["drivable_share"] == pytest.approx(drivable / (120 - 12), abs=1e-6)
    # The lane's centre is column 5, the frame's 5.5.
    lane = {"centre_offset_px": -0.5, "width_px": 7}
    none = {"centre_offset_px": None, "width_px": 0, "free_px": 0}
    assert measures["rows"] == [
        {"row": 0.5, "row_px": 5, **lane, "free_px": 2},
        {"row": 0.65, "row_px": 6, **lane, "free_px": 3},
        {"row": 0.8, "row_px": 8, **none},
        {"row": 0.99, "row_px": 9, **lane, "free_px": 1},
        {"row": 0.0, "row_px": 0, **none},
    ]


def test_free_distance_ends_at_the_top_and_an_unseen_frame_has_no_share():
    all_free = LaneMeasures(CLASSES, [0.75])(np.zeros((8, 5), np.uint8))
    assert all_free["rows"][0]["free_px"] == 7 and all_free["drivable_share"] == 1
    unseen = LaneMeasures(CLASSES, [0.75])(np.full((8, 5), 255, np.uint8))
    assert unseen["drivable_share"] is None
    none = LaneMeasures(CLASSES, [])(np.full((8, 5), 2, np.uint8))
    assert none == {"drivable_share": 0, "rows": []}


def test_the_ego_lane_is_direct_or_the_given_class_or_all_drivable_classes():
    class_map = np.array([[0, 0, 1, 1, 1, 2]], np.uint8)

    def width(classes, ego=None):
        return LaneMeasures(classes, [0], ego)(class_map)["rows"][0]["width_px"]

    renamed = [{**CLASSES[0], "name": "road"}, *CLASSES[1:]]
    assert (width(CLASSES), width(CLASSES, "alternative"), width(renamed)) == (2, 3, 5)


def test_the_longest_run_is_the_first_of_equally_long_ones():
    assert longest_run(np.array([0, 9, 0, 9, 9, 0, 9, 9], np.uint8)) == (3, 2)
    assert longest_run(np.array([7], np.uint8)) == (0, 1)
    assert longest_run(np.zeros(3, np.uint8)) == (0, 0)


def test_bad_flags_are_one_line_errors(tmp_path, capsys):
    frame = GOLDEN / "half.png"
    for flags, words in (
        (["--smooth", 1], "--smooth 1: "),
        (["--smooth", 0.5], "up to 0.5 it would change nothing"),
        (["--rows", 0.5, 1], "--rows 1: "),
        (["--ego", "road"], "(direct, alternative, background)"),
        (["--json", tmp_path], "--json"),
        (["--reconnect", -1], "--reconnect -1: "),
    ):
        assert run_in_process(MODEL, frame, "--out", tmp_path / "out", *flags) == 2
        errors = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
        assert len(errors) == 1 and words in errors[0]


def test_without_overlays_nothing_is_drawn(monkeypatch, tmp_path):
    monkeypatch.setattr("kseg_run.outputs.draw", None)
    out, numbers = tmp_path / "out", tmp_path / "numbers.jsonl"
    argv = [MODEL, GOLDEN / "half.png", "--out", out, "--no-overlays", "--json", numbers]
    assert run_in_process(*argv) == 0 and len(read_lines(numbers)) == 1 and not out.exists()
    assert run_in_process(*argv, "--save-masks") == 0
    assert [path.name for path in out.rglob("*.png")] == ["half.png"]


def test_the_window_shows_latencies_and_q_ends_the_run(monkeypatch, tmp_path, capsys):
    written, shown = [], []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(overlay, "put_text", lambda image, text, *rest: written.append(text))
    monkeypatch.setattr(cv2, "imshow", lambda name, image: shown.append(image))
    monkeypatch.setattr(cv2, "waitKey", lambda wait_ms: ord("q") if len(shown) == 3 else -1)
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: None)
    out = tmp_path / "out"
    argv = [MODEL, write_video(tmp_path / "drive.avi", 8), "--show", "--save-masks", "--out", out]
    assert run_in_process(*argv) == 0
    printed = capsys.readouterr().out
    assert len(shown) == 3 and "3 frames" in printed and "shown on screen; masks in " in printed
    masks = [path.relative_to(out).as_posix() for path in sorted(out.rglob("*.*"))]
    assert masks == [f"masks/drive-00000{number}.png" for number in range(3)]
    status = [text for text in written if "ms (50 / 95 / 99 %)" in text]
    assert len(status) == 3 and status[0].startswith("CPU ") and "0 dropped" in status[0]


def test_a_window_without_a_screen_is_a_one_line_error(monkeypatch, capsys):
    for name in outputs.SCREENS:
        monkeypatch.delenv(name, raising=False)
    assert run_in_process(MODEL, GOLDEN / "half.png", "--show") == 2
    assert "error: --show: no screen" in capsys.readouterr().err


def test_smoothing_is_off_by_default(monkeypatch, tmp_path):
    made = []

    class Spy(Smoothing):
        def __init__(self, *args):
            made.append(args)
            super().__init__(*args)

    monkeypatch.setattr(command, "Smoothing", Spy)
    argv = [MODEL, GOLDEN / "half.png", "--out", tmp_path]
    assert run_in_process(*argv) == 0 and made == []
    assert run_in_process(*argv, "--smooth", 0.6) == 0 and made == [(0.6, [0, 1, 2])]


@pytest.mark.parametrize("class_ids", [[0, 7], [7, 0]])
@pytest.mark.parametrize(("weight", "frames"), [(0.4, 1), (0.5, 1), (0.6, 2), (0.8, 4)])
def test_smoothing_delays_a_class_until_it_was_seen_for_enough_frames(weight, frames, class_ids):
    smoothing, road = Smoothing(weight, class_ids), np.zeros((2, 3), np.uint8)
    car = np.repeat(np.array([[7], [0]], np.uint8), 3, axis=1)
    for _ in range(40):
        assert np.array_equal(smoothing(road), road)
    for _ in range(frames - 1):
        assert np.array_equal(smoothing(car), road)
    assert np.array_equal(smoothing(car), car)
    smoothing.reset()
    assert np.array_equal(smoothing(road), road)


def test_run_py_and_the_package_print_the_same_help(monkeypatch):
    texts = [
        subprocess.run(
            [*argv, "--help"], capture_output=True, text=True, check=True, cwd=cwd
        ).stdout
        for argv, cwd in (
            (COMMAND, None),
            ([sys.executable, "-m", "kseg_run"], ROOT / "deploy" / "python"),
        )
    ]
    assert texts[0] == texts[1] and "Exit codes: 0" in texts[0] and "csi:0" in texts[0]
