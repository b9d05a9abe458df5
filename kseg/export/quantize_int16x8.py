"""int16x8 quantization: 16-bit activations, 8-bit weights. More accurate than int8, slow on CPUs.

It uses Google's ai-edge-quantizer. TensorFlow's own quantizer writes 16-bit operators that LiteRT
does not run (SQUARED_DIFFERENCE), and has no way to leave them in float.
"""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kseg import contract
from kseg.errors import InputError
from kseg.export.convert import form, from_saved_model, saved_model
from kseg.export.profiles import Profile


def check_installed() -> None:
    """Raises InputError when ai-edge-quantizer is not installed."""
    try:
        import ai_edge_quantizer  # noqa: F401
    except ModuleNotFoundError as error:
        raise InputError(
            "--precision int16x8: ai-edge-quantizer is not installed; ./scripts/install int16x8"
        ) from error


def to_tflite(
    model: keras.Model,
    images: Sequence[np.ndarray],
    profile: Profile,
    output: str | None = None,
) -> bytes:
    """Converts a model (B, H, W, 3) raw RGB -> (B, H, W, C) logits. Returns the file's bytes.

    images: (H, W, 3) uint8 RGB frames that give the ranges of the activations. Input, output and
    operators without a 16-bit kernel stay as in an fp32 file.
    """
    from ai_edge_quantizer import quantizer, recipe
    from ai_edge_quantizer.qtyping import TFLOperationName

    # Guard classes have logits of -3e4, which would take up all of a range.
    unpadded = form(profile, output)._replace(guard_classes=False)
    with saved_model(model, unpadded) as folder:
        fp32 = from_saved_model(folder).convert()
    int16x8 = quantizer.Quantizer(bytearray(fp32), recipe.static_wi8_ai16())
    for names, operator in (
        (".*", TFLOperationName.INPUT),
        (".*", TFLOperationName.OUTPUT),
        # The constants there have a wider range than the result, which LiteRT's 16-bit ADD refuses.
        (".*normalize.*", TFLOperationName.ALL_SUPPORTED),
    ):
        int16x8.update_quantization_recipe(names, operator, algorithm_key="no_quantize")
    with contextlib.redirect_stderr(io.StringIO()):  # It prints a progress bar for each frame.
        ranges = _ranges(int16x8, images)
        quantized = int16x8.quantize(ranges, enable_progress_report=False).quantized_model
    return contract.pack(contract.unpack(quantized), len(quantized))


def _ranges(quantizer: Any, images: Sequence[np.ndarray]) -> dict[str, Any]:
    """{tensor: {"min", "max"}} over all frames. The library itself would average over frames."""
    ranges: dict[str, Any] = {}
    for image in images:
        for name, current in quantizer.calibrate({"serve": [{"image": image[None]}]}).items():
            before = ranges.get(name) or current
            ranges[name] = current and {
                **current,
                "min": np.minimum(current["min"], before["min"]),
                "max": np.maximum(current["max"], before["max"]),
            }
    return ranges
