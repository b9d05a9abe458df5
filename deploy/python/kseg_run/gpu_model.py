"""A model on a GPU, in a child process that a driver may crash or hang."""

import json
import os
import selectors
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from kseg_run.errors import DeviceLostError

WORKER = (sys.executable, str(Path(__file__).with_name("gpu_worker.py")))
COMPILE_S = 300  # Compiling shaders takes long on a software GPU.
INFERENCE_S = 60


class GpuModel:
    """Runs a model as CpuModel does, but on the GPU.

    input_details, output_details: tensor details, from CpuModel or OnnxModel. worker: the child
    process's command line; that of LiteRT's accelerator by default. device, runtime: names of
    what it runs on and by.
    compile_s: seconds it may take to get ready. Raises DeviceLostError when the GPU does not take
    the complete graph, crashes or hangs.
    """

    def __init__(
        self,
        model_file: bytes,
        input_details: dict[str, Any],
        output_details: dict[str, Any],
        path: str | Path,
        worker: Sequence[str] = WORKER,
        *,
        device: str = "GPU",
        runtime: str = "LiteRT",
        compile_s: float | None = None,
    ) -> None:
        self._path, self.device, self._runtime = path, device, runtime
        compile_s = compile_s or COMPILE_S
        self._input_dtype, self._output_dtype = input_details["dtype"], output_details["dtype"]
        self._output_shape = output_details["shape"]
        self._output_bytes = (
            int(np.prod(self._output_shape)) * np.dtype(self._output_dtype).itemsize
        )
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            worker,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            bufsize=0,
            # Vulkan's loader complains, and some drivers stop, without this folder.
            env={"XDG_RUNTIME_DIR": tempfile.gettempdir(), **os.environ},
        )
        self._stdin = cast(IO[bytes], self._process.stdin)
        self._stdout = cast(IO[bytes], self._process.stdout)
        os.set_blocking(self._stdin.fileno(), False)  # A hanging worker never reads it.
        self._readable, self._writable = selectors.DefaultSelector(), selectors.DefaultSelector()
        self._readable.register(self._stdout, selectors.EVENT_READ)
        self._writable.register(self._stdin, selectors.EVENT_WRITE)
        try:
            self._write(struct.pack("=q", len(model_file)) + model_file, compile_s)
            line = self._read(compile_s, until=b"\n")
            if not json.loads(line)["fully_accelerated"]:
                raise DeviceLostError(f"{path}: the GPU does not support the complete graph")
        except BaseException:
            self.close()
            raise

    def __call__(self, image: np.ndarray) -> np.ndarray:
        self._write(np.ascontiguousarray(image, self._input_dtype).tobytes(), INFERENCE_S)
        data = self._read(INFERENCE_S, size=self._output_bytes)
        return np.frombuffer(data, self._output_dtype).reshape(self._output_shape)[0]

    def close(self) -> None:
        """Ends the child process."""
        if self._process.poll() is None:
            self._process.kill()  # Not terminate(): a driver's exit handlers may hang.
        self._process.wait()
        for file in (self._readable, self._writable, self._log, self._stdin, self._stdout):
            file.close()

    def _write(self, data: bytes, limit_s: float) -> None:
        view, deadline = memoryview(data), time.monotonic() + limit_s
        while view:
            self._await(self._writable, deadline, limit_s)
            try:
                view = view[os.write(self._stdin.fileno(), view) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self._worker_exit() from None

    def _read(
        self, limit_s: float, *, size: int | None = None, until: bytes | None = None
    ) -> bytes:
        """Reads `size` bytes, or up to a byte string. Raises DeviceLostError on EOF or timeout."""
        data, deadline = bytearray(), time.monotonic() + limit_s
        while len(data) != size and not (until and data.endswith(until)):
            self._await(self._readable, deadline, limit_s)
            chunk = os.read(self._stdout.fileno(), size - len(data) if size else 1)
            if not chunk:
                raise self._worker_exit()
            data += chunk
        return bytes(data)

    def _await(self, pipe: selectors.BaseSelector, deadline: float, limit_s: float) -> None:
        if not pipe.select(max(0, deadline - time.monotonic())):
            raise DeviceLostError(f"{self._path}: no output from the GPU within {limit_s:g} s")

    def _worker_exit(self) -> DeviceLostError:
        """Describes how the child process ended."""
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return DeviceLostError(f"{self._path}: the GPU's process closed its pipe")
        if code < 0:
            return DeviceLostError(f"{self._path}: the GPU driver crashed ({signal_name(-code)})")
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - 4096))
        lines = self._log.read().decode(errors="replace").split("\n")
        lines = [line.strip() for line in lines if line.strip() and not line.startswith("INFO")]
        device = "the GPU" if self.device == "GPU" else self.device
        detail = lines[-1][:200] if lines else f"exit code {code}"
        return DeviceLostError(
            f"{self._path}: {self._runtime} cannot run it on {device} ({detail})"
        )


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
