"""--profile: records a few training steps, and says where their time goes."""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import keras

from kseg.errors import InputError

WARM_UP = 10  # Steps before the recorded ones: the first compiles, the next fill buffers.
_WINDOW, _WAIT = "kseg: steps", "kseg: input"  # Events that we add to the recording.
_TENSORFLOW_WAIT = "IteratorGetNextOp::DoCompute"  # Its training step takes the batch itself.

_Span = tuple[float, float]  # Start and end, in seconds.


class Division(NamedTuple):
    """How `seconds` of training divide; the four shares add up to 1.

    compute: the device computes. copy: the device only receives a batch. input: it is idle while
    training waits for a batch. python: it is idle because the next step has not been started yet.
    """

    seconds: float
    compute: float
    copy: float
    input: float
    python: float


def check_steps(steps: int, steps_per_epoch: int) -> None:
    """Raises InputError unless `steps` steps (0: none) of one epoch can be recorded."""
    longest = steps_per_epoch - WARM_UP
    if 0 <= steps <= max(0, longest):
        return
    advice = f"choose 1 to {longest}" if longest > 0 else "that is too few; leave it out"
    raise InputError(
        f"--profile {steps}: an epoch has {steps_per_epoch} steps, and the first {WARM_UP} are not "
        f"recorded; {advice}"
    )


class ProfileSteps(keras.callbacks.Callback):
    """Records `steps` steps in `folder` and prints how their time divides.

    They follow WARM_UP steps of the first epoch that has enough of them left; first_step: step of
    its first epoch from which training continues. The recording is one of TensorFlow's or JAX's own
    profiler, for TensorBoard; JAX's has a file for Perfetto as well. Goes last in the list, so that
    the time of the other callbacks counts.
    """

    def __init__(
        self, folder: str | os.PathLike[str], steps: int, steps_per_epoch: int, first_step: int = 0
    ):
        super().__init__()
        self.folder, self.steps = Path(folder), steps
        self.steps_per_epoch, self.remaining = steps_per_epoch, steps_per_epoch - first_step
        self.last: int | None = None  # Last step to be recorded, in an epoch that has enough.
        self.is_done = False
        self.recording = contextlib.ExitStack()

    def on_epoch_begin(self, epoch, logs=None):
        is_long_enough = self.remaining >= WARM_UP + self.steps
        self.last = WARM_UP + self.steps - 1 if is_long_enough and not self.is_done else None
        self.remaining = self.steps_per_epoch

    def needs_logs(self, batch: int) -> bool:
        """Whether this step must have ended: the one before the recorded ones, and their last."""
        return self.last is not None and batch in (WARM_UP - 1, self.last)

    def on_train_batch_end(self, batch, logs=None):
        if self.last is None:
            return
        if batch == WARM_UP - 1:
            self.recording.enter_context(_recorded(self.folder))
            self.recording.enter_context(_waits_recorded(self.model))
            self.recording.enter_context(_event(_WINDOW))
        elif batch == self.last:
            self.recording.close()
            self.last, self.is_done = None, True
            self._print(batch)

    def on_train_end(self, logs=None):
        self.recording.close()  # If training ended before its time.
        if not self.is_done:
            print(
                f"warning: --profile {self.steps}: nothing was recorded, no epoch had enough steps "
                "left",
                file=sys.stderr,
            )

    def _print(self, last):
        recording = max(self.folder.glob("plugins/profile/*/*.xplane.pb"), key=os.path.getmtime)
        seconds, *shares = divide(recording)
        parts = zip(("compute", "copy", "waiting for input", "Python"), shares, strict=True)
        print(
            f"\nsteps {WARM_UP + 1} to {last + 1}: {1000 * seconds / self.steps:.1f} ms per step: "
            + ", ".join(f"{name} {100 * share:.1f} %" for name, share in parts)
            + f"; look at them: pip install xprof; tensorboard --logdir {self.folder}"
        )


def divide(recording: str | os.PathLike[str]) -> Division:
    """Returns the Division of the time that an .xplane.pb file of ProfileSteps records."""
    # TensorFlow reads what JAX records too.
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace.FromString(Path(recording).read_bytes())
    events = [event for plane in space.planes for event in _events(plane)]
    window = next(event.span for event in events if event.name == _WINDOW)
    device = [event for event in events if event.stream]
    copying = [event.span for event in device if event.is_copy]
    computing = [event.span for event in device or events if event.is_computation]
    waiting = [event.span for event in events if event.name in (_WAIT, _TENSORFLOW_WAIT)]
    seconds = window[1] - window[0]
    computed, copied, waited = (
        _covered(spans, window) / seconds
        for spans in (computing, computing + copying, computing + copying + waiting)
    )
    return Division(seconds, computed, copied - computed, waited - copied, 1 - waited)


class _Event(NamedTuple):
    """An event of a recording. stream: of a GPU; "" for events of the host."""

    name: str
    span: _Span
    stream: str
    thread: str

    @property
    def is_copy(self) -> bool:
        return "MemcpyH2D" in self.name or "MemcpyH2D" in self.stream

    @property
    def is_computation(self) -> bool:
        """Whether it is work of a GPU or, where there is none, of TensorFlow or XLA on the CPU."""
        if self.stream:
            return not self.is_copy
        if self.name == "ExecutorState::Process":
            return self.thread.startswith("tf_Compute")  # Other threads prepare batches.
        return self.name.startswith("ThunkExecutor::Execute")


def _events(plane: Any) -> Iterator[_Event]:
    """The events of an XPlane; for a GPU, only those of its streams."""
    is_device = plane.name.startswith("/device:")
    for line in plane.lines:
        if is_device and not line.name.startswith("Stream"):
            continue
        for event in line.events:
            start = line.timestamp_ns / 1e9 + event.offset_ps / 1e12
            yield _Event(
                plane.event_metadata[event.metadata_id].name,
                (start, start + event.duration_ps / 1e12),
                stream=line.name if is_device else "",
                thread="" if is_device else line.name,
            )


def _covered(spans: Iterable[_Span], window: _Span) -> float:
    """Seconds of the window that at least one of the spans covers."""
    total, end = 0.0, window[0]
    for start, stop in sorted(spans):
        start, stop = max(start, end), min(stop, window[1])
        if start < stop:
            total, end = total + stop - start, stop
    return total


@contextlib.contextmanager
def _recorded(folder: Path) -> Iterator[None]:
    """Records what runs inside. Python's own calls are left out: recording them slows them down."""
    if keras.backend.backend() == "jax":
        import jax

        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0
        jax.profiler.start_trace(folder, profiler_options=options)
        stop = jax.profiler.stop_trace
    else:
        import tensorflow as tf

        options = tf.profiler.experimental.ProfilerOptions(python_tracer_level=0)
        tf.profiler.experimental.start(str(folder), options)
        stop = tf.profiler.experimental.stop
    try:
        yield
    finally:
        stop()


@contextlib.contextmanager
def _waits_recorded(model: keras.Model) -> Iterator[None]:
    """Adds an event whenever a training step under JAX takes its batch, which it does in Python."""
    if keras.backend.backend() != "jax":
        yield
        return
    train = model.train_function

    def batches(iterator):
        while True:
            with _event(_WAIT):
                batch = next(iterator)
            yield batch

    model.train_function = lambda state, iterator: train(state, batches(iterator))
    try:
        yield
    finally:
        model.train_function = train


def _event(name: str) -> AbstractContextManager[Any]:
    """Adds an event to the recording."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.profiler.TraceAnnotation(name)
    import tensorflow as tf

    return tf.profiler.experimental.Trace(name)
