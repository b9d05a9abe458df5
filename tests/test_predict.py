import itertools
import json
import math
import resource
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from kseg import predict
from kseg.errors import InputError
from kseg.evaluation import predictor
from kseg.evaluation.predictor import MAX_CONFIDENCE, Prediction
from kseg.labels import BDD100K_DRIVABLE, CAMVID_11, IGNORE_ID
from kseg.visualize import panels, video
from tests.conftest import assert_one_line, command, scene


@pytest.fixture
def frames(tmp_path):
    """Two images of different sizes and a six-frame video."""
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


def test_images_get_overlays_and_masks_of_their_size(trained_run, frames, tmp_path):
    out = tmp_path / "out"
    argv = [trained_run, frames / "frames", "--out", out, "--save-masks"]
    assert command(predict.main, argv) == 0
    for name, size in (("wide", (90, 200)), ("tall", (150, 100))):
        assert cv2.imread(str(out / f"{name}.png")).shape == (*size, 3)
        mask = cv2.imread(str(out / "masks" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        assert mask.shape == size and set(np.unique(mask)) <= {0, 1, 2}


def test_video_keeps_its_size_and_length(trained_run, frames, tmp_path):
    out = tmp_path / "out"
    argv = [trained_run, frames / "drive.mp4", "--out", out, "--save-masks"]
    assert command(predict.main, argv) == 0
    video = cv2.VideoCapture(str(out / "drive.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 6
    assert video.read()[1].shape == (96, 160, 3)
    assert len(list((out / "masks").glob("drive-*.png"))) == 6
    assert sorted(p.name for p in out.iterdir()) == ["drive.mp4", "masks"]


class FakeVideo:
    """A VideoFile of frames, None where one is corrupt; past them every read fails."""

    rate, time_s = 10.0, -0.1

    def __init__(self, frames, declared):
        self._frames, self.declared, self.reads = list(frames), declared, 0

    def grab(self):
        self.reads += 1
        self.time_s += 0.1
        self._now = self._frames.pop(0) if self._frames else None
        return self._now is not None

    def retrieve(self):
        return self._now


def assert_one_line_has(capsys, *words):
    (line,) = capsys.readouterr().err.splitlines()
    assert all(word in line for word in words)


def clip_of(*values, first=0, count=None):
    frames = [v if v is None else np.full((4, 6, 3), v, np.uint8) for v in values]
    fake = FakeVideo(frames, 0 if count is None else first + count)
    return video.Clip("drive.mp4", fake, first / 10, math.inf, count)


def shades(clip):
    return [int(frame[0, 0, 0]) for frame in video.frames(clip)]


@pytest.mark.parametrize("count", [None, 7])
def test_corrupt_frames_of_a_video_are_skipped_and_counted(count, capsys):
    assert shades(clip_of(1, None, 2, None, None, 3, 4, count=count)) == [1, 2, 3, 4]
    assert_one_line_has(capsys, "drive.mp4", "skipped 3 of 7")
    assert shades(clip_of(None, 1, None, 2, first=2, count=2)) == [2]
    assert_one_line_has(capsys, "drive.mp4", "skipped 1 of 2")


def test_a_video_ends_after_its_last_frame_whatever_its_header_says(capsys):
    for clip in (clip_of(1, 2, count=10**9), clip_of(1, 2), clip_of(1, 2, None, None, count=4)):
        assert shades(clip) == [1, 2] and clip.video.reads < 1000
        declared, err = clip.video.declared, capsys.readouterr().err
        assert err == (
            f"drive.mp4: ends after 2 frames; its header says {declared}\n" * bool(declared)
        )
    past = clip_of(1, 2, first=10**9)
    with pytest.raises(InputError, match=r"drive\.mp4: .*frame"):
        shades(past)
    assert past.video.reads < 1000


def test_a_video_of_more_frames_than_its_header_says_is_read_to_its_end(capsys):
    longer = clip_of(1, 2, None, 3, 4, 5, count=4)
    assert shades(longer) == [1, 2, 3, 4, 5] and longer.video.reads == 7
    assert_one_line_has(capsys, "skipped 1 of 6")
    both_corrupt = clip_of(1, 2, None, None, 3, count=4)  # 3 is past a corrupt end.
    assert shades(both_corrupt) == [1, 2, 3]


def test_a_video_with_a_corrupt_frame_is_drawn_to_its_end(trained_run, tmp_path, capsys):
    codec, rng = cv2.VideoWriter_fourcc(*"MJPG"), np.random.default_rng(2)
    writer = cv2.VideoWriter(str(tmp_path / "torn.avi"), codec, 10, (64, 48))
    for _ in range(6):
        writer.write(scene(rng, (48, 64))[0])
    writer.release()
    data, start = bytearray((tmp_path / "torn.avi").read_bytes()), -1
    for _ in range(3):  # The third JPEG loses all it holds.
        start = data.index(b"\xff\xd8\xff", start + 1)
    data[start : start + 400] = bytes(400)
    (tmp_path / "torn.avi").write_bytes(data)
    out = tmp_path / "out"
    assert command(predict.main, [trained_run, tmp_path / "torn.avi", "--out", out]) == 0
    printed = capsys.readouterr()
    assert "5 frames in " in printed.out and "skipped 1 of 6" in printed.err
    assert cv2.VideoCapture(str(out / "torn.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 5


def test_an_overlay_never_replaces_its_input(trained_run, frames, capsys):
    before = {p: p.read_bytes() for p in frames.rglob("*.*") if p.is_file()}
    for source in (frames / "frames", frames / "drive.mp4"):
        folder = source if source.is_dir() else source.parent
        assert command(predict.main, [trained_run, source, "--out", folder]) == 2
        assert_one_line(capsys, "--out")
    (frames / "frames" / "tall.jpg").write_bytes(before[frames / "frames" / "wide.jpg"])
    assert command(predict.main, [trained_run, frames / "frames", "--out", frames / "o"]) == 2
    assert_one_line(capsys, "tall.png", "tall.jpg")


def test_masks_never_replace_an_input(trained_run, frames, capsys):
    folder = (frames / "frames").rename(frames / "masks")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    argv = [trained_run, folder, "--out", frames]
    assert command(predict.main, [*argv, "--save-masks"]) == 2
    assert_one_line(capsys, "tall.png: is an input", "--out")
    assert before == {path: path.read_bytes() for path in folder.iterdir()}
    assert command(predict.main, argv) == 0


def test_a_file_where_the_output_should_go_gets_one_line(trained_run, frames, capsys):
    (frames / "taken").write_text("")
    assert command(predict.main, [trained_run, frames / "frames", "--out", frames / "taken"]) == 2
    assert_one_line(capsys, "taken")


def test_unreadable_inputs_get_one_line_and_leave_no_output(trained_run, tmp_path, capsys):
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    (tmp_path / "broken.jpg").write_bytes(b"not an image")
    (tmp_path / "empty").mkdir()
    for name, words in (
        ("broken.mp4", "video"),
        ("broken.jpg", "image"),
        ("empty", "no images"),
        ("nothing", "no such file"),
    ):
        argv = [trained_run, tmp_path / name, "--out", tmp_path / "out"]
        assert command(predict.main, argv) == 2
        assert_one_line(capsys, name, words)
        assert not list((tmp_path / "out").rglob("*.*"))


def test_a_bad_image_of_a_folder_is_skipped_and_hidden_files_are_ignored(
    trained_run, frames, tmp_path, capsys
):
    folder = frames / "frames"
    good = sorted(path.stem for path in folder.iterdir())
    (folder / "bad.jpg").write_bytes(b"not an image")
    (folder / "bad2.png").write_bytes((folder / "wide.jpg").read_bytes()[:-20])
    (folder / "._wide.jpg").write_bytes(b"of macOS")
    (folder / "Thumbs.db").write_bytes(b"of Windows")
    out = tmp_path / "out"
    assert command(predict.main, [trained_run, folder, "--out", out]) == 0
    printed = capsys.readouterr()
    assert [line for line in printed.err.splitlines() if "skipped" in line] == [
        f"skipped: {folder / 'bad.jpg'}: is no image; expected JPEG, PNG, WebP or BMP",
        f"skipped: {folder / 'bad2.png'}: is truncated "
        f"({(folder / 'bad2.png').stat().st_size} bytes); replace it",
    ]
    assert f"{len(good)} overlays" in printed.out and "2 images skipped" in printed.out
    assert sorted(path.stem for path in out.iterdir()) == good


def test_a_batch_gives_the_predictions_of_its_frames_one_by_one(trained_run):
    from kseg import trained_model

    model, config, labels = trained_model.load(trained_run)
    predict_batch = predictor.make_predictor(model, config, labels, "run", confidence=True)
    rng = np.random.default_rng(1)
    frames = [np.ascontiguousarray(scene(rng, size)[0]) for size in ((90, 200), (150, 100))]
    for together, alone in zip(
        predict_batch(frames), [predict_batch([f])[0] for f in frames], strict=True
    ):
        assert np.mean(together.class_map == alone.class_map) > 0.999
        assert together.class_map.shape == together.confidence.shape == alone.class_map.shape
        # The largest of three shares is a third at least.
        assert (
            together.confidence.min() >= MAX_CONFIDENCE // 3
            and together.confidence.max() <= MAX_CONFIDENCE
        )


def test_confidence_is_the_largest_softmax_share():
    import keras

    logits = np.log([[[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]]).astype(np.float32)
    image = keras.Input((1, 2, 3))
    model = keras.Model(image, image * 0 + logits[None])
    config = SimpleNamespace(size=(1, 2), fit="stretch")
    predict_batch = predictor.make_predictor(
        model, config, BDD100K_DRIVABLE, "run", confidence=True
    )
    (prediction,) = predict_batch([np.zeros((1, 2, 3), np.uint8)])
    assert prediction.class_map.tolist() == [[0, 2]]
    assert prediction.confidence.tolist() == [[127, 203]]  # 254 halves, and 4 fifths of 254.


def prediction(name="one", labels=BDD100K_DRIVABLE, size=(90, 160), confidence=None):
    return Prediction(name, labels, np.zeros(size, np.uint8), confidence)


def test_panels_stand_side_by_side_with_confidence_below():
    frame = np.full((90, 160, 3), 120, np.uint8)
    sure = np.full((90, 160), MAX_CONFIDENCE, np.uint8)
    assert panels.draw_panels(frame, [prediction()]).shape == (90, 160, 3)
    two = [prediction(confidence=sure), prediction("two", confidence=sure)]
    assert panels.draw_panels(frame, two).shape == (180, 320, 3)
    assert panels.draw_panels(frame, two, width=80).shape == (90, 160, 3)


def test_each_label_set_has_its_legend_and_each_run_its_name():
    frame = np.full((240, 320, 3), 120, np.uint8)

    def changed(*predictions):
        plain = np.concatenate(
            [panels.overlay.overlay(frame, a.class_map, a.labels) for a in predictions], axis=1
        )
        return (panels.draw_panels(frame, predictions) != plain).any(-1)

    size = (240, 320)
    alone = changed(prediction(size=size))
    assert alone[:60, :160].any() and not alone[100:].any()
    alike = changed(prediction(size=size), prediction("two", size=size))
    assert not alike[:200, 320:].any() and alike[200:, 320:].any() and alike[200:, :320].any()
    other = changed(prediction(size=size), prediction("two", CAMVID_11, size))
    assert other[:200, 320:].any()


def test_higher_confidence_is_lighter():
    frame = np.full((300, 400, 3), 120, np.uint8)
    confidence = np.full((300, 400), IGNORE_ID, np.uint8)
    confidence[100:200], confidence[200:] = round(MAX_CONFIDENCE / 3), MAX_CONFIDENCE
    rows = panels.confidence_map(frame, confidence, 3)[:, 350].mean(-1)
    assert rows[90] == 120 and rows[150] < 60 and rows[250] > 120


def test_runs_are_compared_with_flicker_confidence_and_gif(
    trained_run, frames, tmp_path, capsys, monkeypatch
):
    from PIL import Image

    def load(run, name, *, confidence):
        sure = np.full((96, 160), MAX_CONFIDENCE, np.uint8) if confidence else None
        return lambda batch: [
            Prediction(name, BDD100K_DRIVABLE, (f[..., 0] > 100).astype(np.uint8), sure)
            for f in batch
        ]

    monkeypatch.setattr(predictor, "load_predictor", load)  # Bright pixels: these flicker.

    other = tmp_path / "other"
    other.symlink_to(trained_run)
    out = tmp_path / "out"
    argv = [trained_run, frames / "drive.mp4", "--compare", other, "--out", out, "--save-masks"]
    argv += ["--confidence", "--gif", "--gif-width", 64, "--flicker", "--start", 0.1]
    assert command(predict.main, [*argv, "--seconds", 0.4]) == 0
    names = ["drive.flicker.json", "drive.gif", "drive.mp4", "masks"]
    assert sorted(p.name for p in out.iterdir()) == names
    clip = cv2.VideoCapture(str(out / "drive.mp4"))
    assert clip.get(cv2.CAP_PROP_FRAME_COUNT) == 4 and clip.read()[1].shape == (192, 320, 3)
    with Image.open(out / "drive.gif") as gif:
        assert gif.size == (128, 76) and gif.info["loop"] == 0
    report = json.loads((out / "drive.flicker.json").read_text())
    first, second = report["runs"]["run"], report["runs"]["other"]
    assert first == second and len(first["frames"]) == 3 and report["frames_per_second"] == 10
    masks = [
        cv2.imread(str(out / "masks" / "run" / f"drive-{i:06d}.png"), cv2.IMREAD_UNCHANGED)
        for i in range(4)
    ]
    shares = [np.mean(a != b) for a, b in itertools.pairwise(masks)]
    assert first["flicker"] == pytest.approx(np.mean(shares), abs=1e-5) and np.mean(shares) > 0
    words = capsys.readouterr().out
    assert f"run: {first['flicker']:.2%} of pixels" in words and "4 frames" in words


def test_a_gif_keeps_durations_colours_and_static_regions(tmp_path):
    from PIL import Image

    images = [np.full((40, 60, 3), (200, 30, 30), np.uint8) for _ in range(30)]
    for number, image in enumerate(images):
        image[10:20, number : number + 10] = (20, 60, 220)
    path = tmp_path / "moving.gif"
    video.write_gif(path, images, 12)
    with Image.open(path) as gif:
        times, seen = [], []
        for number in range(gif.n_frames):
            gif.seek(number)
            times.append(gif.info["duration"])
            seen.append(np.asarray(gif.convert("RGB")))
    assert sum(times) == 2500 and set(times) == {80, 90} and len(seen) == 30
    assert np.abs(np.stack(seen).astype(int) - images).max() <= 4
    # Thirty complete frames of plain colour would still be larger than the changes.
    assert path.stat().st_size < 6000


def test_a_gif_uses_no_more_frames_than_it_needs(tmp_path):
    with video.GifWriter(tmp_path / "fast.gif", 30) as gif:
        for number in range(30):
            gif.add(np.full((8, 8, 3), 8 * number, np.uint8))
    from PIL import Image

    with Image.open(tmp_path / "fast.gif") as read:
        assert read.n_frames == 10 and read.info["duration"] == 100
    assert [p.name for p in tmp_path.iterdir()] == ["fast.gif"]


def test_a_video_truncated_by_a_full_disk_is_removed(tmp_path):
    rng, before = np.random.default_rng(0), resource.getrlimit(resource.RLIMIT_FSIZE)
    # Bytes in a file: past them a write fails, as on a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 15, before[1]))
    try:
        words = r"drive\.mp4: .*disk full"
        with (
            pytest.raises(InputError, match=words),
            video.Mp4Writer(tmp_path / "drive.mp4", 10) as movie,
        ):
            for _ in range(60):
                movie.add(rng.integers(0, 255, (96, 160, 3), np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_bad_flags_get_one_line(trained_run, frames, tmp_path, capsys):
    drive, folder = frames / "drive.mp4", frames / "frames"
    for argv, words in (
        ([trained_run, folder, "--gif"], ("--gif", "videos")),
        ([trained_run, folder, "--flicker"], ("--flicker", "videos")),
        ([trained_run, drive, "--start", 9], ("drive.mp4", "0.6 s long")),
        ([trained_run, drive, "--start", -1], ("--start -1: expected seconds, from 0",)),
        ([trained_run, drive, "--start", "nan"], ("--start nan: expected seconds",)),
        ([trained_run, drive, "--start", "inf"], ("--start inf: expected seconds",)),
        ([trained_run, drive, "--seconds", 0], ("--seconds 0: expected seconds, above 0",)),
        ([trained_run, drive, "--seconds", "nan"], ("--seconds nan: expected seconds",)),
        ([trained_run, drive, "--seconds", "inf"], ("--seconds inf: expected seconds",)),
        ([trained_run, drive, "--gif-width", 0], ("--gif-width 0",)),
        ([trained_run, drive, "--compare", trained_run], ("named twice",)),
        ([trained_run, drive, "--compare", tmp_path / "none"], ("none", "no config.json")),
    ):
        assert command(predict.main, [*argv, "--out", tmp_path / "out"]) == 2
        assert_one_line(capsys, *words)
        assert not (tmp_path / "out").exists()


def test_a_gif_never_replaces_its_input_and_a_broken_clip_leaves_nothing(
    trained_run, frames, tmp_path, capsys, monkeypatch
):
    (frames / "drive.gif").write_bytes(b"")
    video.write_gif(frames / "drive.gif", [np.zeros((32, 48, 3), np.uint8)] * 2, 10)
    before = (frames / "drive.gif").read_bytes()
    argv = [trained_run, frames / "drive.gif", "--gif", "--out"]
    assert command(predict.main, [*argv, frames]) == 2
    assert_one_line(capsys, "drive.gif", "--out")
    assert (frames / "drive.gif").read_bytes() == before
    monkeypatch.setattr(video, "GIF_FRAMES", 3)
    argv = [trained_run, frames / "drive.mp4", "--gif", "--out", tmp_path / "out"]
    assert command(predict.main, argv) == 2
    assert_one_line(capsys, "drive.gif", "more than 3", "--seconds")
    assert list((tmp_path / "out").iterdir()) == []
