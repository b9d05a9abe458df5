"""python -m kseg.export: the files, their reports and contracts, and what is rejected."""

import argparse
import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest

from kseg import contract, preprocess, run_folder, trained_model
from kseg.export import __main__ as export
from kseg.export import export_report, linter, model_converter
from kseg.manifest import read_manifest
from tests.conftest import assert_one_line, command, scene


def test_the_file_agrees_with_keras_and_its_report_shows_it(tflite_path):
    report = json.loads((tflite_path.parent / f"{tflite_path.name}.report.json").read_text())
    assert report["passed"] and report["problems"] == [] and report["frames"] == 8
    assert report["pixel_agreement"] >= 0.999
    assert report["tflite"]["mean_iou"] == pytest.approx(report["keras"]["mean_iou"], abs=1e-3)


def test_the_graph_is_static_and_all_builtin(tflite_path):
    operators = linter.operators(tflite_path.read_bytes())
    assert operators["ARG_MAX"] == 1 and operators["RESIZE_BILINEAR"] >= 2
    # Dilated convolutions are one operator, batch norms folded, variables frozen.
    for absent in ("SPACE_TO_BATCH_ND", "READ_VARIABLE", "VAR_HANDLE", "RSQRT", "SHAPE"):
        assert absent not in operators
    assert linter.problems(tflite_path.read_bytes()) == []


def test_argmax_sees_a_multiple_of_four_channels(tflite_path):
    # Otherwise LiteRT's GPU accelerator returns classes that do not exist.
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(tflite_path.read_bytes(), 0)
    graph = model.subgraphs[0]
    argmax = [
        op
        for op in graph.operators
        if model.operatorCodes[op.opcodeIndex].builtinCode == schema.BuiltinOperator.ARG_MAX
    ]
    assert graph.tensors[argmax[0].inputs[0]].shape[-1] == 4


def test_input_and_output_are_uint8_of_the_stated_shape(tflite_path, config):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(tflite_path))
    (image,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert image["shape"].tolist() == [1, *config.size, 3] and image["dtype"] == np.uint8
    assert output["shape"].tolist() == [1, *config.size] and output["dtype"] == np.uint8


def test_the_folders_report_keeps_earlier_files_of_the_same_model_and_frames(tmp_path):
    def report(file, mean_iou):
        return {
            "file": file,
            "input_size": [64, 96],
            "frames": 8,
            "keras": {"mean_iou": mean_iou},
        }

    path, new = tmp_path / "export_report.json", [report("b.tflite", 0.5)]

    def kept(*reports):
        path.write_text(json.dumps(reports))
        return [report["file"] for report in export_report.earlier_reports(path, new)]

    (tmp_path / "a.tflite").write_bytes(b"")
    (tmp_path / "b.tflite").write_bytes(b"")
    assert export_report.earlier_reports(path, new) == []
    assert kept(report("a.tflite", 0.5), report("b.tflite", 0.5)) == ["a.tflite"]
    assert kept(report("a.tflite", 0.4)) == []  # The model has been trained further since.
    assert kept(report("gone.tflite", 0.5)) == []
    for text in ("{", "[1]", '[{"file": "a.tflite"}]'):
        path.write_text(text)
        assert export_report.earlier_reports(path, new) == []


@pytest.mark.parametrize(
    ("flags", "tokens"),
    [
        (["--split", "test"], ["test"]),
        (["--frames", 0], ["--frames 0"]),
        (["--out", "model.onnx"], ["model.onnx", ".tflite"]),
        (["--out", "a.tflite", "--precision", "fp32", "fp16"], ["a.tflite", "folder"]),
        (["--data", "nowhere"], ["nowhere"]),
        (["--profile", "gpu", "--precision", "int8"], ["int8", "--profile cpu"]),
        (["--profile", "gpu-classic", "--output", "class-map"], ["ARG_MAX", "logits"]),
        (["--calibration", 0], ["--calibration 0"]),
        (["--calibration", 3], ["--calibration", "--precision int8"]),
        (["--precision", "fp16", "--verify-gpu"], ["--verify-gpu", "--profile gpu"]),
        (["--gpu-frames", 3], ["--gpu-frames", "--profile gpu"]),
        (["--size", 8, 8], ["32"]),
    ],
)
def test_bad_flags_are_refused_with_one_line(trained_run, capsys, flags, tokens):
    assert command(export.main, [trained_run, "--tflite", *flags]) == 2
    assert_one_line(capsys, *tokens)


@pytest.mark.parametrize(
    ("output", "first"), [(None, "model-fp32.tflite"), ("logits", "model-fp32-logits.tflite")]
)
def test_logits_do_not_replace_the_class_map(tmp_path, output, first):
    flags = {"profile": ["cpu", "gpu-classic"], "precision": ["fp32"], "size": None}
    formats = {"tflite": True, "onnx": False}
    args = argparse.Namespace(**flags, **formats, output=output, out=tmp_path, run=tmp_path)
    names = [target.path.name for target in export.plan(args)]
    assert names == [first, "model-gpu-classic-fp32.tflite"]


def test_verifying_on_other_classes_is_refused(trained_run, dataset, tmp_path, capsys):
    data = shutil.copytree(dataset, tmp_path / "data")
    path = data / "manifest.json"
    path.write_text(path.read_text().replace('"alternative"', '"pavement"'))
    assert command(export.main, [trained_run, "--tflite", "--data", data]) == 2
    assert_one_line(capsys, "pavement", "alternative")


@pytest.fixture(scope="module")
def fp16_path(trained_run, dataset, tmp_path_factory):
    """The shared run as fp16, verified on a copy of its data in another folder."""
    folder = tmp_path_factory.mktemp("fp16")
    data, out = shutil.copytree(dataset, folder / "data"), folder / "m.tflite"
    flags = ["--precision", "fp16", "--data", data, "--out", out]
    assert command(export.main, [trained_run, "--tflite", *flags]) == 0
    return out


def test_fp16_halves_the_file(fp16_path, tflite_path):
    assert fp16_path.stat().st_size < 0.65 * tflite_path.stat().st_size


def test_verifying_on_other_data_keeps_the_hash_of_the_run(fp16_path, trained_run):
    embedded = contract.read(fp16_path)
    assert embedded.config_hash == run_folder.config_hash(trained_run)
    assert (embedded.dataset, embedded.metrics["data"]) == ("bdd100k-drivable", "bdd100k-drivable")


SIZE = (48, 80)


@pytest.fixture(scope="module")
def accurate_run(config, tmp_path_factory):
    """An accurate run: the shared one predicts a single class almost everywhere."""
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
    """A folder with the run exported at SIZE for both kinds of GPU delegate."""
    out = tmp_path_factory.mktemp("gpu") / "files"
    flags = ["--profile", "gpu", "gpu-gl", "--precision", "fp16", "--size", *SIZE]
    argv = [accurate_run, "--tflite", *flags, "--out", out, "--no-verify-gpu"]
    assert command(export.main, argv) == 0
    return out


@pytest.fixture(scope="module")
def int8_files(accurate_run, tmp_path_factory):
    """A folder with the run exported in every precision with 8-bit weights."""
    out = tmp_path_factory.mktemp("int8") / "files"
    flags = ["--precision", "int8", "int8-dynamic", "int16x8", "--calibration", 12]
    assert command(export.main, [accurate_run, "--tflite", *flags, "--out", out]) == 0
    return out


def test_each_profile_has_its_form_and_the_given_size(gpu_files):
    names = sorted(p.name for p in gpu_files.glob("*.tflite"))
    assert names == ["model-gpu-fp16-48x80.tflite", "model-gpu-gl-fp16-48x80.tflite"]
    drift, opengl = (contract.read(gpu_files / name) for name in names)
    assert opengl.input_size == drift.input_size == SIZE
    assert (opengl.input_dtype, opengl.output_kind) == ("float32", "logits")
    assert (drift.input_dtype, drift.output_kind) == ("uint8", "class_map")
    operators = linter.operators((gpu_files / names[1]).read_bytes())
    assert not {"ARG_MAX", "CAST"} & operators.keys()


def test_the_contract_says_when_no_gpu_has_run_the_file(gpu_files):
    embedded = contract.read(gpu_files / "model-gpu-fp16-48x80.tflite")
    assert embedded.gpu == {"verified": False, "reason": "--no-verify-gpu"}


def test_int8_has_uint8_input_and_output_and_nothing_in_float(int8_files):
    tflite = (int8_files / "model-int8.tflite").read_bytes()
    operators = linter.operators(tflite)
    assert operators["QUANTIZE"] == 1 and "DEQUANTIZE" not in operators
    embedded = contract.read(int8_files / "model-int8.tflite")
    assert (embedded.input_dtype, embedded.output_dtype) == ("uint8", "uint8")
    report = json.loads((int8_files / "model-int8.tflite.report.json").read_text())
    assert report["int8"]["calibration_frames"] == 12 and report["int8"]["no_fast_kernel"] == {}
    assert report["pixel_agreement"] > 0.98 and report["keras"]["mean_iou"] > 0.8


def test_int8_bytes_of_the_image_are_not_rounded(int8_files):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(int8_files / "model-int8.tflite"))
    steps = [t["quantization"] for t in interpreter.get_tensor_details()]
    # One int8 step is one grey level.
    assert any(scale == pytest.approx(1, abs=1e-6) and zero == -128 for scale, zero in steps)


def test_8_bit_weights_take_one_byte(int8_files, accurate_run):
    parameters = trained_model.load(accurate_run)[0].count_params()
    for name in ("model-int8", "model-int8-dynamic", "model-int16x8"):
        assert (int8_files / f"{name}.tflite").stat().st_size < 1.5 * parameters


def test_the_python_runner_agrees_with_the_model_on_every_kind_of_file(
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


def test_a_file_that_differs_from_the_model_is_rejected_unless_its_loss_is_allowed(
    accurate_run, tmp_path, monkeypatch, capsys
):
    def with_swapped_classes(model):
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
        classifier = copy.get_layer("logits_conv")
        classifier.set_weights([weights[..., [1, 0, 2]] for weights in classifier.get_weights()])
        return copy

    monkeypatch.setattr(model_converter, "simplify", with_swapped_classes)
    out = tmp_path / "road.tflite"
    out.write_bytes(b"of an earlier export")
    argv = [accurate_run, "--tflite", "--out", out]
    assert command(export.main, argv) == 3
    rejected = ["road.rejected.tflite", "road.rejected.tflite.report.json"]
    names = sorted(path.name for path in tmp_path.glob("[!.]*"))
    assert names == ["export_report.html", "export_report.json", *rejected, "road.tflite"]
    stdout = capsys.readouterr().out
    assert "REJECTED" in stdout and f"{out} is of an earlier export" in stdout
    report = json.loads((tmp_path / rejected[1]).read_text())
    assert not report["passed"]
    assert report["pixel_agreement"] < 0.999 and "pixels" in report["problems"][0]
    agreements = [frame["agreement"] for frame in report["worst_frames"]]
    assert agreements == sorted(agreements) and len(agreements) == 5

    assert command(export.main, [*argv, "--allow-loss", 100]) == 0
    assert contract.read(out).allowed_loss == 100
    assert not any((tmp_path / name).exists() for name in rejected)


def test_a_file_that_overflows_in_float16_is_rejected(accurate_run, tmp_path, monkeypatch):
    """A CPU computes in float32, so that only the range of the values shows it."""

    def with_large_features(model):
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
        norms = [x for x in copy.layers if isinstance(x, keras.layers.BatchNormalization)]
        gamma, beta, *statistics = norms[-1].get_weights()
        norms[-1].set_weights([1e5 * gamma, 1e5 * beta, *statistics])
        classifier = copy.get_layer("logits_conv")
        kernel, bias = classifier.get_weights()
        classifier.set_weights([kernel / 1e5, bias])
        return copy

    monkeypatch.setattr(model_converter, "simplify", with_large_features)
    out = tmp_path / "road.tflite"
    argv = [accurate_run, "--tflite", "--out", out, "--precision"]
    assert command(export.main, [*argv, "fp16", "--allow-loss", 100]) == 3
    report = json.loads((tmp_path / "road.rejected.tflite.report.json").read_text())
    assert len(report["problems"]) == 1 and "float16" in report["problems"][0]
    assert report["float16"]["largest"] > 65504
    assert command(export.main, [*argv, "fp32"]) == 0


def test_opengl_refuses_attention_before_converting(config, dataset, tmp_path, capsys):
    settings = dataclasses.replace(config, model="segformer_b0")
    run = tmp_path / "run"
    run_folder.start_run(run, settings, read_manifest(dataset))
    labels = run_folder.read_labels(run)
    trained_model.build_model(settings, labels).save_weights(run / run_folder.BEST)
    assert command(export.main, [run, "--tflite", "--profile", "gpu-gl"]) == 2
    assert_one_line(capsys, "attention", "TRANSPOSE", "gpu-classic")
