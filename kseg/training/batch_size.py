"""--batch-size auto: the largest batch that fits into the device's memory, measured on it.

Each batch size is tried in a process of its own (kseg.training.batch_trial): that gives all memory
back, also when it crashes, and leaves the state of this process as it is.
"""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kseg import config as configs
from kseg.child_process import describe_exit
from kseg.config import Config
from kseg.errors import InputError
from kseg.mixture import read_mixture

SHARE = 0.9  # Of the memory may be used: the rest is for fragmentation, and for other sizes' peaks.

Trial = dict[str, Any]  # What kseg.training.batch_trial prints.


def resolve(config: Config, run: str | os.PathLike[str], devices: int = 1) -> Config:
    """Returns config with the batch size that RUN records, else with the largest that fits.

    Prints it. config.batch_size: the size that is tried first. devices: how many share a batch, so
    that it is a multiple of them. Call it before this process uses the device. Raises InputError
    where the device does not report its memory, as CPUs, and when nothing fits.
    """
    recorded = Path(run) / "config.json"
    if recorded.is_file():
        size = configs.read(recorded).batch_size
        print(f"batch size: {size}, as this run began")
        return dataclasses.replace(config, batch_size=size)
    memory = {}

    def try_size(size: int) -> int | None:
        trial = _try(dataclasses.replace(config, batch_size=size), devices)
        memory["limit"] = trial["limit"]
        used = f"{trial['peak'] / 1e9:.3g} GB" if trial["peak"] else "do not fit"
        print(f"batch size: {size} frames: {used} of {trial['limit'] / 1e9:.3g} GB", flush=True)
        fits = trial["peak"] is not None and trial["peak"] <= SHARE * trial["limit"]
        return trial["peak"] if fits else None

    start = max(devices, config.batch_size // devices * devices)
    most = _most_frames(config) // devices * devices
    if most < devices:
        raise InputError(f"--batch-size auto: {config.data} has too few frames; give a number")
    size = search(
        try_size,
        start=min(start, most),
        most=most,
        unit=devices,
        limit=lambda: SHARE * memory["limit"],
    )
    if not size:
        raise InputError(
            f"--batch-size auto: not even {devices} frames of {config.size[0]}x{config.size[1]} of "
            f"{config.model} fit into the device's memory; use a smaller --size or --model"
        )
    print(f"batch size: {size} (auto)")
    return dataclasses.replace(config, batch_size=size)


def search(
    try_size: Callable[[int], int | None],
    *,
    start: int,
    most: int,
    unit: int,
    limit: Callable[[], float],
) -> int:
    """Returns the largest multiple of unit that fits, within about a sixteenth; 0 if none does.

    try_size: returns the bytes that a batch needs, None if it does not fit; called with `start`
    first, and never with more than `most`. limit: the bytes that may be used, known after that.
    """
    size, fails = start, most + unit
    while (needed := try_size(size)) is None:
        fails = size
        if size == unit:
            return 0
        size = max(unit, size // 2 // unit * unit)
    peaks = {size: needed}
    while True:
        largest = max(peaks)
        candidate = _extrapolate(peaks, limit()) if len(peaks) > 1 else 2 * largest
        if candidate >= fails:
            candidate = most if fails > most else (largest + fails) // 2
        candidate = candidate // unit * unit
        if candidate - largest < max(unit, largest // 16):
            return largest
        needed = try_size(candidate)
        if needed is None:
            fails = candidate
        else:
            peaks[candidate] = needed


def _extrapolate(peaks, limit):
    """The batch size that needs `limit` bytes, if memory goes on as between the two largest."""
    smaller, larger = sorted(peaks)[-2:]
    per_frame = max(1.0, (peaks[larger] - peaks[smaller]) / (larger - smaller))
    return larger + int((limit - peaks[larger]) / per_frame)


def _most_frames(config):
    """The largest batch of which the training split has one."""
    splits = [part.manifest.splits["train"] for part in read_mixture(config).parts]
    return splits[0].examples if len(splits) == 1 else 2 * min(s.examples for s in splits)


def _try(config: Config, devices: int) -> Trial:
    """Trains a few steps in a child process. Raises InputError when that is impossible."""
    command = [sys.executable, "-m", "kseg.training.batch_trial", str(devices)]
    text = dataclasses.replace(config, init="none", encoder_weights="none").to_json()
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = describe_exit(done.returncode, done.stderr)
        raise InputError(f"--batch-size auto: {config.batch_size} frames: {reason}")
    trial: Trial = json.loads(done.stdout.splitlines()[-1])
    return trial
