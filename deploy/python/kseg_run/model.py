"""A kseg model, from a frame of any size to its class map."""

import sys

import cv2
import numpy as np

from kseg_run.contract import check_seal, read_contract, read_file
from kseg_run.cpu import Cpu
from kseg_run.errors import FrameError, InputError, LostError
from kseg_run.fit import fit_frame, placement, unfit_class_map
from kseg_run.gpu import Gpu

DEVICES = ("cpu", "gpu", "auto")
AGREEMENT = 0.995  # As kseg.export asks of fp16, which GPUs compute in.
MAX_FRAME_SIDE = 32768
MAX_SCALED_PIXELS = 1 << 26


class Runner:
    """A kseg model on LiteRT: (h, w, 3) uint8 RGB of any size -> (h, w) uint8 class ids.

    device: "cpu"; "gpu", all of it or an error; "auto", the GPU where it answers as the CPU does,
    else the CPU, saying so through `say`. The first frame is answered by both, because an
    accelerator can be silently wrong. smoothing: see kseg_run.smoothing.
    Raises InputError when the file is no model with a kseg contract that this runner reads or, for
    "gpu", the GPU does not run it; FrameError for a frame that cannot be fitted or segmented;
    LostError when a GPU that was asked for goes away.
    """

    def __init__(
        self, path, num_threads=None, device="cpu", *, smoothing=None, say=None, open_gpu=Gpu
    ):
        tflite = read_file(path)
        self.path, self.smoothing, self._last_shape = path, smoothing, None
        self.contract = read_contract(tflite, path)
        check_seal(tflite, path)
        self._say = say or (lambda line: print(line, file=sys.stderr, flush=True))
        self._cpu = Cpu(tflite, self.contract, num_threads, path)
        self._device, self._checked, self._may_fall_back = self._cpu, True, device == "auto"
        if device != "cpu":
            try:
                self._device = open_gpu(tflite, self._cpu.input, self._cpu.output, path)
                self._checked = False
            except LostError as error:
                if not self._may_fall_back:
                    raise InputError(f"{error}; use --device cpu or auto") from error
                self._fall_back(error)

    @property
    def device(self):
        """ "CPU" or "GPU": what answers at present."""
        return self._device.name

    def __call__(self, frame):
        size, fit = self.contract["input_size"], self.contract["fit"]
        check_frame(frame, size, fit)
        if frame.shape != self._last_shape:
            self.restart()
            self._last_shape = frame.shape
        try:
            image = fit_frame(frame, size, fit, self.contract["pad_value"])
            ids = self._segment(image)
            if self.smoothing:
                ids = self.smoothing(ids)
            return unfit_class_map(ids, frame.shape[:2], fit)
        except cv2.error as error:  # No memory for it, for instance.
            raise FrameError(f"cannot be fitted ({error.err})") from error

    def restart(self):
        """The next frame does not follow the last one: smoothing begins anew."""
        if self.smoothing:
            self.smoothing.reset()

    def close(self):
        self._device.close()

    def _segment(self, image):
        try:
            ids = self._class_ids(self._device(image))
        except LostError as error:
            if not self._may_fall_back:
                raise
            self._fall_back(error)
            return self._class_ids(self._cpu(image))
        return ids if self._checked else self._check_gpu(image, ids)

    def _check_gpu(self, image, ids):
        """Compares the GPU's first answer with the CPU's. Returns the one to trust."""
        expected = self._class_ids(self._cpu(image))
        agreement = float((ids == expected).mean())
        self._checked = True
        share = f"{100 * agreement:.3f} % of the first frame's pixels"
        if agreement >= AGREEMENT:
            self._say(f"GPU: answers as the CPU on {share}")
            return ids
        why = f"{self.path}: the GPU answers as the CPU on {share} only (limit {AGREEMENT:.1%})"
        if not self._may_fall_back:
            raise InputError(f"{why}; use --device cpu")
        self._fall_back(why)
        return expected

    def _fall_back(self, why):
        self._say(f"no GPU: {why}; running on the CPU")
        self._device.close()
        self._device, self._checked = self._cpu, True

    def _class_ids(self, answer):
        """A model's answer -> (height, width) uint8 ids; channels beyond the classes are none."""
        if self.contract["output_kind"] == "logits":
            return first_largest(answer[..., : len(self.contract["labels"]["classes"])])
        if answer.dtype != np.uint8 and not 0 <= answer.min() <= answer.max() <= 255:
            odd = answer.min() if answer.min() < 0 else answer.max()
            raise FrameError(f"the model answers class {odd}")
        return answer.astype(np.uint8)


def first_largest(logits):
    """(h, w, classes) float32 -> (h, w) uint8, the first of equals; as argmax, several times as
    fast for few classes."""
    best, ids = logits[..., 0].copy(), np.zeros(logits.shape[:2], np.uint8)
    for channel in range(1, logits.shape[-1]):
        values = logits[..., channel]
        larger = values > best
        ids[larger] = channel
        np.maximum(values, best, out=best)
    return ids


def check_frame(frame, input_size, fit):
    """Raises FrameError for a frame that cannot be fitted in bounded memory."""
    height, width = frame.shape[:2]
    if not (1 <= height <= MAX_FRAME_SIDE and 1 <= width <= MAX_FRAME_SIDE):
        raise FrameError(
            f"a frame of size ({height}, {width}): expected RGB of 1 to {MAX_FRAME_SIDE} pixels "
            "a side"
        )
    scaled_height, scaled_width = placement((height, width), input_size, fit)[:2]
    if scaled_height * scaled_width > MAX_SCALED_PIXELS:
        raise FrameError(
            f"a frame of size ({height}, {width}) is too narrow to crop to "
            f"({input_size[0]}, {input_size[1]})"
        )
