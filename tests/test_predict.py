import cv2
import numpy as np
import pytest

from kseg import predict
from tests.conftest import assert_one_line, command, scene


@pytest.fixture
def frames(tmp_path):
    """Two images of sizes of their own and a six-frame video."""
    folder = tmp_path / "frames"
    folder.mkdir()
    rng = np.random.default_rng(5)
    cv2.imwrite(str(folder / "wide.jpg"), scene(rng, (90, 200))[0])
    cv2.imwrite(str(folder / "tall.png"), scene(rng, (150, 100))[0])
    codec = cv2.VideoWriter_fourcc(*"mp4v")
    video = cv2.VideoWriter(str(tmp_path / "drive.mp4"), codec, 10, (160, 96))
    for _ in range(6):
        video.write(scene(rng, (96, 160))[0])
    video.release()
    return tmp_path


def test_images_get_overlays_and_masks_of_their_own_size(run_folder, frames, tmp_path):
    out = tmp_path / "out"
    argv = [run_folder, frames / "frames", "--out", out, "--save-masks"]
    assert command(predict.main, argv) == 0
    for name, size in (("wide", (90, 200)), ("tall", (150, 100))):
        assert cv2.imread(str(out / f"{name}.png")).shape == (*size, 3)
        mask = cv2.imread(str(out / "masks" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        assert mask.shape == size and set(np.unique(mask)) <= {0, 1, 2}


def test_video_keeps_its_size_and_length(run_folder, frames, tmp_path):
    out = tmp_path / "out"
    argv = [run_folder, frames / "drive.mp4", "--out", out, "--save-masks"]
    assert command(predict.main, argv) == 0
    video = cv2.VideoCapture(str(out / "drive.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 6
    assert video.read()[1].shape == (96, 160, 3)
    assert len(list((out / "masks").glob("drive-*.png"))) == 6
    assert sorted(p.name for p in out.iterdir()) == ["drive.mp4", "masks"]


def test_an_overlay_never_replaces_its_input(run_folder, frames, capsys):
    before = {p: p.read_bytes() for p in frames.rglob("*.*") if p.is_file()}
    for source in (frames / "frames", frames / "drive.mp4"):
        folder = source if source.is_dir() else source.parent
        assert command(predict.main, [run_folder, source, "--out", folder]) == 2
        assert_one_line(capsys, "would be replaced", "--out")
    (frames / "frames" / "tall.jpg").write_bytes(before[frames / "frames" / "wide.jpg"])
    assert command(predict.main, [run_folder, frames / "frames", "--out", frames / "o"]) == 2
    assert_one_line(capsys, "tall.png", "tall.jpg", "same name")
    assert before == {p: p.read_bytes() for p in before}


def test_a_file_where_the_output_should_go_gets_one_line(run_folder, frames, capsys):
    (frames / "taken").write_text("")
    assert command(predict.main, [run_folder, frames / "frames", "--out", frames / "taken"]) == 2
    assert_one_line(capsys, "taken")


def test_unreadable_inputs_get_one_line_and_leave_no_output(run_folder, tmp_path, capsys):
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    (tmp_path / "broken.jpg").write_bytes(b"not an image")
    (tmp_path / "empty").mkdir()
    for name, words in (
        ("broken.mp4", "cannot be opened as a video"),
        ("broken.jpg", "cannot be decoded as an image"),
        ("empty", "no images"),
        ("nothing", "no such file"),
    ):
        argv = [run_folder, tmp_path / name, "--out", tmp_path / "out"]
        assert command(predict.main, argv) == 2
        assert_one_line(capsys, name, words)
        assert not list((tmp_path / "out").rglob("*.*"))
