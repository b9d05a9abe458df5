"""Reads the graph of a .tflite: its operators and tensors, with names."""

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from kseg import contract
from kseg.errors import InputError

_OPERATOR_NAMES = {v: k for k, v in vars(schema.BuiltinOperator).items() if k.isupper()}
_TYPE_NAMES = {v: k for k, v in vars(schema.TensorType).items() if k.isupper()}
_SCALARS = {"INT32": np.int32, "INT64": np.int64, "FLOAT32": np.float32}


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor. index: within its subgraph; data: the bytes of a constant, None if computed."""

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str  # FLOAT32, UINT8, ...
    dynamic: bool
    data: np.ndarray | None

    def values(self) -> np.ndarray:
        """Returns the numbers of a constant."""
        assert self.data is not None
        return np.frombuffer(self.data.tobytes(), _SCALARS[self.dtype])


class Operator(NamedTuple):
    """An operator. name: as in the schema (CONV_2D), or "CUSTOM x".

    inputs: without optional ones that are absent. options: the schema's, such as SoftmaxOptionsT.
    """

    name: str
    version: int
    inputs: list[Tensor]
    outputs: list[Tensor]
    options: Any

    @property
    def runtime_inputs(self) -> list[Tensor]:
        """The inputs that are computed, not constant."""
        return [t for t in self.inputs if t.data is None]

    @property
    def layer(self) -> str:
        return layer(self.outputs[0].name)


def layer(tensor_name: str) -> str:
    """Returns the Keras layer that a tensor came from, or the tensor's own name.

    The converter keeps TensorFlow's scopes, as in "net_1/block_2_relu_1/Relu6;...". The suffix "_1"
    comes from the second call of the model and the layer.
    """
    name = tensor_name.split(";")[0]
    scopes = name.split("/")
    return re.sub(r"_\d+$", "", scopes[1]) if len(scopes) > 2 else name


def read(tflite: bytes, where: str = "model") -> list[list[Operator]]:
    """Returns the operators of each subgraph, in execution order.

    Raises InputError, naming `where`, when the bytes are not a .tflite or corrupt.
    """
    if tflite[4:8] != b"TFL3":
        raise InputError(f"{where}: not a .tflite file (its first bytes are {tflite[:8]!r})")
    try:
        model = contract.unpack(tflite)
        return [_operators(model, graph) for graph in model.subgraphs]
    except Exception as error:  # Neither checks the offsets and numbers in the file.
        raise InputError(f"{where}: corrupt .tflite file ({error!r})") from error


def _operators(model: schema.ModelT, graph: schema.SubGraphT) -> list[Operator]:
    tensors = [_tensor(model, i, t) for i, t in enumerate(graph.tensors)]
    codes = [(_name(code), code.version) for code in model.operatorCodes]
    for op in graph.operators:
        source = tensors[op.inputs[0]] if codes[op.opcodeIndex][0] == "DEQUANTIZE" else None
        if source and source.data is not None:
            # fp16 weights: the operators that read the DEQUANTIZE read a constant.
            weights = tensors[op.outputs[0]]
            tensors[op.outputs[0]] = dataclasses.replace(weights, data=source.data)

    def at(indices: Sequence[int] | None) -> list[Tensor]:
        return [tensors[i] for i in ([] if indices is None else indices) if i >= 0]

    operators = []
    for op in graph.operators:
        name, version = codes[op.opcodeIndex]
        operators.append(Operator(name, version, at(op.inputs), at(op.outputs), op.builtinOptions))
    return operators


def _tensor(model: schema.ModelT, index: int, tensor: schema.TensorT) -> Tensor:
    signature = [] if tensor.shapeSignature is None else list(tensor.shapeSignature)
    return Tensor(
        index,
        (tensor.name or b"?").decode(),
        tuple(int(n) for n in ([] if tensor.shape is None else tensor.shape)),
        _TYPE_NAMES[tensor.type],
        -1 in signature,
        model.buffers[tensor.buffer].data,
    )


def _name(code: schema.OperatorCodeT) -> str:
    if code.customCode:
        return f"CUSTOM {code.customCode.decode()}"
    # Old files store small codes in the deprecated field only.
    return _OPERATOR_NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]
