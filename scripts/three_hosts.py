"""Trains on three hosts, kills one in the middle, and goes on with the two that remain.

    python scripts/three_hosts.py [--lose kill|cut] [--work DIR]

The hosts are network namespaces of this machine, each with a name and an address of its own, joined
by a bridge; the run folder is on a disk that they share. Needs Linux, root, the command `ip`
(Debian: iproute2) and the extra `jax`. Takes some minutes on two cores.

1. Three hosts train a small model to the end: the reference.
2. Three hosts train it again. After two epochs host 2 is killed (--lose kill), or its network
   cable is pulled (--lose cut). The other hosts must end with one line and exit code 75.
3. Hosts 0 and 1 get the same command with two hosts. They must resume at the last checkpoint, and
   every loss must be within TOLERANCE of the reference.

Exit code 0: all of this was seen; 1: it was not; 2: this machine cannot run it.
"""

import argparse
import contextlib
import csv
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import namespaces
from namespaces import HostProcess

from kseg.config import Config
from kseg.errors import InputError, run
from kseg.training.host_watch import EXIT_CODE

ROOT = Path(__file__).resolve().parents[1]
NAMES = [f"kseg-host-{number}" for number in range(3)]
PORT = 9377
# Sums over two hosts round otherwise than sums over three, and every step amplifies this.
TOLERANCE = 0.001
EPOCHS = 4
TIME_LIMIT_S = 1800
# Compiles in half the time; the small model needs no fast code.
XLA_FLAGS = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--lose", choices=("kill", "cut"), default="kill", help="how host 2 is lost (default: kill)"
    )
    parser.add_argument("--work", metavar="DIR", help="folder to keep (default: a temporary one)")
    args = parser.parse_args()
    check_machine()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # So that all is cleaned up.
    with contextlib.ExitStack() as stack:
        if args.work:
            work = Path(args.work).resolve()
            work.mkdir(parents=True, exist_ok=True)
        else:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        config = write_config(work)
        stack.enter_context(namespaces.network(NAMES))
        try:
            reference = uninterrupted(config, work / "reference")
            interrupted(config, work / "run", args.lose)
            compare(reference, resumed(config, work / "run"))
        except Failure as failure:
            print(f"FAILED: {failure}")
            return 1
    print("passed")
    return 0


class Failure(Exception):
    """Something else happened than must."""


def expect(condition, text):
    if not condition:
        raise Failure(text)


# The three parts


def uninterrupted(config, out):
    """Returns the losses of a training on three hosts."""
    print("== three hosts, uninterrupted", flush=True)
    with hosts_training(config, out, 3) as processes:
        expect_codes(processes, [0, 0, 0])
    return losses(out)


def interrupted(config, out, how):
    """Trains on three hosts, and loses host 2 once two epochs are done."""
    print(f"== three hosts, host 2 is lost ({how})", flush=True)
    with hosts_training(config, out, 3) as processes:
        while epochs_done(out) < 2:
            expect(not any(process.ended for process in processes), "a host ended too early")
            time.sleep(0.05)
        if how == "kill":
            processes[2].kill()
        else:
            namespaces.ip(f"-n {NAMES[2]} link set eth0 down")
        expect_codes(processes[:2], [EXIT_CODE, EXIT_CODE])
        for process in processes[:2]:
            errors = [line for line in process.stderr.splitlines() if line.startswith("error: ")]
            text = process.stderr
            expect(len(errors) == 1 and "Traceback" not in text, f"{process.host}: {text}")
            expect("host 2" in errors[0], f"{process.host}: names another host: {errors[0]}")
            expect(text.rstrip().endswith(errors[0]), f"{process.host}: says more: {text}")
    print(f"   epochs done: {epochs_done(out)}")


def resumed(config, out):
    """Returns the losses after hosts 0 and 1 have trained the rest."""
    print("== two hosts go on", flush=True)
    before = epochs_done(out)
    with hosts_training(config, out, 2) as processes:
        expect_codes(processes, [0, 0])
        expect(f"resuming after epoch {before}" in processes[0].stdout, "it began anew")
    return losses(out)


def compare(reference, ours):
    """Prints the losses of both trainings. Raises Failure when they differ too much."""
    print(f"{'epoch':>5} {'uninterrupted':>22} {'interrupted':>22} {'difference':>10}")
    expect(len(reference) == len(ours) == EPOCHS, f"{len(ours)} epochs instead of {EPOCHS}")
    worst = 0.0
    for epoch, (a, b) in enumerate(zip(reference, ours, strict=True), 1):
        difference = max(abs(x - y) / x for x, y in zip(a, b, strict=True))
        worst = max(worst, difference)
        texts = ["{:.6f} {:.6f}".format(*values) for values in (a, b)]
        print(f"{epoch:5} {texts[0]:>22} {texts[1]:>22} {difference:10.5%}")
    print("(training and validation loss)")
    expect(worst <= TOLERANCE, f"losses differ by {worst:.3%}, more than {TOLERANCE:.1%}")


# The machine


def check_machine():
    """Raises InputError where namespaces cannot be made, or JAX is missing."""
    namespaces.check_machine("three_hosts")
    try:
        import jax  # noqa: F401
    except ModuleNotFoundError:
        raise InputError("three_hosts: no JAX; ./scripts/install jax") from None


@contextlib.contextmanager
def hosts_training(config, out, count):
    """The processes of a training on the first `count` hosts; killed at the end if need be."""
    hosts = ",".join(f"{name}:{PORT}" for name in NAMES[:count])
    train = [sys.executable, "-m", "kseg.train", "--config", config, "--out", out]
    train += ["--hosts", hosts, "--cache", "none"]
    environment = {"KERAS_BACKEND": "jax", "XLA_FLAGS": XLA_FLAGS}
    processes = [
        HostProcess(
            NAMES[number],
            [*train, "--host", number],
            out.parent / f"{out.name}-{count}-{number}",
            environment,
        )
        for number in range(count)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()


def expect_codes(processes, codes):
    """Waits for the processes. Raises Failure when their exit codes are others."""
    start = time.monotonic()
    for process, code in zip(processes, codes, strict=True):
        found = process.process.wait(TIME_LIMIT_S)
        print(f"   {process.host}: exit code {found} after {time.monotonic() - start:.1f} s")
        for line in process.stderr.splitlines()[:20]:
            print(f"      {line}")
        expect(found == code, f"{process.host}: exit code {found}, expected {code}")


def write_config(work):
    """Writes a small data set and the config of a small model. Returns the config's path."""
    raw, data, config = work / "raw", work / "data", work / "config.json"
    module = [sys.executable, "-m"]
    demo = ["tfrecords_tools.demo", "--out", raw, "--train", 12, "--val", 6, "--size", 90, 160]
    build = ["tfrecords_tools.build", "--source", "bdd100k", "--data", raw, "--out", data]
    for command in (demo, [*build, "--size", 64, 96]):
        subprocess.run(
            [*module, *map(str, command)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
        )
    # Batches of 6 are shared by three hosts and by two.
    values = Config(
        data=str(data),
        size=(64, 96),
        model="unet",
        decoder_channels=8,
        batch_size=6,
        epochs=EPOCHS,
        loss="cross_entropy",
        optimizer="sgd",
        schedule="constant",
        learning_rate=0.01,
    )
    config.write_text(values.to_json())
    return config


def epochs_done(out):
    state = out / "last/state.json"
    return json.loads(state.read_text())["epochs_done"] if state.is_file() else 0


def losses(out):
    with (out / "history.csv").open() as file:
        return [(float(row["loss"]), float(row["val_loss"])) for row in csv.DictReader(file)]


if __name__ == "__main__":
    sys.exit(run(main))
