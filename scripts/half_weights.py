"""Writes a .weights.h5 file again with its numbers in float16, in half of the space.

Keras loads such a file as any other; its weights are float32 again.
"""

from pathlib import Path

import h5py
import numpy as np


def write(source: Path, target: Path) -> None:
    """Raises ValueError for a number that float16 cannot hold."""
    with h5py.File(source) as full, h5py.File(target, "w") as half:

        def copy(name, item):
            if isinstance(item, h5py.Dataset):
                created = half.create_dataset(name, data=_half(item[()], f"{source}: {name}"))
            else:
                created = half.require_group(name)
            created.attrs.update(item.attrs)

        full.visititems(copy)
        half.attrs.update(full.attrs)


def _half(value, where):
    if getattr(value, "dtype", None) != np.float32:
        return value
    with np.errstate(over="ignore"):
        rounded = value.astype(np.float16)
    if not np.isfinite(rounded).all():
        raise ValueError(f"{where} has numbers beyond {np.finfo(np.float16).max:g}")
    return rounded
