"""A model on LiteRT's GPU accelerator, in a process of its own: a driver that crashes or hangs
takes that process with it and not the car's.
"""

import json
import os
import selectors
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from kseg_run.errors import LostError

CHILD = (sys.executable, str(Path(__file__).with_name("gpu_child.py")))
COMPILE_S = 300  # Shaders compile for long where software plays the GPU.
ANSWER_S = 60


class Gpu:
    """As Cpu. Raises LostError when the accelerator does not take the model, crashes or hangs."""

    name = "GPU"

    def __init__(self, tflite, takes, gives, path, child=CHILD):
        """takes, gives: LiteRT's details of the model's input and output. child: the process."""
        self._path, self._takes, self._gives = path, takes["dtype"], gives
        self._bytes = int(np.prod(gives["shape"])) * np.dtype(gives["dtype"]).itemsize
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            child,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            bufsize=0,
            # Vulkan's loader complains, and some drivers stop, without this folder.
            env={"XDG_RUNTIME_DIR": tempfile.gettempdir(), **os.environ},
        )
        os.set_blocking(self._process.stdin.fileno(), False)  # It may never be read.
        self._readable, self._writable = selectors.DefaultSelector(), selectors.DefaultSelector()
        self._readable.register(self._process.stdout, selectors.EVENT_READ)
        self._writable.register(self._process.stdin, selectors.EVENT_WRITE)
        try:
            self._write(struct.pack("=q", len(tflite)) + tflite, COMPILE_S)
            line = self._read(COMPILE_S, until=b"\n")
            if not json.loads(line)["fully_accelerated"]:
                raise LostError(f"{path}: the GPU does not take the whole graph")
        except BaseException:
            self.close()
            raise

    def __call__(self, image):
        self._write(np.ascontiguousarray(image, self._takes).tobytes(), ANSWER_S)
        data = self._read(ANSWER_S, size=self._bytes)
        return np.frombuffer(data, self._gives["dtype"]).reshape(self._gives["shape"])[0]

    def close(self):
        """Ends the process."""
        if self._process.poll() is None:
            self._process.kill()  # Not asked to end: whatever a driver does then may hang.
        self._process.wait()
        for file in (self._readable, self._writable, self._log):
            file.close()
        for pipe in (self._process.stdin, self._process.stdout):
            pipe.close()

    def _write(self, data, limit_s):
        view, deadline = memoryview(data), time.monotonic() + limit_s
        while view:
            self._await(self._writable, deadline, limit_s)
            try:
                view = view[os.write(self._process.stdin.fileno(), view) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self._failure() from None

    def _read(self, limit_s, *, size=None, until=None):
        """Reads `size` bytes, or up to a byte string. Raises LostError when they do not come."""
        data, deadline = bytearray(), time.monotonic() + limit_s
        while len(data) != size and not (until and data.endswith(until)):
            self._await(self._readable, deadline, limit_s)
            chunk = os.read(self._process.stdout.fileno(), size - len(data) if size else 1)
            if not chunk:
                raise self._failure()
            data += chunk
        return bytes(data)

    def _await(self, pipe, deadline, limit_s):
        if not pipe.select(max(0, deadline - time.monotonic())):
            raise LostError(f"{self._path}: no answer from the GPU within {limit_s:g} s")

    def _failure(self):
        """How the process ended, in one line."""
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return LostError(f"{self._path}: the GPU's process closed its pipe")
        if code < 0:
            return LostError(f"{self._path}: the GPU's driver crashed ({signal_name(-code)})")
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - 4096))
        lines = self._log.read().decode(errors="replace").split("\n")
        lines = [line.strip() for line in lines if line.strip() and not line.startswith("INFO")]
        last = lines[-1][:200] if lines else f"exit code {code}"
        return LostError(f"{self._path}: LiteRT does not run it on the GPU ({last})")


def signal_name(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
