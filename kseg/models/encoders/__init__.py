"""Encoders: image -> features by stride, {2: (B, H/2, W/2, C), 4: ..., 8: ..., 16: ..., 32: ...}.

Heights and widths are rounded up, so any input size works. Convolutional encoders take the coarsest
stride as an argument; MiT has no features of stride 2.
"""
