"""--mixed-precision auto: the 16-bit type that the device computes fast, chosen once per run."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from kseg import config as configs
from kseg.config import Config
from kseg.runtime.backend_devices import Device

# NVIDIA compute capabilities from which tensor cores compute in the type.
_BFLOAT16, _FLOAT16 = (8, 0), (7, 0)


def choose(devices: Sequence[Device]) -> str:
    """Returns bfloat16, float16 or off: the best that all devices compute fast.

    devices: those that take part in the training; none means the CPU, which gains nothing.
    """
    choices = ("bfloat16", "float16", "off")
    return max((_best(device) for device in devices), key=choices.index, default="off")


def resolve(config: Config, devices: Sequence[Device], run: str | os.PathLike[str]) -> Config:
    """Returns config with mixed_precision auto replaced by what RUN records, else by `choose`.

    So a run that resumes on another device does not change. Prints the choice.
    """
    if config.mixed_precision != "auto":
        return config
    chosen = choose(devices)
    if (Path(run) / "config.json").is_file():
        recorded = configs.read(Path(run) / "config.json").mixed_precision
        print(
            f"mixed precision: {recorded}, as this run began"
            + f" (a new one would use {chosen} here)" * (recorded != chosen)
        )
        chosen = recorded
    else:
        print(f"mixed precision: {chosen} (auto)")
    return dataclasses.replace(config, mixed_precision=chosen)


def _best(device: Device) -> str:
    if device.platform == "tpu":
        return "bfloat16"
    capability = device.capability or (0, 0)
    return "bfloat16" if capability >= _BFLOAT16 else "float16" if capability >= _FLOAT16 else "off"
