import numpy as np
import pytest

from kseg.data import frame_cache
from kseg.errors import InputError

SIZE = (3, 5)


def frames(count):
    return [(np.full((*SIZE, 3), i, np.uint8), np.full(SIZE, i, np.uint8)) for i in range(count)]


@pytest.mark.parametrize("where", ["memory", "folder"])
def test_frames_that_do_not_fit_are_refused_with_the_numbers(where, tmp_path, monkeypatch):
    monkeypatch.setattr(frame_cache, "_available_memory", lambda: 10**9)
    monkeypatch.setattr(frame_cache.shutil, "disk_usage", lambda _: type("", (), {"free": 10**9}))
    place = "memory" if where == "memory" else str(tmp_path / "cache")
    with pytest.raises(InputError, match=r"need 6\.0 GB of .* free 1\.0 GB"):
        frame_cache.load_or_decode(place, lambda: [], 10**8, SIZE, "a")


def test_auto_keeps_what_a_tenth_of_the_free_memory_holds(monkeypatch):
    need = 4 * 3 * 5 * 4
    monkeypatch.setattr(frame_cache, "_available_memory", lambda: 10 * need)
    images, _ = frame_cache.load_or_decode("auto", lambda: frames(4), 4, SIZE, "a")
    assert len(images) == 4
    assert frame_cache.load_or_decode("auto", None, 5, SIZE, "a") is None


@pytest.mark.parametrize(("limit", "free"), [("max", 8192_000_000), ("5000000000", 5_000_000_000)])
def test_a_containers_limit_counts_as_what_is_free(tmp_path, limit, free):
    for path, text in (
        ("proc/meminfo", "MemTotal: 16000000 kB\nMemAvailable: 8000000 kB\n"),
        ("sys/fs/cgroup/memory.max", f"{limit}\n"),
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert frame_cache._available_memory(tmp_path) == free


def test_other_frames_do_not_take_the_place_of_these(tmp_path):
    images, masks = frame_cache.load_or_decode(tmp_path, lambda: frames(4), 4, SIZE, "a")
    assert images[:, 0, 0, 0].tolist() == masks[:, 0, 0].tolist() == [0, 1, 2, 3]
    other, _ = frame_cache.load_or_decode(tmp_path, lambda: frames(2), 2, SIZE, "b")
    assert len(other) == 2 and len(frame_cache.load_or_decode(tmp_path, None, 4, SIZE, "a")[0]) == 4


def test_an_interrupted_cache_is_not_taken_for_a_whole_one(tmp_path):
    def broken():
        yield frames(1)[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        frame_cache.load_or_decode(tmp_path, broken, 2, SIZE, "a")
    assert not list(tmp_path.iterdir())
    assert frame_cache.load_or_decode(tmp_path, lambda: frames(2), 2, SIZE, "a")[0][1].min() == 1
