"""Capture, inference and what follows (drawing, writing), each at its own pace.

    source --[frames]--> model --[answers]--> the caller
    a thread of its own  a thread of its own  the caller's thread

Between them lie two short queues. A file waits until there is room: every frame is answered, in
order. A live source does not wait: the oldest frame, which is stale, gives way and is counted.
"""

import sys
import threading
import time
from collections import deque
from typing import NamedTuple

import numpy as np

from kseg_run.errors import FrameError, LostError
from kseg_run.frames import Frame

ROOM = 2  # Frames in a queue: one being handed over, one ready.
END_S = 15  # A camera's driver may hold its thread for 10 s. A service manager must wait longer.
FAILURES_IN_A_ROW = 25  # Single frames may fail; after these it is the device.
TOLD = 10  # Problems of single frames that are printed; the rest are only counted.


class Answer(NamedTuple):
    frame: Frame
    class_map: np.ndarray  # (h, w) uint8 ids
    latency_ms: float  # from frame to class map
    captured: float  # when the frame came, by time.perf_counter


class Queue:
    """Bounded, first in first out. `live`: a full one drops its oldest item and counts it."""

    def __init__(self, room, live):
        self._items, self._room, self._live = deque(), room, live
        self._ended = False
        self._changed = threading.Condition()
        self.dropped = 0

    def put(self, item):
        """Returns False where nobody takes anything any more."""
        with self._changed:
            while len(self._items) >= self._room and not self._live and not self._ended:
                self._changed.wait()
            if self._ended:
                return False
            if len(self._items) >= self._room:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
            self._changed.notify_all()
            return True

    def get(self, timeout_s=None):
        """Returns (item, False); (None, False) where none came in time; (None, True) at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._ended, timeout_s)
            if self._items:
                item = self._items.popleft()
                self._changed.notify_all()
                return item, False
            return None, self._ended

    def end(self, *, discard=False):
        """No more is put; what is there can still be taken, unless discarded."""
        with self._changed:
            self._ended = True
            if discard:
                self._items.clear()
            self._changed.notify_all()


class Stages:
    """Iterate to get Answers; what goes wrong in a thread is raised here.

    source: see kseg_run.sources. answer(Frame) -> class map, called in a thread of its own; a
    FrameError of it skips that frame, FAILURES_IN_A_ROW of them are a LostError. Once `stop_asked`
    is set, by a signal handler for instance, the iteration ends; frames on their way are let go.
    """

    def __init__(self, source, answer, *, say=None):
        self._source, self._answer = source, answer
        self._say = say or (lambda line: print(line, file=sys.stderr, flush=True))
        self._frames, self._answers = Queue(ROOM, source.live), Queue(ROOM, source.live)
        self._error, self._lock = None, threading.Lock()
        self._threads = [
            threading.Thread(target=self._guard, args=(step, queue), name=name, daemon=True)
            for name, step, queue in (
                ("capture", self._capture, self._frames),
                ("inference", self._infer, self._answers),
            )
        ]
        self.stop_asked, self.end_s = False, END_S
        self.captured = self.failed = self.answered = 0
        self.problem = ""  # The last frame's that failed.

    @property
    def dropped(self):
        """Frames dropped before inference, and answers dropped before drawing."""
        return self._frames.dropped, self._answers.dropped

    def __iter__(self):
        for thread in self._threads:
            thread.start()
        try:
            ended = False
            while not ended and not self.stop_asked:
                # A time limit: a signal handler must not touch locks, so it cannot wake this up.
                answer, ended = self._answers.get(timeout_s=0.2)
                if answer:
                    self.answered += 1
                    yield answer
        finally:
            self._source.stop()
            for queue in (self._frames, self._answers):
                queue.end(discard=True)
        if self._error:
            raise self._error

    def close(self):
        """Waits until both threads have ended, `end_s` at most; call it last, since a camera may
        take its time."""
        deadline = time.monotonic() + self.end_s
        for thread in self._threads:
            if thread.ident:
                thread.join(max(0, deadline - time.monotonic()))

    def _guard(self, step, queue):
        try:
            step()
        except BaseException as error:  # The caller's thread raises it.
            self._error = self._error or error
        finally:
            queue.end()

    def _capture(self):
        frames = iter(self._source)
        try:
            for frame in frames:
                self.captured += 1
                if frame.image is None:
                    self._skip(frame.problem)
                elif not self._frames.put((frame, time.perf_counter())):
                    return
        finally:
            frames.close()

    def _infer(self):
        failed_in_a_row = 0
        while True:
            item, ended = self._frames.get()
            if ended:
                return
            frame, captured = item
            start = time.perf_counter()
            try:
                class_map = self._answer(frame)
            except FrameError as error:
                self._skip(f"{frame.name}: {error}")
                failed_in_a_row += 1
                if failed_in_a_row == FAILURES_IN_A_ROW:
                    raise LostError(
                        f"{failed_in_a_row} frames in a row cannot be segmented ({error})"
                    ) from error
                continue
            failed_in_a_row = 0
            latency_ms = 1000 * (time.perf_counter() - start)
            if not self._answers.put(Answer(frame, class_map, latency_ms, captured)):
                return

    def _skip(self, problem):
        with self._lock:
            self.failed += 1
            self.problem = problem
            told = self.failed
        if told <= TOLD:
            self._say(f"skipped: {problem}")
        elif told == TOLD + 1:
            self._say("skipped: more, which are counted and not listed")
