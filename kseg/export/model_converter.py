"""Converts one model to several files, each in the form and precision of its target."""

from dataclasses import dataclass
from typing import Any

import keras

from kseg.config import Config
from kseg.export import (
    convert,
    labelled_frames,
    onnx_convert,
    quantize,
    quantize_int16x8,
    thresholds,
)
from kseg.export.compare_with_keras import compare_with_keras
from kseg.export.profiles import ONNX, Profile
from kseg.labels import LabelSet
from kseg.models.simplify import simplify


@dataclass(frozen=True)
class ConvertedFile:
    """A .tflite or .onnx without contract or metadata.

    int8: how it was quantized, None if it was not.
    """

    data: bytes
    int8: dict[str, Any] | None = None


class ModelConverter:
    """Converts a model; profiles that need the same form and precision share one conversion.

    config: the run's, with the input size of the files and the data to calibrate on.
    calibration_frames: how many training frames int8 and int16x8 are calibrated on.
    allowed_loss: points of IoU an int8 file may lose; None means the limits of thresholds.
    """

    def __init__(
        self,
        model: keras.Model,
        config: Config,
        labels: LabelSet,
        *,
        calibration_frames: int,
        allowed_loss: float | None = None,
    ) -> None:
        self._model, self._simplified = model, simplify(model)
        self._config, self._labels = config, labels
        self._calibration_frames, self._allowed_loss = calibration_frames, allowed_loss
        self._converted: dict[tuple[bool, convert.Form, str], ConvertedFile] = {}

    def convert(self, profile: Profile, precision: str, output: str | None) -> ConvertedFile:
        """Converts the model, or returns the earlier conversion to the same form and precision.

        output: "class-map" or "logits"; None is the profile's default. Raises InputError when the
        profile does not have that output.
        """
        key = (profile is ONNX, convert.form(profile, output), precision)
        if key not in self._converted:
            self._converted[key] = self._convert(profile, precision, output)
        return self._converted[key]

    def _convert(self, profile: Profile, precision: str, output: str | None) -> ConvertedFile:
        if profile is ONNX:
            return ConvertedFile(onnx_convert.to_onnx(self._simplified, precision, output))
        if precision == "int8":
            return self._quantize(profile, output)
        if precision == "int16x8":
            images = [frame.image for frame in self._calibration()]
            tflite = quantize_int16x8.to_tflite(self._simplified, images, profile, output)
        else:
            tflite = convert.to_tflite(self._simplified, precision, profile, output)
        return ConvertedFile(tflite)

    def _quantize(self, profile: Profile, output: str | None) -> ConvertedFile:
        frames = self._calibration()

        def find_problems(tflite: bytes) -> list[str]:
            comparison = compare_with_keras(self._model, {"int8": tflite}, frames, self._labels)
            return thresholds.accuracy_problems(
                comparison["files"]["int8"], comparison["keras"], "int8", self._allowed_loss
            )

        images = [frame.image for frame in frames]
        with quantize.Quantizer(self._simplified, images, profile, output) as quantizer:
            tflite, findings = quantize.search(quantizer, find_problems)
        return ConvertedFile(tflite, {"calibration_frames": len(frames), **findings})

    def _calibration(self) -> list[labelled_frames.Frame]:
        return labelled_frames.calibration(self._config, "train", self._calibration_frames)
