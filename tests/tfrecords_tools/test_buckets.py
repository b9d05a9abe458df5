"""Building from and into a bucket, here one in memory behind etils.epath's s3://."""

import dataclasses

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from kseg.data import pipeline
from kseg.manifest import FILE_NAME, read_manifest
from kseg.paths import is_remote, size_bytes, to_path
from tests.conftest import assert_one_line, command
from tfrecords_tools import build, shards, verify


class MemoryBucket(MemoryFileSystem):
    """fsspec's in-memory file system with the path format of s3fs."""

    protocol = "s3"
    store, pseudo_dirs = {}, [""]

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol("/" + path.removeprefix("s3://").lstrip("/"))

    def glob(self, path, **options):
        return [found.lstrip("/") for found in super().glob(path, **options)]


@pytest.fixture
def bucket(monkeypatch):
    """The etils.epath of an empty bucket."""
    # The effect of EPATH_USE_TF=0, which to_path sets but etils reads only once per process.
    monkeypatch.setattr("etils.epath.gpath._is_tf_installed", lambda: False)
    monkeypatch.setenv("EPATH_USE_TF", "0")
    fsspec.register_implementation("s3", MemoryBucket, clobber=True)
    MemoryBucket.store.clear()
    MemoryBucket.pseudo_dirs[:] = [""]
    path = to_path("s3://cars")
    path.mkdir()
    return path


def run(source, out, *flags):
    size = ("--size", "32", "64", "--workers", "1")
    return command(
        build.main, ["--source", "bdd100k", "--data", source, "--out", out, *size, *flags]
    )


def upload(folder, bucket):
    for path in folder.rglob("*"):
        if path.is_file():
            there = bucket / "bdd" / path.relative_to(folder).as_posix()
            there.parent.mkdir(parents=True, exist_ok=True)
            there.write_bytes(path.read_bytes())
    return bucket / "bdd"


def shard_bytes(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if ".tfrecord-" in p.name}


def test_paths_are_local_or_remote(bucket, tmp_path):
    assert not is_remote(to_path("data/demo")) and is_remote(bucket)
    for folder in (tmp_path, bucket):
        (folder / "three").write_bytes(b"abc")
        assert size_bytes(folder / "three") == 3
    with pytest.raises(ValueError, match="http://x: expected a folder or a URL"):
        to_path("http://x")


@pytest.mark.parametrize("flags", [(), ("--beam_runner", "DirectRunner")])
def test_a_bucket_and_a_folder_get_the_same_bytes(bdd100k, tmp_path, bucket, flags):
    if flags:
        pytest.importorskip("apache_beam")
    assert run(bdd100k, tmp_path / "local") == 0
    assert run(upload(bdd100k, bucket), bucket / "out", *flags) == 0
    assert shard_bytes(bucket / "out") == shard_bytes(tmp_path / "local")
    assert read_manifest(str(bucket / "out")).splits == read_manifest(tmp_path / "local").splits
    assert {p.name for p in (tmp_path / "local").iterdir()} == {
        p.name for p in (bucket / "out").iterdir()
    }


def test_an_interrupted_build_continues_in_the_bucket(
    bdd100k, bucket, monkeypatch, capsys, tmp_path
):
    write_shard, done = shards.write_shard, []

    def die_at_the_second(job, *args):
        if done:
            raise OSError(5, "the network is gone", job.name)
        done.append(write_shard(job, *args))

    monkeypatch.setattr(shards, "write_shard", die_at_the_second)
    assert run(bdd100k, bucket / "out") == 2
    assert_one_line(capsys, "the network is gone", "continues")
    assert not (bucket / "out" / FILE_NAME).exists()  # So it does not look finished.
    monkeypatch.setattr(shards, "write_shard", write_shard)
    assert run(bdd100k, bucket / "out") == 0
    assert "1 of 2 shards are done" in capsys.readouterr().out
    assert run(bdd100k, tmp_path / "local") == 0
    assert shard_bytes(bucket / "out") == shard_bytes(tmp_path / "local")
    assert run(bdd100k, bucket / "out") == 0
    assert "nothing to do" in capsys.readouterr().out


def test_other_files_in_the_bucket_are_left_alone(bdd100k, bucket, capsys):
    (bucket / "out").mkdir()
    (bucket / "out" / "holiday.jpg").write_bytes(b"beach")
    assert run(bdd100k, bucket / "out") == 2
    assert_one_line(capsys, "s3://cars/out: already exists and holds something else")
    assert [p.name for p in (bucket / "out").iterdir()] == ["holiday.jpg"]


def test_a_bucket_that_tensorflow_cannot_read_is_one_line(bdd100k, bucket, capsys, config):
    assert run(bdd100k, bucket / "out") == 0
    capsys.readouterr()
    assert command(verify.main, [bucket / "out"]) == 2
    assert_one_line(capsys, "s3://cars/out/", "copy the data set to a folder")
    bucket_config = dataclasses.replace(config, data=str(bucket / "out"), size=(32, 64))
    with pytest.raises(ValueError, match="TensorFlow reads local files and gs:// only"):
        pipeline.open_split(bucket_config, "train")
