import numpy as np
import pytest

from kseg.runtime import benchmark_frames, other_runtimes
from tests.conftest import ROOT

MODEL = ROOT / "tests" / "golden" / "model.tflite"


def test_openvino_agrees_with_litert():
    pytest.importorskip("openvino", reason="OpenVINO is an extra (./scripts/install benchmark)")
    ours = other_runtimes.load_model(str(MODEL), 1)
    theirs = other_runtimes.load_model(f"openvino:{MODEL}", 1)
    array = benchmark_frames.model_input(
        benchmark_frames.read_frame(None), ours.input_shape, ours.input_dtype
    )
    assert ours.input_shape == theirs.input_shape and ours.input_dtype == theirs.input_dtype
    assert (ours.run(array) == theirs.run(array)).mean() > 0.99


def test_onnx_runtime_runs_onnx(tmp_path):
    pytest.importorskip("onnxruntime", reason="an extra (./scripts/install benchmark)")
    path = tmp_path / "relu.onnx"
    path.write_bytes(relu_onnx((1, 3, 4, 5)))
    model = other_runtimes.load_model(str(path), 1)
    assert model.input_shape == (1, 3, 4, 5) and model.input_dtype == "float32"
    array = np.random.default_rng(0).normal(size=(1, 3, 4, 5)).astype(np.float32)
    assert (model.run(array) == np.maximum(array, 0)).all()


def relu_onnx(shape):
    """Returns an ONNX file with one Relu on float32 `shape` (field numbers of onnx.proto3)."""

    def field(number, value):
        if isinstance(value, int):
            return bytes([number << 3, value])
        value = value.encode() if isinstance(value, str) else value
        return bytes([number << 3 | 2, len(value)]) + value

    dims = b"".join(field(1, field(1, side)) for side in shape)
    tensor_type = field(1, field(1, 1) + field(2, dims))
    values = [field(1, name) + field(2, tensor_type) for name in ("x", "y")]
    node = field(1, "x") + field(2, "y") + field(4, "Relu")
    graph = field(1, node) + field(2, "g") + field(11, values[0]) + field(12, values[1])
    return field(1, 8) + field(7, graph) + field(8, field(2, 13))
