"""Instructions that a 64-bit Arm CPU executes per frame, for .tflite files, counted by QEMU.

    python scripts/benchmarks/arm_instructions.py lanes-fp32.tflite lanes-int8.tflite --litert DIR

Runs deploy/cpp's kseg_run, built for aarch64, with LiteRT's CPU kernels on one thread, and counts
what a second frame of the model's size adds to the first. Ratios are to the first file.
--litert: the folder ai_edge_litert of the aarch64 wheel (deploy/cpp/README.md has the commands).

Counts are no times: they know neither caches nor how many instructions a core starts at once.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kseg import contract
from kseg.errors import InputError, run

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = Path("/usr/aarch64-linux-gnu")
PACKAGES = "apt-get install qemu-user g++-aarch64-linux-gnu cmake"
CORES = 4


class Cpu(NamedTuple):
    """What Linux says of a CPU. LiteRT chooses its kernels by these numbers."""

    part: int
    features: str
    found_in: str


BASE = "fp asimd evtstrm aes pmull sha1 sha2 crc32"
CPUS = {
    "cortex-a76": Cpu(
        0xD0B,
        f"{BASE} atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs",
        "dot products of 8 bits, as in Raspberry Pi 5, Jetson Orin",
    ),
    "cortex-a72": Cpu(0xD08, BASE, "no such products, as in Raspberry Pi 4, Jetson Nano"),
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="FILE.tflite", type=Path, nargs="+")
    parser.add_argument("--litert", metavar="DIR", type=Path, required=True)
    args = parser.parse_args()
    if not (args.litert / "libLiteRt.so").is_file():
        raise InputError(f"{args.litert}: contains no libLiteRt.so of the aarch64 wheel")
    for tool in ("qemu-aarch64", "aarch64-linux-gnu-g++", "cc", "cmake"):
        if not shutil.which(tool):
            raise InputError(f"{tool} is not installed; Debian: {PACKAGES}")
    sizes = [contract.read(model).input_size for model in args.model]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        runner, plugin = build(folder)
        print("| file |", " | ".join(f"{name} ({cpu.found_in})" for name, cpu in CPUS.items()), "|")
        print(f"|---{'|---' * len(CPUS)}|")
        first = {}
        for model, size in zip(args.model, sizes, strict=True):
            cells = []
            for name, cpu in CPUS.items():
                root = system_root(folder / name, cpu)
                command = ["qemu-aarch64", "-cpu", name, "-L", root, "-plugin", plugin, runner]
                count = per_frame([*command, model, noise(folder, size)], args.litert)
                ratio = count / first.setdefault(name, count)
                cells.append(f"{count / 1e6:.1f} million, {ratio:.2f}")
            print(f"| {model.stem} | {' | '.join(cells)} |", flush=True)


def build(folder):
    """(kseg_run for aarch64, the plugin for this machine's QEMU)."""
    plugin = folder / "count_instructions.so"
    source = Path(__file__).with_name("count_instructions.c")
    checked("cc", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-o", plugin, source)
    target = ("-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64")
    compiler = "-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++"
    flags = (*target, compiler, "-DKSEG_OPENCV=OFF", "-DCMAKE_BUILD_TYPE=Release")
    checked("cmake", "-S", ROOT / "deploy" / "cpp", "-B", folder / "build", *flags)
    checked("cmake", "--build", folder / "build", "--target", "kseg_run", "--parallel", 2)
    return folder / "build" / "kseg_run", plugin


def system_root(folder, cpu):
    """A folder whose files QEMU puts before this machine's: aarch64's libraries, and the CPU.

    LiteRT crashes when it reads an x86-64 machine's /proc/cpuinfo.
    """
    if folder.exists():
        return folder
    folder.mkdir()
    (folder / "lib").symlink_to(LIBRARIES / "lib")
    fields = {
        "Features": cpu.features,
        "CPU implementer": "0x41",
        "CPU architecture": "8",
        "CPU variant": "0x4",
        "CPU part": hex(cpu.part),
        "CPU revision": "1",
    }
    lines = [f"{key}\t: {value}\n" for key, value in fields.items()]
    info = [f"processor\t: {core}\n{''.join(lines)}\n" for core in range(CORES)]
    written(folder / "proc" / "cpuinfo", "".join(info))
    cores = folder / "sys" / "devices" / "system" / "cpu"
    written(cores / "kernel_max", "63\n")
    for name in ("possible", "present", "online"):
        written(cores / name, f"0-{CORES - 1}\n")
    for core in range(CORES):
        values = {
            "cpufreq/cpuinfo_min_freq": 100_000,
            "cpufreq/cpuinfo_max_freq": 1_900_000,
            "topology/physical_package_id": 0,
            "topology/cluster_cpus_list": f"0-{CORES - 1}",
            "cache/index2/level": 2,
            "cache/index2/size": "256K",
            "cache/index2/shared_cpu_list": core,
        }
        for name, value in values.items():
            written(cores / f"cpu{core}" / name, f"{value}\n")
    return folder


def noise(folder, size):
    path = folder / f"{size[0]}x{size[1]}.ppm"
    if not path.exists():
        pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
        path.write_bytes(b"P6\n%d %d\n255\n" % (size[1], size[0]) + pixels.tobytes())
    return path


def per_frame(command, litert):
    counts = []
    for frames in (1, 2):
        flags = ("--threads", 1, "--no-overlays", "--repeat", frames)
        report = checked(*command, *flags, environment={"KSEG_LITERT": str(litert)})
        counts.append(int(re.search(r"^instructions (\d+)$", report, re.MULTILINE)[1]))
    return counts[1] - counts[0]


def checked(*command, environment=None):
    """Runs a command and returns what it writes to stderr."""
    variables = {**os.environ, **(environment or {})}
    done = subprocess.run([*map(str, command)], env=variables, capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise InputError(f"{command[0]}: exit code {done.returncode}: {lines[-1]}")
    return done.stderr


def written(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


if __name__ == "__main__":
    sys.exit(run(main))
