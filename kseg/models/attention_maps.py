"""Where a SegFormer looks: the attention weights of every stage, block and head."""

import re
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from kseg.errors import InputError
from kseg.models.encoders.mit import DotProductAttention, attention_weights

_NAME = re.compile(r"stage(\d+)_block(\d+)_attention")


class StageAttention(NamedTuple):
    """What one stage of the encoder attends to.

    weights (blocks, heads, queries, keys) float32, each row summing to 1. Queries and keys are the
    cells, row by row, of grids of (height, width): weights[b, h, q].reshape(key_grid) is what head
    h of block b takes into cell divmod(q, query_grid[1]). Queries cover the image. A key is a
    square of `reduction` queries a side (mit.Variant), and those left over at the lower and right
    edge are in no key; none is left over where height and width are multiples of 32.
    """

    weights: np.ndarray
    query_grid: tuple[int, int]
    key_grid: tuple[int, int]


def attention_maps(model, image):
    """Returns a list of StageAttention, finest stage first, of one image.

    model: a SegFormer or its encoder, which is left as it is; image (H, W, 3) RGB in [0, 255] of
    the model's size. Weights are those of inference. Raises InputError when the model has no
    attention or the image is of another size.
    """
    blocks = _attention_layers(model)
    if not blocks:
        raise InputError(f"{model.name}: has no attention to show; only SegFormer has")
    image = np.asarray(image, np.float32)
    if image.shape != model.input_shape[1:]:
        raise InputError(
            f"image is {image.shape}, but {model.name} takes {model.input_shape[1:]}; fit it with "
            "kseg.preprocess.fit_image"
        )
    # A second model on the same layers, which answers with what goes into every attention.
    taps = keras.Model(model.input, {layer.name: layer.input for layer in blocks.values()})
    inputs = taps(image[None], training=False)
    stages = []
    for stage in sorted({stage for stage, _ in blocks}):
        names = [layer.name for (s, _), layer in blocks.items() if s == stage]
        weights = [
            ops.convert_to_numpy(attention_weights(query, key))[0]
            for query, key, _ in (inputs[name] for name in names)
        ]
        grids = (_grid(model, f"{names[0]}_{part}") for part in ("query", "key"))
        stages.append(StageAttention(np.stack(weights), *grids))
    return stages


def _attention_layers(model):
    """{(stage, block): layer}, in order."""
    found = {}
    for layer in model.layers:
        if isinstance(layer, DotProductAttention):
            stage, block = map(int, _NAME.fullmatch(layer.name).groups())
            found[stage, block] = layer
    return dict(sorted(found.items()))


def _grid(model, name):
    return tuple(model.get_layer(name).output.shape[1:3])
