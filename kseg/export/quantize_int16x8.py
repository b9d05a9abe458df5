"""int16x8: activations of 16 bits, weights of 8. Near float where int8 is not, and slow on CPUs.

By Google's ai-edge-quantizer. TensorFlow's own quantiser writes operators in 16 bits that LiteRT
does not run (SQUARED_DIFFERENCE), and cannot be told to leave them in float.
"""

import contextlib
import io

import numpy as np

from kseg import contract
from kseg.errors import InputError
from kseg.export.convert import form, from_saved_model, saved_model


def check():
    """Raises InputError when ai-edge-quantizer is not installed."""
    try:
        import ai_edge_quantizer  # noqa: F401
    except ModuleNotFoundError as error:
        raise InputError(
            "--precision int16x8: ai-edge-quantizer is not installed; ./scripts/install int16x8"
        ) from error


def to_tflite(model, images, profile, output=None):
    """Converts a model with raw RGB in and logits out. Returns the file's bytes.

    images: a list of (H, W, 3) uint8 RGB frames; the ranges of activations are those that they
    have. Frames and answers, and operators without a 16-bit kernel, stay as in an fp32 file.
    """
    from ai_edge_quantizer import quantizer, recipe
    from ai_edge_quantizer.qtyping import TFLOperationName

    # The filled-up channels would take all of a range for themselves.
    wanted = form(profile, output)._replace(pad_classes=False)
    with saved_model(model, wanted) as folder:
        in_float = from_saved_model(folder).convert()
    maker = quantizer.Quantizer(bytearray(in_float), recipe.static_wi8_ai16())
    for names, operator in (
        (".*", TFLOperationName.INPUT),
        (".*", TFLOperationName.OUTPUT),
        # Its constants are wider than its result, which LiteRT's 16-bit ADD refuses.
        (".*normalize.*", TFLOperationName.ALL_SUPPORTED),
    ):
        maker.update_quantization_recipe(names, operator, algorithm_key="no_quantize")
    with contextlib.redirect_stderr(io.StringIO()):  # A progress bar for each frame.
        ranges = _ranges(maker, images)
        quantized = maker.quantize(ranges, enable_progress_report=False).quantized_model
    return contract.pack(contract.unpack(quantized), len(quantized))


def _ranges(maker, images):
    """{tensor: {"min", "max"}} over all frames; the library by itself averages those of each."""
    found = {}
    for image in images:
        for name, seen in maker.calibrate({"serve": [{"image": image[None]}]}).items():
            before = found.get(name) or seen
            found[name] = seen and {
                **seen,
                "min": np.minimum(seen["min"], before["min"]),
                "max": np.maximum(seen["max"], before["max"]),
            }
    return found
