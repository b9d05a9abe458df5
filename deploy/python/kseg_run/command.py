"""The command `kseg-run`: the run from source to outputs, and the summary."""

import argparse
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn

import numpy as np

from kseg_run.camera import capture_thread_hangs
from kseg_run.errors import DeviceLostError, InputError
from kseg_run.flags import camera_options, check_flags, parse_arguments
from kseg_run.frame_pipeline import FramePipeline
from kseg_run.frames import Frame
from kseg_run.lane_measures import LaneMeasures
from kseg_run.outputs import FileOutput, JsonLines, Output, Window
from kseg_run.segmenter import Segmenter
from kseg_run.smoothing import Smoothing
from kseg_run.sources import Source, open_source

MAX_LATENCIES = 1 << 16  # A camera runs without end, so only the latest are kept.
WINDOW_LATENCIES = 100  # The window shows percentiles of the latest of them.


class AbortedError(BaseException):
    """A signal that ends the run at once. Not an Exception, so that nothing catches it early."""

    def __init__(self, exit_code: int, message: str):
        super().__init__(message)
        self.exit_code = exit_code


def run_and_exit() -> NoReturn:
    """Runs main() and ends the process, also while a thread hangs in a camera's driver.

    If that thread came back while Python shuts down, OpenCV would abort the process.
    """
    code = main()
    if capture_thread_hangs():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    args, signals = parse_arguments(argv), StopSignals()
    try:
        with signals.handled():
            return run(args, signals)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except DeviceLostError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    except AbortedError as aborted:
        print(aborted, file=sys.stderr)
        return aborted.exit_code


def run(args: argparse.Namespace, signals: "StopSignals") -> int:
    """Segments every frame of the input. Returns the exit code."""
    check_flags(args)
    camera = camera_options(args)
    source = open_source(args.input, camera)
    if camera.asks() and not source.live:
        raise InputError(
            f"{args.input}: not a camera; leave out --camera-size, --camera-fps and --camera-format"
        )
    segmenter = open_segmenter(args)

    def segment(frame: Frame) -> np.ndarray:
        if frame.first:
            segmenter.restart()
        return segmenter(frame.image)

    pipeline = FramePipeline(source, segment)
    latencies_ms: deque[float] = deque(maxlen=MAX_LATENCIES)
    outputs: list[Output] = []
    with ExitStack() as stack:  # Closes in reverse order: outputs first, to complete a video.
        stack.callback(segmenter.close)
        stack.callback(pipeline.close)
        for output in open_outputs(args, source, segmenter, pipeline, latencies_ms):
            stack.callback(output.close)
            outputs.append(output)
        signals.pipeline = pipeline
        lost = write_predictions(pipeline, outputs, latencies_ms, args.frames)
    lost = lost or finish_gpu_check(segmenter)
    if not pipeline.segmented and not lost and not pipeline.stop_requested:
        raise InputError(pipeline.problem or f"{args.input}: no frame can be read from it")
    stream = sys.stderr if args.json == "-" else sys.stdout
    summary = summarize(pipeline, latencies_ms, outputs, source, segmenter)
    print("\n".join(summary), file=stream, flush=True)
    for output in outputs:
        if output.problem:
            raise InputError(output.problem)
    if lost:
        raise lost
    return 0


def open_segmenter(args: argparse.Namespace) -> Segmenter:
    segmenter = Segmenter(args.model, args.threads, args.device, recheck_s=args.recheck)
    if args.smooth:
        class_ids = [c["id"] for c in segmenter.contract["labels"]["classes"]]
        segmenter.smoothing = Smoothing(args.smooth, class_ids)
    return segmenter


def open_outputs(
    args: argparse.Namespace,
    source: Source,
    segmenter: Segmenter,
    pipeline: FramePipeline,
    latencies_ms: deque[float],
) -> Iterator[Output]:
    """Yields the outputs that the flags ask for, each as soon as it is open."""
    contract = segmenter.contract
    # Made even without --json, to check --rows and --ego.
    measures = LaneMeasures(contract["labels"]["classes"], args.rows, args.ego)
    if args.show:
        status = WindowStatus(latencies_ms, pipeline, segmenter)
        yield Window(contract, wait_for_key=source.rate is None, status=status)
    overlays = not (args.show or args.no_overlays)
    if overlays or args.save_masks:
        yield FileOutput(
            Path(args.out),
            source.rate,
            Path(args.input),
            contract,
            overlays=overlays,
            save_masks=args.save_masks,
        )
    if args.json:
        report = segmenter.gpu_check.report if segmenter.gpu_check else None
        yield JsonLines(
            args.json, measures, lambda: pipeline.dropped, report, lambda: segmenter.device
        )


def write_predictions(
    pipeline: FramePipeline,
    outputs: Sequence[Output],
    latencies_ms: deque[float],
    limit: int | None,
) -> DeviceLostError | None:
    """Passes every prediction to every output. Returns the error if a device was lost."""
    predictions = iter(pipeline)
    try:
        for prediction in predictions:
            latencies_ms.append(prediction.latency_ms)
            for output in outputs:
                output.put(prediction)
            if pipeline.segmented == limit or any(output.closed for output in outputs):
                break
    except DeviceLostError as error:
        return error
    finally:
        predictions.close()
    return None


def finish_gpu_check(segmenter: Segmenter) -> DeviceLostError | None:
    """Waits for the last comparison of GPU and CPU. Returns the error if the GPU is wrong."""
    try:
        segmenter.finish()
    except DeviceLostError as error:
        return error
    return None


def summarize(
    pipeline: FramePipeline,
    latencies_ms: deque[float],
    outputs: Sequence[Output],
    source: Source,
    segmenter: Segmenter,
) -> list[str]:
    """Returns the summary: what was done; which frames were lost; the checks of the GPU."""
    done = f"{pipeline.segmented} frames"
    if latencies_ms:
        minimum, median, high = np.percentile(latencies_ms, (0, 50, 95))
        done += (
            f", {minimum:.1f} / {median:.1f} / {high:.1f} ms (minimum / median / 95 %) from frame "
            "to class map"
        )
    lines = ["; ".join([done, *map(str, outputs)])]
    before, after = pipeline.dropped
    times_lost = getattr(source, "times_lost", 0)
    if before or after or pipeline.failed or times_lost or source.live:
        lines.append(
            f"{pipeline.captured} frames arrived: {before} dropped before inference, {after} "
            f"dropped before drawing, {pipeline.failed} not decoded or not segmented; camera lost "
            f"{times_lost} times"
        )
    if source.live:
        lines.append(f"camera: {getattr(source, 'description', '')}")
    if segmenter.runtime:
        lines.append(f"{segmenter.runtime}, {segmenter.device}")
    if segmenter.gpu_check:
        lines.append(str(segmenter.gpu_check))
    return lines


class WindowStatus:
    """The window's line of text: device, recent latency percentiles, dropped and failed frames."""

    def __init__(
        self, latencies_ms: deque[float], pipeline: FramePipeline, segmenter: Segmenter
    ) -> None:
        self._latencies_ms, self._pipeline, self._segmenter = latencies_ms, pipeline, segmenter

    def __call__(self) -> str:
        count = min(WINDOW_LATENCIES, len(self._latencies_ms))
        recent = [self._latencies_ms[-i] for i in range(1, 1 + count)]
        median, high, highest = np.percentile(recent, (50, 95, 99))
        return (
            f"{self._segmenter.device} {median:.1f} / {high:.1f} / {highest:.1f} ms "
            f"(50 / 95 / 99 %), {sum(self._pipeline.dropped)} dropped, "
            f"{self._pipeline.failed} failed"
        )


class StopSignals:
    """Handles SIGINT and SIGTERM: the first one stops the pipeline, the second one aborts."""

    pipeline: FramePipeline | None = None  # Set once it runs; until then one signal aborts.

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Installs the handlers. Python allows that only in the main thread; elsewhere a no-op."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        previous = {number: signal.signal(number, self._handle) for number in numbers}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _handle(self, number: int, _frame: object) -> None:
        if self.pipeline is None:
            raise AbortedError(0, "stopped before the first frame")
        if not self.pipeline.stop_requested:
            self.pipeline.stop_requested = True
            return
        self.pipeline.shutdown_s = 0
        count = self.pipeline.segmented
        raise AbortedError(
            128 + number, f"stopped at once, after {count} frames; a video may be incomplete"
        )
