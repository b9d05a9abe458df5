"""kseg_run.stages: all frames of a file are answered in order, stale ones of a camera are not."""

import re
import threading

import numpy as np
import pytest
from kseg_run.errors import FrameError, LostError
from kseg_run.frames import Frame
from kseg_run.stages import FAILURES_IN_A_ROW, ROOM, TOLD, Queue, Stages

from tests.conftest import ROOT

IMAGE = np.zeros((2, 3, 3), np.uint8)
LIMIT_S = 60  # Only so that a test that would hang fails.


class Source:
    """`frames` is called for the frames; stopping is remembered."""

    def __init__(self, frames, *, live):
        self.live, self._frames, self.stopped = live, frames, threading.Event()
        self.let_go = False

    def __iter__(self):
        try:
            yield from self._frames()
        finally:
            self.let_go = True

    def stop(self):
        self.stopped.set()


def frames(count, **changes):
    return [Frame(number, "x", IMAGE)._replace(**changes) for number in range(count)]


def numbers(answers):
    return [answer.frame.number for answer in answers]


def assert_nothing_is_left(stages, source):
    stages.close()
    assert source.let_go and source.stopped.is_set()
    assert not {"capture", "inference"} & {thread.name for thread in threading.enumerate()}


def test_every_frame_of_a_file_is_answered_in_order():
    ahead = threading.Event()

    def fast():
        for frame in frames(50):
            if frame.number == 2 * ROOM + 1:  # Capture, inference and both queues are full.
                ahead.set()
            yield frame

    source = Source(fast, live=False)
    stages = Stages(source, lambda frame: IMAGE[..., 0] + frame.number)
    got = []
    for answer in stages:
        assert ahead.wait(LIMIT_S)
        assert (answer.class_map == answer.frame.number).all() and answer.latency_ms >= 0
        got.append(answer.frame.number)
    assert got == list(range(50)) and stages.dropped == (0, 0)
    assert (stages.captured, stages.answered, stages.failed) == (50, 50, 0)
    assert_nothing_is_left(stages, source)


def test_stale_frames_of_a_live_source_are_dropped_and_counted():
    busy, seen_all, taken = (threading.Event() for _ in range(3))

    def camera():
        for frame in frames(10):
            yield frame
            assert busy.wait(LIMIT_S)  # The first is being answered.
        seen_all.set()

    def slow(frame):
        busy.set()
        assert seen_all.wait(LIMIT_S)
        assert frame.number == 0 or taken.wait(LIMIT_S)
        return IMAGE[..., 0]

    source = Source(camera, live=True)
    stages = Stages(source, slow)
    got = []
    for answer in stages:
        got.append(answer.frame.number)
        taken.set()
    assert got == [0, 8, 9] and stages.dropped == (7, 0)
    assert (stages.captured, stages.answered) == (10, 3)
    assert_nothing_is_left(stages, source)


def test_a_live_queue_gives_up_its_oldest_and_another_one_does_not():
    live = Queue(2, live=True)
    assert all(live.put(item) for item in "abc")
    assert live.dropped == 1 and [live.get()[0] for _ in range(2)] == ["b", "c"]
    assert live.get(timeout_s=0) == (None, False)
    live.end()
    assert live.get() == (None, True) and not live.put("d")


def test_frames_that_cannot_be_decoded_or_segmented_are_skipped_and_counted():
    told = []
    bad = Frame(1, "x", None, "frame 1 is torn")

    def answer(frame):
        if frame.number == 2:
            raise FrameError("too narrow")
        return IMAGE[..., 0]

    source = Source(lambda: [frames(1)[0], bad, *frames(4)[2:]], live=False)
    stages = Stages(source, answer, say=told.append)
    assert numbers(stages) == [0, 3]
    assert (stages.captured, stages.failed, stages.answered) == (4, 2, 2)
    assert told == ["skipped: frame 1 is torn", "skipped: x: too narrow"]
    assert_nothing_is_left(stages, source)


def test_too_many_failures_in_a_row_are_the_device_and_fewer_are_not():
    def failing(*numbers):
        def answer(frame):
            if frame.number in numbers:
                raise FrameError("no answer")
            return IMAGE[..., 0]

        source = Source(lambda: frames(100), live=False)
        return Stages(source, answer, say=lambda line: None), source

    last = FAILURES_IN_A_ROW  # The first frame is answered.
    stages, source = failing(*range(1, last), *range(last + 1, 2 * last))
    assert numbers(stages) == [0, last, *range(2 * last, 100)]
    assert_nothing_is_left(stages, source)
    stages, source = failing(*range(1, last + 1))
    with pytest.raises(LostError, match=r"^25 frames in a row cannot be segmented \(no answer\)$"):
        list(stages)
    assert (stages.answered, stages.failed) == (1, 25)
    assert_nothing_is_left(stages, source)


def test_a_thousand_bad_frames_do_not_fill_the_log():
    told = []
    source = Source(lambda: frames(1000, image=None, problem="torn"), live=False)
    stages = Stages(source, None, say=told.append)
    assert list(stages) == [] and stages.failed == 1000
    assert len(told) == TOLD + 1 and "counted" in told[-1]
    assert_nothing_is_left(stages, source)


@pytest.mark.parametrize("where", ["source", "model"])
def test_a_bug_in_a_thread_is_raised_by_the_caller(where):
    def broken_source():
        yield frames(1)[0]
        if where == "source":
            raise ZeroDivisionError
        yield from frames(100)

    def answer(frame):
        if where == "model":
            raise ZeroDivisionError
        return IMAGE[..., 0]

    source = Source(broken_source, live=False)
    stages = Stages(source, answer)
    got = []
    with pytest.raises(ZeroDivisionError):
        got.extend(stages)
    assert stages.answered == (1 if where == "source" else 0)  # What came before is answered.
    assert_nothing_is_left(stages, source)


def test_asked_to_stop_it_ends_with_a_source_that_never_would():
    source = Source(None, live=True)

    def camera():
        number = 0
        while not source.stopped.is_set():
            yield Frame(number, "x", IMAGE)
            number += 1

    source._frames = camera
    stages = Stages(source, lambda frame: IMAGE[..., 0])
    for _ in stages:
        stages.stop_asked = True
    assert stages.answered == 1
    assert_nothing_is_left(stages, source)


def test_threads_that_never_end_are_given_up_before_systemd_gives_up(monkeypatch):
    clock_s = [100.0]

    class Stuck:
        ident = 1

        def join(self, timeout_s):
            clock_s[0] += timeout_s

    stages = Stages(Source(lambda: [], live=True), None)
    stages._threads = [Stuck(), Stuck()]
    monkeypatch.setattr("kseg_run.stages.time.monotonic", lambda: clock_s[0])
    stages.close()
    waited_s = clock_s[0] - 100
    unit = (ROOT / "deploy" / "jetson" / "kseg-python.service").read_text()
    limit_s = int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.M)[1])
    # Besides, the frame at hand is drawn and the video's end written.
    assert 0 < waited_s <= limit_s - 10


def test_a_caller_that_leaves_early_lets_a_waiting_file_go():
    source = Source(lambda: frames(1000), live=False)
    stages = Stages(source, lambda frame: IMAGE[..., 0])
    answers = iter(stages)
    assert next(answers).frame.number == 0
    answers.close()
    assert_nothing_is_left(stages, source)
    assert stages.captured < 1000
