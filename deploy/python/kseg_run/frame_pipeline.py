"""Runs capture, inference and output concurrently, each in its own thread.

    source --[frames]--> model --[predictions]--> the caller
    capture thread       inference thread         the caller's thread

The threads are connected by two short queues. A file waits until there is room, so every frame is
segmented, in order. A live source does not wait: a queue keeps its newest frame only, and the older
one, which is stale, is dropped and counted.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

import numpy as np

from kseg_run.errors import DeviceLostError, FrameError, log_to_stderr
from kseg_run.frames import Frame
from kseg_run.sources import Source

QUEUE_SIZE = 2  # Of files: one frame being handed over and one ready. Cameras: only the newest.
# A camera driver may block its thread for 10 s. A service manager must wait longer than this.
SHUTDOWN_S = 15
MAX_FAILURES_IN_A_ROW = 25  # Single frames may fail; after these the device is to blame.
MAX_LOGGED_FAILURES = 10  # Further failures are only counted.


class Prediction(NamedTuple):
    """A segmented frame."""

    frame: Frame
    class_map: np.ndarray  # (h, w) uint8 ids
    latency_ms: float  # from frame to class map
    captured: float  # when a camera took the frame or it was read, by time.monotonic


class BoundedQueue:
    """A first-in, first-out queue of limited size.

    live: put() on a full queue drops the oldest item and counts it, instead of waiting.
    """

    def __init__(self, size: int, live: bool):
        self._items: deque[Any] = deque()
        self._size, self._live = size, live
        self._ended = False
        self._changed = threading.Condition()
        self.dropped = 0

    def put(self, item: Any) -> bool:
        """Returns False if the queue has ended, so that nobody will take the item."""
        with self._changed:
            while len(self._items) >= self._size and not self._live and not self._ended:
                self._changed.wait()
            if self._ended:
                return False
            if len(self._items) >= self._size:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
            self._changed.notify_all()
            return True

    def get(self, timeout_s: float | None = None) -> tuple[Any, bool]:
        """Returns (item, False); (None, False) on timeout; (None, True) at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._ended, timeout_s)
            if self._items:
                item = self._items.popleft()
                self._changed.notify_all()
                return item, False
            return None, self._ended

    def end(self, *, discard: bool = False) -> None:
        """Refuses further items. Items inside can still be taken, unless discarded."""
        with self._changed:
            self._ended = True
            if discard:
                self._items.clear()
            self._changed.notify_all()


class FramePipeline:
    """Iterate to get Predictions. Exceptions in either thread are raised here.

    segment(Frame) -> class map, called in the inference thread. If it raises FrameError, that frame
    is skipped; MAX_FAILURES_IN_A_ROW of them raise DeviceLostError. Setting `stop_requested`, for
    example in a signal handler, ends the iteration; frames still in the queues are discarded.
    """

    def __init__(
        self,
        source: Source,
        segment: Callable[[Frame], np.ndarray],
        *,
        log: Callable[[str], None] = log_to_stderr,
    ):
        self._source, self._segment, self._log = source, segment, log
        size = 1 if source.live else QUEUE_SIZE
        self._frames = BoundedQueue(size, source.live)
        self._predictions = BoundedQueue(size, source.live)
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(step, queue), name=name, daemon=True)
            for name, step, queue in (
                ("capture", self._capture, self._frames),
                ("inference", self._infer, self._predictions),
            )
        ]
        self.stop_requested, self.shutdown_s = False, SHUTDOWN_S
        self.captured = self.segmented = self.failed = 0  # numbers of frames
        self.problem = ""  # of the last frame that failed

    @property
    def dropped(self) -> tuple[int, int]:
        """Frames dropped before inference, and predictions dropped before output."""
        return self._frames.dropped, self._predictions.dropped

    def __iter__(self) -> Generator[Prediction]:
        for thread in self._threads:
            thread.start()
        try:
            ended = False
            while not ended and not self.stop_requested:
                # With a timeout, because a signal handler must not take locks to wake this up.
                prediction, ended = self._predictions.get(timeout_s=0.2)
                if prediction:
                    self.segmented += 1
                    yield prediction
        finally:
            self._source.stop()
            for queue in (self._frames, self._predictions):
                queue.end(discard=True)
        if self._error:
            raise self._error

    def close(self) -> None:
        """Waits until both threads have ended, at most `shutdown_s`.

        Call it after closing the outputs, because a camera may take its time.
        """
        deadline = time.monotonic() + self.shutdown_s
        for thread in self._threads:
            if thread.ident:
                thread.join(max(0, deadline - time.monotonic()))

    def _run(self, step: Callable[[], None], queue: BoundedQueue) -> None:
        try:
            step()
        except BaseException as error:  # Raised again in the caller's thread.
            self._error = self._error or error
        finally:
            queue.end()

    def _capture(self) -> None:
        frames = iter(self._source)
        try:
            for frame in frames:
                self.captured += 1
                if frame.image is None:
                    self._skip(frame.problem)
                    continue
                captured = time.monotonic() if frame.captured is None else frame.captured
                if not self._frames.put((frame, captured)):
                    return
        finally:
            frames.close()

    def _infer(self) -> None:
        failed_in_a_row = 0
        while True:
            item, ended = self._frames.get()
            if ended:
                return
            frame, captured = item
            start = time.perf_counter()
            try:
                class_map = self._segment(frame)
            except FrameError as error:
                self._skip(f"{frame.name}: {error}")
                failed_in_a_row += 1
                if failed_in_a_row == MAX_FAILURES_IN_A_ROW:
                    raise DeviceLostError(
                        f"{failed_in_a_row} frames in a row cannot be segmented ({error})"
                    ) from error
                continue
            failed_in_a_row = 0
            latency_ms = 1000 * (time.perf_counter() - start)
            if not self._predictions.put(Prediction(frame, class_map, latency_ms, captured)):
                return

    def _skip(self, problem: str) -> None:
        with self._lock:
            self.failed += 1
            self.problem = problem
            count = self.failed
        if count <= MAX_LOGGED_FAILURES:
            self._log(f"skipped: {problem}")
        elif count == MAX_LOGGED_FAILURES + 1:
            self._log("skipped: further frames, which are counted but not listed")
