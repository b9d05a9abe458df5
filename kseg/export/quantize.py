"""int8 quantization: weights and activations, with ranges from calibration frames.

TensorFlow's own quantizer (symmetric weights per channel, arXiv:1712.05877), driven through its
debugger: it calibrates once, and then writes a file with any set of operators left in float within
a second. Operators that lose too much accuracy stay in float. So does, in models with attention or
layer norm, all that is not a convolution or a matrix product with weights: LiteRT has no fast int8
kernels for these, and an int8 SegFormer would take three times as long as in fp32.
"""

import contextlib
import csv
import io
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from kseg import contract
from kseg.export import tflite_graph
from kseg.export.convert import form, from_saved_model, saved_model
from kseg.export.profiles import Profile

_DEBUG_FRAMES = 8  # Frames on which the error of each operator is measured.
_WITH_WEIGHTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
# Of these, LiteRT 2.3 has int8 reference kernels only: 50 of 67 ms of a SegFormer-B0 at 240x320.
_SLOW_IN_INT8 = ("BATCH_MATMUL", "RSQRT", "SOFTMAX", "SQUARED_DIFFERENCE")
_IMAGE = "serve_image:0"  # The input tensor, as the converter names it.


class Quantizer:
    """Writes int8 files of a model; a context manager, because it keeps a SavedModel on disk."""

    def __init__(
        self,
        model: keras.Model,
        images: Sequence[np.ndarray],
        profile: Profile,
        output: str | None = None,
    ) -> None:
        """images: (H, W, 3) uint8 RGB frames to calibrate on."""
        # Guard classes have logits of -3e4, which would take up all of an int8 range.
        float_form = form(profile, output)._replace(image_dtype="float32", guard_classes=False)
        self._saved_model = saved_model(model, float_form)
        self._images = _to_batches(images)
        self._debug_step = -(-len(images) // _DEBUG_FRAMES)
        self._consumers: dict[str, list[str]] = {}
        self._slow: list[str] = []

    def __enter__(self) -> "Quantizer":
        with contextlib.ExitStack() as stack:
            converter = from_saved_model(stack.enter_context(self._saved_model))
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ({"image": x} for x in self._images)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            with _without_interpreter_warnings():
                self._debugger = tf.lite.experimental.QuantizationDebugger(
                    converter=converter,
                    debug_dataset=lambda: ([x] for x in self._images[:: self._debug_step]),
                    debug_options=_options(),
                )
                ops = tflite_graph.read(self._debugger.get_nondebug_quantized_model())[0]
            self._consumers, self._slow = _consumers(ops), _slow(ops)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def convert(self, in_float: Sequence[str] = ()) -> bytes:
        """Returns an int8 file in which the named tensors stay in float.

        The operators that compute them and those that read them do: otherwise the tensors would be
        quantized in between.
        """
        names = [name for t in in_float for name in (t, *self._consumers.get(t, ()))]
        with _without_interpreter_warnings():
            self._debugger.options = _options([*self._slow, *names])
            tflite = self._debugger.get_nondebug_quantized_model()
        return accept_uint8(tflite)

    def errors(self) -> list[tuple[float, str, str]]:
        """Returns [(relative error, operator, tensor), ...], the largest error first.

        The error is the root mean square error that quantizing the operator's output adds, divided
        by the standard deviation of that output, per channel, averaged over channels.
        """
        with _without_interpreter_warnings():
            self._debugger.options = _options(self._slow)
            self._debugger.run()
        table = io.StringIO()
        self._debugger.layer_statistics_dump(table)
        rows = csv.DictReader(io.StringIO(table.getvalue()))
        errors = [(float(r["relative"]), r["op_name"], r["tensor_name"]) for r in rows]
        return sorted(errors, key=lambda row: (-row[0], row[2]))


def search(
    quantizer: Quantizer, find_problems: Callable[[bytes], list[str]]
) -> tuple[bytes, dict[str, Any]]:
    """Returns (the file's bytes, findings): int8 with as few operators in float as necessary.

    find_problems(bytes) returns a list of lines, empty when the file is accurate enough. It is
    called for a file in which all operators with a fast int8 kernel are int8, then with the 1, 2,
    4, ... tensors of largest error in float. When none is accurate enough, the result is the first.
    findings: {"tried": [{"in_float": count, "problems"}], "in_float": [{"operator", "layer",
    "relative_error"}], "no_fast_kernel": {operator: count} of those that were never int8}.
    """
    all_int8 = quantizer.convert()
    problems = find_problems(all_int8)
    tried: list[dict[str, Any]] = [{"in_float": 0, "problems": problems}]
    findings: dict[str, Any] = {
        "tried": tried,
        "in_float": [],
        "no_fast_kernel": in_float(all_int8),
    }
    if not problems:
        return all_int8, findings
    errors, count = quantizer.errors(), 1
    while count < len(errors):
        tflite = quantizer.convert([tensor for _, _, tensor in errors[:count]])
        problems = find_problems(tflite)
        tried.append({"in_float": count, "problems": problems})
        if not problems:
            return tflite, findings | {"in_float": [_to_dict(*row) for row in errors[:count]]}
        count *= 2
    return all_int8, findings


def in_float(tflite: bytes) -> dict[str, int]:
    """Returns {operator: count} of the operators that a quantized file computes in float."""
    counts = Counter(
        op.name
        for op in tflite_graph.read(tflite)[0]
        if op.name != "DEQUANTIZE" and any(t.dtype == "FLOAT32" for t in op.outputs)
    )
    return dict(sorted(counts.items()))


def accept_uint8(tflite: bytes) -> bytes:
    """Changes the input of a quantized file from float32 to uint8, raw RGB in both cases.

    This works when all readers of the image are QUANTIZE, which reads bytes too (scale 1, zero
    point 0). A file that also reads the image in float is returned unchanged.
    """
    readers = [
        op for op in tflite_graph.read(tflite)[0] if any(t.name == _IMAGE for t in op.inputs)
    ]
    if not readers or any(op.name != "QUANTIZE" for op in readers):
        return tflite
    model = contract.unpack(tflite)
    image = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]]
    image.type = schema.TensorType.UINT8
    image.quantization = schema.QuantizationParametersT()
    image.quantization.scale, image.quantization.zeroPoint = [1.0], [0]
    return contract.pack(model, len(tflite))


@contextlib.contextmanager
def _without_interpreter_warnings() -> Iterator[None]:
    """Hides the warning that TensorFlow's debugger uses the deprecated tf.lite.Interpreter."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\s*Warning: tf\.lite\.Interpreter is deprecated")
        yield


def _consumers(ops: Sequence[tflite_graph.Operator]) -> dict[str, list[str]]:
    """{tensor: outputs of the operators that read it}."""
    consumers: dict[str, list[str]] = {}
    for op in ops:
        for tensor in op.runtime_inputs:
            consumers.setdefault(tensor.name, []).extend(t.name for t in op.outputs)
    return consumers


def _slow(ops: Sequence[tflite_graph.Operator]) -> list[str]:
    """Outputs of the operators to leave in float, because int8 would make the model slower.

    None in a model without those of _SLOW_IN_INT8. In another, all without weights: between two of
    them, int8 would cost two conversions more. The normalisation of the image stays int8, so that
    the file takes bytes.
    """
    if not any(op.name in _SLOW_IN_INT8 for op in ops):
        return []
    first = next(i for i, op in enumerate(ops) if op.name in _WITH_WEIGHTS)
    return [t.name for op in ops[first:] if op.name not in _WITH_WEIGHTS for t in op.outputs]


def _options(in_float: Sequence[str] = ()) -> Any:
    return tf.lite.experimental.QuantizationDebugOptions(
        layer_direct_compare_metrics={"relative": _relative_error},
        denylisted_nodes=list(in_float) or None,
    )


def _relative_error(
    exact: np.ndarray, quantized: np.ndarray, scale: float, zero_point: int
) -> float:
    """Per channel, because one channel with a wide range hides what it does to the others."""
    error = exact - scale * (quantized.astype(np.float32) - zero_point)
    axes = tuple(range(exact.ndim - 1))
    error, deviation = np.sqrt(np.mean(error**2, axes)), np.std(exact, axes)
    varies = deviation > 0  # A constant channel has no relative error.
    return float(np.mean(error[varies] / deviation[varies])) if varies.any() else 0.0


def _to_batches(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Float32 batches of one frame. Two corners of the first become 0 and 255.

    So the image's range is 0..255, its int8 steps are grey levels, and no byte is rounded.
    """
    batches = [image[None].astype(np.float32) for image in images]
    batches[0][0, 0, 0], batches[0][0, -1, -1] = 0, 255
    return batches


def _to_dict(error: float, operator: str, tensor: str) -> dict[str, Any]:
    return {
        "operator": operator,
        "layer": tflite_graph.layer(tensor),
        "relative_error": round(error, 4),
    }
