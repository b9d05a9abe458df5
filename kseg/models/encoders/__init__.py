"""Encoders: image -> features by stride, {4: (B, H/4, W/4, C), 8: ..., 16: ..., 32: ...}.

Heights and widths are rounded up, so any input size works.
"""
