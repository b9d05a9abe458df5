"""The numbers of kseg.report match those computed by hand, and its page works in a browser."""

import json
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from kseg import run_folder, trained_model
from kseg.compare import plan, table
from kseg.config import Config
from kseg.errors import InputError
from kseg.evaluation import boundary, calibration
from kseg.evaluation.scores import confusion_matrix
from kseg.files import sha256
from kseg.labels import BDD100K_DRIVABLE, IGNORE_ID, LabelClass, LabelSet
from kseg.manifest import Manifest, Split
from kseg.report import __main__ as report
from kseg.report import (
    charts,
    failure_sections,
    frame_groups,
    frame_images,
    frame_sections,
    frame_selection,
    recorded_results,
    report_page,
    run_counts,
    score_sections,
)
from kseg.report.run_counts import RunCounts
from kseg.report.runs import Run, short_names
from kseg.training import resume
from tests.browser import Browser, Page
from tests.conftest import ROOT, SIZE, assert_one_line, command, randomize

DESKTOP, PHONE = (1280, 900), (390, 844)


def words(html):
    return " ".join(Page(html).text.split())


# Calibration


def logits_of(confidence, predicted, count):
    """Pixels of two classes whose prediction has this probability."""
    logits = np.zeros((count, 2))
    logits[:, predicted] = np.log(confidence / (1 - confidence))
    return logits


def test_ece_by_hand():
    # 8 pixels at 75 %, 6 right: calibrated. 2 pixels at 90 %, 1 right: 0.8 pixels too many.
    logits = np.concatenate([logits_of(0.75, 1, 8), logits_of(0.9, 0, 2)])
    truth = np.array([1] * 6 + [0] * 2 + [0, 1])
    total = calibration.counts(truth, logits)
    assert calibration.ece(total) == pytest.approx(0.8 / 10, abs=1e-7)
    assert calibration.mean_confidence(total) == pytest.approx((8 * 0.75 + 2 * 0.9) / 10)
    bins = calibration.reliability(total)
    assert [i for i, one in enumerate(bins) if one] == [11, 13]  # 0.75 * 15 = 11.25, 13.5.
    assert bins[11] == pytest.approx((0.8, 0.75, 0.75)) and bins[13].accuracy == 0.5


def test_ignored_pixels_count_in_no_bin_and_counts_add_up_in_any_order():
    rng = np.random.default_rng(0)
    truth, logits = rng.integers(0, 3, (4, 5, 7)), rng.normal(0, 3, (4, 5, 7, 3))
    total = calibration.counts(truth, logits)
    parts = [calibration.counts(t, x) for t, x in zip(truth, logits, strict=True)]
    assert (sum(parts[::-1]) == total).all() and total.dtype == np.int64
    assert total[:, 0].sum() == truth.size
    truth[0] = IGNORE_ID
    assert (calibration.counts(truth, logits) == total - parts[0]).all()
    nothing = calibration.counts(np.full(3, IGNORE_ID), np.zeros((3, 2)))
    assert calibration.ece(nothing) is None and calibration.reliability(nothing) == [None] * 15


def test_full_confidence_is_in_the_last_bin():
    total = calibration.counts(np.array([0]), np.array([[1000.0, -1000.0]]))
    assert total[-1].tolist() == [1, 1, calibration.UNIT]


def test_a_confidence_on_the_edge_of_two_bins_is_in_the_lower():
    total = calibration.counts(np.array([0]), np.zeros((1, 5)))  # 1/5 is 3/15.
    assert total[2].tolist() == [1, 1, round(calibration.UNIT / 5)]


# Groups and choice


def test_thirds_are_ordered_from_dark_to_bright():
    parts = frame_groups.brightness_thirds(np.array([200.0, 10, 90, 20, 100, 210]))
    assert [frames.tolist() for _, frames in parts] == [[1, 3], [2, 4], [0, 5]]
    assert parts[0][0] == "darkest third, luma 10 to 20"
    assert frame_groups.brightness_thirds(np.array([1.0, 2.0])) == []


def test_scenes_are_known_by_name_or_by_file_or_not_at_all():
    keys = ["0001TP_1", "0016E5_2", "0001TP_3", "0016E5_4"]
    ((heading, groups),) = frame_groups.scene_groups(keys, "camvid", {})
    assert heading == "drive"
    assert [(n, f.tolist()) for n, f in groups] == [("0001TP", [0, 2]), ("0016E5", [1, 3])]
    assert list(frame_groups.scene_groups(keys, "folder", {})) == []
    assert list(frame_groups.scene_groups(keys[::2], "camvid", {})) == []  # All of one drive.
    attributes = {"weather": {"0001TP_1": "rainy", "0001TP_3": "rainy"}}
    ((heading, groups),) = frame_groups.scene_groups(keys, "folder", attributes)
    assert [(n, f.tolist()) for n, f in groups] == [("not known", [1, 3]), ("rainy", [0, 2])]


def test_scenes_are_read_as_bdd100k_writes_them(tmp_path, capsys):
    path = tmp_path / "det_val.json"
    path.write_text(json.dumps([{"name": "b1.jpg", "attributes": {"timeofday": "night"}}]))
    assert frame_groups.read_attributes(path) == {"timeofday": {"b1": "night"}}
    path.write_text('{"b1": {"timeofday": "night"}}')
    assert frame_groups.read_attributes(path) == {"timeofday": {"b1": "night"}}
    path.write_text('[{"attributes": {}}]')
    assert command(lambda argv: frame_groups.read_attributes(argv[0]), [path]) == 2
    assert_one_line(capsys, "--scenes", "det_val.json")


def test_worst_median_and_best_frames_are_chosen():
    scores = np.array([[0.5, 0.9, 0.1, 0.7, 0.3]])
    keys = list("abcde")
    assert frame_selection.choose_frames(scores, keys, 3) == [
        ("worst", 2),
        ("median", 0),
        ("best", 1),
    ]
    assert sorted(n for _, n in frame_selection.choose_frames(scores, keys, 99)) == [0, 1, 2, 3, 4]
    assert frame_selection.choose_frames(scores, keys, 0) == []


def test_a_frame_without_a_score_is_neither_the_worst_nor_any_other():
    scores = np.array([[0.5, np.nan, 0.1], [0.4, np.nan, 0.3]])
    chosen = frame_selection.choose_frames(scores, list("abc"), 9)
    assert sorted(number for _, number in chosen) == [0, 2]
    assert chosen[0] == ("worst", 2)


def test_a_frame_without_a_score_is_not_counted_between_two_runs():
    right, wrong, ignored = np.diag([4, 0, 0]), np.zeros((3, 3)), np.zeros((3, 3))
    wrong[0, 1] = 4

    def counts(*confusions):
        frames = np.array(confusions, np.int64)
        borders, none = np.ones((len(frames), 3, 2), np.int64), np.zeros((len(frames), 1, 3))
        failures = np.zeros((len(frames), 4))
        return RunCounts(["a", "b", "c"], np.zeros(3), frames, borders, none, failures, [], 1, 1)

    split = Split(3, (4, 0, 0), 0, ())
    manifest = Manifest("a set", BDD100K_DRIVABLE, SIZE, {"val": split}, {})
    runs = [Run(n, Path(n), None, BDD100K_DRIVABLE, manifest, []) for n in ("first", "second")]
    pair = [counts(right, right, ignored), counts(right, wrong, ignored)]
    text = score_sections.verdict(runs, pair, "val")
    assert "better of the two on 1 of the 2 frames" in text
    chart = frame_sections.frame_values(runs, pair, [])["chart"]
    assert "second: worst frame 0.00%" in chart.description and "nan" not in chart.description


def test_frames_on_which_models_differ_are_chosen_among_several():
    scores = np.array([[0.1, 0.5, 0.9, 0.9, 0.6], [0.1, 0.5, 0.3, 0.9, 0.6]])
    chosen = frame_selection.choose_frames(scores, list("abcde"), 4)
    assert chosen == [("worst", 0), ("models differ most", 2), ("median", 1), ("best", 3)]


def test_of_neighbours_in_a_drive_one_is_chosen():
    scores = np.linspace(0, 1, 40)[None]
    keys = [f"drive_{n:03}" for n in range(40)]
    worst = [n for kind, n in frame_selection.choose_frames(scores, keys, 9) if kind == "worst"]
    assert worst == [0, 3, 6]  # 40 / (2 * 9) = 2 are passed over.
    order = np.random.default_rng(0).permutation(40)  # As they lie on disk does not matter.
    shuffled = frame_selection.choose_frames(scores[:, order], [keys[i] for i in order], 9)
    assert [order[n] for kind, n in shuffled if kind == "worst"] == worst


def test_mistakes_that_matter_to_a_car_are_distinguished():
    # 0 and 1 are drivable, 2 is not.
    truth = np.array([[0, 0, 2, 2, 0, IGNORE_ID]], np.uint8)
    predicted = np.array([[0, 2, 0, 2, 1, 0]], np.uint8)
    kinds = frame_images.kinds_of_mistake(truth, predicted, BDD100K_DRIVABLE)
    assert kinds.tolist() == [[0, 2, 1, 0, 3, 0]]
    grays = [np.dot(color, (0.299, 0.587, 0.114)) for _, color, _ in frame_images.MISTAKES]
    assert grays[0] + 25 < grays[1] < grays[2] - 25  # And without colour.


# Charts


def test_ticks_are_round_and_span_the_values():
    assert charts.nice_ticks(0, 1) == [0, 0.25, 0.5, 0.75, 1]
    assert charts.nice_ticks(0.03, 1.2) == [0, 0.5, 1, 1.5]
    for low, high in ((0, 0), (5, 5), (0.011, 0.012), (-3, 7000)):
        ticks = charts.nice_ticks(low, high)
        assert ticks[0] <= low and ticks[-1] >= high and 2 <= len(ticks) <= 7


def luminance(color):
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return np.dot(linear, (0.2126, 0.7152, 0.0722))


def test_lines_stand_out_from_the_page():
    css = (ROOT / "kseg" / "report" / "templates" / "charts.css").read_text()
    colors = re.findall(r"--s: (#\w{6});", css)
    assert len(colors) == 12  # Six on light pages, then six on dark ones.
    for color, paper in zip(colors, ["#ffffff"] * 6 + ["#16191c"] * 6, strict=True):
        light, dark = sorted((luminance(color), luminance(paper)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3, color  # WCAG 1.4.11.


def test_a_chart_of_one_point_is_finite():
    chart = charts.line_chart("c", "loss", "text", [(0, [3], [0.5])], x_label="epoch")
    assert [text for _, text in chart.x_ticks] == ["3"] and len(chart.lines[0].marked) == 1
    assert np.isfinite([*chart.lines[0].points, *chart.lines[0].marked]).all()


# A page of hand-made numbers


LABELS = LabelSet(
    "two", (LabelClass("<b>road</b>", (9, 9, 200), True), LabelClass("rest", (0, 0, 0)))
)


def made_run(name, **changes):
    split = Split(3, (60, 30), 10, ())
    manifest = Manifest("made & up", LABELS, (10, 10), {"val": split}, {"source": "folder"})
    history = [{"epoch": e, "loss": 1 / (e + 1), "val_mean_iou": e / 4} for e in range(3)]
    return Run(name, report.Path(name), Config(**changes), LABELS, manifest, history)


def made_counts(confusions):
    confusion = np.array(confusions, np.int64)
    counts = np.zeros((len(confusion), calibration.BINS, 3), np.int64)
    counts[:, -1] = (100, 90, 100 * calibration.UNIT)
    borders = np.ones((len(confusion), 2, 2), np.int64)
    # Road (row 0) predicted as verge is the third kind of failure: it is lost.
    failures = np.zeros((len(confusion), 3), np.int64)
    failures[:, 2] = confusion[:, 0, 1]
    keys = [f"f<{i}>" for i in range(len(confusion))]
    luma = np.arange(len(confusion)) * 50.0
    return RunCounts(keys, luma, confusion, borders, counts, failures, [], 10, 20)


GOOD = made_counts([[[60, 0], [0, 40]]] * 3)
BAD = made_counts([[[30, 30], [0, 40]]] * 3)


def made_page(runs=None, counts=(), **recorded):
    runs = runs or [made_run("a<i>"), made_run("b", learning_rate=0.5)]
    names = ("comparisons", "exports", "timings", "attention_pages")
    return report_page.page(
        runs,
        counts or [BAD, GOOD][: len(runs)],
        [],
        split="val",
        scenes=[],
        recorded={name: recorded.get(name, []) for name in names},
    )


def test_the_verdict_names_the_better_run_and_by_how_much():
    runs = [made_run("a"), made_run("b")]
    mixed = made_counts([[[60, 0], [0, 40]], [[30, 30], [0, 40]], [[30, 30], [0, 40]]])
    # BAD: IoU 30 / 60 and 40 / 70, mean 53.57 %. Mixed: 120 / 180 and 120 / 180, 66.67 %.
    text = score_sections.verdict(runs, [BAD, mixed], "val")
    assert text.startswith("b ") and "13.10 points ahead of a" in text
    assert all(part in text for part in ("66.67%", "3 frames", "made & up, val", "1 of the 3"))
    assert "ahead" not in score_sections.verdict(runs[:1], [BAD], "val")


def test_the_page_has_exact_pixels_and_escapes_every_name():
    html = made_page()
    text = words(html)
    assert "50.00% 90 px" in text and "100.00% 120 px" in text  # 3 frames of 30, and of 40.
    assert "a<i>" in text and "<b>road</b>" in text and "made & up" in text
    assert "i" not in {tag for tag, _ in Page(html).tags}
    assert "darkest third, luma 0 to 0 1 frames 53.57%" in text
    assert "90.00% 10.00%" in text  # Right on 90 % at a confidence of 100 %: ECE 10 %.
    assert "Exports" not in text and "Scenes" not in text and "Side by side" not in text


def test_frames_with_a_failure_are_counted_and_listed_worst_first():
    mixed = made_counts([[[60, 0], [0, 40]], [[59, 1], [0, 40]], [[30, 30], [0, 40]]])
    values = failure_sections.failure_values(LABELS, [mixed, GOOD], [2])
    (lost,) = values  # No frame has another kind.
    assert lost["title"] == f"{LABELS.names[0]} lost"
    assert lost["affected"] == [2, 0]  # 1 % of a frame's labelled pixels counts.
    assert [(each["key"], each["shown"]) for each in lost["frames"]] == [
        ("f<2>", 0),
        ("f<1>", None),
    ]
    assert lost["frames"][0]["shares"] == [0.3, 0.0]
    # The worst frame is in the page already.
    assert failure_sections.choose_failures(LABELS, [mixed], [("worst", 2)], 2) == [
        (f"{LABELS.names[0]} lost", 1)
    ]
    text = words(made_page())
    assert f"{LABELS.names[0]} lost" in text and "3 frames 30.00% of the pixels" in text
    assert "road invented beside" not in text
    assert "Failures" not in words(made_page([made_run("a")], counts=[GOOD]))


def test_settings_that_differ_come_first_and_are_marked():
    text = words(made_page())
    assert text.index("≠ learning_rate 0.0003 0.5") < text.index("The same in all runs")
    assert text.count("≠") == 1 and "momentum 0.9 0.9" in text
    assert "All settings" in words(made_page([made_run("a")]))


def test_a_comparison_is_repeated(tmp_path, capsys):
    run = made_run("a")._replace(path=tmp_path / "out" / "a")
    assert recorded_results.comparisons([run], []) == []
    one = table.new_row(plan.Row("<a>", run.path, run.config, run.path, True), "val")
    one |= {"status": "done", "finished": True, "frames": 9, "mean_iou": 0.5, "iou/road": 0.25}
    one |= {
        "weights_bytes": 2_000_000,
        "training_seconds": 90,
        "latency_ms": 3,
        "latency_min_ms": 3,
    }
    one |= {"latency_rounds": 7, "latency_threads": 1, "latency_cpu": "A CPU"}
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / "comparison.json"
    path.write_text(json.dumps([one]))
    # Both given and found: shown once.
    (found,) = recorded_results.comparisons([run, run], [path.parent])
    text = words(made_page([run], comparisons=[found]))
    assert text.count("<a> 50.00 25.00 - - - 2.00 - 3.0 1.5") == 1 and "A CPU" in text
    path.write_text("[1]")
    assert command(lambda _: recorded_results.comparisons([run], []), []) == 2
    assert_one_line(capsys, "comparison.json", "kseg.compare")


def test_attention_pages_are_linked_relative_to_the_report(tmp_path):
    run = made_run("a")._replace(path=tmp_path / "runs" / "a")
    out = tmp_path / "report.html"
    assert recorded_results.attention_pages([run], out) == []
    (run.path / "attention").mkdir(parents=True)
    (run.path / "attention" / "a street.attention.html").touch()
    html = made_page([run], attention_pages=recorded_results.attention_pages([run], out))
    assert 'href="runs/a/attention/a%20street.attention.html">a street</a>' in html


def test_exports_and_timings_are_repeated_where_there_are_any(tmp_path, capsys):
    run = made_run("a")._replace(path=tmp_path)
    (tmp_path / run_folder.BEST).write_bytes(b"weights")
    assert recorded_results.exports([run]) == [] == recorded_results.timings([run], [])
    speed = {f"{key}_ms": 1.5 for key in ("min", "median", "p90")} | {"p99_ms": None}
    model = {"name": "x/road.tflite", "runtime": "LiteRT", "model": speed, "peak_mb": 30.2}
    machine = {"cpu": "A <CPU>", "cores": 2, "load_average": 0.5, "system": "Linux"}
    report = {
        "machine": machine,
        "threads": 1,
        "models": [model, {"name": "g", "failed": "no GPU"}],
    }
    path = tmp_path / "benchmark.json"
    path.write_text(json.dumps(report))
    # Both given and found: shown once.
    text = words(made_page([run], timings=recorded_results.timings([run], [path])))
    assert text.count("road.tflite LiteRT 1.50 ms 1.50 ms 1.50 ms - - 30 MB") == 1
    assert "A <CPU>, 2 cores" in text and "not run: no GPU" in text
    path.write_text('{"models": []}')
    assert command(lambda _: recorded_results.timings([run], []), []) == 2
    assert_one_line(capsys, "benchmark.json", "kseg.benchmark")
    made = {"file": "m.tflite", "passed": False, "bytes": 2_000_000, "latency_ms": 3.25}
    made |= {"keras": {"mean_iou": 0.5}, "tflite": {"mean_iou": 0.25}, "agreement_limit": 0.99}
    path = tmp_path / "m.tflite.report.json"
    made_of = {"weights": sha256(tmp_path / run_folder.BEST), "pixel_agreement": 0.8}
    path.write_text(json.dumps(made | made_of))
    text = words(made_page([run], exports=recorded_results.exports([run])))
    assert "m.tflite REJECTED 25.00% -25.00 points - 80.000%" in text and "2.00 MB" in text
    assert "Of other weights" not in text
    (tmp_path / run_folder.BEST).write_bytes(b"trained on")
    text = words(made_page([run], exports=recorded_results.exports([run])))
    assert "Of other weights than this run has now, so export again: m.tflite" in text
    path.write_text(json.dumps(made))
    assert command(lambda _: recorded_results.exports([run]), []) == 2
    assert_one_line(capsys, "kseg.export")


def test_runs_get_the_shortest_unique_names(capsys):
    assert short_names(["x/one", "x/two"]) == ["one", "two"]
    assert short_names(["a/run", "b/run"]) == ["a/run", "b/run"]
    assert command(short_names, ["x/one", "x/../x/one"]) == 2
    assert_one_line(capsys, "twice")


# Real runs


@pytest.fixture(scope="module")
def runs(trained_run, config, tmp_path_factory):
    """Two runs: the one that all tests share, and one with random weights."""
    root = tmp_path_factory.mktemp("report")
    paths = [root / "one", root / "two & <b>"]
    for path in paths:
        path.mkdir()
        for name in ("config.json", "labels.json", "best.weights.h5", "history.csv"):
            shutil.copy(trained_run / name, path)
    model = trained_model.build_model(config, BDD100K_DRIVABLE)
    randomize(model, seed=1)
    model.save_weights(paths[1] / run_folder.BEST, overwrite=True)
    return paths


@pytest.fixture(scope="module")
def page_file(runs):
    out = runs[0].parent / "report.html"
    assert command(report.main, [*runs, "--out", out, "--frames-shown", 5]) == 0
    return out


def test_a_report_of_two_runs_has_the_numbers_of_training(page_file, trained_run):
    text = words(page_file.read_text())
    best = resume.resume_state(trained_run)["best"]
    assert f"{best:.2%}" in text and "two & <b>" in text
    assert "on 8 frames of bdd100k-drivable, val" in text
    for heading in ("Side by side", "Curves", "Confusion", "Calibration", "Brightness", "Settings"):
        assert heading in text
    for path in page_file.parent.glob("*/report-val.jsonl"):
        _, *frames = map(json.loads, path.read_text().splitlines())
        assert len(frames) == 8 and np.sum([f["confusion"] for f in frames]) == 8 * 64 * 97
        assert np.sum([f["calibration"] for f in frames], axis=(0, 1))[0] == 8 * 64 * 97
        borders = np.sum([f["borders"] for f in frames], axis=0)
        assert 0 < boundary.scores(borders, BDD100K_DRIVABLE)["mean_boundary_iou"] < 1


def test_the_page_is_self_contained(page_file):
    text = page_file.read_text()
    tags = Page(text).tags
    rest = re.sub(r'"data:image/(png|jpeg);base64,[A-Za-z0-9+/=]+"', "", text)
    assert not any(part in rest for part in ("http", "//", "@import", "src=s"))
    assert set(re.findall(r"url\((.)", rest)) <= {"#"}
    sources = [a["src"] for tag, a in tags if tag == "img" and "src" in a]
    assert len(set(sources)) > 5 * 6 and all(s.startswith("data:image/") for s in sources)
    assert all("alt" in a for tag, a in tags if tag == "img")
    assert all(a["aria-labelledby"] for tag, a in tags if tag == "svg" and "role" in a)
    ids = [a["id"] for _, a in tags if "id" in a]
    assert len(ids) == len(set(ids))


def test_an_interrupted_pass_continues_and_ends_with_the_same_numbers(page_file, runs):
    cache = runs[0] / "report-val.jsonl"
    complete = cache.read_bytes()
    lines = complete.splitlines(keepends=True)
    cache.write_bytes(b"".join(lines[:6]) + lines[6][:40])  # Five frames and part of a sixth.
    assert command(report.main, [runs[0], "--frames-shown", 0]) == 0
    assert cache.read_bytes() == complete


def test_cached_counts_are_used_unless_weights_changed(runs, page_file, monkeypatch):
    def refuse(self, images):
        raise AssertionError("evaluated again")

    monkeypatch.setattr(run_counts.Predictor, "__call__", refuse)
    before = page_file.read_bytes()
    again = [*runs, "--out", page_file, "--frames-shown", 5]
    assert command(report.main, again) == 0 and page_file.read_bytes() == before
    assert command(report.main, [runs[0]]) == 0 and (runs[0] / "report.html").is_file()
    other = runs[0].parent / "other"
    shutil.copytree(runs[1], other)
    shutil.copy(runs[0] / "report-val.jsonl", other)
    with pytest.raises(AssertionError, match="evaluated again"):
        command(report.main, [other, "--frames-shown", 0])
    shutil.rmtree(other)


class Channels:
    """A model that predicts the brightest channel: a different class map for each frame."""

    def __init__(self, path):
        image = keras.Input((*SIZE, 3))
        self.path = self.cache = path
        self.model = keras.Model(image, keras.layers.Identity()(image))

    def __call__(self, images):
        return np.asarray(images)


def test_images_show_the_predictions_that_were_counted(config, tmp_path):
    (tmp_path / run_folder.BEST).write_bytes(b"weights")
    model = Channels(tmp_path)
    counts = run_counts.count_frames(model, config, BDD100K_DRIVABLE, "val", 1, lambda count: None)
    assert len(set(counts.class_maps)) == 8
    loaded = frame_images.load_predictions(counts, config, "val", 1, [1, 6])
    assert sorted(loaded) == [1, 6]
    for number, frame in loaded.items():
        assert (frame.predicted == frame.image.argmax(axis=-1)).all()
        confusion = confusion_matrix(frame.truth, frame.predicted, 3)
        assert (confusion == counts.confusion[number]).all()


def test_weights_that_a_training_replaces_meanwhile_are_not_counted_as_the_old_ones(
    config, tmp_path
):
    best = tmp_path / run_folder.BEST
    best.write_bytes(b"weights")

    class Replaced(Channels):
        @property
        def model(self):
            best.write_bytes(b"weights of the next epoch")
            return self.loaded

        @model.setter
        def model(self, model):
            self.loaded = model

    with pytest.raises(InputError, match=rf"{tmp_path}.*changed.*again"):
        run_counts.count_frames(
            Replaced(tmp_path), config, BDD100K_DRIVABLE, "val", 1, lambda count: None
        )
    assert not list(tmp_path.glob("*.jsonl"))


def test_fewer_frames_are_evenly_spread_and_cached_separately(runs, page_file, capsys):
    out = page_file.with_name("few.html")
    argv = [runs[0], "--frames", 3, "--frames-shown", 0, "--out", out]
    assert command(report.main, argv) == 0
    assert "on 3 of the 8 frames" in words(out.read_text())
    every = [json.loads(line) for line in (runs[0] / "report-val.jsonl").open()][1:]
    some = [json.loads(line) for line in (runs[0] / "report-val-every-3.jsonl").open()][1:]
    assert [s["key"] for s in some] == [e["key"] for e in every[::3]]


def test_bad_input_gets_one_line(runs, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(runs[0], other)
    labels = (other / "labels.json").read_text().replace('"alternative"', '"pavement"')
    (other / "labels.json").write_text(labels)
    bare = tmp_path / "bare"
    shutil.copytree(runs[0], bare)
    (bare / "best.weights.h5").unlink()
    for argv, parts in (
        ([tmp_path], ["no config.json"]),
        ([bare], ["best.weights.h5"]),
        ([runs[0], other], ["pavement", "alternative", "same classes"]),
        ([runs[0], runs[0]], ["twice"]),
        ([runs[0], "--split", "test"], ["no split 'test'"]),
        ([runs[0], "--data", tmp_path], ["no manifest.json"]),
        ([runs[0], "--frames", 0], ["--frames 0"]),
        ([runs[0], "--frames-shown", -1], ["--frames-shown -1"]),
        ([runs[0], "--out", tmp_path], ["--out"]),
        ([runs[0], "--scenes", tmp_path / "no.json"], ["--scenes"]),
        ([runs[0], "--benchmark", tmp_path / "no.json"], ["no.json"]),
    ):
        assert command(report.main, argv) == 2
        assert_one_line(capsys, *parts)


# In a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_page_opens_without_an_error_and_fits(browser, page_file, size, scheme):
    browser.open(page_file.as_uri(), size, prefers_color_scheme=scheme)
    assert browser.problems == []
    assert browser.value("innerWidth") == size[0]
    assert browser.value("document.documentElement.scrollWidth") <= size[0]
    paper = browser.value("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 25, 28)"}[scheme]
    browser.value("document.querySelectorAll('img').forEach((i) => (i.loading = 'eager'))")
    broken = "[...document.images].filter((i) => i.complete && !i.naturalWidth).length"
    assert browser.value(broken) == 0


def test_the_slider_moves_by_keyboard_and_reports_its_position(browser, page_file):
    browser.open(page_file.as_uri(), DESKTOP)
    seen = []
    for _ in range(40):
        browser.press("Tab")
        seen.append(browser.value("document.activeElement.id"))
        if seen[-1] == "viewer-wipe":
            break
    assert seen[-4:] == ["viewer-frame", "viewer-left", "viewer-right", "viewer-wipe"]
    clip = "document.getElementById('viewer-over').style.clipPath"
    spoken = "document.getElementById('viewer-wipe').getAttribute('aria-valuetext')"
    assert "50%" in browser.value(clip) and browser.value(spoken) == "50 % one, 50 % two & <b>"
    browser.press("ArrowRight")
    assert "51%" in browser.value(clip) and browser.value(spoken).startswith("51 % one")
    browser.press("End")
    assert "100%" in browser.value(clip)
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert browser.value(outline) == "solid"  # The focus is visible.
    assert browser.problems == []


def test_a_frames_button_brings_it_into_the_slider(browser, page_file):
    browser.open(page_file.as_uri(), DESKTOP)
    browser.value("document.querySelectorAll('.frame button')[2].focus()")
    browser.press("Enter")
    assert browser.value("document.activeElement.id") == "viewer-wipe"
    assert browser.value("document.getElementById('viewer-frame').selectedIndex") == 2
    same = "document.getElementById('viewer-over').src === document.querySelector("
    assert browser.value(same + "'#frame-2 img[data-view=prediction-1]').src")
    status = browser.value("document.getElementById('viewer-status').textContent")
    assert status == browser.value("document.querySelector('#frame-2 p').textContent")


def test_wide_tables_are_reached_by_keyboard_on_a_phone(browser, page_file):
    browser.open(page_file.as_uri(), PHONE)
    wide = "[...document.querySelectorAll('.wide')].filter((w) => w.scrollWidth > w.clientWidth)"
    assert browser.value(f"{wide}.length") > 2
    assert browser.value(f"{wide}.every((w) => w.tabIndex === 0)")
