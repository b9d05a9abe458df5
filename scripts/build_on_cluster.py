"""Converts a data set on clusters of hosts that share an S3 store, and kills a host in the middle.

    python scripts/build_on_cluster.py [--engine portable|dask] [--work DIR]

The hosts are network namespaces of this machine, each with a name and an address of its own. One
runs the S3 store (moto), one the engine and `kseg build`, two run workers. Workers share no disk:
they read images and masks from s3:// and write shards there. Needs Linux, root, the command `ip`
(Debian: iproute2) and the extras `test,beam,dask,s3`. Takes some minutes on two cores.

1. `kseg build` with a pool of processes on a local disk: the reference.
2. For each engine the same on the cluster. Both workers must write shards, and every file must have
   the bytes of the reference. The engines are Beam's PortableRunner with the job service of its
   Python SDK (beam_job_service.py) and two worker pools, the protocol of Flink and Spark, and
   Beam's DaskRunner on a Dask cluster.
3. Again, and worker 2 is killed once it has written a shard. Dask must go on with worker 1. The job
   service must fail the job with one line and exit code 2; after worker 2 has been started again,
   the same command must write the missing shards. Every file must have the same bytes again.

Exit code 0: all of this was seen; 1: it was not; 2: this machine cannot run it.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import namespaces
from namespaces import HostProcess

from kseg.errors import InputError, run

ROOT = Path(__file__).resolve().parents[1]
HOSTS = STORE, ENGINE, *WORKERS = ["kseg-store", "kseg-engine", "kseg-worker-1", "kseg-worker-2"]
S3_PORT, JOB_PORT, WORKER_PORT, DASK_PORT = 9000, 8099, 50000, 8786
ENVIRONMENT = {
    "AWS_ENDPOINT_URL": f"http://{STORE}:{S3_PORT}",
    "AWS_ACCESS_KEY_ID": "kseg",
    "AWS_SECRET_ACCESS_KEY": "kseg",
    "AWS_DEFAULT_REGION": "us-east-1",
    "PYTHONPATH": str(ROOT),
    # A worker pool starts its workers by the command `python`.
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
}
TRAIN, VAL, SHARD_FRAMES = 56, 8, 4
SHARDS = (TRAIN + VAL) // SHARD_FRAMES
TIME_LIMIT_S = 600
POLL_S = 0.02
PYTHON = [sys.executable, "-m"]
BUILD = [*PYTHON, "tfrecords_tools.build", "--source", "bdd100k", "--size", 64, 96]
BUILD += ["--shard-frames", SHARD_FRAMES]
UPLOAD = "import s3fs, sys; s = s3fs.S3FileSystem(); s.mkdir('cars'); s.put(*sys.argv[1:], True)"
DOWNLOAD = "import s3fs, sys; s3fs.S3FileSystem().get(*sys.argv[1:], True)"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", choices=ENGINES, help="only this engine (default: all)")
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
        os.environ.update(ENVIRONMENT)
        if sys.dont_write_bytecode:  # Many processes import TensorFlow; only the first compiles it.
            bytecode = str(work / "bytecode")
            os.environ.update(PYTHONDONTWRITEBYTECODE="", PYTHONPYCACHEPREFIX=bytecode)
        raw, reference = work / "raw", work / "reference"
        print(f"== the reference: {SHARDS} shards by a pool of processes", flush=True)
        size = ["--size", 90, 160, "--train", TRAIN, "--val", VAL]
        call([*PYTHON, "tfrecords_tools.demo", "--out", raw, *size])
        call([*BUILD, "--data", raw, "--out", reference, "--workers", 2])
        stack.enter_context(namespaces.network(HOSTS))
        try:
            store = stack.enter_context(s3_store(work, raw))
            for engine in [args.engine] if args.engine else ENGINES:
                with Cluster(engine, work) as cluster:
                    uninterrupted(cluster, store)
                    interrupted(cluster, store)
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


# The two parts


def uninterrupted(cluster, store):
    """Converts on two workers, and compares with the reference."""
    print(f"== {cluster.name}: two workers", flush=True)
    out = f"cars/{cluster.name}"
    expect_code(cluster.build(out), 0)
    by_host = shards_written(store, out)
    print(f"   shards written: {dict(by_host)}")
    expect(set(by_host) == set(WORKERS), f"not by both workers: {by_host}")
    expect(sum(by_host.values()) == SHARDS, f"{by_host}, expected {SHARDS} in all")
    compare(cluster.work, out)


def interrupted(cluster, store):
    """Converts on two workers, of which one is killed, and compares with the reference."""
    print(f"== {cluster.name}: worker 2 is killed", flush=True)
    out = f"cars/{cluster.name}-killed"
    build = cluster.build(out)
    while not shards_written(store, out)[WORKERS[1]]:
        expect(not build.ended, f"worker 2 wrote no shard: {build.stdout}{build.stderr}")
        time.sleep(POLL_S)
    cluster.kill_worker()
    print(f"   killed; shards written: {dict(shards_written(store, out))}", flush=True)
    expect(not build.ended, "the build had ended before worker 2 was killed")
    if cluster.engine.goes_on:
        expect_code(build, 0)
    else:
        expect_code(build, 2)
        errors = [line for line in build.stderr.splitlines() if line.startswith("error: ")]
        expect(len(errors) == 1 and WORKERS[1] in errors[0], build.stderr)
        print(f"   {errors[0]}")
        cluster.start_worker(WORKERS[1])
        again = cluster.build(out)
        expect_code(again, 0)
        expect("continuing" in again.stdout, f"it began anew: {again.stdout}")
        print("   " + next(line for line in again.stdout.splitlines() if "continuing" in line))
    print(f"   shards written: {dict(shards_written(store, out))}")
    compare(cluster.work, out)


def compare(work, out):
    """Raises Failure unless a data set of the store has the bytes of the reference."""
    copy = work / "copies" / Path(out).name
    copy.parent.mkdir(exist_ok=True)
    get = HostProcess(ENGINE, [sys.executable, "-c", DOWNLOAD, out, copy], work / "get")
    expect(get.process.wait(TIME_LIMIT_S) == 0, get.stderr)
    ours, theirs = contents(copy), contents(work / "reference")
    expect(ours.keys() == theirs.keys(), f"other files: {sorted(ours.keys() ^ theirs.keys())}")
    other = [name for name in ours if ours[name] != theirs[name]]
    expect(not other, f"other bytes: {other}")
    print(f"   all {len(ours)} files have the bytes of the reference")


def contents(folder):
    """Returns {name: bytes}. The request is left out, as it depends on the files' times."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    manifest = json.loads(files["manifest.json"])
    request = str(manifest.pop("request"))
    card = files["README.md"].decode().replace(request, "")
    return files | {"manifest.json": manifest, "README.md": card}


# The store


@contextlib.contextmanager
def s3_store(work, raw):
    """An S3 store that holds the images and masks as s3://cars/bdd."""
    store = HostProcess(STORE, [*PYTHON, "moto.server", "-H0.0.0.0", f"-p{S3_PORT}"], work / STORE)
    try:
        wait_for_port(store, S3_PORT)
        command = [sys.executable, "-c", UPLOAD, f"{raw}/", "cars/bdd"]
        put = HostProcess(ENGINE, command, work / "put")
        expect(put.process.wait(TIME_LIMIT_S) == 0, put.stderr)
        yield store
    finally:
        store.kill()


def shards_written(store, out):
    """Returns {host: shards that it has finished}, from the store's log.

    A shard is finished when its report, NAME.json, has been written too.
    """
    pattern = rf'^(\S+) - - .*"PUT /{out}/[^/ ]+\.tfrecord-[\d-]+of-\d+\.json HTTP'
    addresses = re.findall(pattern, store.stderr, re.MULTILINE)
    hosts = {f"{namespaces.SUBNET}{number}": name for number, name in enumerate(HOSTS, 1)}
    return Counter(hosts[address] for address in addresses)


# The clusters


@dataclass(frozen=True)
class Engine:
    """How an engine is run: its command and port, a worker's command, the flags of `kseg build`.

    goes_on: it survives the loss of a worker.
    """

    service: list
    port: int
    worker: list
    flags: list
    goes_on: bool


ENGINES = {
    "portable": Engine(
        service=[sys.executable, ROOT / "scripts/beam_job_service.py", "--port", JOB_PORT],
        port=JOB_PORT,
        worker=[
            *(*PYTHON, "apache_beam.runners.worker.worker_pool_main"),
            f"--service_port={WORKER_PORT}",
        ],
        flags=[
            *("--beam_runner", "PortableRunner", "--", f"--job_endpoint={ENGINE}:{JOB_PORT}"),
            "--environment_type=EXTERNAL",
            "--environment_config=" + ",".join(f"{host}:{WORKER_PORT}" for host in WORKERS),
        ],
        goes_on=False,
    ),
    "dask": Engine(
        service=[
            *(*PYTHON, "distributed.cli.dask_scheduler"),
            *("--port", DASK_PORT, "--no-dashboard"),
        ],
        port=DASK_PORT,
        worker=[
            *(*PYTHON, "distributed.cli.dask_worker", f"tcp://{ENGINE}:{DASK_PORT}"),
            *("--no-nanny", "--no-dashboard", "--nthreads", 1, "--worker-port", WORKER_PORT),
            # Both import it before the first job, or one could be done before the other begins.
            *("--preload", "tensorflow"),
        ],
        flags=[
            *("--beam_runner", "DaskRunner", "--"),
            f"--dask_client_address=tcp://{ENGINE}:{DASK_PORT}",
        ],
        goes_on=True,
    ),
}


class Cluster:
    """An engine that runs on host ENGINE, and its WORKERS."""

    def __init__(self, name, work):
        self.name, self.engine, self.work, self.processes = name, ENGINES[name], work, {}

    def __enter__(self):
        try:
            self._start(ENGINE, self.engine.service, self.engine.port)
            for host in WORKERS:
                self.start_worker(host)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            process.kill()

    def start_worker(self, host):
        self._start(host, self.engine.worker, WORKER_PORT)

    def kill_worker(self):
        self.processes[WORKERS[1]].kill()

    def build(self, out):
        """Starts `kseg build` into s3://OUT."""
        command = [*BUILD, "--data", "s3://cars/bdd", "--out", f"s3://{out}", *self.engine.flags]
        self.processes["build"] = HostProcess(ENGINE, command, self.work / Path(out).name)
        return self.processes["build"]

    def _start(self, host, command, port):
        log = self.work / f"{self.name}-{host}"
        self.processes[host] = HostProcess(host, command, log)
        wait_for_port(self.processes[host], port)


# The machine


def check_machine():
    """Raises InputError where namespaces cannot be made, or a package is missing."""
    namespaces.check_machine("build_on_cluster")
    for package in ("apache_beam", "distributed", "s3fs", "moto", "flask"):
        if importlib.util.find_spec(package) is None:
            raise InputError(f"build_on_cluster: no {package}; ./scripts/install test,beam,dask,s3")


def call(command):
    subprocess.run(list(map(str, command)), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def wait_for_port(process, port):
    """Waits until a host accepts connections on a port. Raises Failure when its process ends."""
    probe = ["ip", "netns", "exec", ENGINE, "bash", "-c", f"</dev/tcp/{process.host}/{port}"]
    while subprocess.run(probe, capture_output=True, check=False).returncode:
        expect(not process.ended, f"{process.host}: {process.stdout}{process.stderr}")
        time.sleep(0.1)


def expect_code(build, code):
    start = time.monotonic()
    found = build.process.wait(TIME_LIMIT_S)
    print(f"   kseg build: exit code {found} after {time.monotonic() - start:.1f} s")
    text = build.stdout[-2000:] + build.stderr[-5000:]
    expect(found == code, f"exit code {found}, expected {code}: {text}")


if __name__ == "__main__":
    sys.exit(run(main))
