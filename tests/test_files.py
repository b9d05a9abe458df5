"""Locks, temporary folders and atomic writes, also against other processes that are killed."""

import errno
import fcntl
import subprocess
import sys
import tempfile
import threading

import pytest

from kseg import files
from kseg.errors import InputError
from tests.conftest import ROOT

HOLD = """
import sys
from kseg import files
with files.{function}(*sys.argv[1:]) as held:
    print(held, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holding():
    """A function that starts a process which holds a lock or a temporary folder."""
    started = []

    def start(function, *arguments):
        argv = [sys.executable, "-c", HOLD.format(function=function), *map(str, arguments)]
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True
        )
        started.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_second_process_is_refused_with_the_first_one_named(holding, tmp_path):
    first, _ = holding("lock", tmp_path, "busy")
    message = rf"busy \(process {first.pid} on \S+\)"
    with pytest.raises(InputError, match=message), files.lock(tmp_path, "busy"):
        pass
    first.kill()
    first.wait()
    with files.lock(tmp_path, "busy"):
        pass


def test_a_lock_whose_file_was_removed_is_not_held_by_two(tmp_path, monkeypatch):
    # The holder removes its folder's lock between the other's opening and locking it.
    flock = fcntl.flock
    opened = []

    def flock_after_removal(file, operation):
        if not opened:
            opened.append(file)
            (tmp_path / ".lock").unlink()
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", flock_after_removal)
    with (
        files.lock(tmp_path, "busy"),
        pytest.raises(InputError, match="busy"),
        files.lock(tmp_path, "busy"),
    ):
        pass


def test_a_file_system_without_locks_gives_a_warning(tmp_path, monkeypatch, capsys):
    def flock(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with files.lock(tmp_path, "busy"):
        pass
    assert f"{tmp_path}: its file system has no locks" in capsys.readouterr().err
    with files.temporary_folder(tmp_path) as ours, files.temporary_folder(tmp_path) as others:
        assert ours.is_dir() and others.is_dir()  # None is taken for an abandoned one.


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(InputError, match="nowhere"), files.lock(tmp_path / "nowhere", "busy"):
        pass


def test_temporary_folders_of_killed_processes_are_removed_and_others_kept(holding, tmp_path):
    first, abandoned = holding("temporary_folder", tmp_path)
    _, used = holding("temporary_folder", tmp_path)
    (tmp_path / "others").mkdir()
    first.kill()
    first.wait()
    with files.temporary_folder(tmp_path) as own:
        kept = {str(path) for path in tmp_path.iterdir()}
        assert kept == {used, str(own), str(tmp_path / "others")} and abandoned not in kept


def test_two_that_write_one_file_do_not_share_a_temporary_name(tmp_path):
    path = tmp_path / "file.txt"
    half, published = threading.Event(), threading.Event()

    def slow():
        with files.atomic_write(path) as partial:
            partial.write_text("half")
            half.set()
            published.wait(30)
            partial.write_text("slow, complete")

    other = threading.Thread(target=slow)
    other.start()
    half.wait(30)
    files.write_text(path, "fast, complete")
    assert path.read_text() == "fast, complete"
    published.set()
    other.join()
    assert path.read_text() == "slow, complete" and list(tmp_path.iterdir()) == [path]


def test_a_write_removes_what_a_killed_write_left(holding, tmp_path):
    first, partial = holding("atomic_write", tmp_path / "file.txt")
    assert partial.endswith("/file.txt")
    first.kill()
    first.wait()
    files.write_text(tmp_path / "other.txt", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["other.txt"]


def test_a_folder_is_tried_before_the_work(tmp_path, monkeypatch):
    files.check_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match=r"nowhere: cannot be written \(No such .*; repair that"):
        files.check_writable(tmp_path / "nowhere")

    def refuse(*arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(InputError, match=r"\(Permission denied\); make it writable, or name"):
        files.check_writable(tmp_path)


def test_a_file_that_cannot_be_written_is_one_line_but_a_bug_while_writing_is_not(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    for path in ("missing/a.json", tmp_path / "missing" / "a.json", "other"):
        with pytest.raises(InputError, match=r"missing|other"):
            files.write_text(path, "text")
    for path in ("a.json", tmp_path / "a.json"):
        with pytest.raises(InputError, match=r"No space.*free some"), files.atomic_write(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        with pytest.raises(InputError, match=r"denied.*make it w"), files.atomic_write(path):
            raise OSError(errno.EACCES, "Permission denied")
        with pytest.raises(FileNotFoundError), files.atomic_write(path):
            (tmp_path.parent / "template.html").read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["other"]
