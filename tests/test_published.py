"""Published models: found by name in every command, and those that are shipped."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from kseg import (
    benchmark,
    doctor,
    evaluate,
    lint,
    predict,
    published_models,
    run_folder,
    trained_model,
)
from kseg.attention import __main__ as attention
from kseg.evaluation import predictor
from kseg.evaluation.scores import compute_scores, confusion_matrix
from kseg.export import __main__ as export
from kseg.labels import BDD100K_DRIVABLE
from kseg.published import __main__ as published
from kseg.report import __main__ as report
from tests.conftest import ROOT, assert_one_line, command, scene

sys.path.insert(0, str(ROOT / "scripts"))

import half_weights
import published_card

STREET = ROOT / ".github" / "pictures" / "street.jpg"
SHIPPED = published_models.PUBLISHED
NAMES = published_models.names()
DIRECT, ALTERNATIVE, BACKGROUND = range(3)
# On the validation frames of BDD100K and of IDD lite.
LANES_FLOORS = {"lanes": 0.66, "lanes-base": 0.69}
ROAD_FLOORS = {"road": 0.93, "road-base": 0.94}


@pytest.fixture(scope="session")
def toy_model(trained_run, tflite_path, tmp_path_factory):
    """A folder of published models that holds `toy`, which is `trained_run`."""
    folder = tmp_path_factory.mktemp("package") / "published"
    (folder / "toy").mkdir(parents=True)
    for name in ("config.json", "labels.json", run_folder.BEST):
        shutil.copy(trained_run / name, folder / "toy")
    shutil.copy(tflite_path, folder / "toy" / "toy.tflite")
    scores = {"mean_iou": 0.5, "drivable_iou": 0.625}
    card = {
        "licence": "for tests only",
        "classes": ["direct", "alternative", "background"],
        "model": "deeplab",
        "size": [64, 97],
        "parameters": 470000,
        "bytes": {"tflite": 1_300_000},
        "validation": {"dataset": "drawn", "all": {"frames": 8, "scores": scores}},
    }
    (folder / "toy" / "card.json").write_text(json.dumps(card))
    return folder


@pytest.fixture
def toy(toy_model, tmp_path, monkeypatch):
    """The folder of `toy`, while it is the one published model; the current folder is empty."""
    monkeypatch.setattr(published_models, "PUBLISHED", toy_model)
    monkeypatch.setattr(published_models, "DEFAULT", "toy")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return toy_model / "toy"


def draw_street(path="street.png"):
    cv2.imwrite(str(path), scene(np.random.default_rng(1), (90, 140))[0])
    return path


def files_here():
    """All files but lock files."""
    return {str(p) for p in Path().rglob("*") if p.is_file() and p.suffix != ".lock"}


def test_every_command_writes_its_output_here_and_nothing_into_the_package(toy, dataset):
    before = {path: path.stat().st_mtime_ns for path in toy.iterdir()}
    data = ["--data", dataset]
    assert command(evaluate.main, ["toy", *data, "--overlays", 1]) == 0
    assert command(report.main, ["toy", *data, "--frames-shown", 1]) == 0
    assert command(predict.main, ["toy", draw_street()]) == 0
    assert command(export.main, ["toy", "--tflite", *data, "--frames", 2]) == 0
    (overlay,) = Path("overlays-val").iterdir()
    assert files_here() == {
        "street.png",
        "evaluation-val.json",
        str(overlay),
        "report.html",
        "report-val.jsonl",
        "predictions/street.png",
        *("toy-fp32.tflite", "toy-fp32.tflite.report.json"),
        *("export_report.json", "export_report.html"),
    }
    assert before == {path: path.stat().st_mtime_ns for path in toy.iterdir()}


def test_flags_that_the_shipped_file_does_not_follow_are_refused(toy, capsys):
    for flags in (["--precision", "int8"], ["--verify-gpu"], ["--split", "test"], ["--frames", 7]):
        assert command(export.main, ["toy", "--tflite", *flags]) == 2
        assert_one_line(capsys, "toy", "--data")
    assert files_here() == set()


def test_commands_that_take_a_file_take_the_models_file(toy, capsys):
    file = str(toy / "toy.tflite")
    assert published_models.tflite_file("toy") == file
    assert command(benchmark.main, ["toy", "--runs", 2, "--json", "b.json"]) == 0
    assert json.loads(Path("b.json").read_text())["models"][0]["name"] == file
    assert command(lint.main, ["toy"]) == 0
    assert f"{file}, gpu:" in capsys.readouterr().out
    assert command(doctor.main, ["toy", "--json", "-"]) in (0, 1)
    assert file in capsys.readouterr().out


def test_a_picture_alone_is_predicted_by_the_default_model(toy, capsys):
    assert command(predict.main, [draw_street()]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("model: ")]
    assert "toy" in line and "for tests only" in line
    assert files_here() == {"street.png", "predictions/street.png"}


def test_flags_may_stand_anywhere(toy, trained_run):
    street = draw_street()
    assert command(predict.main, [street, "--save-masks", "--model", "toy", "--out", "a"]) == 0
    argv = [trained_run, "--compare", "toy", "--save-masks", street, "--out", "b"]
    assert command(predict.main, argv) == 0
    assert files_here() == {
        *("street.png", "a/street.png", "a/masks/street.png", "b/street.png"),
        *(f"b/masks/{name}/street.png" for name in (trained_run.name, "toy")),
    }


def test_a_run_has_priority_over_nothing_silently(toy, trained_run, capsys):
    street = draw_street()
    shutil.copytree(trained_run, "toy")
    assert command(predict.main, ["toy", street]) == 2
    assert_one_line(capsys, "./toy", toy)
    assert published_models.find_run("./toy") == Path("toy")
    shutil.rmtree("toy")
    Path("toy").mkdir()  # Any other folder of that name.
    assert command(predict.main, ["toy", street]) == 0
    assert files_here() == {"street.png", "predictions/street.png"}


def test_the_files_of_a_run_are_not_replaced(toy, trained_run, dataset, monkeypatch, capsys):
    shutil.copytree(trained_run, "run")
    monkeypatch.chdir("run")
    before = files_here()
    assert command(evaluate.main, ["toy", "--data", dataset]) == 2
    assert_one_line(capsys, "current folder")
    assert files_here() == before


def test_export_without_data_copies_the_verified_file(toy, capsys):
    assert command(export.main, ["toy", "--tflite"]) == 0
    assert command(export.main, ["toy", "--tflite", "--out", "a.tflite"]) == 0
    Path("car").mkdir()
    assert command(export.main, ["toy", "--tflite", "--out", "car"]) == 0
    assert files_here() == {"toy.tflite", "a.tflite", "car/toy.tflite"}
    assert Path("a.tflite").read_bytes() == (toy / "toy.tflite").read_bytes()
    assert command(export.main, ["toy", "--tflite", "--out", "gone/b.tflite"]) == 2
    assert_one_line(capsys, "--out")


@pytest.mark.parametrize(
    ("main", "flags"),
    [
        (evaluate.main, []),
        (report.main, []),
        (export.main, ["--tflite", "--precision", "int8"]),
        (export.main, ["--tflite", "--size", 64, 96]),
    ],
)
def test_scoring_needs_data(toy, capsys, main, flags):
    assert command(main, ["toy", *flags]) == 2
    assert_one_line(capsys, "toy", "--data")
    assert not files_here()


def test_bad_input_of_predict_is_one_line(toy, trained_run, capsys):
    street = draw_street()
    for argv, words in (
        (["toy", street, "--model", "toy"], ["--model"]),
        (["--model", "tyo", street], ["tyo", "toy"]),
        ([trained_run], [trained_run, "run"]),
        (["gone.jpg"], ["gone.jpg"]),
        (["/dev/null"], ["/dev/null", "--seconds"]),
    ):
        assert command(predict.main, argv) == 2
        assert_one_line(capsys, *words)
    assert command(attention.main, ["toy", street]) == 2
    assert_one_line(capsys, "no attention")
    assert files_here() == {"street.png"}


def test_the_list_names_classes_accuracy_licence_and_path(toy, capsys):
    assert command(published.main, []) == 0
    text = capsys.readouterr().out
    for word in ("direct, alternative", "50.0 %", "62.5 %", "0.47 M", "64x97", "for tests only"):
        assert word in text
    assert f"{toy / 'toy.tflite'} (1.3 MB)" in text
    assert command(published.main, ["toy"]) == 0
    assert capsys.readouterr().out == f"{toy / 'toy.tflite'}\n"
    assert command(published.main, ["tyo"]) == 2
    assert_one_line(capsys, "tyo", "toy")


def test_paths_of_a_config_become_names(config):
    import dataclasses

    changed = dataclasses.replace(
        config,
        data="/data/bdd-180x320",
        also=("/data/idd 2 'drivable=direct|alternative' '*=ignore'",),
        init="runs/idd",
        encoder_weights="none",
    )
    named = published_card.without_paths(changed)
    assert (named.data, named.init, named.encoder_weights) == ("bdd-180x320", "idd", "none")
    assert named.also == ("idd 2 'drivable=direct|alternative' '*=ignore'",)
    assert named.size == config.size


def test_weights_are_published_in_half_the_space(trained_run, tmp_path):
    full, half = trained_model.load(trained_run)[0], trained_model.load(trained_run)[0]
    path = tmp_path / "half.weights.h5"
    half_weights.write(trained_run / run_folder.BEST, path)
    assert path.stat().st_size < 0.8 * (trained_run / run_folder.BEST).stat().st_size
    half.load_weights(path)
    for ours, theirs in zip(full.weights, half.weights, strict=True):
        assert theirs.dtype == "float32"
        np.testing.assert_array_equal(theirs, ours.numpy().astype(np.float16))
    half.weights[0].assign(np.full(half.weights[0].shape, 7e4))
    half.save_weights(tmp_path / "large.weights.h5")
    with pytest.raises(ValueError, match=r"large\.weights\.h5: .* beyond 65504"):
        half_weights.write(tmp_path / "large.weights.h5", path)


def test_a_wheel_holds_the_published_models(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("kseg", "tfrecords_tools"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    code = "from setuptools import setup; setup(script_args=['-q', 'bdist_wheel'])"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True)
    (wheel,) = (source / "dist").glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    for name in NAMES:
        for file in (SHIPPED / name).iterdir():
            assert str(file.relative_to(ROOT)) in held
    assert "kseg/published/__main__.py" in held and NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_folder_is_complete_small_and_names_no_path(name):
    folder = SHIPPED / name
    card = published_models.read_card(name)
    assert {path.name for path in folder.iterdir()} == {
        *("config.json", "labels.json", run_folder.BEST, f"{name}.tflite"),
        *("README.md", "card.json"),
    }
    assert card["bytes"] == {
        "tflite": (folder / f"{name}.tflite").stat().st_size,
        "weights": (folder / run_folder.BEST).stat().st_size,
    }
    assert sum(path.stat().st_size for path in folder.iterdir()) < 8e6
    for file in ("config.json", "card.json", "README.md"):
        assert "/data/" not in (folder / file).read_text()
    assert "not for profit" in card["licence"]


@pytest.mark.parametrize("name", NAMES)
def test_a_card_shows_what_was_measured(name):
    card = (SHIPPED / name / "README.md").read_text()
    assert card == published_card.render(published_models.read_card(name))


@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_tflite_predicts_as_the_shipped_weights(name, runner):
    frame = cv2.imread(str(STREET), cv2.IMREAD_COLOR_RGB)
    expected = predictor.load_predictor(SHIPPED / name)([frame])[0].class_map
    segmenter = runner.Segmenter(SHIPPED / name / f"{name}.tflite", 1)
    assert (segmenter(frame) == expected).mean() > 0.995


def test_every_shipped_model_has_a_floor():
    assert sorted([*LANES_FLOORS, *ROAD_FLOORS]) == NAMES
    assert published_models.DEFAULT in LANES_FLOORS


@pytest.mark.parametrize("name", LANES_FLOORS)
def test_the_shipped_lanes_of_a_motorway(tmp_path, name):
    chosen = [] if name == published_models.DEFAULT else ["--model", name]
    argv = [*chosen, STREET, "--out", tmp_path, "--save-masks"]
    assert command(predict.main, argv) == 0
    class_map = cv2.imread(str(tmp_path / "masks" / "street.png"), cv2.IMREAD_UNCHANGED)
    height, width = class_map.shape
    assert (height, width) == (540, 960)
    assert (class_map[: height // 2] == BACKGROUND).mean() > 0.99  # Sky and trees.
    assert (class_map[400:500, 440:520] == DIRECT).mean() > 0.9  # The lane before the bonnet.
    assert (class_map == DIRECT).mean() > 0.08


@pytest.mark.parametrize("name", ROAD_FLOORS)
def test_the_shipped_road_of_a_motorway(tmp_path, name):
    assert command(predict.main, [name, STREET, "--out", tmp_path, "--save-masks"]) == 0
    drivable = cv2.imread(str(tmp_path / "masks" / "street.png"), cv2.IMREAD_UNCHANGED) == 0
    assert drivable[: drivable.shape[0] // 2].mean() < 0.01  # Sky and trees.
    assert drivable[400:500, 440:520].mean() > 0.9  # The lane before the bonnet.
    assert 0.15 < drivable.mean() < 0.5


@pytest.mark.parametrize(("name", "floor"), LANES_FLOORS.items())
def test_the_shipped_lanes_on_real_validation_frames(shared_data, name, floor):
    images = shared_data / "bdd100k" / "images/100k/val"
    masks = sorted(shared_data.glob("bdd100k/drivable_maps/labels/val/*_drivable_id.png"))
    pairs = [(images / mask.name.replace("_drivable_id.png", ".jpg"), mask) for mask in masks]
    # Legacy ids: 0 background, 1 direct, 2 alternative.
    mean_iou = mean_iou_on(name, pairs, [BACKGROUND, DIRECT, ALTERNATIVE], BDD100K_DRIVABLE)
    assert mean_iou > floor


@pytest.mark.parametrize(("name", "floor"), ROAD_FLOORS.items())
def test_the_shipped_road_on_real_validation_frames(shared_data, name, floor):
    idd = shared_data / "idd20k_lite"
    pairs = [
        (
            idd
            / "leftImg8bit/val"
            / mask.parent.name
            / mask.name.replace("label.png", "image.jpg"),
            mask,
        )
        for mask in sorted(idd.glob("gtFine/val/*/*_label.png"))
    ]
    labels = run_folder.read_run(SHIPPED / name)[1]
    # 0 drivable, 1 to 6 anything else.
    assert mean_iou_on(name, pairs, [0, 1, 1, 1, 1, 1, 1], labels) > floor


def mean_iou_on(name, pairs, ids, labels):
    """Scores a shipped model on (image, mask) files; ids: the class of each id of the masks."""
    if not pairs:
        pytest.skip("no real frames of this data set")
    table = np.full(256, 255, np.uint8)
    table[: len(ids)] = ids
    predict_frames = predictor.load_predictor(SHIPPED / name)
    confusion = np.zeros((len(labels.classes),) * 2, np.int64)
    for image, mask in pairs:
        frame = cv2.imread(str(image), cv2.IMREAD_COLOR_RGB)
        truth = table[cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)]
        class_map = predict_frames([frame])[0].class_map
        confusion += confusion_matrix(truth, class_map, len(labels.classes))
    mean_iou = compute_scores(confusion, labels)["mean_iou"]
    # The card was measured at the size of the model, this at that of the frames.
    card = published_models.read_card(name)["validation"]["all"]["scores"]
    assert mean_iou == pytest.approx(card["mean_iou"], abs=0.02)
    return mean_iou
