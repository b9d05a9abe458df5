"""A tiny .tflite of every precision, written operator by operator, and frames to try files with.

It has the operators that kseg's exports live of (cast, convolution, depthwise convolution, bilinear
resizing, argmax) and random weights: what is looked at is whether a machine computes them right.
Needs ai-edge-litert alone.
"""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from kseg.contract import pack

FRAMES = 10
SIZE = (48, 80)
_CLASSES = 4  # A whole slice of a GPU's channels: no padding that could win the argmax.
_WIDTH = 8
_RELU6 = 6.0
_LOGITS_SCALE = 0.1  # Of int8 logits: they lie within -12.8 and 12.7.


def frame(size, number):
    """Sky, road and noise as (H, W, 3) uint8 RGB; deploy/cpp/run/doctor.cc draws the same."""
    height, width = size
    y, x, c = np.ogrid[:height, :width, :3]
    sky = 2 * y < height
    road = ~sky & (np.abs(x - width * (number + 5) // 20) < y - height // 3)
    ground = np.where(road, 90 + 5 * number, np.where(c == 1, 120, 60))
    base = np.where(sky, 150 + 30 * c, ground)
    noise = _noise(12345 + number, base.size).reshape(base.shape)
    return np.minimum(base + noise, 255).astype(np.uint8)


def frames(size):
    """(FRAMES, H, W, 3) uint8 RGB."""
    return np.stack([frame(size, number) for number in range(FRAMES)])


def model(precision):
    """Returns the bytes of a .tflite: image (1, *SIZE, 3) uint8 -> class_map (1, *SIZE) uint8."""
    return _Writer(precision).model()


def _noise(seed, count):
    """The top 4 bits of a linear congruential generator's first `count` numbers."""
    powers = np.full(count, 1664525, np.uint32).cumprod(dtype=np.uint32)
    sums = np.concatenate(([1], powers[:-1])).astype(np.uint32).cumsum(dtype=np.uint32)
    return ((powers * np.uint32(seed) + sums * np.uint32(1013904223)) >> 28).astype(int)


class _Writer:
    """One graph in the making: tensors, buffers and operators, as TFLite's schema has them."""

    def __init__(self, precision):
        self.precision = precision
        self.buffers, self.tensors, self.codes, self.operators = [schema.BufferT()], [], [], []
        self.random = np.random.default_rng(4)  # One with which classes share the frames.

    def model(self):
        height, width = SIZE
        image = self.tensor("image", (1, height, width, 3), "UINT8", scale=1.0, zero_point=0)
        if self.precision == "int8":
            x = self.operator("QUANTIZE", [image], self.values("pixels", (*SIZE, 3), 1.0, -128))
        else:
            x = self.operator("CAST", [image], self.values("pixels", (*SIZE, 3)))
        half = (height // 2, width // 2)
        x = self.convolution("CONV_2D", x, (_WIDTH, 3, 3, 3), half, 110, 0.006, stride=2)
        x = self.convolution("DEPTHWISE_CONV_2D", x, (1, 3, 3, _WIDTH), half, 1.5, 0.5)
        x = self.convolution("CONV_2D", x, (_CLASSES, 1, 1, _WIDTH), half, 1.5, 1.0, relu6=False)
        size = self.constant("size", np.array(SIZE, np.int32))
        enlarged = self.values("logits", (*SIZE, _CLASSES), _LOGITS_SCALE, 0)
        x = self.operator("RESIZE_BILINEAR", [x, size], enlarged, halfPixelCenters=True)
        axis = self.constant("axis", np.array(3, np.int32))
        ids = self.tensor("ids", (1, *SIZE), "INT32")
        x = self.operator("ARG_MAX", [x, axis], ids, outputType=schema.TensorType.INT32)
        class_map = self.tensor("class_map", (1, *SIZE), "UINT8")
        return self.pack(image, self.operator("CAST", [x], class_map))

    def convolution(self, kind, x, shape, size, middle, deviation, *, stride=1, relu6=True):
        """Adds a convolution: random weights, inputs around `middle`, an output of `size`."""
        depthwise = kind == "DEPTHWISE_CONV_2D"
        axis = 3 if depthwise else 0
        name, channels = f"layer{len(self.operators)}", shape[axis]
        weights = self.random.normal(0, deviation, shape).astype(np.float32)
        rest = tuple(i for i in range(4) if i != axis)
        # Around the middle of what comes in, else one class would win everywhere.
        bias = -middle * weights.sum(rest)
        ends = schema.ActivationFunctionType
        options = {
            "strideH": stride,
            "strideW": stride,
            "fusedActivationFunction": ends.RELU6 if relu6 else ends.NONE,
        }
        if depthwise:
            options["depthMultiplier"] = 1
        scale, zero_point = (_RELU6 / 255, -128) if relu6 else (_LOGITS_SCALE, 0)
        out = self.values(f"{name}_out", (*size, channels), scale, zero_point)
        inputs = [x, *self.weights(name, weights, bias, x, axis)]
        return self.operator(kind, inputs, out, **options)

    def weights(self, name, weights, bias, x, axis):
        """Adds weights and bias in the graph's precision; `axis` is that of output channels."""
        if self.precision == "fp32":
            return self.constant(name, weights), self.constant(f"{name}_bias", bias)
        if self.precision == "fp16":
            halves = ((f"{name}", weights), (f"{name}_bias", bias))
            return [
                self.operator(
                    "DEQUANTIZE",
                    [self.constant(f"{label}_half", array.astype(np.float16))],
                    self.tensor(label, array.shape, "FLOAT32"),
                )
                for label, array in halves
            ]
        rest = tuple(i for i in range(4) if i != axis)
        scales = np.abs(weights).max(rest, keepdims=True) / 127
        quantized = np.round(weights / scales).astype(np.int8)
        scales = scales.ravel()
        matrix = self.constant(name, quantized, scale=scales, zero_point=0 * scales, axis=axis)
        if self.precision == "int8-dynamic":
            return matrix, self.constant(f"{name}_bias", bias)
        scales = scales * self.tensors[x].quantization.scale[0]
        whole = np.round(bias / scales).astype(np.int32)
        return matrix, self.constant(f"{name}_bias", whole, scale=scales, zero_point=0 * scales)

    def values(self, name, shape, scale=None, zero_point=None):
        """Adds a tensor that is computed: int8 in an int8 graph, else float32."""
        if self.precision != "int8":
            return self.tensor(name, (1, *shape), "FLOAT32")
        return self.tensor(name, (1, *shape), "INT8", scale=scale, zero_point=zero_point)

    def constant(self, name, array, **quantization):
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(array.tobytes(), np.uint8)
        self.buffers.append(buffer)
        kind = array.dtype.name.upper()
        return self.tensor(name, array.shape, kind, len(self.buffers) - 1, **quantization)

    def tensor(self, name, shape, kind, buffer=0, *, scale=None, zero_point=None, axis=0):
        """Adds a tensor. Returns its number."""
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, list(shape), buffer
        tensor.type = getattr(schema.TensorType, kind)
        if scale is not None and self.precision.startswith("int8"):
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = np.atleast_1d(scale).astype(np.float32)
            tensor.quantization.zeroPoint = np.atleast_1d(zero_point).astype(np.int64)
            tensor.quantization.quantizedDimension = axis
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def operator(self, kind, inputs, output, **options):
        """Adds an operator. Returns its output's number."""
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = _version(kind, self.precision)
        self.codes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.codes) - 1
        operator.inputs, operator.outputs = list(inputs), [output]
        name = _OPTIONS.get(kind)
        if name:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
            operator.builtinOptions = getattr(schema, f"{name}T")()
            for key, value in options.items():
                setattr(operator.builtinOptions, key, value)
        self.operators.append(operator)
        return output

    def pack(self, image, class_map):
        graph = schema.SubGraphT()
        graph.tensors, graph.operators = self.tensors, self.operators
        graph.inputs, graph.outputs = [image], [class_map]
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = "serve", 0
        signature.inputs, signature.outputs = (
            [_named("image", image)],
            [_named("class_map", class_map)],
        )
        model = schema.ModelT()
        model.version, model.description = 3, f"kseg probe, {self.precision}"
        model.operatorCodes, model.subgraphs = self.codes, [graph]
        model.buffers, model.signatureDefs = self.buffers, [signature]
        return pack(model, 1 << 14)


def _named(name, tensor):
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, tensor
    return entry


_OPTIONS = {
    "CAST": "CastOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "RESIZE_BILINEAR": "ResizeBilinearOptions",
    "ARG_MAX": "ArgMaxOptions",
}


def _version(kind, precision):
    """The version of an operator that has what is asked of it (tflite/tools/versioning)."""
    if kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        hybrid = {"CONV_2D": 5, "DEPTHWISE_CONV_2D": 6}[kind]
        return {"int8": 3, "int8-dynamic": hybrid}.get(precision, 1)
    return {"DEQUANTIZE": 3, "RESIZE_BILINEAR": 3}.get(kind, 2 if precision == "int8" else 1)
