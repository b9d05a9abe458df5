import json

import pytest

from kseg.errors import InputError
from tests.bdd100k_files import BACKGROUND, read
from tfrecords_tools.datasets import bdd100k


# Damage to JSON labels: (format, change of the parsed document, words of the error).
def two_frames(document):
    document.append(dict(document[0]))


def direct_is_alternative_too(document):
    labels = document["frames"][0]["labels"]
    labels.append(labels[0] | {"category": "alternative"})


JSON_DAMAGE = {
    "unknown category": (
        "polygons",
        lambda d: d[0]["labels"][0].update(category="car"),
        ("frame 'a'", "category 'car' is none of direct, alternative, background"),
    ),
    "unknown area type": (
        "legacy polygons, one file",
        lambda d: d[0]["labels"][1]["attributes"].update(areaType="maybe"),
        ("frame 'a'", "areaType 'maybe'"),
    ),
    "unknown legacy category": (
        "legacy polygons, one file a frame",
        lambda d: d["frames"][0]["objects"][0].update(category="area/other"),
        ("a.json", "category 'area/other'"),
    ),
    "types of another length": (
        "polygons",
        lambda d: d[0]["labels"][0]["poly2d"][0].update(types="LLL"),
        ("frame 'a'", "types 'LLL' for 4 vertices"),
    ),
    "no vertices": (
        "polygons",
        lambda d: d[0]["labels"][0]["poly2d"][0].pop("vertices"),
        ("frame 'a'", "no 'vertices'"),
    ),
    "two vertices": (
        "polygons",
        lambda d: d[0]["labels"][0]["poly2d"][0].update(vertices=[[0, 0], [1, 1]], types="LL"),
        ("frame 'a'", "at least 3 vertices"),
    ),
    "a vertex that is no number": (
        "polygons",
        lambda d: d[0]["labels"][0]["poly2d"][0]["vertices"].__setitem__(0, [0, "x"]),
        ("frame 'a'", "'x'"),
    ),
    "a frame twice": ("polygons", two_frames, ("frame 'a'", "twice")),
    "a frame without a name": ("polygons", lambda d: d[0].pop("name"), ("frame 0", "no 'name'")),
    "no areas at all": (
        "legacy polygons, one file",
        lambda d: d[0]["labels"].__delitem__(slice(1, 3)),
        ("none of its 1 frames has a drivable area",),
    ),
    "run lengths that do not fill the frame": (
        "rles",
        lambda d: d["frames"][0]["labels"][0]["rle"].update(counts="11"),
        ("frame 'a'", "do not fill 720x1280"),
    ),
    "characters that are no run lengths": (
        "rles",
        lambda d: d["frames"][0]["labels"][0]["rle"].update(counts="1~"),
        ("frame 'a'", "'~'"),
    ),
    "areas that overlap": (
        "rles",
        direct_is_alternative_too,
        ("frame 'a'", "overlap"),
    ),
    "two frames in one file": (
        "legacy polygons, one file a frame",
        lambda d: d["frames"].append({}),
        ("a.json", "expected one frame, got 2"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", JSON_DAMAGE)
def test_damaged_json_gets_one_line(bdd, damage):
    kind, change, words = JSON_DAMAGE[damage]
    data = bdd(kind)
    path = next(path for path in sorted(data.rglob("*.json")) if "train" in str(path))
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(InputError) as caught:
        read(bdd100k.source(data))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("kind", ["polygons", "legacy polygons, one file a frame"])
def test_truncated_json_gets_one_line(bdd, kind):
    data = bdd(kind)
    path = next(path for path in sorted(data.rglob("*.json")) if "train" in str(path))
    path.write_text(path.read_text()[:-5])
    with pytest.raises(InputError, match="not valid JSON") as caught:
        read(bdd100k.source(data))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["polygons", "rles", "legacy polygons, one file a frame"])
def test_labels_of_another_size_than_the_image_are_refused(bdd, kind):
    with pytest.raises(InputError, match="720x1280 frames but the image is 360x640"):
        read(bdd100k.source(bdd(kind)), size=(360, 640))


def test_frames_may_have_their_own_size(bdd):
    data = bdd("polygons")
    path = data / "labels/drivable/polygons/drivable_train.json"
    frames = json.loads(path.read_text())
    frames[0]["size"] = {"width": 1300, "height": 740}
    path.write_text(json.dumps(frames))
    assert read(bdd100k.source(data), size=(740, 1300)).shape == (740, 1300)


def test_a_frame_without_areas_is_background_and_an_unlisted_one_is_unpaired(bdd):
    data = bdd("polygons")
    for name in ("b", "c"):
        (data / f"images/100k/train/{name}.jpg").write_bytes(b"")
    path = data / "labels/drivable/polygons/drivable_train.json"
    path.write_text(json.dumps([*json.loads(path.read_text()), {"name": "b.jpg", "labels": None}]))
    with pytest.raises(InputError, match=r"c\.jpg: image without a mask.*--skip-unpaired"):
        bdd100k.source(data)
    source = bdd100k.source(data, skip_unpaired=True)
    assert [f.key for f in source.splits["train"]] == ["a", "b"]
    assert (read(source, number=1) == BACKGROUND).all()
