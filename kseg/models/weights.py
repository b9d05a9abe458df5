"""Loading a weights file as a whole or not at all."""

from kseg.errors import InputError


def load(model, path, wanted):
    """Loads a .weights.h5 file into a model.

    Raises InputError, saying that `path` does not hold `wanted`, when the file is damaged or of
    another architecture.
    """
    try:
        model.load_weights(path)
    except (ValueError, KeyError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: does not hold {wanted} ({reason})") from error
