"""Comparisons of a GPU's class maps with the CPU's, at the start and while driving.

deploy/README.md has the rule, which is the same in C++ and Java.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from kseg_run.errors import DeviceLostError, FrameError, InputError
from kseg_run.fit import Region

MIN_AGREEMENT = 0.995  # kseg.export's limit for fp16, the precision GPUs compute in.
MIN_CONTRAST = 8  # Standard deviation of the green values, 0..255.
DEFAULT_RECHECK_S = 30
RETRY_S = 1  # After a frame that was passed over.
LOWEST_PRIORITY = 19

SegmentImage = Callable[[np.ndarray], np.ndarray]  # (h, w, 3) uint8 -> (h, w) uint8 ids


class Comparison(NamedTuple):
    """Of one frame. agreement 0..1; None: passed over, the frame shows nothing."""

    agreement: float | None
    cpu_ms: float = 0

    @property
    def failed(self) -> bool:
        return self.agreement is not None and self.agreement < MIN_AGREEMENT


def compare(
    image: np.ndarray, gpu_ids: np.ndarray, cpu_ids: np.ndarray, region: Region
) -> float | None:
    """Returns the share of equal pixels, 0..1; None where the frame shows nothing.

    image: the model's input, (h, w, 3) uint8; gpu_ids, cpu_ids: (h, w) uint8; region: the part of
    them that shows the frame, without letterbox bars.
    """
    expected = cpu_ids[region]
    agreement = float((gpu_ids[region] == expected).sum()) / expected.size
    one_class = np.bincount(expected.ravel()).max() >= MIN_AGREEMENT * expected.size
    # A GPU that returned one class for every frame would agree too.
    shows_nothing = one_class and agreement >= MIN_AGREEMENT
    return None if shows_nothing or not has_contrast(image[region]) else agreement


def has_contrast(image: np.ndarray) -> bool:
    """False for a frame that is black, white, or otherwise of one brightness."""
    green = image[..., 1].astype(np.int64)
    mean = int(green.sum()) / green.size
    return int((green * green).sum()) / green.size - mean * mean >= MIN_CONTRAST**2


class CheckedGpu:
    """Runs a model on the GPU as long as its class maps agree with the CPU's.

    gpu, cpu: (h, w, 3) uint8 of the input's size -> (h, w) uint8 ids; they raise FrameError for a
    frame without a class map, and gpu DeviceLostError when the GPU is lost. Until a frame has been
    compared, the CPU's class maps are returned. From then on every recheck_s seconds (0: never) a
    frame is compared in a thread of its own.

    name: the model's. may_fall_back: continue on the CPU when the GPU is lost or wrong.
    """

    def __init__(
        self,
        gpu: SegmentImage,
        cpu: SegmentImage,
        *,
        name: object,
        may_fall_back: bool,
        recheck_s: float = DEFAULT_RECHECK_S,
        log: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ):
        self._gpu, self._cpu, self._name, self._log = gpu, cpu, name, log
        self._may_fall_back, self._recheck_s, self._clock = may_fall_back, recheck_s, clock
        self.in_use = True
        self._trusted = False  # A comparison was passed.
        self._due = 0.0  # When the next comparison starts, by the clock.
        self._pending: Future[Comparison] | None = None
        self._thread = ThreadPoolExecutor(1, "gpu-check", initializer=_lower_priority)
        self._compared = self._passed_over = 0  # numbers of frames
        self._last, self._lowest, self._highest = 0.0, 1.0, 0.0  # agreement
        self._compared_at = self._cpu_ms = 0.0

    def __call__(self, image: np.ndarray, region: Region) -> np.ndarray:
        """Segments a frame. Raises InputError when the GPU is wrong at the start, DeviceLostError
        when it is lost or wrong later, unless it may fall back; FrameError."""
        if self._pending and self._pending.done():
            self.finish()
        if not self.in_use:
            return self._cpu(image)
        try:
            ids = self._gpu(image)
        except DeviceLostError as error:
            if not self._may_fall_back:
                raise
            self._fall_back(str(error))
            return self._cpu(image)
        except FrameError as error:
            self.finish()
            expected = self._cpu(image)  # If this fails, the frame shows nothing about the GPU.
            if self.in_use:
                self._reject(f"on the GPU {error}")
            return expected
        if not self._trusted:
            comparison, expected = self._run_on_both(image, ids, region)
            self._note(comparison)
            return ids if self._trusted else expected
        if self._recheck_s and not self._pending and self._clock() >= self._due:
            self._pending = self._thread.submit(self._compare, image, ids, region)
        return ids

    def finish(self) -> None:
        """Waits for a comparison that is still running. Raises what a call raises."""
        pending, self._pending = self._pending, None
        if pending:
            self._note(pending.result())

    def close(self) -> None:
        self._thread.shutdown()  # Waits: the CPU's model is in use.

    def report(self) -> dict[str, Any] | None:
        """Returns what a JSON line says: number of comparisons, agreement and age of the last."""
        if not self._compared:
            return None
        return {
            "frames": self._compared,
            "agreement": round(self._last, 6),
            "age_s": round(self._clock() - self._compared_at, 1),
        }

    def __str__(self) -> str:
        """The line of the summary."""
        line = f"GPU compared with the CPU on {self._compared} frames"
        if self._compared:
            line += (
                f": {100 * self._lowest:.3f} to {100 * self._highest:.3f} % of pixels agree, the "
                f"last {self._clock() - self._compared_at:.1f} s ago, "
                f"{self._cpu_ms / self._compared:.1f} ms each on the CPU"
            )
        return f"{line}; {self._passed_over} frames passed over (one class, or no contrast)"

    def _compare(self, image: np.ndarray, ids: np.ndarray, region: Region) -> Comparison:
        if not has_contrast(image[region]):  # Saves the CPU's work.
            return Comparison(None)
        try:
            return self._run_on_both(image, ids, region)[0]
        except FrameError:
            return Comparison(None)

    def _run_on_both(
        self, image: np.ndarray, ids: np.ndarray, region: Region
    ) -> tuple[Comparison, np.ndarray]:
        """Returns (Comparison, the CPU's class map). ids: the GPU's."""
        start = time.perf_counter()
        expected = self._cpu(image)
        cpu_ms = 1000 * (time.perf_counter() - start)
        return Comparison(compare(image, ids, expected, region), cpu_ms), expected

    def _note(self, comparison: Comparison) -> None:
        """Counts a comparison. Rejects the GPU if it failed."""
        now = self._clock()
        if comparison.agreement is None:
            self._passed_over += 1
            self._due = now + RETRY_S
            return
        age_s = now - self._compared_at
        self._compared += 1
        self._cpu_ms += comparison.cpu_ms
        self._last = comparison.agreement
        self._lowest, self._highest = min(self._lowest, self._last), max(self._highest, self._last)
        self._compared_at, self._due = now, now + self._recheck_s
        share = f"{100 * comparison.agreement:.3f} % of a frame's pixels"
        if comparison.failed:
            since = f", {age_s:.0f} s after it agreed; frames since then may be wrong"
            self._reject(
                f"the GPU agrees with the CPU on only {share} (limit {MIN_AGREEMENT:.1%})"
                + (since if self._trusted else "")
            )
        elif not self._trusted:
            self._trusted = True
            self._log(f"GPU: agrees with the CPU on {share}")

    def _reject(self, problem: str) -> None:
        reason = f"{self._name}: {problem}"
        if self._may_fall_back:
            self._fall_back(reason)
            return
        error = DeviceLostError if self._trusted else InputError
        raise error(f"{reason}; use --device cpu")

    def _fall_back(self, reason: str) -> None:
        self.in_use = False
        self._log(f"no GPU: {reason}; running on the CPU")
        if self._pending:  # Its result no longer matters, but it uses the CPU's model.
            self._pending.exception()
            self._pending = None


def _lower_priority() -> None:
    """Lets this thread wait for others. (Linux has a priority per thread.)"""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST_PRIORITY)
