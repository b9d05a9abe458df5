"""A .tflite file as operators and tensors with names."""

import re
from typing import NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from kseg import contract
from kseg.errors import InputError

_OPERATOR_NAMES = {v: k for k, v in vars(schema.BuiltinOperator).items() if k.isupper()}
_TYPE_NAMES = {v: k for k, v in vars(schema.TensorType).items() if k.isupper()}
_SCALARS = {"INT32": np.int32, "INT64": np.int64, "FLOAT32": np.float32}


class Tensor(NamedTuple):
    """index is that of its subgraph; data are the bytes of a constant, else None."""

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str  # FLOAT32, UINT8, ...
    dynamic: bool
    data: np.ndarray | None

    def values(self):
        """Returns a constant's numbers."""
        return np.frombuffer(self.data.tobytes(), _SCALARS[self.dtype])


class Operator(NamedTuple):
    """name as in the schema (CONV_2D), or "CUSTOM x"; absent optional inputs are left out."""

    name: str
    version: int
    inputs: list[Tensor]
    outputs: list[Tensor]
    options: object

    @property
    def runtime_inputs(self):
        return [t for t in self.inputs if t.data is None]

    @property
    def layer(self):
        return layer(self.outputs[0].name)


def layer(tensor_name):
    """The Keras layer that a tensor came from, or the name itself.

    The converter keeps TensorFlow's scopes: "net_1/block_2_relu_1/Relu6;...", the endings "_1" from
    the second call of model and layer.
    """
    name = tensor_name.split(";")[0]
    parts = name.split("/")
    return re.sub(r"_\d+$", "", parts[1]) if len(parts) > 2 else name


def read(tflite, where="model"):
    """Returns the operators of each subgraph of a .tflite (bytes), in the order they run.

    Raises InputError, naming `where`, when the bytes are no .tflite.
    """
    if tflite[4:8] != b"TFL3":
        raise InputError(f"{where}: not a .tflite file (its first bytes are {tflite[:8]!r})")
    try:
        model = contract.unpack(tflite)
        return [_operators(model, graph) for graph in model.subgraphs]
    except Exception as error:  # Both trust every offset and number in the file.
        raise InputError(f"{where}: damaged .tflite file ({error!r})") from error


def _operators(model, graph):
    tensors = [_tensor(model, i, t) for i, t in enumerate(graph.tensors)]
    codes = [(_name(code), code.version) for code in model.operatorCodes]
    for op in graph.operators:
        source = tensors[op.inputs[0]] if codes[op.opcodeIndex][0] == "DEQUANTIZE" else None
        if source and source.data is not None:
            # Weights kept in half the bytes: what reads them reads a constant.
            tensors[op.outputs[0]] = tensors[op.outputs[0]]._replace(data=source.data)

    def named(indices):
        return [tensors[i] for i in ([] if indices is None else indices) if i >= 0]

    return [
        Operator(*codes[op.opcodeIndex], named(op.inputs), named(op.outputs), op.builtinOptions)
        for op in graph.operators
    ]


def _tensor(model, index, tensor):
    signature = [] if tensor.shapeSignature is None else list(tensor.shapeSignature)
    return Tensor(
        index,
        (tensor.name or b"?").decode(),
        tuple(int(n) for n in ([] if tensor.shape is None else tensor.shape)),
        _TYPE_NAMES[tensor.type],
        -1 in signature,
        model.buffers[tensor.buffer].data,
    )


def _name(code):
    if code.customCode:
        return f"CUSTOM {code.customCode.decode()}"
    # Old files keep small codes in the deprecated field alone.
    return _OPERATOR_NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]
