"""Segmenter: runs a kseg model on frames of any size."""

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from kseg_run import onnx_model
from kseg_run.contract import read_contract, read_file, verify_checksum
from kseg_run.cpu_model import CpuModel
from kseg_run.errors import DeviceLostError, FrameError, InputError, log_to_stderr
from kseg_run.fit import Size, fit_frame, frame_region, placement, unfit_class_map
from kseg_run.gpu_check import DEFAULT_RECHECK_S, CheckedGpu
from kseg_run.gpu_model import GpuModel
from kseg_run.onnx_file import is_onnx
from kseg_run.smoothing import Smoothing

DEVICES = ("cpu", "gpu", "auto")
MAX_FRAME_SIDE = 32768
MAX_SCALED_PIXELS = 1 << 26


class Segmenter:
    """Segments frames: (h, w, 3) uint8 RGB of any size -> (h, w) uint8 class ids.

    A .tflite runs on LiteRT, an .onnx on ONNX Runtime (its GPU is TensorRT, or else CUDA).
    device: "cpu"; "gpu", which fails unless the complete graph runs there; "auto", the GPU while
    its class maps agree with the CPU's, else the CPU. An accelerator can be silently wrong, so
    frames run on both at the start and every recheck_s seconds (0: only at the start). log(line)
    receives messages. smoothing: a kseg_run.smoothing.Smoothing.

    Raises InputError when the file is not a model with a kseg contract that this runner supports,
    or when device is "gpu" and the GPU cannot run it; FrameError for a frame that cannot be fitted
    or segmented; DeviceLostError when device is "gpu" and the GPU is lost, or turns wrong.
    """

    def __init__(
        self,
        path: str | Path,
        num_threads: int | None = None,
        device: str = "cpu",
        *,
        recheck_s: float = DEFAULT_RECHECK_S,
        smoothing: Smoothing | None = None,
        log: Callable[[str], None] = log_to_stderr,
        clock: Callable[[], float] = time.monotonic,
        open_gpu: Callable[..., Any] | None = None,
    ):
        model_file = read_file(path)
        self.path, self.smoothing = path, smoothing
        self._last_shape: tuple[int, ...] | None = None
        self.contract = read_contract(model_file, path)
        verify_checksum(model_file, path)
        if is_onnx(model_file):
            self._cpu: Any = onnx_model.OnnxModel(model_file, self.contract, num_threads, path)
            on_gpu: Callable[..., Any] = functools.partial(
                onnx_model.open_gpu, precision=self.contract.get("precision")
            )
        else:
            self._cpu, on_gpu = CpuModel(model_file, self.contract, num_threads, path), GpuModel
        self.runtime = getattr(self._cpu, "runtime", "")  # "ONNX Runtime 1.22.0"; "" for LiteRT
        self._gpu_name = "GPU"
        self._gpu: Any = None
        self.gpu_check: CheckedGpu | None = None
        if device == "cpu":
            return
        try:
            details = (self._cpu.input_details, self._cpu.output_details)
            self._gpu = (open_gpu or on_gpu)(model_file, *details, path)
            self._gpu_name = self._gpu.device
        except DeviceLostError as error:
            if device == "gpu":
                raise InputError(f"{error}; use --device cpu or auto") from error
            log(f"no GPU: {error}; running on the CPU")
            return
        self.gpu_check = CheckedGpu(
            lambda image: self._class_map(self._gpu(image)),
            lambda image: self._class_map(self._cpu(image)),
            name=path,
            may_fall_back=device == "auto",
            recheck_s=recheck_s,
            log=log,
            clock=clock,
        )

    @property
    def device(self) -> str:
        """The device in use: "CPU"; "GPU" (LiteRT's), "TensorRT" or "CUDA" (ONNX Runtime's)."""
        return self._gpu_name if self.gpu_check and self.gpu_check.in_use else "CPU"

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        size, fit = self.contract["input_size"], self.contract["fit"]
        check_frame(frame, size, fit)
        if frame.shape != self._last_shape:
            self.restart()
            self._last_shape = frame.shape
        try:
            image = fit_frame(frame, size, fit, self.contract["pad_value"])
            class_map = self._segment(image, frame.shape[:2])
            if self.smoothing:
                class_map = self.smoothing(class_map)
            return unfit_class_map(class_map, frame.shape[:2], fit)
        except cv2.error as error:  # For example, out of memory.
            raise FrameError(f"cannot be fitted ({error.err})") from error

    def restart(self) -> None:
        """Resets the smoothing: the next frame does not continue the last one."""
        if self.smoothing:
            self.smoothing.reset()

    def finish(self) -> None:
        """Waits for a comparison of GPU and CPU that is still running. Raises as a call does."""
        if self.gpu_check:
            self.gpu_check.finish()

    def close(self) -> None:
        if self.gpu_check:
            self.gpu_check.close()
        self._close_gpu()

    def _segment(self, image: np.ndarray, frame_size: Size) -> np.ndarray:
        if not self.gpu_check:
            return self._class_map(self._cpu(image))
        region = frame_region(frame_size, self.contract["input_size"], self.contract["fit"])
        class_map = self.gpu_check(image, region)
        if not self.gpu_check.in_use:
            self._close_gpu()
        return class_map

    def _close_gpu(self) -> None:
        if self._gpu:
            self._gpu.close()
            self._gpu = None

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
