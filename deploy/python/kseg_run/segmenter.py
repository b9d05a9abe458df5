"""Segmenter: runs a kseg model on frames of any size."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from kseg_run.contract import read_contract, read_file, verify_checksum
from kseg_run.cpu_model import CpuModel
from kseg_run.errors import DeviceLostError, FrameError, InputError, log_to_stderr
from kseg_run.fit import Size, fit_frame, placement, unfit_class_map
from kseg_run.gpu_model import GpuModel
from kseg_run.smoothing import Smoothing

DEVICES = ("cpu", "gpu", "auto")
MIN_AGREEMENT = 0.995  # kseg.export's limit for fp16, the precision GPUs compute in.
MAX_FRAME_SIDE = 32768
MAX_SCALED_PIXELS = 1 << 26


class Segmenter:
    """Segments frames with LiteRT: (h, w, 3) uint8 RGB of any size -> (h, w) uint8 class ids.

    device: "cpu"; "gpu", which fails unless the complete graph runs there; "auto", the GPU if its
    class map agrees with the CPU's, else the CPU. The first frame runs on both, because an
    accelerator can be silently wrong. log(line) receives messages. smoothing: a
    kseg_run.smoothing.Smoothing.

    Raises InputError when the file is not a model with a kseg contract that this runner supports,
    or when device is "gpu" and the GPU cannot run it; FrameError for a frame that cannot be fitted
    or segmented; DeviceLostError when device is "gpu" and the GPU is lost.
    """

    def __init__(
        self,
        path: str | Path,
        num_threads: int | None = None,
        device: str = "cpu",
        *,
        smoothing: Smoothing | None = None,
        log: Callable[[str], None] = log_to_stderr,
        open_gpu: Callable[..., Any] = GpuModel,
    ):
        tflite = read_file(path)
        self.path, self.smoothing = path, smoothing
        self._last_shape: tuple[int, ...] | None = None
        self.contract = read_contract(tflite, path)
        verify_checksum(tflite, path)
        self._log = log
        self._cpu = CpuModel(tflite, self.contract, num_threads, path)
        self._model: Any = self._cpu  # the one in use
        self._verified, self._may_fall_back = True, device == "auto"
        if device != "cpu":
            try:
                details = (self._cpu.input_details, self._cpu.output_details)
                self._model = open_gpu(tflite, *details, path)
                self._verified = False
            except DeviceLostError as error:
                if not self._may_fall_back:
                    raise InputError(f"{error}; use --device cpu or auto") from error
                self._fall_back(error)

    @property
    def device(self) -> str:
        """The device in use: "CPU" or "GPU"."""
        return self._model.name

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        size, fit = self.contract["input_size"], self.contract["fit"]
        check_frame(frame, size, fit)
        if frame.shape != self._last_shape:
            self.restart()
            self._last_shape = frame.shape
        try:
            image = fit_frame(frame, size, fit, self.contract["pad_value"])
            class_map = self._segment(image)
            if self.smoothing:
                class_map = self.smoothing(class_map)
            return unfit_class_map(class_map, frame.shape[:2], fit)
        except cv2.error as error:  # For example, out of memory.
            raise FrameError(f"cannot be fitted ({error.err})") from error

    def restart(self) -> None:
        """Resets the smoothing: the next frame does not continue the last one."""
        if self.smoothing:
            self.smoothing.reset()

    def close(self) -> None:
        self._model.close()

    def _segment(self, image: np.ndarray) -> np.ndarray:
        try:
            output = self._model(image)
        except DeviceLostError as error:
            if not self._may_fall_back:
                raise
            self._fall_back(error)
            output = self._cpu(image)
        return self._class_map(output) if self._verified else self._verify_gpu(image, output)

    def _verify_gpu(self, image: np.ndarray, output: np.ndarray) -> np.ndarray:
        """Compares the GPU's first class map with the CPU's. Returns the one to trust."""
        expected = self._class_map(self._cpu(image))
        self._verified = True
        try:
            class_map = self._class_map(output)
        except FrameError as error:
            return self._reject_gpu(f"on the GPU {error}", expected)
        agreement = float((class_map == expected).mean())
        share = f"{100 * agreement:.3f} % of the first frame's pixels"
        if agreement >= MIN_AGREEMENT:
            self._log(f"GPU: agrees with the CPU on {share}")
            return class_map
        return self._reject_gpu(
            f"the GPU agrees with the CPU on only {share} (limit {MIN_AGREEMENT:.1%})", expected
        )

    def _reject_gpu(self, reason: str, class_map: np.ndarray) -> np.ndarray:
        """Falls back to the CPU and returns its class map. Raises InputError where it must not."""
        if not self._may_fall_back:
            raise InputError(f"{self.path}: {reason}; use --device cpu")
        self._fall_back(f"{self.path}: {reason}")
        return class_map

    def _fall_back(self, reason: object) -> None:
        self._log(f"no GPU: {reason}; running on the CPU")
        self._model.close()
        self._model, self._verified = self._cpu, True

    def _class_map(self, output: np.ndarray) -> np.ndarray:
        """Converts a model's output to (height, width) uint8 ids, ignoring padded channels.

        Raises FrameError for an output that names no class: the ids above the classes stand for
        pixels without a finite logit.
        """
        classes = len(self.contract["labels"]["classes"])
        if self.contract["output_kind"] == "logits":
            return argmax_classes(output[..., :classes])
        invalid = int(((output < 0) | (output >= classes)).sum())
        if invalid:
            raise FrameError(
                f"the model predicts no class at {invalid} pixels (its logits are not finite, or "
                f"the device computes wrongly)"
            )
        return output.astype(np.uint8)


def argmax_classes(logits: np.ndarray) -> np.ndarray:
    """(h, w, classes) float32 -> (h, w) uint8, the first of equal maxima.

    The same as np.argmax, but several times as fast for few classes. Raises FrameError where the
    largest logit is not finite: NaN is larger than nothing, so it would become class 0.
    """
    best, class_map = logits[..., 0].copy(), np.zeros(logits.shape[:2], np.uint8)
    for channel in range(1, logits.shape[-1]):
        values = logits[..., channel]
        larger = values > best
        class_map[larger] = channel
        np.maximum(values, best, out=best)
    invalid = best.size - int(np.isfinite(best).sum())
    if invalid:
        raise FrameError(f"the model's logits are not finite at {invalid} pixels")
    return class_map


def check_frame(frame: np.ndarray, input_size: Size, fit: str) -> None:
    """Raises FrameError for a frame that cannot be fitted in bounded memory."""
    height, width = frame.shape[:2]
    if not (1 <= height <= MAX_FRAME_SIDE and 1 <= width <= MAX_FRAME_SIDE):
        raise FrameError(
            f"a frame of size ({height}, {width}): expected 1 to {MAX_FRAME_SIDE} pixels a side"
        )
    scaled_height, scaled_width = placement((height, width), input_size, fit)[:2]
    if scaled_height * scaled_width > MAX_SCALED_PIXELS:
        raise FrameError(
            f"a frame of size ({height}, {width}) is too narrow to crop to "
            f"({input_size[0]}, {input_size[1]})"
        )
