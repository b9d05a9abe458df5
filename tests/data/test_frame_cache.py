import numpy as np
import pytest

from kseg.data import frame_cache
from kseg.errors import InputError

SIZE = (3, 5)


def frames(count):
    return [(np.full((*SIZE, 3), i, np.uint8), np.full(SIZE, i, np.uint8)) for i in range(count)]


def load_or_decode(cache, decode_frames, count, identity="a"):
    return frame_cache.load_or_decode(
        cache, decode_frames, count=count, size=SIZE, identity=identity
    )


@pytest.mark.parametrize("where", ["memory", "folder"])
def test_frames_that_do_not_fit_are_refused_with_both_sizes(where, tmp_path, monkeypatch):
    monkeypatch.setattr(frame_cache, "_available_memory", lambda: 10**9)
    monkeypatch.setattr(frame_cache.shutil, "disk_usage", lambda _: type("", (), {"free": 10**9}))
    place = "memory" if where == "memory" else str(tmp_path / "cache")
    with pytest.raises(InputError, match=r"6\.0 GB.*1\.0 GB"):
        load_or_decode(place, lambda: [], 10**8)


def test_auto_uses_a_tenth_of_the_free_memory_at_most(monkeypatch):
    needed = 4 * 3 * 5 * 4
    monkeypatch.setattr(frame_cache, "_available_memory", lambda: 10 * needed)
    images, _ = load_or_decode("auto", lambda: frames(4), 4)
    assert len(images) == 4
    assert load_or_decode("auto", None, 5) is None


def test_a_containers_limit_lowers_the_available_memory(tmp_path):
    without_limit = frame_cache._available_memory(tmp_path)
    assert without_limit > 0
    (tmp_path / "memory.max").write_text("max\n")
    assert frame_cache._available_memory(tmp_path) > 0
    (tmp_path / "memory.max").write_text("1000000\n")
    assert frame_cache._available_memory(tmp_path) <= 1_000_000


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
    assert not list(tmp_path.iterdir())
    assert load_or_decode(tmp_path, lambda: frames(2), 2)[0][1].min() == 1
