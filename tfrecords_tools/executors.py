"""Who runs the shards: this process, a pool of processes on one machine, or Apache Beam."""

import multiprocessing
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from kseg.errors import InputError
from tfrecords_tools import shards

_POLL_S = 0.2


def run_here(jobs, folder, progress):
    """Writes the shards one after another; progress(n) is told of every n frames."""
    for job in jobs:
        shards.write_shard(job, folder, progress)


def run_pool(jobs, folder, progress, workers):
    """Writes the shards in `workers` processes. An error in one ends them all and is raised."""
    # Not fork: TensorFlow's threads do not survive it.
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    with ProcessPoolExecutor(workers, context, _start_worker, (counter,)) as pool:
        futures = [pool.submit(_write_counted, job, folder) for job in jobs]
        told, pending = 0, futures
        try:
            while pending:
                done, pending = wait(pending, _POLL_S, FIRST_EXCEPTION)
                count = counter.value
                progress(count - told)
                told = count
                for future in done:
                    future.result()
        except BrokenProcessPool as error:
            raise InputError(
                f"a worker was killed (out of memory?); give fewer --workers than {workers}, the "
                "same command continues with what is missing"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def run_beam(jobs, folder, runner, options):
    """Writes the shards on a Beam runner (DirectRunner, FlinkRunner, SparkRunner, DataflowRunner).

    folder must be reachable by every worker. options are Beam's own flags. Raises InputError when
    the extra `beam` is not installed; what goes wrong in a worker is raised as Beam raises it.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise InputError(
            f"--beam_runner {runner}: Apache Beam is not installed; ./scripts/install beam"
        ) from error
    pipeline_options = PipelineOptions([f"--runner={runner}", *options])
    with beam.Pipeline(options=pipeline_options) as pipeline:
        _ = (
            pipeline
            | beam.Create(jobs)
            | beam.Reshuffle()  # Else one worker would get them all, fused with Create.
            # The report that each leaves on disk is the result; nothing comes back this way.
            | beam.Map(_write_quietly, str(folder))
        )


_counter = None


def _start_worker(counter):
    global _counter
    _counter = counter


def _write_counted(job, folder):
    shards.write_shard(job, folder, _count)


def _count(frames):
    with _counter.get_lock():
        _counter.value += frames


def _write_quietly(job, folder):
    shards.write_shard(job, folder)
