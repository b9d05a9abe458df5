"""Computes an .onnx graph in float16, except what overflows or loses there.

In float32 stay: layer norms, whose squares overflow (TensorRT#3657, #4111); softmax; and all after
the last convolution, so that equal logits are no more frequent than in float32. Input and output
keep their types. onnxruntime's own converter casts to float16 between neighbours that both stay in
float32, which is where a layer norm overflows; here each tensor is cast only where types differ.
"""

from typing import Any

import numpy as np

_FLOAT, _FLOAT16 = 1, 10  # TensorProto.DataType
_MOMENTS = "/moments/"  # In the names of a layer norm's mean and variance.


def to_float16(model: Any) -> Any:
    """Returns the ModelProto with weights and computations in float16."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    infos = (*graph.value_info, *graph.input, *graph.output)
    floats = {info.name for info in infos if info.type.tensor_type.elem_type == _FLOAT}
    constants = {c.name: c for c in graph.initializer if c.data_type == _FLOAT}
    node_types = [_FLOAT if stays else _FLOAT16 for stays in _stay_float(graph.node)]
    types = {  # Of all computed float tensors.
        tensor: node_type
        for node, node_type in zip(graph.node, node_types, strict=True)
        for tensor in node.output
        if tensor in floats
    }
    nodes: list[Any] = []
    added: dict[str, Any] = {}
    cast: set[str] = set()
    for node, wanted in zip(graph.node, node_types, strict=True):
        for position, tensor in enumerate(node.input):
            if types.get(tensor, wanted) != wanted:
                name = f"{tensor}_{'float' if wanted == _FLOAT else 'half'}"
                if name not in cast:
                    cast.add(name)
                    nodes.append(onnx.helper.make_node("Cast", [tensor], [name], name, to=wanted))
                node.input[position] = name
            elif tensor in constants and wanted == _FLOAT16:
                name = f"{tensor}_half"
                if name not in added:
                    values = onnx.numpy_helper.to_array(constants[tensor])
                    added[name] = onnx.numpy_helper.from_array(_to_half(values), name)
                node.input[position] = name
        if node.op_type == "Cast" and node.output[0] in types:
            node.attribute[0].i = wanted
        nodes.append(node)
    used = {tensor for node in nodes for tensor in node.input}
    kept = [c for c in graph.initializer if c.name in used]
    return onnx.helper.make_model(
        onnx.helper.make_graph(
            nodes, graph.name, graph.input, graph.output, [*kept, *added.values()]
        ),
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
        producer_name=model.producer_name,
        producer_version=model.producer_version,
    )


def _stay_float(nodes: Any) -> list[bool]:
    """Returns for each node whether it stays in float32."""
    norms = {node.name.split(_MOMENTS)[0] + "/" for node in nodes if _MOMENTS in node.name}
    last_convolution = max(i for i, node in enumerate(nodes) if node.op_type == "Conv")
    chosen = [
        i > last_convolution or node.op_type == "Softmax" or _starts_with_any(node.name, norms)
        for i, node in enumerate(nodes)
    ]
    # Converters put a nameless Reshape between the operators of a norm.
    producer = {tensor: i for i, node in enumerate(nodes) for tensor in node.output}
    readers: dict[int, list[int]] = {}
    for i, node in enumerate(nodes):
        for tensor in node.input:
            if tensor in producer:
                readers.setdefault(producer[tensor], []).append(i)
    for i, node in enumerate(nodes):
        if node.op_type not in ("Reshape", "Transpose"):
            continue
        sources = [producer[tensor] for tensor in node.input if tensor in producer]
        if sources and i in readers and all(chosen[j] for j in (*sources, *readers[i])):
            chosen[i] = True
    return chosen


def _starts_with_any(name: str, prefixes: set[str]) -> bool:
    return any(name.startswith(prefix) for prefix in prefixes)


def _to_half(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # Infinity is found when the file is verified.
        return values.astype(np.float16)
