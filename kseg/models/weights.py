"""Loading a weights file as a whole or not at all."""

from collections import Counter

import h5py  # Comes with Keras.

from kseg.errors import InputError


def load(model, path, wanted):
    """Loads a .weights.h5 file into a model.

    Raises InputError, saying that `path` does not hold `wanted`, when the file is damaged or of
    another architecture.
    """
    try:
        # Keras leaves layers it finds no weights for at random and only warns: look first.
        if _shapes_in(path) != Counter(tuple(w.shape) for w in model.weights):
            raise ValueError("its arrays have other shapes")
        model.load_weights(path)
    except (ValueError, KeyError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: does not hold {wanted} ({reason})") from error


def _shapes_in(path):
    """Counts the shapes of all arrays in a weights file."""
    shapes = Counter()

    def count(_, item):
        if isinstance(item, h5py.Dataset):
            shapes[item.shape] += 1

    with h5py.File(path) as file:
        file.visititems(count)
    return shapes
