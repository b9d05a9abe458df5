import argparse
import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest

from kseg import contract, preprocess, run_folder, trained_model
from kseg.export import __main__ as export
from kseg.export import linter, verify
from kseg.manifest import read_manifest
from tests.conftest import assert_one_line, command, scene


def test_the_file_agrees_with_keras_and_says_so(tflite_path):
    report = json.loads((tflite_path.parent / f"{tflite_path.name}.report.json").read_text())
    assert report["passed"] and report["problems"] == [] and report["frames"] == 8
    assert report["pixel_agreement"] >= 0.999
    assert report["tflite"]["mean_iou"] == pytest.approx(report["keras"]["mean_iou"], abs=1e-3)


def test_the_graph_is_static_builtin_and_whole(tflite_path):
    operators = linter.operators(tflite_path.read_bytes())
    assert operators["ARG_MAX"] == 1 and operators["RESIZE_BILINEAR"] >= 2
    # Dilated convolutions stayed convolutions, batch norms were folded, variables frozen.
    for gone in ("SPACE_TO_BATCH_ND", "READ_VARIABLE", "VAR_HANDLE", "RSQRT", "SHAPE"):
        assert gone not in operators
    assert linter.problems(tflite_path.read_bytes()) == []


def test_argmax_sees_a_multiple_of_four_channels(tflite_path):
    # LiteRT's GPU accelerator answers with classes that do not exist otherwise.
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(tflite_path.read_bytes(), 0)
    graph = model.subgraphs[0]
    argmax = [
        op
        for op in graph.operators
        if model.operatorCodes[op.opcodeIndex].builtinCode == schema.BuiltinOperator.ARG_MAX
    ]
    assert graph.tensors[argmax[0].inputs[0]].shape[-1] == 4


def test_input_and_output_are_bytes_of_the_stated_shape(tflite_path, config):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(tflite_path))
    (image,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert image["shape"].tolist() == [1, *config.size, 3] and image["dtype"] == np.uint8
    assert answer["shape"].tolist() == [1, *config.size] and answer["dtype"] == np.uint8


def test_fp16_halves_the_file_and_still_agrees(trained_run, tflite_path):
    stale = trained_run / "model-fp16.rejected.tflite"
    stale.write_bytes(b"of an earlier export")
    assert command(export.main, [trained_run, "--tflite", "--precision", "fp16"]) == 0
    half = trained_run / "model-fp16.tflite"
    assert half.stat().st_size < 0.65 * tflite_path.stat().st_size
    assert not stale.exists()


def test_a_file_that_answers_otherwise_is_rejected_and_kept_aside(
    trained_run, tmp_path, monkeypatch, capsys
):
    # The last layer's bias goes wrong: everything else is as it should be.
    def wrong(model):
        twin = keras.models.clone_model(model)
        twin.set_weights(model.get_weights())
        kernel, bias = twin.get_layer("logits_conv").get_weights()
        twin.get_layer("logits_conv").set_weights([kernel, bias + np.array([2.0, 0.0, 0.0])])
        return twin

    monkeypatch.setattr(verify, "simplify", wrong)
    out = tmp_path / "road.tflite"
    out.write_bytes(b"of an earlier export")
    assert command(export.main, [trained_run, "--tflite", "--out", out]) == 3
    names = sorted(p.name for p in tmp_path.iterdir())
    file = "road.rejected.tflite"
    pages = ["export_report.html", "export_report.json"]
    assert names == [*pages, file, f"{file}.report.json", "road.tflite"]
    told = capsys.readouterr().out
    assert "REJECTED" in told and f"{out} is of an earlier export" in told
    assert not json.loads((tmp_path / names[3]).read_text())["passed"]


def test_the_folders_report_keeps_earlier_files_of_the_same_model_and_frames(tmp_path):
    def report(file, mean_iou):
        return {
            "file": file,
            "input_size": [64, 96],
            "frames": 8,
            "keras": {"mean_iou": mean_iou},
        }

    def listed(*reports):
        (tmp_path / "export_report.json").write_text(json.dumps(reports))
        found = verify._earlier(tmp_path / "export_report.json", [report("b.tflite", 0.5)])
        return [each["file"] for each in found]

    (tmp_path / "a.tflite").write_bytes(b"")
    (tmp_path / "b.tflite").write_bytes(b"")
    assert verify._earlier(tmp_path / "none.json", [report("b.tflite", 0.5)]) == []
    assert listed(report("a.tflite", 0.5), report("b.tflite", 0.5)) == ["a.tflite"]
    assert listed(report("a.tflite", 0.4)) == []  # Of a model that has been trained on since.
    assert listed(report("gone.tflite", 0.5)) == []
    for text in ("{", "[1]", '[{"file": "a.tflite"}]'):
        (tmp_path / "export_report.json").write_text(text)
        assert verify._earlier(tmp_path / "export_report.json", [report("b.tflite", 0.5)]) == []


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--split", "test"], "no split 'test'"),
        (["--frames", 0], "--frames 0"),
        (["--out", "model.onnx"], "NAME.tflite"),
        (["--out", "a.tflite", "--precision", "fp32", "fp16"], "name a folder"),
        (["--data", "nowhere"], "nowhere"),
        (["--profile", "gpu", "--precision", "int8"], "int8 with --profile cpu"),
        (["--profile", "gpu-classic", "--output", "class-map"], "take logits"),
        (["--calibration", 0], "--calibration 0"),
        (["--size", 8, 8], "at least 32"),
    ],
)
def test_bad_flags_get_one_line(trained_run, capsys, flags, words):
    assert command(export.main, [trained_run, "--tflite", *flags]) == 2
    assert_one_line(capsys, words)


@pytest.mark.parametrize(
    ("output", "first"), [(None, "model-fp32.tflite"), ("logits", "model-fp32-logits.tflite")]
)
def test_logits_do_not_replace_the_class_map(tmp_path, output, first):
    flags = {"profile": ["cpu", "gpu-classic"], "precision": ["fp32"], "size": None}
    args = argparse.Namespace(**flags, output=output, out=tmp_path, run=tmp_path)
    names = [target.path.name for target in export.plan(args)]
    assert names == [first, "model-gpu-classic-fp32.tflite"]


@pytest.fixture
def other_data(dataset, tmp_path):
    """The same shards under another path, for --data."""
    return shutil.copytree(dataset, tmp_path / "other")


def test_a_check_on_other_classes_is_refused(trained_run, other_data, capsys):
    path = other_data / "manifest.json"
    path.write_text(path.read_text().replace('"alternative"', '"pavement"'))
    assert command(export.main, [trained_run, "--tflite", "--data", other_data]) == 2
    assert_one_line(capsys, "pavement", "alternative")


def test_a_check_on_other_data_keeps_the_hash_of_the_run(trained_run, other_data, tmp_path):
    out = tmp_path / "m.tflite"
    assert command(export.main, [trained_run, "--tflite", "--data", other_data, "--out", out]) == 0
    found = contract.read(out)
    assert found.config_hash == run_folder.config_hash(trained_run)
    assert (found.dataset, found.metrics["data"]) == ("bdd100k-drivable", "bdd100k-drivable")


def test_contract_embeds_the_hash_of_the_run(trained_run, tflite_path):
    assert contract.read(tflite_path).config_hash == run_folder.config_hash(trained_run)


SIZE = (48, 80)


@pytest.fixture(scope="module")
def accurate_run(config, tmp_path_factory):
    """A run that knows its classes: the shared one names one of them almost everywhere."""
    from kseg.train import train

    out = tmp_path_factory.mktemp("trained") / "run"
    settings = dataclasses.replace(
        config,
        model="unet",
        decoder_channels=8,
        loss="cross_entropy",
        learning_rate=1e-2,
        epochs=8,
    )
    assert train(settings, out) == 0
    return out


@pytest.fixture(scope="module")
def gpu_files(accurate_run, tmp_path_factory):
    """Folder with the run at SIZE for both kinds of GPU delegate."""
    out = tmp_path_factory.mktemp("gpu") / "files"
    flags = ["--profile", "gpu", "gpu-gl", "--precision", "fp16", "--size", *SIZE]
    argv = [accurate_run, "--tflite", *flags, "--out", out, "--no-verify-gpu"]
    assert command(export.main, argv) == 0
    return out


@pytest.fixture(scope="module")
def int8_files(accurate_run, tmp_path_factory):
    """Folder with the run in every precision that has weights of 8 bits."""
    out = tmp_path_factory.mktemp("int8") / "files"
    flags = ["--precision", "int8", "int8-dynamic", "int16x8", "--calibration", 12]
    assert command(export.main, [accurate_run, "--tflite", *flags, "--out", out]) == 0
    return out


def test_each_profile_has_its_form_and_the_size_asked_for(gpu_files):
    names = sorted(p.name for p in gpu_files.glob("*.tflite"))
    assert names == ["model-gpu-fp16-48x80.tflite", "model-gpu-gl-fp16-48x80.tflite"]
    drift, opengl = (contract.read(gpu_files / name) for name in names)
    assert opengl.input_size == drift.input_size == SIZE
    assert (opengl.input_dtype, opengl.output_kind) == ("float32", "logits")
    assert (drift.input_dtype, drift.output_kind) == ("uint8", "class_map")
    operators = linter.operators((gpu_files / names[1]).read_bytes())
    assert not {"ARG_MAX", "CAST"} & operators.keys()


def test_a_file_that_no_gpu_has_run_says_so(gpu_files):
    found = contract.read(gpu_files / "model-gpu-fp16-48x80.tflite")
    assert found.gpu == {"verified": False, "reason": "--no-verify-gpu"}


def test_int8_takes_and_answers_bytes_and_is_whole(int8_files):
    tflite = (int8_files / "model-int8.tflite").read_bytes()
    operators = linter.operators(tflite)
    assert operators["QUANTIZE"] == 1 and "DEQUANTIZE" not in operators
    found = contract.read(int8_files / "model-int8.tflite")
    assert (found.input_dtype, found.output_dtype) == ("uint8", "uint8")
    report = json.loads((int8_files / "model-int8.tflite.report.json").read_text())
    assert report["int8"]["calibration_frames"] == 12 and report["int8"]["no_kernel"] == {}
    assert report["pixel_agreement"] > 0.98 and report["keras"]["mean_iou"] > 0.8


def test_int8_bytes_of_the_image_are_not_rounded(int8_files):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(int8_files / "model-int8.tflite"))
    steps = [t["quantization"] for t in interpreter.get_tensor_details()]
    # One int8 step is one grey level.
    assert any(scale == pytest.approx(1, abs=1e-6) and zero == -128 for scale, zero in steps)


def test_int8_weights_take_a_byte(int8_files, accurate_run):
    parameters = trained_model.load(accurate_run)[0].count_params()
    for name in ("model-int8", "model-int8-dynamic", "model-int16x8"):
        assert (int8_files / f"{name}.tflite").stat().st_size < 1.5 * parameters


def test_the_runner_runs_every_kind_and_agrees_with_the_model(
    gpu_files, int8_files, accurate_run, runner
):
    frame = scene(np.random.default_rng(3), (128, 194))[0][..., ::-1]
    for path in [*gpu_files.glob("*.tflite"), *int8_files.glob("*.tflite")]:
        run = runner.Segmenter(str(path))
        size, fit = run.contract["input_size"], run.contract["fit"]
        model = trained_model.load(accurate_run, tuple(size))[0]
        image = preprocess.fit_image(frame, size, fit)[None].astype(np.float32)
        want = model.predict_on_batch(image)[0].argmax(-1).astype(np.uint8)
        want = preprocess.unfit_class_map(want, frame.shape[:2], fit)
        got = run(frame)
        assert got.dtype == np.uint8 and (got == want).mean() > (
            0.9 if "int8" in path.name and "int16x8" not in path.name else 0.99
        )


def test_swapped_channels_are_refused_but_for_an_allowed_loss(accurate_run, tmp_path, monkeypatch):
    def bgr(model):
        image = keras.Input(model.input_shape[1:], name="image")
        red, green, blue = keras.ops.split(image, 3, axis=-1)
        return keras.Model(image, model(keras.ops.concatenate([blue, green, red], axis=-1)))

    monkeypatch.setattr(verify, "simplify", bgr)
    assert command(export.main, [accurate_run, "--tflite", "--out", tmp_path / "m.tflite"]) == 3
    report = json.loads((tmp_path / "m.rejected.tflite.report.json").read_text())
    assert report["pixel_agreement"] < 0.999 and "pixels name the class" in report["problems"][0]
    agreements = [frame["agreement"] for frame in report["worst_frames"]]
    assert agreements == sorted(agreements) and len(agreements) == 5

    argv = [accurate_run, "--tflite", "--out", tmp_path / "m.tflite", "--allow-loss", 100]
    assert command(export.main, argv) == 0
    assert contract.read(tmp_path / "m.tflite").allowed_loss == 100


def test_opengl_refuses_attention_before_converting(config, dataset, tmp_path, capsys):
    settings = dataclasses.replace(config, model="segformer_b0")
    run = tmp_path / "run"
    run_folder.start_run(run, settings, read_manifest(dataset))
    labels = run_folder.read_labels(run)
    trained_model.build_model(settings, labels).save_weights(run / run_folder.BEST)
    assert command(export.main, [run, "--tflite", "--profile", "gpu-gl"]) == 2
    assert_one_line(capsys, "attention", "TRANSPOSE", "gpu-classic")
