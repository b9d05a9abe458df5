"""Times a model in a headless browser, by LiteRT.js: on WebAssembly or on WebGPU."""

import base64
import contextlib
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from kseg import contract, preprocess
from kseg.errors import InputError
from kseg.runtime.litert import TFLiteModel
from kseg.runtime.page_server import PageHandler

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
START_S = 180  # For the browser, and for compiling the model there.
_FRAME_S = 30  # As long as the page waits for a frame.
_FLAGS = [
    *("--headless=new", "--no-first-run", "--disable-dev-shm-usage"),
    *("--enable-unsafe-webgpu", "--enable-features=Vulkan"),
]
_SOFTWARE_GPU = "--use-webgpu-adapter=swiftshader"


def find_browser() -> str:
    """Returns the program $KSEG_BROWSER, or the first of PROGRAMS. Raises InputError."""
    wanted = os.environ.get("KSEG_BROWSER")
    found = [path for name in ([wanted] if wanted else PROGRAMS) if (path := shutil.which(name))]
    if not found:
        raise InputError(
            f"--browser: no {wanted or 'Chromium or Chrome'} on this machine; install it, or name "
            "its program in KSEG_BROWSER"
        )
    return found[0]


def measure(
    model: str,
    device: str,
    frame: np.ndarray,
    *,
    rounds: int,
    seconds: float,
    page: Path,
) -> dict[str, Any]:
    """Times a .tflite in a browser on a frame (h, w, 3) uint8 RGB; arguments as in `run`.

    Returns {"runtime", "model_ms", "frame_ms", "load_s", "agreement"}: the share of the frame's
    pixels that have the same class as by LiteRT on this machine's CPU. Raises as `run` does.
    """
    result = run(model, device, frame[None], rounds=rounds, seconds=seconds, page=page)
    (class_map,) = result.pop("class_maps")
    agreement = float((class_map == _native_class_map(model, frame)).mean())
    return {**result, "agreement": agreement}


def run(
    model: str,
    device: str,
    frames: np.ndarray,
    *,
    rounds: int,
    seconds: float,
    page: Path,
) -> dict[str, Any]:
    """Runs a .tflite on the "cpu" or "gpu" of a browser: times the first frame, segments all.

    frames: (n, h, w, 3) uint8 RGB. page: folder of the built page. Returns {"runtime", "model_ms",
    "frame_ms", "load_s", "class_maps": (n, h, w) uint8}: model_ms from the fitted frame to class
    ids, with the way to the worker and back; frame_ms also fits the frame and maps the ids back.
    Where WebGPU finds no GPU, its software device is used, and `runtime` says so. Raises InputError
    when there is no browser, and when the model does not run.
    """
    program = find_browser()
    task = {
        "model": "models/model.tflite",
        "device": device,
        "size": frames.shape[1:3],
        "rounds": rounds,
        "seconds": seconds,
    }
    with _serving(page, model, task, frames) as (url, results):
        limit_s = START_S + 2 * seconds + _FRAME_S * len(frames)
        result = _run(program, url, results, limit_s)
        if device == "gpu" and "no WebGPU device" in result.get("failed", ""):
            result = _run(program, url, results, limit_s, _SOFTWARE_GPU)
    if "failed" in result:
        raise InputError(f"{model}: {result['failed']}")
    where = (
        f"WebGPU: {result['adapter']}" if device == "gpu" else f"WASM, {result['threads']} threads"
    )
    values = {key: result[key] for key in ("model_ms", "frame_ms", "load_s")}
    maps = [np.frombuffer(base64.b64decode(text), np.uint8) for text in result["class_maps"]]
    return {
        "runtime": f"LiteRT.js, {where}",
        **values,
        "class_maps": np.stack(maps).reshape(frames.shape[:3]),
    }


def _native_class_map(model, frame):
    terms = contract.read(model)
    image = preprocess.fit_image(frame, terms.input_size, terms.fit)
    return preprocess.unfit_class_map(TFLiteModel(model)(image), frame.shape[:2], terms.fit)


class _TaskHandler(PageHandler):
    """The page, the task, the frames; and the page's result."""

    def __init__(
        self, *args: Any, task: bytes, frames: bytes, results: queue.Queue, **options: Any
    ):
        self.files = {"/benchmark.json": task, "/frames.rgb": frames}
        self.results = results
        super().__init__(*args, **options)

    def do_GET(self) -> None:
        if self.path in self.files:
            self.send_bytes(self.files[self.path], "application/octet-stream")
        else:
            super().do_GET()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_bytes(b"", "text/plain")
        self.results.put(json.loads(body))


@contextlib.contextmanager
def _serving(
    page: Path, model: str, task: dict[str, Any], frames: np.ndarray
) -> Iterator[tuple[str, queue.Queue]]:
    results: queue.Queue = queue.Queue()
    handler = partial(
        _TaskHandler,
        models={"model.tflite": Path(model)},
        directory=str(page),
        task=json.dumps(task).encode(),
        frames=frames.tobytes(),
        results=results,
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/benchmark.html", results
        finally:
            server.shutdown()
            thread.join()


def _run(program, url, results, limit_s, *flags):
    """Opens the page in a browser of its own, and returns what it sends."""
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses one for root.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [program, *_FLAGS, *sandbox, *flags, f"--user-data-dir={profile}", url]
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            return results.get(timeout=limit_s)
        except queue.Empty:
            return {"failed": f"the browser did not report within {limit_s:.0f} s"}
        finally:
            browser.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                browser.wait(10)
            browser.kill()
            browser.wait()
