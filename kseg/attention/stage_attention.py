"""The attention of one image by stage, and where its queries and keys lie in the picture."""

from typing import NamedTuple

import keras
import numpy as np

from kseg.errors import InputError
from kseg.models import attention_maps


class Stage(NamedTuple):
    """One stage of a SegFormer: one block's attention and the geometry of the stage.

    weights (heads, queries, keys) float32, each row summing to 1. Query (i, j) of query_grid stands
    for the pixels [i*pixels, (i+1)*pixels) x [j*pixels, ...) of the model's input; a key for
    reduction x reduction queries (sec. 3.1 of arXiv:2105.15203). Where the grid is no multiple of
    the reduction, the last rows and columns have queries but no key.

    kernel, stride, padding are those of the stage's patch embedding, in cells of the stage before
    (`below` pixels each; 1 for the image itself).
    """

    number: int
    block: int
    weights: np.ndarray
    query_grid: tuple[int, int]
    key_grid: tuple[int, int]
    kernel: int
    stride: int
    padding: int
    below: int
    reduction: tuple[int, int]

    @property
    def pixels(self):
        """The size of a query on each side, in pixels of the model's input."""
        return self.below * self.stride

    @property
    def key_pixels(self):
        """The (height, width) of a key in pixels of the model's input."""
        return tuple(self.pixels * r for r in self.reduction)


def look(model, image, block=None):
    """Returns a Stage for each stage of a SegFormer, finest first.

    image (H, W, 3) RGB of the model's size; block: 1 for the first, None for each stage's last.
    Raises InputError when the model has no attention or no such block.
    """
    stages, below = [], 1
    for number, found in enumerate(attention_maps.attention_maps(model, image), 1):
        depth = len(found.weights)
        if block is not None and not 1 <= block <= depth:
            raise InputError(f"--block {block}: stage {number} has blocks 1 to {depth}")
        embed = model.get_layer(f"stage{number}_embed")
        padding = model.get_layer(f"stage{number}_embed_pad").padding[0][0]
        stage = Stage(
            number,
            block or depth,
            found.weights[(block or depth) - 1],
            found.query_grid,
            found.key_grid,
            embed.kernel_size[0],
            embed.strides[0],
            padding,
            below,
            _reduction(model, number),
        )
        stages.append(stage)
        below = stage.pixels
    return stages


def query_at(stage, point):
    """Returns the query of a point (y, x) in pixels of the model's input: its number in weights."""
    row, column = query_cell(stage, point)
    return row * stage.query_grid[1] + column


def query_cell(stage, point):
    """Returns (row, column) of the query that stands for a point (y, x)."""
    return tuple(
        min(int(at) // stage.pixels, count - 1)
        for at, count in zip(point, stage.query_grid, strict=True)
    )


def at_point(stage, point):
    """(heads, *key_grid) float32: what each head takes into the query at a point (y, x)."""
    return stage.weights[:, query_at(stage, point)].reshape(-1, *stage.key_grid)


def over_image(stage):
    """(heads, *key_grid) float32: the mean over all queries, what each head looks at most."""
    return stage.weights.mean(1).reshape(-1, *stage.key_grid)


def over_pixels(grid, stage, size, fill=0.0):
    """Spreads values of keys (*key_grid) over the pixels (H, W) they stand for.

    Nothing is interpolated: the coarse keys of efficient attention are what is seen. Pixels that no
    key stands for get `fill`.
    """
    rows, columns = (
        np.arange(side) // each for side, each in zip(size, stage.key_pixels, strict=True)
    )
    height, width = stage.key_grid
    values = grid[np.ix_(rows.clip(0, height - 1), columns.clip(0, width - 1))]
    return np.where((rows < height)[:, None] & (columns < width), values, fill)


def _reduction(model, number):
    name = f"stage{number}_block1_attention_reduce"
    layers = [layer for layer in model.layers if layer.name == name]
    return tuple(layers[0].kernel_size) if layers else (1, 1)


def class_map(model, image):
    """(H, W, 3) uint8 RGB of the model's size -> (H, W) uint8 ids."""
    logits = model(np.asarray(image, np.float32)[None], training=False)
    return np.argmax(keras.ops.convert_to_numpy(logits)[0], axis=-1).astype(np.uint8)
