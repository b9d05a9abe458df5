"""Loading weights as a whole or not at all: from a file, or from keras.applications."""

import warnings
from pathlib import Path

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


def load_application(encoder, source, application, wanted):
    """Copies keras.applications' weights into an encoder that has its layer names.

    source: "none" (nothing is done); "imagenet" (keras.applications downloads its file once); or
    the path of a weights file of that model without top. application: a function that takes
    `weights` (None or "imagenet") and returns the keras.applications model; wanted: its name for
    error messages. Raises InputError.
    """
    if source == "none":
        return
    if source == "imagenet":
        reference = _download(application, wanted)
    else:
        if not Path(source).is_file():
            raise InputError(
                f"{source}: no such encoder weights; give none, imagenet or a .weights.h5 file"
            )
        reference = application(weights=None)
        load(reference, source, wanted)
    for layer in encoder.layers:
        if layer.weights:
            layer.set_weights(reference.get_layer(layer.name).get_weights())


def _download(application, wanted):
    try:
        return application(weights="imagenet")
    except Exception as error:  # keras.utils.get_file raises a bare Exception without network.
        raise InputError(
            f"ImageNet weights of {wanted} could not be downloaded ({error}); give a local "
            "file with --encoder-weights FILE or train from scratch with --encoder-weights none"
        ) from error
