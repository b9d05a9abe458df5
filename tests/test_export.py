import json
import shutil

import keras
import numpy as np
import pytest

from kseg import checkpoints, export, models
from kseg.edge import convert, lint, parity
from tests.conftest import assert_one_line, command, randomize


def test_the_file_agrees_with_keras_and_says_so(tflite_path):
    report = json.loads((tflite_path.parent / f"{tflite_path.name}.report.json").read_text())
    assert report["passed"] and report["problems"] == [] and report["frames"] == 8
    assert report["pixel_agreement"] >= 0.999
    assert report["tflite"]["mean_iou"] == pytest.approx(report["keras"]["mean_iou"], abs=1e-3)


def test_the_graph_is_static_builtin_and_whole(tflite_path):
    operators = lint.operators(tflite_path.read_bytes())
    assert operators["ARG_MAX"] == 1 and operators["RESIZE_BILINEAR"] >= 2
    # Dilated convolutions stayed convolutions, batch norms were folded, variables frozen.
    for gone in ("SPACE_TO_BATCH_ND", "READ_VARIABLE", "VAR_HANDLE", "RSQRT", "SHAPE"):
        assert gone not in operators
    assert lint.problems(tflite_path.read_bytes()) == []


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


def test_fp16_halves_the_file_and_still_agrees(run_folder, tflite_path):
    assert command(export.main, [run_folder, "--tflite", "--precision", "fp16"]) == 0
    half = run_folder / "model-fp16.tflite"
    assert half.stat().st_size < 0.65 * tflite_path.stat().st_size


def test_a_file_that_answers_otherwise_is_rejected_and_kept_aside(
    run_folder, tmp_path, monkeypatch, capsys
):
    # The converter drops the last layer's bias: everything else is as it should be.
    to_tflite = convert.to_tflite

    def wrong(model, precision):
        twin = keras.models.clone_model(model)
        twin.set_weights(model.get_weights())
        kernel, bias = twin.get_layer("logits_conv").get_weights()
        twin.get_layer("logits_conv").set_weights([kernel, bias + np.array([2.0, 0.0, 0.0])])
        return to_tflite(twin, precision)

    monkeypatch.setattr(convert, "to_tflite", wrong)
    out = tmp_path / "road.tflite"
    assert command(export.main, [run_folder, "--tflite", "--out", out]) == 3
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["road.rejected.tflite", "road.rejected.tflite.report.json"]
    assert "REJECTED" in capsys.readouterr().out
    assert not json.loads((tmp_path / names[1]).read_text())["passed"]


def test_lint_names_what_no_phone_runs():
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((1, 4, 4, 2, 2), tf.float32, name="five")])
    def five_dimensions(x):
        return tf.argmax(tf.abs(x), axis=-1)  # int64 by default.

    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [five_dimensions.get_concrete_function()]
    )
    found = "\n".join(lint.problems(converter.convert()))
    assert "rank 5" in found and "INT64" in found


@pytest.mark.parametrize(
    "name",
    [
        "unet",
        "segformer_b0",
        "pspnet_resnet50",
        pytest.param("unet_efficientnet_v2_b0", marks=pytest.mark.slow),
        pytest.param("deeplab_v3_plus_mobilenet_v3_large", marks=pytest.mark.slow),
        "segformer_b0_edge",
        "deeplab_v3_plus_mobilenet_edge",
        # Their every part is in a model above or in the run that all tests share.
        pytest.param("fcn_resnet50", marks=pytest.mark.slow),
        pytest.param("deeplab_v3_plus_resnet50", marks=pytest.mark.slow),
    ],
)
def test_every_family_converts_whole(name):
    model = models.build(name, (64, 97), 3, decoder_channels=16)
    randomize(model, seed=0)
    image = np.random.default_rng(0).integers(0, 256, (64, 97, 3), dtype=np.uint8)
    logits = balanced_logits(model, image)
    tflite = convert.to_tflite(model, "fp32")
    assert lint.problems(tflite) == []
    # One operator for each, the exact one: its parts would be ERF, which is no builtin, or TANH.
    assert gelus(tflite) == ([False] * 8 if name == "segformer_b0" else [])
    assert "TANH" not in lint.operators(tflite)
    low, high = np.sort(logits, axis=-1)[..., -2:].transpose(2, 0, 1)
    clear = high - low > 1e-3 * logits.std()  # Random classes tie along rows of equal logits.
    agree = parity.TFLiteModel(tflite)(image) == logits.argmax(-1)
    assert clear.mean() > 0.98 and agree[clear].mean() >= 0.999


def gelus(tflite):
    """Whether each GELU operator is the approximate one."""
    from ai_edge_litert import schema_py_generated as schema

    graph = schema.ModelT.InitFromPackedBuf(tflite, 0).subgraphs[0]
    options = [op.builtinOptions for op in graph.operators]
    return [o.approximate for o in options if isinstance(o, schema.GeluOptionsT)]


def balanced_logits(model, image):
    """Moves the classes' biases until none wins everywhere. Returns the logits of `image`."""
    batch = image[None].astype(np.float32)
    classifier = model.get_layer("logits_conv")
    kernel, bias = classifier.get_weights()
    classifier.set_weights([kernel, bias - model.predict_on_batch(batch).mean((0, 1, 2))])
    logits = model.predict_on_batch(batch)[0]
    assert len(np.unique(logits.argmax(-1))) == 3  # Else most answers would agree.
    return logits


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--split", "test"], "no split 'test'"),
        (["--frames", 0], "--frames 0"),
        (["--out", "model.onnx"], "NAME.tflite"),
        (["--data", "nowhere"], "nowhere"),
    ],
)
def test_bad_flags_get_one_line(run_folder, capsys, flags, words):
    assert command(export.main, [run_folder, "--tflite", *flags]) == 2
    assert_one_line(capsys, words)


@pytest.fixture
def other_data(dataset, tmp_path):
    """The same shards under another path, for --data."""
    return shutil.copytree(dataset, tmp_path / "other")


def test_a_check_on_other_classes_is_refused(run_folder, other_data, capsys):
    path = other_data / "manifest.json"
    path.write_text(path.read_text().replace('"alternative"', '"pavement"'))
    assert command(export.main, [run_folder, "--tflite", "--data", other_data]) == 2
    assert_one_line(capsys, "pavement", "alternative")


def test_a_check_on_other_data_keeps_the_hash_of_the_run(run_folder, other_data, tmp_path):
    from kseg import contract

    out = tmp_path / "m.tflite"
    assert command(export.main, [run_folder, "--tflite", "--data", other_data, "--out", out]) == 0
    found = contract.read(out)
    assert found.config_hash == checkpoints.read_run(run_folder)[0].hash()
    assert (found.dataset, found.metrics["data"]) == ("bdd100k-drivable", "bdd100k-drivable")


def test_contract_embeds_the_hash_of_the_run(run_folder, tflite_path):
    from kseg import contract

    assert contract.read(tflite_path).config_hash == checkpoints.read_run(run_folder)[0].hash()
