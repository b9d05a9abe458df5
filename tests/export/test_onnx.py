"""Exported .onnx files: verified against Keras, fit for TensorRT, and safe where logits are not."""

import json
import subprocess
import sys

import keras
import numpy as np
import onnx
import pytest

from kseg import contract, onnx_file, trained_model
from kseg.errors import InputError
from kseg.export import __main__ as export
from kseg.export import onnx_convert, onnx_float16, onnx_lint
from kseg.models import build
from kseg.models.simplify import simplify
from kseg.runtime.exported_file import load
from tests.conftest import SIZE, assert_one_line, command


@pytest.fixture(scope="module")
def frame():
    return np.random.default_rng(3).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def parts(trained_run, onnx_paths):
    """The trained model, and its fp32 graph as a ModelProto."""
    model, _, _ = trained_model.load(trained_run)
    return model, onnx.load(onnx_paths["fp32"])


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_file_passes_the_gate_and_holds_its_contract(onnx_paths, precision):
    path = onnx_paths[precision]
    report = json.loads((path.parent / f"{path.name}.report.json").read_text())
    assert report["passed"] and report["pixel_agreement"] > 0.995
    assert report["lint"]["problems"] == [] and report["profile"] == "onnx"
    terms = contract.read(path)
    assert (terms.profile, terms.precision) == ("onnx", precision)
    assert (terms.input_dtype, terms.output_dtype) == ("uint8", "uint8")
    assert terms.metrics["mean_iou"] == report["tflite"]["mean_iou"]


def test_files_have_fixed_shapes_and_only_operators_and_opset_of_tensorrt(onnx_paths):
    for path in onnx_paths.values():
        graph = onnx.load(path).graph
        for tensor, shape in ((graph.input[0], [1, *SIZE, 3]), (graph.output[0], [1, *SIZE])):
            dims = tensor.type.tensor_type.shape.dim
            assert tensor.type.tensor_type.elem_type == onnx.TensorProto.UINT8
            assert [dim.dim_value for dim in dims] == shape
        assert onnx_lint.inspect(path.read_bytes())["problems"] == []
        assert not {"ArgMax", "LayerNormalization"} & set(onnx_lint.operators(path.read_bytes()))


def test_the_checksum_sees_a_changed_byte_and_a_cut_file(onnx_paths, tmp_path):
    data = onnx_paths["fp32"].read_bytes()
    assert onnx.load_from_string(data).graph.node  # The checksum leaves a valid message.
    for damaged in (data[:-1], data[: len(data) // 2], data[:5000] + b"\x7f" + data[5001:]):
        path = tmp_path / "road.onnx"
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"--onnx"):
            contract.read(path)


def test_lint_refuses_what_tensorrt_does_not_know(parts, tmp_path, capsys):
    from kseg import lint

    model = onnx.ModelProto()
    model.CopyFrom(parts[1])
    model.opset_import[0].version = 18
    model.graph.node[3].op_type = "Reciprocal"
    path = tmp_path / "bad.onnx"
    path.write_bytes(model.SerializeToString())
    assert command(lint.main, [path]) == 3
    out = capsys.readouterr().out
    assert "Reciprocal" in out and "opset 18" in out


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e5])
def test_a_logit_that_is_not_finite_is_no_class(parts, frame, value):
    """The planted fault: one class's bias. ArgMax would return a class for each of these."""
    model = keras.models.clone_model(parts[0])
    model.set_weights(parts[0].get_weights())
    kernel, bias = model.get_layer("logits_conv").get_weights()
    bias[1] = value
    model.get_layer("logits_conv").set_weights([kernel, bias])
    class_map = load(onnx_convert.to_onnx(model, "fp32"))(frame)
    assert (class_map == onnx_convert.NO_CLASS).all()


def test_the_gate_refuses_swapped_classes(trained_run, tmp_path, monkeypatch, capsys):
    right = onnx_convert.class_map

    def swapped(logits):
        import tensorflow as tf

        return right(tf.gather(logits, [2, 1, 0], axis=-1))

    monkeypatch.setattr(onnx_convert, "class_map", swapped)
    out = tmp_path / "road.onnx"
    assert command(export.main, [trained_run, "--onnx", "--out", out]) == 3
    assert not out.exists() and (tmp_path / "road.rejected.onnx").is_file()
    assert "REJECTED" in capsys.readouterr().out


def test_the_gate_sees_an_overflow_in_float16(trained_run, tmp_path, monkeypatch, capsys):
    """One convolution times 1e5, the next by 1e5: equal in float32, infinite in float16."""
    convert = onnx_float16.to_float16

    def overflowing(model):
        numpy_helper = onnx.numpy_helper
        relu = next(n for n in model.graph.node if n.op_type == "Relu")
        scaled = [("overflow", 1e5, relu.input[0]), ("restored", 1e-5, relu.output[0])]
        for name, factor, tensor in scaled:
            model.graph.initializer.append(numpy_helper.from_array(np.float32(factor), name))
            node = onnx.helper.make_node("Mul", [tensor, name], [f"{name}_output"], name)
            for reader in model.graph.node:
                reader.input[:] = [node.output[0] if t == tensor else t for t in reader.input]
            place = next(i for i, n in enumerate(model.graph.node) if tensor in n.output)
            model.graph.node.insert(place + 1, node)
        return convert(model)

    monkeypatch.setattr(onnx_float16, "to_float16", overflowing)
    out = tmp_path / "road.onnx"
    assert command(export.main, [trained_run, "--onnx", "--precision", "fp16", "--out", out]) == 3
    assert "float16" in capsys.readouterr().out


def test_layer_norms_and_softmax_stay_in_float32_in_fp16():
    keras.utils.set_random_seed(1)
    model = build("segformer_b0", (64, 96), 3)
    fp32 = onnx_convert.to_onnx(simplify(model), "fp32")
    halves = onnx_float16.to_float16(onnx.load_from_string(fp32))
    inferred = onnx.shape_inference.infer_shapes(halves, strict_mode=True).graph
    types = {v.name: v.type.tensor_type.elem_type for v in inferred.value_info}
    by_operator = {}
    for node in halves.graph.node:
        by_operator.setdefault(node.op_type, set()).add(types.get(node.output[0]))
    assert by_operator["Softmax"] == by_operator["ReduceMean"] == by_operator["Sqrt"] == {1}
    assert by_operator["MatMul"] == by_operator["Erf"] == {10}
    assert onnx_lint.inspect(fp32)["problems"] == []
    frame = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    expected = model.predict(frame[None].astype(np.float32), verbose=0).argmax(-1)[0]
    np.testing.assert_array_equal(load(fp32)(frame), expected)
    assert (load(halves.SerializeToString())(frame) == expected).mean() > 0.99


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["fcn_mobilenet_v2", "unet", "pspnet_mobilenet_v2", "deeplab_v3_plus_mobilenet_v3_small"],
)
def test_every_family_gives_keras_class_map(name):
    keras.utils.set_random_seed(1)
    model = build(name, SIZE, 3)
    frame = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    expected = model.predict(frame[None].astype(np.float32), verbose=0).argmax(-1)[0]
    data = onnx_convert.to_onnx(simplify(model), "fp32")
    assert onnx_lint.inspect(data)["problems"] == []
    assert (load(data)(frame) == expected).mean() > 0.9999


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--onnx", "--precision", "int8"], ["--onnx --precision int8", "--tflite"]),
        (["--onnx", "--profile", "gpu"], ["--profile gpu", "--tflite"]),
        (["--onnx", "--out", "road.tflite"], ["road.tflite", ".onnx"]),
    ],
)
def test_flags_that_do_not_fit_are_refused(trained_run, capsys, flags, parts):
    assert command(export.main, [trained_run, *flags]) == 2
    assert_one_line(capsys, *parts)


def test_a_missing_package_is_one_line(trained_run, capsys, monkeypatch):
    monkeypatch.setattr(onnx_convert.importlib.util, "find_spec", lambda name: None)
    assert command(export.main, [trained_run, "--onnx"]) == 2
    assert_one_line(capsys, "./scripts/install onnx")


def test_metadata_that_is_no_protobuf_message_is_refused():
    valid = onnx_file.add_metadata(b"\x08\x08", "key", b"value")
    assert onnx_file.read_metadata(valid, "key") == b"value"
    assert onnx_file.read_metadata(valid, "other") is None
    for end in range(3, len(valid)):
        with pytest.raises(ValueError):
            onnx_file.read_metadata(valid[:end], "key")
    with pytest.raises(ValueError):
        onnx_file.read_metadata(b"\x08" + b"\xff" * 20, "key")


def test_reading_a_contract_needs_no_onnx_package(onnx_paths):
    code = (
        "import sys; sys.modules['onnx'] = None\n"
        "from kseg import contract; print(contract.read(sys.argv[1]).profile)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, onnx_paths["fp32"]], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "onnx"
