"""Small .onnx files for the tests of runners: a class map that is easy to compute."""

import numpy as np
import onnx

from kseg import contract, onnx_file


def tiny_model(size, shift=0, value=None):
    """An .onnx without contract: (red + shift) modulo 3, or everywhere the id `value`."""
    make, array = onnx.helper.make_node, onnx.numpy_helper.from_array
    constants = [
        array(np.array([0], np.int64), "start"),
        array(np.array([1], np.int64), "end"),
        array(np.array([3], np.int64), "axis"),
        array(np.int32(shift), "shift"),
        array(np.int32(3), "three"),
        array(np.int32(0 if value is None else value), "value"),
        array(np.int32(value is None), "keep"),
    ]
    nodes = [
        make("Slice", ["image", "start", "end", "axis"], ["red"]),
        make("Squeeze", ["red", "axis"], ["flat"]),
        make("Cast", ["flat"], ["integers"], to=onnx.TensorProto.INT32),
        make("Add", ["integers", "shift"], ["shifted"]),
        make("Mod", ["shifted", "three"], ["ids"]),
        make("Mul", ["ids", "keep"], ["kept"]),
        make("Add", ["kept", "value"], ["result"]),
        make("Cast", ["result"], ["class_map"], to=onnx.TensorProto.UINT8),
    ]
    tensor = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "tiny",
        [tensor("image", onnx.TensorProto.UINT8, [1, *size, 3])],
        [tensor("class_map", onnx.TensorProto.UINT8, [1, *size])],
        constants,
    )
    opset = onnx.helper.make_opsetid("", 13)
    return onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()


def finish(data, text):
    """Adds a contract's text (bytes) and the checksum."""
    return contract.append_checksum(onnx_file.add_metadata(data, contract.METADATA_NAME, text))
