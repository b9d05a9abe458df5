r"""Times a model in a process of its own: for its peak memory, and for the GPU, whose driver may
crash.

    python -m kseg.runtime.subprocess_benchmark \
        '{"spec": ..., "threads": 1, "rounds": 3, "seconds": 5, "image": null}'

prints one line of JSON: what `measure` returns.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from kseg.errors import InputError, run

_START_S = 120  # For loading: software Vulkan drivers compile for many seconds.


def measure(spec, *, threads, rounds, seconds, image=None, operators=False):
    """Runs a model (a spec of kseg.runtime.other_runtimes) in a child process.

    Returns {"runtime", "model_ms", "frame_ms" (a list as model_ms, or None without a contract),
    "load_s", "peak_mb", "idle_mb", "operators"}: peak_mb is the most memory the process ever held,
    idle_mb what it held before model and runtime were loaded (Python, NumPy and OpenCV).
    operators: for a .tflite on the CPU, where asked for, what
    kseg.runtime.operator_profiler.times returns; else None. image: a file; None is noise.
    Raises InputError in the child's own words when it fails or takes too long.
    """
    asked = {
        "spec": spec,
        "threads": threads,
        "rounds": rounds,
        "seconds": seconds,
        "image": image,
        "operators": operators,
    }
    environment = dict(os.environ)
    if spec.startswith("gpu:"):
        from kseg.runtime import gpu

        driver, why = gpu.find_driver()
        if driver is None:
            raise InputError(f"{spec}: {why}")
        environment |= driver.environment
    limit_s = _START_S + 10 * seconds
    try:
        done = subprocess.run(
            [sys.executable, "-m", "kseg.runtime.subprocess_benchmark", json.dumps(asked)],
            capture_output=True,
            text=True,
            timeout=limit_s,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{spec}: no answer within {limit_s:.0f} s") from error
    if done.returncode:
        raise InputError(_words(spec, done))
    return json.loads(done.stdout.splitlines()[-1])


def _words(spec, done):
    """The child's own error, or how it ended and its last line."""
    for line in done.stderr.splitlines():
        if line.startswith("error: "):
            return line.removeprefix("error: ")
    last = (done.stderr.strip().splitlines() or ["nothing on stderr"])[-1]
    how = f"signal {-done.returncode}" if done.returncode < 0 else f"code {done.returncode}"
    return f"{spec}: its process ended with {how} ({last[:200]})"


def main():
    """The child."""
    import cv2

    from kseg.runtime import benchmark_frames, operator_profiler, other_runtimes, timing

    asked = json.loads(sys.argv[1])
    cv2.setNumThreads(asked["threads"])
    frame = benchmark_frames.read(asked["image"])
    idle_mb = memory_mb("VmRSS")
    start = time.perf_counter()
    model = other_runtimes.load(asked["spec"], asked["threads"])
    array = benchmark_frames.model_input(frame, model.input_shape, model.input_dtype)
    model(array)
    load_s = time.perf_counter() - start
    path = other_runtimes.split(asked["spec"])[1]
    draw = benchmark_frames.whole_frame(model, path)
    calls = {"model_ms": lambda: model(array)}
    if draw:
        calls["frame_ms"] = lambda: draw(frame)
    times_ms = timing.alternate(calls, rounds=asked["rounds"], seconds=asked["seconds"], warm_up=0)
    report = {
        "runtime": model.runtime,
        "frame_ms": None,
        **{name: values.tolist() for name, values in times_ms.items()},
        "load_s": load_s,
        "peak_mb": memory_mb("VmHWM"),
        "idle_mb": idle_mb,
        "operators": operator_profiler.times(path, asked["threads"])
        if asked["operators"]
        else None,
    }
    print(json.dumps(report))


def memory_mb(field):
    """A field of /proc/self/status in MB: VmRSS is held, VmHWM the most ever held.

    Not getrusage: its maximum begins with the parent's.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise InputError(f"/proc/self/status has no {field}; memory is measured on Linux alone")


if __name__ == "__main__":
    sys.exit(run(main))
