"""The start of a run, killed at any moment, and two trainings that want the same folder."""

import os
import subprocess
import sys

import pytest

from kseg import files, run_folder
from kseg.config import Config
from kseg.errors import InputError
from kseg.labels import BDD100K_DRIVABLE
from kseg.manifest import Manifest
from tests.conftest import ROOT

MANIFEST = Manifest("a set", BDD100K_DRIVABLE, None, {}, {"source": "x"})

# Ends the process as `kill -9` would, at the n-th operation on a file.
KILLED = """
import os, sys
from kseg import run_folder
from tests.test_run_folder import MANIFEST, Config
run, count = sys.argv[1], 0

def start(last):
    seen = 0
    def hook(event, arguments):
        nonlocal seen
        if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "fcntl.flock"):
            seen += 1
            if seen == last:
                os._exit(9)
    sys.addaudithook(hook)
    with run_folder.hold(f"{run}/{last}"):
        run_folder.start_run(f"{run}/{last}", Config(), MANIFEST)
    os._exit(0)

while True:
    count += 1
    child = os.fork()
    if not child:
        start(count)
    if os.waitpid(child, 0)[1] == 0:
        break
print(count)
"""


@pytest.fixture
def run(tmp_path):
    return tmp_path / "runs" / "run"


def test_a_start_killed_at_any_moment_does_not_block_the_same_command(tmp_path):
    argv = [sys.executable, "-c", KILLED, str(tmp_path)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    count = int(done.stdout)
    assert count > 10  # Operations, of which the last start survived all.
    for number in range(1, count):
        run = tmp_path / str(number)
        began = (run / "config.json").is_file()
        with run_folder.hold(run):
            run_folder.start_run(run, Config(), MANIFEST)
        assert run_folder.read_run(run) == (Config(), BDD100K_DRIVABLE), (number, began)
        files.write_text(run / "history.csv", "")  # Each write removes what killed ones left.
        names = {path.name for path in run.iterdir()}
        assert names == {".lock", "config.json", "labels.json", "data.json", "history.csv"}


def test_a_second_training_in_the_same_run_is_refused(run):
    message = rf"{run}.*process {os.getpid()} on"
    with (
        run_folder.hold(run),
        pytest.raises(InputError, match=message),
        run_folder.hold(run),
    ):
        pass


def test_a_run_that_did_not_begin_leaves_no_folder(run, tmp_path):
    with pytest.raises(InputError, match="bad input"), run_folder.hold(run):
        raise InputError("bad input")
    assert list(tmp_path.iterdir()) == []
    run.mkdir(parents=True)
    with run_folder.hold(run):
        pass
    assert list(run.iterdir()) == []


def test_files_of_others_are_not_taken_for_a_killed_start(run):
    run.mkdir(parents=True)
    (run / "labels.json").write_text('{"my": "labels"}')
    with pytest.raises(InputError, match="not a run"):
        run_folder.start_run(run, Config(), MANIFEST)
    assert (run / "labels.json").read_text() == '{"my": "labels"}'


def test_a_file_is_no_run(run):
    run.parent.mkdir()
    run.write_text("")
    with pytest.raises(InputError, match=rf"{run}: .*--out"), run_folder.hold(run):
        pass
