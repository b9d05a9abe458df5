"""Loading a weights file as a whole or not at all."""

import warnings

from kseg.errors import InputError


def load(model, path, wanted):
    """Loads a .weights.h5 file into a model.

    Raises InputError, saying that `path` does not hold `wanted`, when the file is damaged or of
    another architecture.
    """
    try:
        with warnings.catch_warnings():
            # Keras warns, layer by layer, of what it leaves at random before it gives up.
            warnings.simplefilter("error", UserWarning)
            model.load_weights(path)
    except (ValueError, KeyError, OSError, UserWarning) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: does not hold {wanted} ({reason})") from error
