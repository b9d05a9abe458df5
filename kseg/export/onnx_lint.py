"""Predicts whether TensorRT takes an .onnx, without TensorRT."""

from collections import Counter
from typing import Any

from kseg.errors import InputError
from kseg.export.profiles import ONNX, TENSORRT, Profile

_OPSET = 17  # TensorRT 8.6, the oldest of JetPack 6, reads up to this one.
_REMEDY = "export the run again with `python -m kseg.export --onnx`"


def operators(data: bytes) -> Counter[str]:
    """Counts the operators of a file by name."""
    return Counter(node.op_type for node in _read(data, "model").graph.node)


def inspect(data: bytes, profile: Profile = ONNX, where: str = "model") -> dict[str, Any]:
    """Lints a file. Returns what kseg.export.linter.inspect does.

    Raises InputError, naming `where`, when the bytes are not an .onnx.
    """
    model = _read(data, where)
    counts = Counter(node.op_type for node in model.graph.node)
    problems = [
        f"{count} x {name}: TensorRT has no such operator, or one with known faults; {_REMEDY}"
        for name, count in sorted(counts.items())
        if name not in TENSORRT
    ]
    for opset in model.opset_import:
        if opset.domain not in ("", "ai.onnx"):
            problems.append(f"operators of {opset.domain}: TensorRT has none of them; {_REMEDY}")
        elif opset.version > _OPSET:
            problems.append(
                f"opset {opset.version}: TensorRT 8.6 reads up to {_OPSET}; export opset {_OPSET} "
                "or lower"
            )
    for tensor in (*model.graph.input, *model.graph.output):
        shape = tensor.type.tensor_type.shape.dim
        if not shape or not all(dim.dim_value > 0 for dim in shape):
            problems.append(
                f"{tensor.name} has a dynamic shape; export with a static size, batch 1"
            )
    report: dict[str, Any] = {"profile": profile.name, "operators": sum(counts.values())}
    report |= dict.fromkeys(("delegated", "left_on_cpu", "partitions", "largest"))
    return report | {"problems": problems}


def _read(data: bytes, where: str) -> Any:
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise InputError(
            f"{where}: needs onnx, which is not installed; run ./scripts/install onnx"
        ) from error
    try:
        return onnx.load_from_string(data)
    except Exception as error:  # protobuf's DecodeError is no ValueError.
        raise InputError(f"{where}: corrupt .onnx file ({error})") from error
