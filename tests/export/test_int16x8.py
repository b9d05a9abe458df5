"""int16x8 quantization of a SegFormer, whose layer norms TensorFlow's quantizer cannot do."""

import sys

import numpy as np
import pytest

from kseg import models
from kseg.export import __main__ as export
from kseg.export import quantize_int16x8, tflite_graph
from kseg.export.profiles import PROFILES
from kseg.models.simplify import simplify
from kseg.runtime.litert import TFLiteModel
from tests.conftest import assert_one_line, command, randomize

SIZE = (64, 96)


@pytest.fixture(scope="module")
def images():
    """Dark and bright frames: no single one has the range of all."""
    rng = np.random.default_rng(0)
    return [
        (rng.integers(0, 256, (*SIZE, 3)) * brightness).astype(np.uint8)
        for brightness in (1, 0.1, 0.5)
    ]


@pytest.fixture(scope="module")
def model():
    model = models.build("segformer_b0", SIZE, 3, decoder_channels=16)
    randomize(model, seed=0)
    return model


@pytest.fixture(scope="module")
def tflite(model, images):
    return quantize_int16x8.to_tflite(simplify(model), images, PROFILES["cpu"])


def test_it_agrees_with_keras_on_all_frames(model, images, tflite):
    runner = TFLiteModel(tflite)
    assert (runner.input_dtype, runner.output_dtype) == ("uint8", "uint8")
    for image in images:
        logits = model.predict_on_batch(image[None].astype(np.float32))[0]
        low, high = np.sort(logits, axis=-1)[..., -2:].transpose(2, 0, 1)
        clear = high - low > 0.01 * logits.std()
        agree = runner(image) == logits.argmax(-1)
        assert clear.mean() > 0.9 and agree[clear].mean() > 0.99


def test_activations_have_16_bits_and_weights_8(tflite):
    operators = [
        op for op in tflite_graph.read(tflite)[0] if op.name in ("CONV_2D", "BATCH_MATMUL")
    ]
    assert {op.outputs[0].dtype for op in operators} == {"INT16"}
    constants = {t.dtype for op in operators for t in op.inputs if t not in op.runtime_inputs}
    assert "INT8" in constants and "FLOAT32" not in constants


def test_a_missing_library_is_reported_in_one_line(trained_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ai_edge_quantizer", None)
    argv = [trained_run, "--tflite", "--precision", "int16x8", "--out", tmp_path / "files"]
    assert command(export.main, argv) == 2
    assert_one_line(capsys, "ai-edge-quantizer", "./scripts/install int16x8")
    assert not (tmp_path / "files").exists()
