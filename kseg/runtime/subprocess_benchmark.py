r"""Times one model in a child process: for its peak memory, and because GPU drivers may crash.

    python -m kseg.runtime.subprocess_benchmark \
        '{"spec": ..., "threads": 1, "rounds": 3, "seconds": 5, "image": null, "operators": false}'

prints one line of JSON: what `measure` returns.
"""

import json
import os
import subprocess
import sys
import time
from typing import Any

from kseg.child_process import describe_exit
from kseg.errors import InputError, run

_LOADING_LIMIT_S = 120  # Software Vulkan drivers compile for many seconds.
_INPUT_ERROR = 2  # The exit code of kseg.errors.run after an InputError.


def measure(
    spec: str,
    *,
    threads: int,
    rounds: int,
    seconds: float,
    image: str | None = None,
    operators: bool = False,
) -> dict[str, Any]:
    """Runs a model (a spec of kseg.runtime.other_runtimes) in a child process.

    image: a file; None is noise. operators: profile them too, for a .tflite on the CPU.
    Returns {"runtime", "model_ms": a list, "frame_ms": a list, or None without a contract,
    "load_s", "peak_mb", "idle_mb", "operators"}. peak_mb is the peak of the process, idle_mb what
    it used before runtime and model were loaded (Python, NumPy and OpenCV). operators is what
    kseg.runtime.operator_profiler.profile_operators returns, or None.
    Raises InputError, with the child's own message where it has one, when the child fails or takes
    too long.
    """
    request = {
        "spec": spec,
        "threads": threads,
        "rounds": rounds,
        "seconds": seconds,
        "image": image,
        "operators": operators,
    }
    limit_s = _LOADING_LIMIT_S + 10 * seconds
    try:
        done = subprocess.run(
            [sys.executable, "-m", "kseg.runtime.subprocess_benchmark", json.dumps(request)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit_s,
            env={**os.environ, **_gpu_environment(spec)},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{spec}: {describe_exit(None, '', limit_s=limit_s)}") from error
    if done.returncode:
        message = describe_exit(done.returncode, done.stderr)
        where = "" if done.returncode == _INPUT_ERROR else f"{spec}: "
        raise InputError(where + message)
    return json.loads(done.stdout.splitlines()[-1])


def _gpu_environment(spec: str) -> dict[str, str]:
    """Returns the variables with which the child process finds the GPU."""
    if not spec.startswith("gpu:"):
        return {}
    from kseg.runtime import gpu

    driver, no_driver = gpu.find_driver()
    if driver is None:
        raise InputError(f"{spec}: {no_driver}")
    return driver.environment


def main() -> None:
    """The child process."""
    import cv2

    from kseg.runtime import benchmark_frames, hardware, operator_profiler, other_runtimes, timing

    request = json.loads(sys.argv[1])
    spec, threads = request["spec"], request["threads"]
    cv2.setNumThreads(threads)
    frame = benchmark_frames.read_frame(request["image"])
    idle_mb, _ = hardware.resident_memory_mb()
    start = time.perf_counter()
    model = other_runtimes.load_model(spec, threads)
    array = benchmark_frames.model_input(frame, model.input_shape, model.input_dtype)
    model.run(array)
    load_s = time.perf_counter() - start
    path = other_runtimes.parse_spec(spec)[1]
    process = benchmark_frames.frame_processor(model, path)
    calls = {"model_ms": lambda: model.run(array)}
    if process:
        calls["frame_ms"] = lambda: process(frame)
    times_ms = timing.time_interleaved(
        calls, rounds=request["rounds"], seconds=request["seconds"], warm_up=0
    )
    _, peak_mb = hardware.resident_memory_mb()
    report = {
        "runtime": model.runtime,
        "frame_ms": None,
        **{name: values.tolist() for name, values in times_ms.items()},
        "load_s": load_s,
        "peak_mb": peak_mb,
        "idle_mb": idle_mb,
        "operators": None,
    }
    if request["operators"]:
        report["operators"] = operator_profiler.profile_operators(path, threads)
    print(json.dumps(report))


if __name__ == "__main__":
    sys.exit(run(main))
