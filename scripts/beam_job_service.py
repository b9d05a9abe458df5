"""A Beam job service whose jobs run on several worker pools, on hosts of their own.

    python scripts/beam_job_service.py --port PORT

It is the job service of Beam's Python SDK (apache_beam.runners.portability.local_job_service) with
three changes. Beam's gives a job one worker; this one starts a worker on each pool of
`--environment_config=HOST:PORT,HOST:PORT,...`. Beam's waits for ever when the host of a worker has
died; this one fails the job. Beam's listens on localhost; this one on every address of the host.
"""

import argparse
import itertools
import socket
import threading
import time

from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_job_api_pb2
from apache_beam.portability.api import beam_runner_api_pb2 as runner_api
from apache_beam.runners.portability import local_job_service
from apache_beam.runners.portability.fn_api_runner import fn_runner, worker_handlers

EXTERNAL = common_urns.environments.EXTERNAL.urn


class JobService(local_job_service.LocalJobServicer):
    """Accepts jobs from other hosts."""

    def __init__(self):
        super().__init__(beam_job_type=Job)

    def get_bind_address(self):
        return "[::]"

    def get_service_address(self):
        return socket.getfqdn()


class Job(local_job_service.BeamJob):
    """A job that has one worker on each of its pools."""

    def _invoke_runner(self):
        self.set_state(beam_job_api_pb2.JobState.RUNNING)
        runner = fn_runner.FnApiRunner(provision_info=self._provision_info)
        environments = self._pipeline_proto.components.environments.values()
        runner._num_workers = max(
            len(pool_addresses(runner_api.ExternalPayload.FromString(environment.payload)))
            for environment in environments
            if environment.urn == EXTERNAL
        )
        return runner.run_via_runner_api(self._pipeline_proto, self.pipeline_options())


def pool_addresses(payload):
    return payload.endpoint.url.split(",")


@worker_handlers.WorkerHandler.register_environment(EXTERNAL, runner_api.ExternalPayload)
class WorkerOnNextPool(worker_handlers.ExternalWorkerHandler):
    """A worker on the next of the pools; its job fails when the pool's host is lost."""

    _count = itertools.count()

    def start_worker(self):
        addresses = pool_addresses(self._external_payload)
        self._pool = addresses[next(self._count) % len(addresses)]
        self._external_payload = runner_api.ExternalPayload()
        self._external_payload.endpoint.url = self._pool
        super().start_worker()
        self._done = False
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self):
        """Fails the worker's requests once its pool accepts no connections."""
        host, port = self._pool.rsplit(":", 1)
        while not self._done:
            try:
                socket.create_connection((host, int(port)), timeout=10).close()
            except OSError as error:
                self.control_conn.abort(RuntimeError(f"worker pool {self._pool} is lost: {error}"))
                return
            time.sleep(1)

    def stop_worker(self):
        self._done = True


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, required=True)
    service = JobService()
    service.start_grpc_server(parser.parse_args().port)
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
