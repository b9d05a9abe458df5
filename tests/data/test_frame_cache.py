import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kseg.data import frame_cache
from kseg.errors import InputError
from tests.conftest import ROOT

SIZE = (3, 5)


def frames(count):
    return [(np.full((*SIZE, 3), i, np.uint8), np.full(SIZE, i, np.uint8)) for i in range(count)]


def load_or_decode(cache, decode_frames, count, identity="a"):
    return frame_cache.load_or_decode(
        cache, decode_frames, count=count, size=SIZE, identity=identity
    )


@pytest.mark.parametrize("where", ["memory", "folder"])
def test_frames_that_do_not_fit_are_refused_with_both_sizes(where, tmp_path, monkeypatch):
    monkeypatch.setattr(frame_cache, "available_memory", lambda: 10**9)
    monkeypatch.setattr(frame_cache.shutil, "disk_usage", lambda _: type("", (), {"free": 10**9}))
    place = "memory" if where == "memory" else str(tmp_path / "cache")
    with pytest.raises(InputError, match=r"6\.0 GB.*1\.0 GB"):
        load_or_decode(place, lambda: [], 10**8)


def test_auto_uses_a_tenth_of_the_free_memory_at_most(monkeypatch):
    needed = 4 * 3 * 5 * 4
    monkeypatch.setattr(frame_cache, "available_memory", lambda: 10 * needed)
    images, _ = load_or_decode("auto", lambda: frames(4), 4)
    assert len(images) == 4
    assert load_or_decode("auto", None, 5) is None


def test_frames_are_stored_under_their_identity(tmp_path):
    images, masks = load_or_decode(tmp_path, lambda: frames(4), 4, "a")
    assert images[:, 0, 0, 0].tolist() == masks[:, 0, 0].tolist() == [0, 1, 2, 3]
    other, _ = load_or_decode(tmp_path, lambda: frames(2), 2, "b")
    assert len(other) == 2 and len(load_or_decode(tmp_path, None, 4, "a")[0]) == 4


def test_an_interrupted_cache_leaves_no_files(tmp_path):
    def interrupted():
        yield frames(1)[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_or_decode(tmp_path, interrupted, 2)
    assert {p.name for p in tmp_path.iterdir()} == {".lock"}
    assert load_or_decode(tmp_path, lambda: frames(2), 2)[0][1].min() == 1


FILL = """
import os, sys
import numpy as np
from kseg.data import frame_cache

def frames():
    for i in range(4):
        yield np.full((3, 5, 3), i, np.uint8), np.full((3, 5), i, np.uint8)
        if i == 1:
            print("half", flush=True)
            sys.stdin.readline()

frame_cache.load_or_decode(sys.argv[1], frames, count=4, size=(3, 5), identity="a")
"""


@pytest.fixture
def filling(tmp_path):
    """A process that has filled half of a cache, and goes on when it gets a line."""
    argv = [sys.executable, "-c", FILL, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout.readline() == b"half\n"
        yield process
        process.kill()


def test_the_frames_of_a_killed_process_are_removed(filling, tmp_path):
    assert list(tmp_path.glob("*/*.npy"))
    filling.kill()
    filling.wait()
    load_or_decode(tmp_path, lambda: frames(2), 2, "another identity")
    assert not list(tmp_path.glob("*/*")) and len(list(tmp_path.glob("*.npy"))) == 2


def test_a_second_process_waits_for_the_cache_and_uses_it(filling, tmp_path, capfd):
    def no_frames():
        raise AssertionError("decoded again")

    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(load_or_decode, tmp_path, no_frames, 4)
        while f"process {filling.pid} on " not in capfd.readouterr().err:
            assert not second.done()
        filling.communicate(b"\n")
        images, _ = second.result()
    assert images[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
