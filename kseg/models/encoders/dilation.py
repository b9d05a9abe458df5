"""Strides replaced by dilations: finer features, same weights (arXiv:1706.05587, sec. 3.1)."""

from collections.abc import Iterable


def dilate(strides: Iterable[int], output_stride: int) -> list[tuple[int, int, int]]:
    """Returns (stride, dilation, total stride) of each block after a stem of stride 2.

    strides: the published stride of each block, 1 or 2. A stride that would make the map coarser
    than output_stride becomes a dilation of all later blocks, so that their kernels cover the same
    area as before. The block itself still works on the finer grid, without that dilation.
    """
    steps, reached, dilation = [], 2, 1
    for stride in strides:
        if reached * stride > output_stride:
            steps.append((1, dilation, reached))
            dilation *= stride
        else:
            reached *= stride
            steps.append((stride, dilation, reached))
    return steps
