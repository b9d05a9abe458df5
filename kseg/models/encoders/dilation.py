"""Finer features from the same weights: strides become dilations (arXiv:1706.05587, sec. 3.1)."""


def dilate(strides, output_stride):
    """Returns (stride, dilation, stride of its map) of each block after a stem of stride 2.

    strides: that of each block as published, 1 or 2. One that would make the map coarser than
    output_stride becomes a dilation of all blocks after it, whose kernels so reach as far as
    before. The block itself still sees the old grid.
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
