import json
import shutil

import keras
import numpy as np
import pytest

from kseg import evaluate, trained_model
from kseg.data import pipeline
from kseg.runtime import backend_devices
from kseg.training import resume
from tests.conftest import assert_one_line, command


def test_scores_are_those_of_the_best_epoch_and_overlays_are_written(trained_run, config):
    assert evaluate.main([str(trained_run), "--overlays", "3", "--position-baseline"]) == 0
    report = json.loads((trained_run / "evaluation-val.json").read_text())
    assert report["frames"] == 8
    assert report["parameters"] == trained_model.load(trained_run)[0].count_params()
    assert report["gflops"] > 0
    assert np.sum(report["confusion"]) == 8 * 64 * 97
    best = resume.resume_state(trained_run)["best"]
    assert report["model"]["mean_iou"] == pytest.approx(best, abs=1e-5)
    assert 0 < report["model"]["mean_boundary_iou"] < report["model"]["mean_iou"]
    assert 0 < report["model"]["boundary_iou/background"] < 1
    assert len(list((trained_run / "overlays-val").glob("*.png"))) == 3
    assert 0.2 < report["position only"]["mean_iou"] < 0.95


def test_the_model_gets_numpy_arrays(trained_run, tmp_path, monkeypatch):
    # JAX 0.11 raises TypeError on a tf.Tensor; found on a GPU.
    predict, types = keras.Model.predict_on_batch, set()

    def recording(model, images):
        types.add(type(images))
        return predict(model, images)

    monkeypatch.setattr(keras.Model, "predict_on_batch", recording)
    assert evaluate.main([str(trained_run), "--out", str(tmp_path), "--overlays", "0"]) == 0
    assert types == {np.ndarray}


def test_the_position_baseline_is_the_most_frequent_class_of_each_pixel(config):
    class_map = evaluate.most_frequent_classes(pipeline.labelled_frames(config, "train"), 3)
    assert class_map.shape == config.size
    assert (class_map[:20] == 2).all() and class_map[-1, 10] == 0


def test_all_output_goes_to_out(trained_run, tmp_path):
    before = sorted(trained_run.rglob("*"))
    argv = [str(trained_run), "--out", str(tmp_path / "elsewhere"), "--overlays", "1"]
    assert evaluate.main(argv) == 0
    names = {path.name for path in (tmp_path / "elsewhere").iterdir()}
    assert names == {"evaluation-val.json", "overlays-val"}
    assert sorted(trained_run.rglob("*")) == before


def test_overlays_of_an_earlier_evaluation_are_removed_and_other_files_kept(trained_run, tmp_path):
    assert evaluate.main([str(trained_run), "--out", str(tmp_path), "--overlays", "3"]) == 0
    (tmp_path / "overlays-val" / "mine.png").write_bytes(b"")
    assert evaluate.main([str(trained_run), "--out", str(tmp_path), "--overlays", "1"]) == 0
    report = json.loads((tmp_path / "evaluation-val.json").read_text())
    (name,) = report["overlays"]
    assert {path.name for path in (tmp_path / "overlays-val").iterdir()} == {name, "mine.png"}
    assert report["run"] == str(trained_run)


def test_a_missing_gpu_is_an_error_on_request(trained_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(backend_devices, "find", lambda all_hosts=False: [])
    assert command(evaluate.main, [trained_run, "--require-gpu", "--out", tmp_path / "out"]) == 2
    assert_one_line(capsys, "--require-gpu")
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_cannot_be_is_one_line(trained_run, tmp_path, capsys):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "missing" / "out"):
        assert command(evaluate.main, [trained_run, "--out", out]) == 2
        assert_one_line(capsys, out)


def test_a_folder_that_is_no_run_is_one_line(tmp_path, capsys):
    assert command(evaluate.main, [tmp_path]) == 2
    assert_one_line(capsys, tmp_path, "config.json", "kseg.train")


def test_a_missing_split_is_one_line(trained_run, capsys):
    assert command(evaluate.main, [trained_run, "--split", "test"]) == 2
    assert_one_line(capsys, "'test'")


def test_data_with_other_classes_is_one_line(trained_run, dataset, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(dataset, other)
    text = (other / "manifest.json").read_text().replace('"alternative"', '"pavement"')
    (other / "manifest.json").write_text(text)
    assert command(evaluate.main, [trained_run, "--data", other]) == 2
    assert_one_line(capsys, "pavement", "alternative")
