"""int8: weights and activations, ranges from calibration frames, what suffers most left in float.

TensorFlow's own quantiser (per channel, symmetric weights, arXiv:1712.05877) through its debugger,
which calibrates once and then writes a file with any operators left in float within a second.
"""

import csv
import io
import warnings
from collections import Counter

import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from kseg import contract
from kseg.export import tflite_graph
from kseg.export.convert import form, from_saved_model, saved_model

_DEBUGGED = 8  # Frames on which the damage of each operator is measured.


class Quantizer:
    """Writes int8 files of a model; a context, since the SavedModel lies on disk meanwhile."""

    def __init__(self, model, images, profile, output=None):
        """images: a list of (H, W, 3) uint8 RGB frames to calibrate on."""
        # The filled-up channels would take all of an int8 range for themselves.
        float_form = form(profile, output)._replace(image_dtype="float32", pad_classes=False)
        self._saved = saved_model(model, float_form)
        self._images = _with_both_ends(images)
        self._step = -(-len(images) // _DEBUGGED)
        self._read_by = {}

    def __enter__(self):
        converter = from_saved_model(self._saved.__enter__())
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ({"image": x} for x in self._images)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # On the age of the interpreter that it uses.
            self._debugger = tf.lite.experimental.QuantizationDebugger(
                converter=converter,
                debug_dataset=lambda: ([x] for x in self._images[:: self._step]),
                debug_options=_options(),
            )
        return self

    def __exit__(self, *error):
        return self._saved.__exit__(*error)

    def convert(self, in_float=()):
        """Returns the file's bytes; the tensors named stay in float.

        That is, what computes them and what reads them does: else they were quantised in between.
        """
        kept = [name for tensor in in_float for name in (tensor, *self._read_by.get(tensor, ()))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._debugger.options = _options(kept)
            tflite = self._debugger.get_nondebug_quantized_model()
        if not in_float:
            self._read_by = _readers(tflite_graph.read(tflite)[0])
        return take_bytes(tflite)

    def damage(self):
        """Returns [(relative error, operator, tensor), ...], the worst first.

        The error is what quantising one operator's output adds, as root mean square, over that
        output's standard deviation, each by channel, their mean.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._debugger.options = _options()
            self._debugger.run()
        table = io.StringIO()
        self._debugger.layer_statistics_dump(table)
        rows = csv.DictReader(io.StringIO(table.getvalue()))
        found = [(float(r["relative"]), r["op_name"], r["tensor_name"]) for r in rows]
        return sorted(found, key=lambda row: (-row[0], row[2]))


def search(quantizer, problems_of):
    """Returns (file's bytes, findings): int8 with as few operators in float as are needed.

    problems_of(bytes) is a list of lines, empty when the file is good enough; it is asked for
    all-int8, then with the 1, 2, 4, ... most damaged tensors in float (short of all).
    findings are {"tried": [{"in_float": count, "problems"}], "in_float": [{"operator", "layer",
    "relative_error"}], "no_kernel": {operator: count}}; the last have no int8 kernel in TFLite.
    When nothing helps the file is the all-int8 one.
    """
    first = quantizer.convert()
    findings = {"tried": [], "in_float": [], "no_kernel": in_float(first)}
    tried = findings["tried"]
    tried.append({"in_float": 0, "problems": problems_of(first)})
    if not tried[0]["problems"]:
        return first, findings
    ranked, count = quantizer.damage(), 1
    while count < len(ranked):
        kept = ranked[:count]
        tflite = quantizer.convert([tensor for _, _, tensor in kept])
        tried.append({"in_float": count, "problems": problems_of(tflite)})
        if not tried[-1]["problems"]:
            return tflite, findings | {"in_float": [_described(*row) for row in kept]}
        count *= 2
    return first, findings


def in_float(tflite):
    """Returns {operator: count} of what a quantised file computes in float."""
    counts = Counter(
        op.name
        for op in tflite_graph.read(tflite)[0]
        if op.name != "DEQUANTIZE" and any(t.dtype == "FLOAT32" for t in op.outputs)
    )
    return dict(sorted(counts.items()))


def take_bytes(tflite):
    """Lets a quantised file take uint8 where it takes float32, raw RGB either way.

    Where every reader of the image is QUANTIZE it may read bytes as well (scale 1, zero point 0);
    a file that reads it in float is returned as it is.
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


_IMAGE = "serve_image:0"


def _readers(ops):
    """{tensor: names of what the operators that read it compute}."""
    readers = {}
    for op in ops:
        for tensor in op.runtime_inputs:
            readers.setdefault(tensor.name, []).extend(t.name for t in op.outputs)
    return readers


def _options(in_float=()):
    return tf.lite.experimental.QuantizationDebugOptions(
        layer_direct_compare_metrics={"relative": _relative_error},
        denylisted_nodes=list(in_float) or None,
    )


def _relative_error(exact, quantized, scale, zero_point):
    """By channel, since one channel of a wide range hides what it does to the others."""
    error = exact - scale * (quantized.astype(np.float32) - zero_point)
    axes = tuple(range(exact.ndim - 1))
    error, spread = np.sqrt(np.mean(error**2, axes)), np.std(exact, axes)
    varies = spread > 0  # A dead channel tells nothing.
    return float(np.mean(error[varies] / spread[varies])) if varies.any() else 0.0


def _with_both_ends(images):
    """Batches of one, float32. The corners of the first say that 0 and 255 occur.

    So the image's int8 steps are whole grey levels: no byte is rounded.
    """
    batches = [image[None].astype(np.float32) for image in images]
    batches[0][0, 0, 0], batches[0][0, -1, -1] = 0, 255
    return batches


def _described(error, operator, tensor):
    return {
        "operator": operator,
        "layer": tflite_graph.layer(tensor),
        "relative_error": round(error, 4),
    }
