"""Measures how old a camera's frames are when a runner's measures of them arrive.

    python scripts/benchmarks/frame_age.py MODEL RUNNER...

The camera is tests/deploy/fake_v4l2.c at 30 frames/s: it fills the buffers that the runner has
queued, as a driver does. A frame's age is the time from its timestamp to the arrival of its JSON
line here. Set KSEG_LITERT for kseg_run.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

FAKE = Path(__file__).resolve().parents[2] / "tests" / "deploy" / "fake_v4l2.c"
FRAMES, WARM_UP = 60, 10


def measure(library: Path, model: str, runner: str, log: Path) -> None:
    command = [*runner.split(), model, "9", "--no-overlays", "--json", "-"]
    command += ["--frames", str(FRAMES), "--threads", "1"]
    variables = {"FAKE_V4L2": "camera", "FAKE_V4L2_LOG": str(log), "LD_PRELOAD": str(library)}
    log.write_text("")
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, **variables}
    )
    lines, arrived = [], []
    for line in running.stdout or ():
        arrived.append(time.monotonic())
        lines.append(json.loads(line))
    taken = np.array([float(stamp) for stamp in log.read_text().split()])
    # The frame of a line: time_s counts from the first one, whose line came first.
    since_s = np.array([line["time_s"] for line in lines])
    newest_first = taken[taken <= arrived[0] - lines[0]["age_ms"] / 1000 + 1e-3].max()
    # A runner that drops frames stamps them by the driver's clock; else there is a line per frame.
    stamps = newest_first + since_s if lines[-1]["dropped"] else taken[: len(lines)]
    ages_ms = 1000 * (np.array(arrived) - stamps)[WARM_UP:]
    latency, reported = (
        np.median([line[key] for line in lines[WARM_UP:]]) for key in ("latency_ms", "age_ms")
    )
    median, high = np.percentile(ages_ms, (50, 95))
    print(
        f"{runner}: latency {latency:.0f} ms, age {median:.0f} / {high:.0f} ms (median / 95 %), "
        f"reported {reported:.0f} ms, {lines[-1]['dropped']} dropped"
    )


def main() -> None:
    model, *runners = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "fake_v4l2.so"
        compiler = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(FAKE), "-ldl"]
        subprocess.run(compiler, check=True)
        for runner in runners:
            measure(library, model, runner, Path(folder) / "log")


if __name__ == "__main__":
    main()
