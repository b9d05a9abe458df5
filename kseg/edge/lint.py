"""What lies in a .tflite file, and what no target of ours can run. Needs no device."""

from collections import Counter

import numpy as np
from ai_edge_litert import schema_py_generated as schema

_OPERATOR_NAMES = {v: k for k, v in vars(schema.BuiltinOperator).items() if k.isupper()}
_TYPE_NAMES = {v: k for k, v in vars(schema.TensorType).items() if k.isupper()}

# They appear when a dilated convolution was not recognised; delegates refuse them.
_SPLITTING = ("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND")
_MAX_RANK = 4


def operators(tflite):
    """Returns a Counter of the operator names in the file (bytes)."""
    model = schema.ModelT.InitFromPackedBuf(tflite, 0)
    codes = [_name(code) for code in model.operatorCodes]
    return Counter(codes[op.opcodeIndex] for graph in model.subgraphs for op in graph.operators)


def problems(tflite):
    """Returns what makes the file unfit for a device, a list of lines; empty when all is well."""
    model = schema.ModelT.InitFromPackedBuf(tflite, 0)
    found = []
    for name, count in sorted(operators(tflite).items()):
        if name.startswith("CUSTOM"):
            found.append(f"{count} x {name}: not a builtin operator, no phone has it")
        if name in _SPLITTING:
            found.append(f"{count} x {name}: splits the graph on a GPU")
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            shape = np.asarray([] if tensor.shape is None else tensor.shape)
            label = (tensor.name or b"?").decode()
            if len(shape) > _MAX_RANK:
                found.append(f"{label}: rank {len(shape)}; GPU delegates stop at {_MAX_RANK}")
            if tensor.shapeSignature is not None and -1 in np.asarray(tensor.shapeSignature):
                found.append(f"{label}: dynamic shape {list(tensor.shapeSignature)}")
            if _TYPE_NAMES[tensor.type] == "INT64":
                found.append(f"{label}: INT64; GPU delegates take INT32")
    return found


def _name(code):
    if code.customCode:
        return f"CUSTOM {code.customCode.decode()}"
    # Old files keep small codes in the deprecated field alone.
    return _OPERATOR_NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]
