"""Export profiles: for each target its input and output forms and the operators it runs.

The operator tables are from google-ai-edge/LiteRT at f67457790; the source file is named beside
each. Rules that depend on an operator's tensors are in kseg.export.delegate_rules.
"""

from pathlib import Path
from typing import NamedTuple

# Part of the identity of exported files in kseg.compare. Increase it with every change to
# kseg.export or kseg.models.simplify that gives another file or another verdict for a model.
EXPORT_VERSION = 1


class Profile(NamedTuple):
    """A target: the form of its files, and the operators of its GPU delegate (None: a CPU)."""

    name: str
    runtime: str
    image_dtype: str  # raw RGB in 0..255 in both cases
    outputs: tuple[str, ...]  # the first is the default
    precisions: tuple[str, ...]
    operators: frozenset[str] | None = None


class Target(NamedTuple):
    """One .tflite or .onnx to write."""

    profile: Profile
    precision: str
    path: Path


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


PRECISIONS = ("fp32", "fp16", "int8", "int8-dynamic", "int16x8")
# Those for which LiteRT has CPU-specific kernels. int16x8 runs on portable C++ kernels everywhere.
TUNED = ("fp32", "fp16", "int8", "int8-dynamic")

# tflite/delegates/gpu/common/model_builder.cc, NewOperationParser. CAST is there too, but only
# between float32, int32 and bool: tflite/tools/versioning/gpu_compatibility.cc.
OPENCL = _names(
    """ABS ADD ADD_N AVERAGE_POOL_2D BATCH_MATMUL CAST CONCATENATION CONV_2D COS CUMSUM DENSIFY
    DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE DIV EQUAL ELU EXP FLOOR FLOOR_DIV FLOOR_MOD
    FULLY_CONNECTED GATHER GELU GREATER GREATER_EQUAL HARD_SWISH LESS LESS_EQUAL LOGISTIC LOG
    LOGICAL_AND LSTM MAXIMUM MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL ONE_HOT PACK PAD
    PADV2 POW REDUCE_MAX REDUCE_MIN REDUCE_PROD QUANTIZE RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1
    LEAKY_RELU PRELU RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR RSQRT SELECT SELECT_V2 SIGN SIN
    SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE STRIDED_SLICE SUB SUM
    TANH TILE TRANSPOSE TRANSPOSE_CONV UNPACK"""
)

# Those without the operators that tflite/delegates/gpu/gl/kernels/registry.cc has no shader for.
# BATCH_MATMUL stays, because with a constant matrix it becomes a convolution.
OPENGL = OPENCL - _names(
    """CAST CUMSUM DENSIFY EQUAL GATHER GREATER GREATER_EQUAL LESS LESS_EQUAL LOGICAL_AND NOT_EQUAL
    ONE_HOT REDUCE_MAX REDUCE_MIN REDUCE_PROD SELECT SELECT_V2 SIGN SPLIT SPLIT_V SUM TRANSPOSE
    UNPACK"""
)

# ml_drift_delegate/tflite/model_builder.cc, NewOperationParser.
ML_DRIFT = (OPENCL - {"DENSIFY"}) | _names(
    """ARG_MAX ATAN2 BITCAST BITWISE_XOR CEIL DYNAMIC_UPDATE_SLICE EMBEDDING_LOOKUP LOGICAL_NOT
    LOGICAL_OR REDUCE_ALL REDUCE_ANY REVERSE_V2 RIGHT_SHIFT ROUND TOPK_V2"""
)

# Highest operator version that the classic delegate parses (CheckMaxSupportedOpVersion, same file
# as OPENCL); 2 for elementwise operators except MUL.
OPENCL_VERSIONS = {
    "CONCATENATION": 2,
    "CONV_2D": 6,
    "DEPTHWISE_CONV_2D": 6,
    "DEQUANTIZE": 3,
    "FULLY_CONNECTED": 9,
    "MUL": 3,
    "PAD": 2,
    "PADV2": 2,
    "AVERAGE_POOL_2D": 2,
    "MAX_POOL_2D": 2,
    "QUANTIZE": 2,
    "RESHAPE": 1,
    "RESIZE_BILINEAR": 3,
    "RESIZE_NEAREST_NEIGHBOR": 3,
    "SLICE": 2,
    "SOFTMAX": 2,
    "STRIDED_SLICE": 4,
    "TRANSPOSE": 4,
    "TRANSPOSE_CONV": 3,
    "ADD": 2,
    "SUB": 2,
    "DIV": 2,
}

# Operators for which ML Drift also takes tensors that are not float (GetOpsToReplaceWithOptions,
# same file as ML_DRIFT).
ML_DRIFT_ANY_TYPE = _names(
    """BITCAST CAST CONCATENATION DYNAMIC_UPDATE_SLICE GATHER PACK PAD PADV2 RESHAPE REVERSE_V2
    SELECT SELECT_V2 SLICE STRIDED_SLICE TRANSPOSE"""
)
ML_DRIFT_INTEGER = _names(
    """ABS ADD ATAN2 COS DIV FLOOR_DIV FLOOR_MOD MAXIMUM MINIMUM MUL NEG REDUCE_MAX REDUCE_MIN
    REDUCE_PROD RIGHT_SHIFT SIGN SIN SUB SUM TILE"""
)

# onnx/onnx-tensorrt at 009d6541 (TensorRT 8.4), docs/operators.md; later versions add operators.
TENSORRT = _names(
    """Abs Add And AveragePool BatchNormalization Cast Ceil Clip Concat Constant Conv ConvTranspose
    DepthToSpace Div Elu Equal Erf Exp Expand Flatten Floor Gather Gemm GlobalAveragePool
    GlobalMaxPool Greater GreaterOrEqual HardSigmoid Identity InstanceNormalization LeakyRelu Less
    LessOrEqual Log MatMul Max MaxPool Mean Min Mul Neg Not Or Pad Pow PRelu ReduceMax ReduceMean
    ReduceMin ReduceProd ReduceSum Relu Reshape Resize Round Selu Shape Sigmoid Slice Softmax
    Softplus SpaceToDepth Split Sqrt Squeeze Sub Sum Tanh Tile Transpose Unsqueeze Upsample Where"""
)

_FLOAT = ("fp32", "fp16")
# The target of .onnx files. TensorRT is not a delegate: kseg.export.onnx_lint has its rules.
ONNX = Profile("onnx", "ONNX Runtime and TensorRT", "uint8", ("class-map", "logits"), _FLOAT)
PROFILES = {
    p.name: p
    for p in (
        Profile("cpu", "any LiteRT or TFLite, on its CPU", "uint8", ("class-map", "logits"),
                PRECISIONS),
        Profile("gpu", "LiteRT 2's GPU accelerator (ML Drift)", "uint8", ("class-map", "logits"),
                _FLOAT, ML_DRIFT),
        Profile("gpu-classic", "TFLite's GPU delegate on OpenCL", "float32", ("logits",),
                _FLOAT, OPENCL),
        Profile("gpu-gl", "TFLite's GPU delegate on OpenGL", "float32", ("logits",),
                _FLOAT, OPENGL),
    )
}  # fmt: skip
