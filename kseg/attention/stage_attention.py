"""The attention of one image by stage, and the pixels that its queries and keys stand for."""

from typing import NamedTuple

import keras
import numpy as np

from kseg.errors import InputError
from kseg.models import attention_maps
from kseg.preprocess import Size

Point = tuple[float, float]  # (y, x) in pixels of the model's input.


class Stage(NamedTuple):
    """One stage of a SegFormer: one block's attention and the geometry of the stage.

    weights (heads, queries, keys) float32, each row summing to 1. Query (i, j) of query_grid stands
    for the pixels [i*query_pixels, (i+1)*query_pixels) x [j*query_pixels, ...) of the model's
    input; a key for reduction x reduction queries (sec. 3.1 of arXiv:2105.15203). Where the grid is
    not a multiple of the reduction, the last rows and columns have queries but no key.

    kernel, stride and padding are those of the stage's patch embedding, in cells of the previous
    stage. cell_pixels is the size of such a cell: 1 for the image itself.
    """

    number: int
    block: int
    weights: np.ndarray
    query_grid: Size
    key_grid: Size
    kernel: int
    stride: int
    padding: int
    cell_pixels: int
    reduction: Size

    @property
    def query_pixels(self) -> int:
        """The size of a query on each side, in pixels of the model's input."""
        return self.cell_pixels * self.stride

    @property
    def key_pixels(self) -> Size:
        """The (height, width) of a key in pixels of the model's input."""
        return self.query_pixels * self.reduction[0], self.query_pixels * self.reduction[1]

    @property
    def title(self) -> str:
        return f"Stage {self.number}, block {self.block}"

    @property
    def summary(self) -> str:
        """Numbers of queries and keys, in words."""
        queries, keys, by = (
            "x".join(map(str, pair)) for pair in (self.query_grid, self.key_grid, self.reduction)
        )
        cells = f", one for each {by} cells" if by != "1x1" else ""
        return f"{queries} queries look at {keys} keys{cells}"


def extract_stage_attention(
    model: keras.Model, image: np.ndarray, block: int | None = None
) -> list[Stage]:
    """Returns a Stage for each stage of a SegFormer, finest first.

    image (H, W, 3) RGB of the model's size; block: 1 for the first, None for each stage's last.
    Raises InputError when the model has no attention or no such block.
    """
    stages: list[Stage] = []
    for number, maps in enumerate(attention_maps.attention_maps(model, image), 1):
        depth = len(maps.weights)
        if block is not None and not 1 <= block <= depth:
            raise InputError(f"--block {block}: stage {number} has blocks 1 to {depth}")
        embed = model.get_layer(f"stage{number}_embed")
        padding = model.get_layer(f"stage{number}_embed_pad").padding[0][0]
        stages.append(
            Stage(
                number,
                block or depth,
                maps.weights[(block or depth) - 1],
                maps.query_grid,
                maps.key_grid,
                embed.kernel_size[0],
                embed.strides[0],
                padding,
                stages[-1].query_pixels if stages else 1,
                _reduction(model, number),
            )
        )
    return stages


def query_index(stage: Stage, point: Point) -> int:
    """Returns the row in `weights` of the query at a point (y, x)."""
    row, column = query_cell(stage, point)
    return row * stage.query_grid[1] + column


def query_cell(stage: Stage, point: Point) -> Size:
    """Returns (row, column) of the query at a point (y, x)."""
    row, column = (
        min(int(at) // stage.query_pixels, count - 1)
        for at, count in zip(point, stage.query_grid, strict=True)
    )
    return row, column


def point_attention(stage: Stage, point: Point) -> np.ndarray:
    """(heads, *key_grid) float32: the weights of each head for the query at a point (y, x)."""
    return stage.weights[:, query_index(stage, point)].reshape(-1, *stage.key_grid)


def mean_attention(stage: Stage) -> np.ndarray:
    """(heads, *key_grid) float32: the weights of each head, averaged over all queries."""
    return stage.weights.mean(1).reshape(-1, *stage.key_grid)


def upsample_keys(grid: np.ndarray, stage: Stage, size: Size, fill: float = 0.0) -> np.ndarray:
    """Repeats values of keys (*key_grid) over the pixels (H, W) that the keys stand for.

    Nothing is interpolated, so that the coarse keys of efficient attention stay visible. Pixels
    that belong to no key get `fill`.
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


def predict_class_map(model: keras.Model, image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB of the model's size -> (H, W) uint8 ids."""
    logits = model(np.asarray(image, np.float32)[None], training=False)
    return np.argmax(keras.ops.convert_to_numpy(logits)[0], axis=-1).astype(np.uint8)
