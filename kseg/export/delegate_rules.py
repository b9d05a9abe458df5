"""Rules by which a GPU delegate leaves an operator to the CPU, each with a remedy.

The sources are those of kseg.export.profiles. Where a rule says "measured", it was measured on
LiteRT 2.3's accelerator.
"""

from collections.abc import Callable

from kseg.export import profiles
from kseg.export.profiles import Profile
from kseg.export.tflite_graph import Operator

Refusal = tuple[str, str]  # (reason, remedy)

_QUANTIZED = {"INT8", "UINT8"}
_FLOATS = {"FLOAT32", "FLOAT16"}
_INTEGERS = {"INT8", "INT16", "INT32"}
_UNSIGNED = {"UINT8", "UINT16", "UINT32"}

REMEDIES = {
    "ARG_MAX": "export logits (--output logits) and take the argmax in the runner",
    "CAST": "use float32 input and output, as the profiles gpu-classic and gpu-gl do",
    "SPACE_TO_BATCH_ND": "a dilated convolution was not recognised: give the model a static size",
    "BATCH_TO_SPACE_ND": "a dilated convolution was not recognised: give the model a static size",
    "TRANSPOSE": "attention needs OpenCL or LiteRT 2: use --profile gpu-classic or gpu",
    "BATCH_MATMUL": "attention needs OpenCL or LiteRT 2: use --profile gpu-classic or gpu",
    "TILE": "broadcast with Resizing(interpolation='nearest') instead of UpSampling2D",
    "BROADCAST_TO": "broadcast with Resizing(interpolation='nearest')",
    "EXPAND_DIMS": "use Reshape with a static shape",
    "SQUEEZE": "use Reshape with a static shape, or keepdims",
    "SHAPE": "give the model a static size and each resize a static target",
    "FILL": "give the model a static size",
    "WHERE": "multiply by a mask instead of selecting by a condition",
}
RANK_REMEDY = "use at most four dimensions (UpSampling2D makes five: use Resizing)"
SLICE_REMEDY = (
    "give the last convolution channels up to a multiple of 4, with zero kernels and a bias that "
    "never wins (kseg.models.guard_classes)"
)


def refusal(op: Operator, profile: Profile) -> Refusal | None:
    """Returns (reason, remedy) when the profile's GPU delegate does not run the operator."""
    reason = _not_in_table(op, profile) or _wrong_dtype(op, profile)
    if reason:
        remedy = "replace the layer or leave it out of the exported graph"
        return reason, REMEDIES.get(op.name, remedy)
    for tensor in op.inputs + op.outputs:
        if len(tensor.shape) > 4:
            reason = f"{tensor.name} has rank {len(tensor.shape)}, delegates take at most 4"
            return reason, RANK_REMEDY
    for rule in _RULES:
        refused = rule(op, profile)
        if refused:
            return refused
    return None


def _not_in_table(op: Operator, profile: Profile) -> str | None:
    assert profile.operators is not None
    if op.name not in profile.operators:
        return f"not among the operators of {profile.runtime}"
    limit = profiles.OPENCL_VERSIONS.get(op.name)
    if profile.operators is not profiles.ML_DRIFT and limit and op.version > limit:
        return f"version {op.version}, {profile.runtime} reads up to {limit}"
    return None


def _wrong_dtype(op: Operator, profile: Profile) -> str | None:
    """Computed tensors must have a dtype that the delegate takes; constants may have any."""
    inputs = outputs = _FLOATS | _QUANTIZED
    if profile.operators is profiles.ML_DRIFT:
        extra: set[str] = set()
        if op.name in profiles.ML_DRIFT_ANY_TYPE:
            extra = _INTEGERS | _UNSIGNED
        elif op.name in profiles.ML_DRIFT_INTEGER:
            extra = _INTEGERS
        inputs, outputs = inputs | extra, outputs | extra
        if op.name == "ARG_MAX":
            outputs = {"INT32"}
        if op.name == "TOPK_V2":
            outputs = outputs | {"INT32"}
    elif op.name == "CAST":
        inputs = outputs = {"FLOAT32", "FLOAT16", "INT32", "BOOL"}
    elif op.name in ("GATHER", "ONE_HOT"):
        inputs = inputs | {"INT32"}
    for tensors, allowed in ((op.runtime_inputs, inputs), (op.outputs, outputs)):
        for tensor in tensors:
            if tensor.dtype not in allowed:
                return f"{tensor.name} is {tensor.dtype}"
    return None


def _batch(op: Operator, _: Profile) -> Refusal | None:
    for tensor in op.runtime_inputs + op.outputs:
        if len(tensor.shape) == 4 and tensor.shape[0] != 1:
            return f"{tensor.name} has batch {tensor.shape[0]}, delegates need 1", "export batch 1"
    return None


def _softmax(op: Operator, _: Profile) -> Refusal | None:
    if op.name == "SOFTMAX" and op.options.beta != 1:
        return f"beta is {op.options.beta:g}, delegates need 1", "scale before the softmax"
    return None


def _constant_axes(op: Operator, profile: Profile) -> Refusal | None:
    if op.name not in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "TRANSPOSE"):
        return None
    if op.inputs[1].data is None:
        return "its axes are computed", "give it constant axes"
    axes = {int(a) % len(op.inputs[0].shape) for a in op.inputs[1].values()}
    if op.name == "MEAN" and profile.operators is profiles.OPENGL and axes != {1, 2}:
        return (
            f"averages over axes {sorted(axes)}, OpenGL only over height and width",
            "layer norm needs OpenCL or LiteRT 2: use --profile gpu-classic or gpu",
        )
    return None


def _opengl_matrices(op: Operator, profile: Profile) -> Refusal | None:
    computed = op.name == "BATCH_MATMUL" and len(op.runtime_inputs) == 2
    if computed and profile.operators is profiles.OPENGL:
        return "multiplies two computed matrices, OpenGL has no shader", REMEDIES[op.name]
    return None


def _opengl_resize(op: Operator, profile: Profile) -> Refusal | None:
    if not op.name.startswith("RESIZE_") or profile.operators is not profiles.OPENGL:
        return None
    sides = zip(op.inputs[0].shape[1:3], op.outputs[0].shape[1:3], strict=True)
    if any(after < before for before, after in sides):
        return "makes the feature map smaller, OpenGL only enlarges", "pool or stride instead"
    return None


def _argmax_slices(op: Operator, profile: Profile) -> Refusal | None:
    """Measured: the zero padding of 4-channel slices wins where all logits are negative."""
    if op.name == "ARG_MAX" and profile.operators is profiles.ML_DRIFT:
        channels = op.inputs[0].shape[-1]
        if channels % 4:
            return (
                f"{channels} channels: the result can be a class that does not exist",
                SLICE_REMEDY,
            )
    return None


def _padding_constant(op: Operator, _: Profile) -> Refusal | None:
    """Measured: LiteRT.js 2.5.3's accelerator pads with 0, whatever constant PADV2 has."""
    if op.name != "PADV2" or op.inputs[2].dtype in _QUANTIZED:  # There, 0 has any number.
        return None
    constant = op.inputs[2]
    if constant.data is None:
        return "its constant is computed", "pad with 0 (PAD)"
    if constant.values().any():
        return (
            f"pads with {float(constant.values().flat[0]):g}, some drivers pad with 0 instead",
            "pad with 0; for class channels, widen the last convolution instead "
            "(kseg.models.guard_classes)",
        )
    return None


_RULES: tuple[Callable[[Operator, Profile], Refusal | None], ...] = (
    _batch,
    _softmax,
    _constant_axes,
    _opengl_matrices,
    _opengl_resize,
    _argmax_slices,
    _padding_constant,
)
