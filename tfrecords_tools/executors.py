"""Runs ShardJobs: in this process, in a pool of processes on one machine, or on Apache Beam."""

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from kseg.errors import InputError
from tfrecords_tools import shards
from tfrecords_tools.shards import ShardJob

# Each process needs seconds to import TensorFlow, which pays off from a few hundred frames on.
FRAMES_PER_WORKER = 400
_POLL_S = 0.2
# {--beam_runner: how to install it}
BEAM_RUNNERS = {
    "DirectRunner": "run ./scripts/install beam",
    "PortableRunner": "run ./scripts/install beam",
    "FlinkRunner": "run ./scripts/install beam",
    "SparkRunner": "run ./scripts/install beam",
    "DataflowRunner": "run .venv/bin/pip install 'apache-beam[gcp]'",
    "DaskRunner": "run ./scripts/install dask",
}
PORTABLE_RUNNERS = ("PortableRunner", "FlinkRunner", "SparkRunner")  # They use a job service.


def run_locally(jobs: list[ShardJob], folder: Path, *, workers: int | None) -> None:
    """Writes the shards on this machine, with a progress bar.

    workers: number of processes, None for up to one per core, as many as pay off.
    """
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    frames = sum(len(job.frames) for job in jobs)
    workers = workers or min(os.cpu_count() or 1, 1 + frames // FRAMES_PER_WORKER)
    workers = min(workers, len(jobs))
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("frames", total=frames)

        def progress(count):
            bar.advance(task, count)

        if workers > 1:
            _run_pool(jobs, folder, progress, workers)
        else:
            for job in jobs:
                shards.write_shard(job, folder, progress)


def _run_pool(
    jobs: list[ShardJob], folder: Path, progress: Callable[[int], None], workers: int
) -> None:
    """Writes the shards in `workers` processes. An error in one stops all and is raised."""
    # Not fork: TensorFlow's threads do not survive it.
    context = multiprocessing.get_context("spawn")
    counter, started = context.Value("q", 0), context.SimpleQueue()
    with ProcessPoolExecutor(workers, context, _start_worker, (counter, started)) as pool:
        pending = {pool.submit(_write_counted, job, folder) for job in jobs}
        reported = 0
        try:
            while pending:
                done, pending = wait(pending, _POLL_S, FIRST_EXCEPTION)
                count = counter.value
                progress(count - reported)
                reported = count
                for future in done:
                    future.result()
        except BrokenProcessPool as error:
            raise InputError(
                f"a worker was killed (out of memory?); use fewer --workers than {workers}; the "
                "same command continues with the missing shards"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            _terminate(started)
            raise


def _terminate(started):
    """Ends the pool's workers, and none of the caller's other children."""
    own = set()
    while not started.empty():
        own.add(started.get())
    for process in multiprocessing.active_children():
        if process.pid in own:
            process.terminate()


def run_beam(jobs: list[ShardJob], folder: Path, *, runner: str, options: list[str]) -> None:
    """Writes the shards on one of BEAM_RUNNERS.

    Every worker must be able to reach `folder`. options are Beam's own flags. Raises InputError
    when a package or --job_endpoint is missing, and when a cluster ends the job. An error in a
    worker is raised as Beam raises it.
    """
    if runner == "PortableRunner" and not _has_option(options, "--job_endpoint"):
        raise InputError(f"--beam_runner {runner}: add `-- --job_endpoint=HOST:PORT`")
    try:
        import apache_beam as beam
        import grpc
        from apache_beam.options.pipeline_options import PipelineOptions

        pipeline = beam.Pipeline(
            options=PipelineOptions([*_runner_options(runner, options), *options])
        )
    except ImportError as error:
        raise InputError(
            f"--beam_runner {runner}: a package is missing ({error}); {BEAM_RUNNERS[runner]}"
        ) from error
    _ = (
        pipeline
        | beam.Create(jobs)
        | beam.Reshuffle()  # Otherwise fused with Create, which gives all jobs to one worker.
        # The report beside each shard is the result, so the pipeline returns nothing.
        | beam.Map(_write_without_progress, str(folder))
    )
    try:
        pipeline.run().wait_until_finish()
    except (RuntimeError, grpc.FutureTimeoutError) as error:
        if runner not in PORTABLE_RUNNERS:
            raise
        # Beam has logged all of it; the message may be the traceback of a worker.
        reason = str(error).strip().splitlines() or ["no connection to the job service"]
        raise InputError(
            f"--beam_runner {runner}: the job failed ({reason[-1]}); its log above says more; the "
            "same command continues with the missing shards"
        ) from error


def _has_option(options: list[str], *names: str) -> bool:
    return any(option.split("=")[0] in names for option in options)


def _runner_options(runner: str, options: list[str]) -> list[str]:
    if runner != "DaskRunner":
        return [f"--runner={runner}"]
    # Beam knows this one only by its full name, and by default gives 128 jobs to one worker.
    flags = ["--runner=apache_beam.runners.dask.dask_runner.DaskRunner"]
    if not _has_option(options, "--dask_npartitions", "--dask_partition_size"):
        flags.append("--dask_partition_size=1")
    return flags


_counter = None  # Frames written by all workers of the pool; set in each worker.


def _start_worker(counter, started):
    global _counter
    _counter = counter
    started.put(os.getpid())


def _write_counted(job, folder):
    shards.write_shard(job, folder, _count)


def _count(frames):
    with _counter.get_lock():
        _counter.value += frames


def _write_without_progress(job, folder):
    shards.write_shard(job, folder)
