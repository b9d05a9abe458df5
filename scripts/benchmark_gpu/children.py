"""Child processes, each with a log file, whose results are read while they run."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kseg.child_process import describe_exit

SCRIPTS = Path(__file__).parents[1]
ROOT = SCRIPTS.parent
# Not anchored at the start of the line: a progress bar may have printed before it.
_RESULT = re.compile(r"RESULT (\{.*\})$")
_POLL_S = 0.05


class ChildError(Exception):
    """A child process failed or reached its time limit."""


def emit(**values: Any) -> None:
    """Prints one result on a line that the parent process reads. Called in the child process."""
    print(f"RESULT {json.dumps(values)}", flush=True)


def environment(backend: str, cache: Path, **variables: str) -> dict[str, str]:
    """Returns the environment of a child process that computes with a Keras backend.

    cache: folder in which JAX and PyTorch keep compiled programs for later child processes.
    """
    paths = [str(SCRIPTS), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "KERAS_BACKEND": backend,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PYTHONUNBUFFERED": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        # Several processes share the device, so none may reserve all of its memory at the start.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "JAX_COMPILATION_CACHE_DIR": str(cache / "jax"),
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "pytorch"),
        **variables,
    }


class Child:
    """A running `python -m MODULE ARGUMENTS...` that emits results and reads requests from stdin.

    stdout and stderr go to `log`.
    """

    def __init__(self, log: Path, module: str, *arguments: Any, env: dict[str, str]):
        self.log, self._position, self._start = log, 0, time.monotonic()
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *map(str, arguments)],
                cwd=ROOT,
                env=env,
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def send(self, request: str) -> None:
        assert self.process.stdin
        try:
            self.process.stdin.write(f"{request}\n".encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # The child has ended; reading its results reports the reason.

    def new_results(self) -> list[dict]:
        """Returns the results that were not returned before."""
        with self.log.open("rb") as file:
            file.seek(self._position)
            content = file.read()
        complete = content[: content.rfind(b"\n") + 1]  # The last line may be incomplete.
        self._position += len(complete)
        matches = map(_RESULT.search, complete.decode(errors="replace").splitlines())
        return [json.loads(match[1]) for match in matches if match]

    def next_results(self, deadline: float) -> list[dict]:
        """Waits for results. Returns [] when the child ended with exit code 0.

        deadline: of time.monotonic(). Raises ChildError when the child fails or the deadline comes
        first.
        """
        while True:
            ended = self.process.poll() is not None  # Before the log is read for the last time.
            if results := self.new_results():
                return results
            if ended and self.process.returncode == 0:
                return []
            if ended or time.monotonic() > deadline:
                raise ChildError(self.failure())
            time.sleep(_POLL_S)

    def ask(self, request: str, deadline: float) -> dict:
        """Sends a request and returns its result. Raises ChildError."""
        self.send(request)
        results = self.next_results(deadline)
        if not results:
            raise ChildError(f"ended before it replied to '{request}'")
        return results[0]

    def failure(self) -> str:
        """Returns one line on why there is no further result."""
        elapsed = round(time.monotonic() - self._start)
        log = self.log.read_text(errors="replace")
        return describe_exit(self.process.poll(), log, limit_s=elapsed)

    def stop(self) -> None:
        """Kills the child and its own child processes."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def stream(child: Child, deadline: float) -> Iterator[dict]:
    """Yields the results of a child as they come. Raises ChildError; stops the child at the end."""
    try:
        while results := child.next_results(deadline):
            yield from results
    finally:
        child.stop()


def stream_all(
    jobs: dict[tuple, Callable[[], Child]], limits: dict[str, int], deadline: float
) -> Iterator[tuple[tuple, dict | ChildError | None]]:
    """Runs jobs in their order, and yields (job's name, result) as results come.

    jobs: {name: function that starts a Child}; the first element of a name is its group. limits:
    how many children of each group run at once. Yields (name, ChildError) for a child that fails
    or reaches the deadline, and (name, None) for one that was not started in time.
    """
    waiting, running = dict(jobs), dict[tuple, Child]()
    try:
        while waiting or running:
            late = time.monotonic() > deadline
            for name in list(waiting):
                busy = sum(other[0] == name[0] for other in running)
                if late:
                    del waiting[name]
                    yield name, None
                elif busy < limits[name[0]]:
                    running[name] = waiting.pop(name)()
            for name, child in list(running.items()):
                ended = child.process.poll() is not None  # Before its log is read.
                for result in child.new_results():
                    yield name, result
                if ended or late:
                    del running[name]
                    failure = child.failure()
                    child.stop()
                    if child.process.returncode:
                        yield name, ChildError(failure)
            time.sleep(_POLL_S)
    finally:
        for child in running.values():
            child.stop()
