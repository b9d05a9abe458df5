"""kseg_run.frame_pipeline: files lose no frame, cameras drop stale ones, threads always end."""

import re
import threading

import numpy as np
import pytest
from kseg_run.errors import DeviceLostError, FrameError
from kseg_run.frame_pipeline import (
    MAX_FAILURES_IN_A_ROW,
    MAX_LOGGED_FAILURES,
    QUEUE_SIZE,
    BoundedQueue,
    FramePipeline,
)
from kseg_run.frames import Frame

from tests.conftest import ROOT

IMAGE = np.zeros((2, 3, 3), np.uint8)
LIMIT_S = 60  # Turns a test that hangs into one that fails.


class FakeSource:
    """Calls `frames` for its frames, and records that it was stopped and released."""

    rate = None

    def __init__(self, frames, *, live):
        self.live, self._frames, self.stopped = live, frames, threading.Event()
        self.released = False

    def __iter__(self):
        try:
            yield from self._frames()
        finally:
            self.released = True

    def stop(self):
        self.stopped.set()


def make_frames(count, **changes):
    return [Frame(number, "x", IMAGE)._replace(**changes) for number in range(count)]


def frame_numbers(predictions):
    return [prediction.frame.number for prediction in predictions]


def assert_all_released(pipeline, source):
    pipeline.close()
    assert source.released and source.stopped.is_set()
    assert not {"capture", "inference"} & {thread.name for thread in threading.enumerate()}


def test_every_frame_of_a_file_is_segmented_in_order():
    queues_full = threading.Event()

    def fast():
        for frame in make_frames(50):
            if frame.number == 2 * QUEUE_SIZE + 1:  # Capture, inference and both queues are full.
                queues_full.set()
            yield frame

    source = FakeSource(fast, live=False)
    pipeline = FramePipeline(source, lambda frame: IMAGE[..., 0] + frame.number)
    numbers = []
    for prediction in pipeline:
        assert queues_full.wait(LIMIT_S)
        assert (prediction.class_map == prediction.frame.number).all()
        assert prediction.latency_ms >= 0
        numbers.append(prediction.frame.number)
    assert numbers == list(range(50)) and pipeline.dropped == (0, 0)
    assert (pipeline.captured, pipeline.segmented, pipeline.failed) == (50, 50, 0)
    assert_all_released(pipeline, source)


def test_stale_frames_of_a_live_source_are_dropped_and_counted():
    busy, all_captured, first_received = (threading.Event() for _ in range(3))

    def camera():
        for frame in make_frames(10):
            yield frame
            assert busy.wait(LIMIT_S)  # The first frame is being segmented.
        all_captured.set()

    def slow(frame):
        busy.set()
        assert all_captured.wait(LIMIT_S)
        assert frame.number == 0 or first_received.wait(LIMIT_S)
        return IMAGE[..., 0]

    source = FakeSource(camera, live=True)
    pipeline = FramePipeline(source, slow)
    numbers = []
    for prediction in pipeline:
        numbers.append(prediction.frame.number)
        first_received.set()
    assert numbers == [0, 9] and pipeline.dropped == (8, 0)
    assert (pipeline.captured, pipeline.segmented) == (10, 2)
    assert_all_released(pipeline, source)


def test_a_full_live_queue_drops_its_oldest_item():
    queue = BoundedQueue(2, live=True)
    assert all(queue.put(item) for item in "abc")
    assert queue.dropped == 1 and [queue.get()[0] for _ in range(2)] == ["b", "c"]
    assert queue.get(timeout_s=0) == (None, False)
    queue.end()
    assert queue.get() == (None, True) and not queue.put("d")


def test_frames_that_cannot_be_decoded_or_segmented_are_skipped_and_counted():
    lines = []
    corrupt = Frame(1, "x", None, "frame 1 is corrupt")

    def segment(frame):
        if frame.number == 2:
            raise FrameError("too narrow")
        return IMAGE[..., 0]

    source = FakeSource(lambda: [make_frames(1)[0], corrupt, *make_frames(4)[2:]], live=False)
    pipeline = FramePipeline(source, segment, log=lines.append)
    assert frame_numbers(pipeline) == [0, 3]
    assert (pipeline.captured, pipeline.failed, pipeline.segmented) == (4, 2, 2)
    assert len(lines) == 2 and all("skipped" in line for line in lines)
    assert "frame 1 is corrupt" in lines[0] and "x: too narrow" in lines[1]
    assert_all_released(pipeline, source)


def test_many_failures_in_a_row_mean_a_lost_device_and_fewer_do_not():
    def failing_on(*numbers):
        def segment(frame):
            if frame.number in numbers:
                raise FrameError("inference failed")
            return IMAGE[..., 0]

        source = FakeSource(lambda: make_frames(100), live=False)
        return FramePipeline(source, segment, log=lambda line: None), source

    limit = MAX_FAILURES_IN_A_ROW  # The first frame succeeds.
    pipeline, source = failing_on(*range(1, limit), *range(limit + 1, 2 * limit))
    assert frame_numbers(pipeline) == [0, limit, *range(2 * limit, 100)]
    assert_all_released(pipeline, source)
    pipeline, source = failing_on(*range(1, limit + 1))
    with pytest.raises(DeviceLostError, match=r"25 frames.*inference failed"):
        list(pipeline)
    assert (pipeline.segmented, pipeline.failed) == (1, 25)
    assert_all_released(pipeline, source)


def test_a_thousand_corrupt_frames_do_not_fill_the_log():
    lines = []
    source = FakeSource(lambda: make_frames(1000, image=None, problem="corrupt"), live=False)
    pipeline = FramePipeline(source, None, log=lines.append)
    assert list(pipeline) == [] and pipeline.failed == 1000
    assert len(lines) == MAX_LOGGED_FAILURES + 1 and "counted" in lines[-1]
    assert_all_released(pipeline, source)


@pytest.mark.parametrize("where", ["source", "model"])
def test_a_bug_in_a_thread_is_raised_in_the_callers(where):
    def broken_source():
        yield make_frames(1)[0]
        if where == "source":
            raise ZeroDivisionError
        yield from make_frames(100)

    def segment(frame):
        if where == "model":
            raise ZeroDivisionError
        return IMAGE[..., 0]

    source = FakeSource(broken_source, live=False)
    pipeline = FramePipeline(source, segment)
    predictions = []
    with pytest.raises(ZeroDivisionError):
        predictions.extend(pipeline)
    # Frames captured before the bug are still segmented.
    assert pipeline.segmented == (1 if where == "source" else 0)
    assert_all_released(pipeline, source)


def test_a_stop_request_ends_a_source_that_never_ends():
    source = FakeSource(None, live=True)

    def camera():
        number = 0
        while not source.stopped.is_set():
            yield Frame(number, "x", IMAGE)
            number += 1

    source._frames = camera
    pipeline = FramePipeline(source, lambda frame: IMAGE[..., 0])
    for _ in pipeline:
        pipeline.stop_requested = True
    assert pipeline.segmented == 1
    assert_all_released(pipeline, source)


def test_threads_that_never_end_are_abandoned_before_systemd_kills_the_process(monkeypatch):
    clock_s = [100.0]

    class StuckThread:
        ident = 1

        def join(self, timeout_s):
            clock_s[0] += timeout_s

    pipeline = FramePipeline(FakeSource(lambda: [], live=True), None)
    pipeline._threads = [StuckThread(), StuckThread()]
    monkeypatch.setattr("kseg_run.frame_pipeline.time.monotonic", lambda: clock_s[0])
    pipeline.close()
    waited_s = clock_s[0] - 100
    unit = (ROOT / "deploy" / "jetson" / "kseg-python.service").read_text()
    limit_s = int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.M)[1])
    # The remaining time is for drawing the current frame and completing the video.
    assert 0 < waited_s <= limit_s - 10


def test_a_caller_that_leaves_early_releases_a_waiting_file():
    source = FakeSource(lambda: make_frames(1000), live=False)
    pipeline = FramePipeline(source, lambda frame: IMAGE[..., 0])
    predictions = iter(pipeline)
    assert next(predictions).frame.number == 0
    predictions.close()
    assert_all_released(pipeline, source)
    assert pipeline.captured < 1000
