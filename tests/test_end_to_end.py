"""All steps of the pipeline by their commands, with enough training to learn. Takes minutes."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT


def run(*argv):
    argv = [sys.executable, *map(str, argv)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.mark.slow
def test_from_drawn_scenes_to_a_tflite_that_beats_the_position_baseline(tmp_path):
    demo, records, out = tmp_path / "demo", tmp_path / "records", tmp_path / "run"
    sizes = ["--train", 160, "--val", 32, "--size", 360, 640]
    run("-m", "tfrecords_tools.demo", "--out", demo, *sizes)
    build = ["-m", "tfrecords_tools.build", "--source", "bdd100k", "--data", demo]
    run(*build, "--out", records, "--size", 144, 256)
    assert "no problems" in run("-m", "tfrecords_tools.verify", records)
    run("-m", "tfrecords_tools.inspect", records)
    run("-m", "kseg.train", "--data", records, "--epochs", 16, "--out", out)
    run("-m", "kseg.evaluate", out, "--position-baseline")
    report = json.loads((out / "evaluation-val.json").read_text())
    assert report["model"]["mean_iou"] > report["position only"]["mean_iou"] + 0.05
    run("-m", "kseg.export", out, "--tflite", "--precision", "fp16")
    runner = ROOT / "deploy" / "python" / "run.py"
    images = demo / "images" / "100k" / "val"
    run(runner, out / "model-fp16.tflite", images, "--out", tmp_path / "overlays")
    assert len(list((tmp_path / "overlays").glob("*.png"))) == 32
