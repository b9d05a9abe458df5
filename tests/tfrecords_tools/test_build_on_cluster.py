"""Conversion on clusters: what is refused, and scripts/build_on_cluster.py."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from kseg.errors import InputError
from tests.conftest import ROOT, assert_one_line, run_build
from tfrecords_tools import build, executors, shards, source_flags

SCRIPT = ROOT / "scripts" / "build_on_cluster.py"
SIZE = ("--size", 60, 100)


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    spec = importlib.util.spec_from_file_location("build_on_cluster", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # For its dataclasses.
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def cluster(monkeypatch):
    """A function (write) that makes write(jobs, folder) the cluster on which builds run."""
    return lambda write: monkeypatch.setattr(build, "_executor", lambda args: write)


def test_a_cluster_that_loses_a_shard_is_one_line_and_the_same_command_writes_it(
    bdd100k, tmp_path, capsys, cluster
):
    flags = (*SIZE, "--shard-frames", 4)

    def lose_the_last(jobs, folder):
        for job in jobs[:-1]:
            shards.write_shard(job, folder)

    cluster(lose_the_last)
    assert run_build(bdd100k, tmp_path / "out", *flags) == 2
    assert_one_line(capsys, "1 of 3 shards", "val.tfrecord-00000-of-00001", "same command")
    assert not (tmp_path / "out").exists()
    cluster(lambda jobs, folder: [shards.write_shard(job, folder) for job in jobs])
    assert run_build(bdd100k, tmp_path / "out", *flags) == 0
    assert "2 of 3 shards are done" in capsys.readouterr().out


def test_a_worker_with_another_version_is_one_line(bdd100k, tmp_path, capsys, monkeypatch, cluster):
    def write_as_of_another_version(jobs, folder):
        with monkeypatch.context() as patch:
            patch.setattr(shards, "CONVERSION_VERSION", shards.CONVERSION_VERSION - 1)
            for job in jobs:
                shards.write_shard(job, folder)

    cluster(write_as_of_another_version)
    assert run_build(bdd100k, tmp_path / "out", *SIZE) == 2
    assert_one_line(capsys, "train.tfrecord-00000-of-00001", "another version", "2 of 2 shards")
    assert not (tmp_path / "out").exists()


def test_shard_frames_is_the_length_of_a_shard(bdd100k, tmp_path, capsys):
    assert run_build(bdd100k, tmp_path / "out", *SIZE, "--shard-frames", 4) == 0
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert [shard["examples"] for shard in manifest["splits"]["train"]["shards"]] == [4, 2]
    assert run_build(bdd100k, tmp_path / "no", *SIZE, "--shard-frames", 0) == 2
    assert_one_line(capsys, "--shard-frames 0")


def test_beam_runners_say_what_they_lack(bdd100k, tmp_path, capsys, monkeypatch):
    pytest.importorskip("apache_beam", reason="the extra `beam` is not installed")
    beam = ("--beam_runner", "PortableRunner")
    assert run_build(bdd100k, tmp_path / "out", *SIZE, *beam) == 2
    assert_one_line(capsys, "--job_endpoint=HOST:PORT")
    refused = ("--", "--job_endpoint=127.0.0.1:1", "--job_server_timeout=1")
    assert run_build(bdd100k, tmp_path / "out", *SIZE, *beam, *refused) == 2
    assert_one_line(capsys, "PortableRunner", "no connection", "same command")
    monkeypatch.setitem(sys.modules, "apache_beam.runners.dask.dask_runner", None)
    assert run_build(bdd100k, tmp_path / "out", *SIZE, "--beam_runner", "DaskRunner") == 2
    assert_one_line(capsys, "DaskRunner", "./scripts/install dask")


def test_dask_gets_one_shard_at_a_time_unless_flags_say_otherwise():
    ours = executors._runner_options("DaskRunner", ["--dask_client_address=tcp://h:1"])
    assert ours[-1] == "--dask_partition_size=1"
    ours = executors._runner_options("DaskRunner", ["--dask_npartitions", "9"])
    assert not any("partition" in flag for flag in ours)
    assert executors._runner_options("FlinkRunner", []) == ["--runner=FlinkRunner"]


def test_a_bucket_whose_package_is_missing_is_one_line(bdd100k, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "adlfs", None)
    assert run_build(bdd100k, "az://cars/out", *SIZE) == 2
    assert_one_line(capsys, "az://cars/out", "install adlfs")


class NoCredentialsError(Exception):
    __module__ = "botocore.exceptions"


@pytest.mark.parametrize("error", [NoCredentialsError("no key"), PermissionError("no access")])
def test_errors_of_a_store_are_one_line(bdd100k, tmp_path, capsys, monkeypatch, error):
    def fail(args):
        raise error

    monkeypatch.setattr(source_flags, "open_source", fail)
    assert run_build("s3://cars/bdd", tmp_path / "out") == 2
    assert_one_line(capsys, "s3://cars/bdd", error, "AWS_ENDPOINT_URL")
    with pytest.raises(type(error)):  # Of a local folder it is a bug.
        run_build(bdd100k, tmp_path / "out")


def test_the_script_compares_all_bytes(script, tmp_path):
    (tmp_path / "a").mkdir()
    manifest = {"splits": {"train": 1}, "request": {"inputs": "ab"}}
    for name, text in (
        ("manifest.json", json.dumps(manifest)),
        ("README.md", "made from {'inputs': 'ab'}."),
        ("x.tfrecord-00000-of-00001", "data"),
    ):
        (tmp_path / "a" / name).write_text(text)
    subprocess.run(["cp", "-r", tmp_path / "a", tmp_path / "b"], check=True)
    manifest["request"]["inputs"] = "cd"
    (tmp_path / "b/manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "b/README.md").write_text("made from {'inputs': 'cd'}.")
    a = script.contents(tmp_path / "a")
    assert a == script.contents(tmp_path / "b")
    (tmp_path / "b/x.tfrecord-00000-of-00001").write_text("dato")
    assert a != script.contents(tmp_path / "b")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["portable", "dask"])
def test_two_hosts_convert_from_s3_and_one_is_killed(script, tmp_path, engine):
    try:
        script.check_machine()
    except InputError as error:
        pytest.skip(str(error))
    done = subprocess.run(
        [sys.executable, SCRIPT, "--engine", engine, "--work", tmp_path],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert done.stdout.count("have the bytes of the reference") == 2
