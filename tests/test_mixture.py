import dataclasses
import json
import shlex
import shutil

import pytest

from kseg import class_map, mixture
from kseg.class_map import AlsoData
from kseg.config import Config, frames_of_batch
from kseg.errors import InputError
from kseg.labels import BDD100K_DRIVABLE, CAMVID_ROAD, CITYSCAPES_ROAD, LabelSet
from kseg.manifest import read_manifest


def resolve(*words, theirs=CAMVID_ROAD):
    return class_map.resolve(class_map.parse(shlex.join(["d", *words])), theirs, BDD100K_DRIVABLE)


def test_the_words_of_the_command_line_are_parsed():
    assert class_map.parse("data/idd") == AlsoData("data/idd", None, {})
    words = ["a folder", "3", "traffic light=background", "road=direct|alternative"]
    classes = {"traffic light": "background", "road": "direct|alternative"}
    assert class_map.parse(shlex.join(words)) == AlsoData("a folder", 3, classes)


@pytest.mark.parametrize(
    "text", ["", "d 'road=direct", "d road", "d road=", "d =direct", "d road=direct|", "d 1 2"]
)
def test_other_words_are_refused(text):
    with pytest.raises(InputError, match=r"also.*(THEIRS=OURS|FRAMES)"):
        Config(also=(text,))


def test_a_class_given_twice_is_refused():
    with pytest.raises(InputError, match="'road' is given twice"):
        class_map.parse("d road=direct road=alternative")


def test_classes_map_to_a_class_a_union_or_nothing():
    # CamVid has road, pavement and background, BDD100K direct, alternative and background.
    expected = {"road": (0, 1), "pavement": (), "background": (2,)}
    assert resolve("road=direct|alternative", "pavement=ignore") == expected
    # Classes with a namesake do not belong to the others.
    assert resolve("road=alternative|direct", "*=ignore") == expected
    assert resolve("background=ignore", "*=direct|direct")["road"] == (0,)
    assert resolve("background=ignore", "*=direct")["background"] == ()
    same = {name: (i,) for i, name in enumerate(BDD100K_DRIVABLE.names)}
    assert resolve(theirs=BDD100K_DRIVABLE) == same


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["road=direct|alternative"], ["'pavement' is none of direct, ", "pavement=ignore"]),
        (["raod=direct", "*=ignore"], ["no class 'raod'", "nearest: road"]),
        (["road=direct|altrnative", "*=ignore"], ["no class 'altrnative'", "alternative"]),
        (["road=direct|alternative|background", "*=ignore"], ["any class", "road=ignore"]),
    ],
)
def test_wrong_maps_are_one_line_that_names_the_class(words, parts):
    with pytest.raises(InputError, match=r"^--also d: ") as caught:
        resolve(*words)
    for part in parts:
        assert part in str(caught.value)


def test_the_frames_of_a_batch_are_shared_equally_unless_given():
    config = Config(data="a", batch_size=8)
    assert frames_of_batch(config) == [8]
    assert frames_of_batch(dataclasses.replace(config, also=("b",))) == [4, 4]
    assert frames_of_batch(dataclasses.replace(config, also=("b", "c"))) == [4, 2, 2]
    assert frames_of_batch(dataclasses.replace(config, also=("b 1", "c 3"))) == [4, 1, 3]
    for also in (("b 8",), ("b 4", "c 4")):
        with pytest.raises(InputError, match=r"batch of 8 frames has no room for .* of b.*a"):
            dataclasses.replace(config, also=also)
    with pytest.raises(InputError, match="batch of 1 "):
        Config(batch_size=1, also=("b",))


def test_slices_of_a_batch_have_equal_shares():
    def pattern(*frames):
        parts = tuple(mixture.Part("", None, count, {}, ()) for count in frames)
        return mixture.Mixture(parts, ()).pattern

    assert pattern(4) == [0, 0, 0, 0]
    assert pattern(4, 4) == [0, 1, 0, 1, 0, 1, 0, 1]
    assert pattern(6, 2)[:4].count(1) == 1
    assert sorted(pattern(5, 1, 2)) == [0, 0, 0, 0, 0, 1, 2, 2]


def test_the_ids_of_a_mixture(mixed_config):
    # Theirs: 0 background, 1 road, 2 unclear.
    mix = mixture.read_mixture(mixed_config)
    assert mix.unions == ((0, 1),)
    main, road = mix.parts
    assert main.ids == tuple(range(256)) and (main.frames, road.frames) == (2, 2)
    # Ids that are no class stay no class (and so make the training scores NaN).
    assert road.ids == (2, 3, 255, *[254] * 252, 255)
    assert road.classes == {
        "background": "background",
        "road": "direct|alternative",
        "unclear": "ignore",
    }


def test_two_data_sets_share_the_id_of_a_union(mixed_config):
    first, *_ = mixed_config.also
    again = first.replace(" 2 ", " 1 ").replace("direct|alternative", "alternative|direct")
    other = again.replace("road=alternative|direct", "road=direct")
    both = dataclasses.replace(mixed_config, also=(again, other, again))
    with pytest.raises(InputError, match="no room"):
        dataclasses.replace(both, batch_size=3)
    mix = mixture.read_mixture(both)
    assert mix.unions == ((0, 1),)
    assert [part.ids[1] for part in mix.parts[1:]] == [3, 0, 3]


def test_without_others_the_recorded_request_is_that_of_the_data(config, mixed_config):
    own = read_manifest(config.data).request
    assert mixture.read_mixture(config).request == own
    mixed = mixture.read_mixture(mixed_config)
    assert mixed.request == own | {"also": [mixed.parts[1].manifest.request]}


def changed(folder, tmp_path, **values):
    """A copy of a data set whose manifest says something else."""
    copy = shutil.copytree(folder, tmp_path / "changed")
    document = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(document | values))
    return copy


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"size": [90, 160]}, ["90x160", "64x97", "--size"]),
        ({"size": None}, ["size", "64x97"]),
        ({"splits": {}}, ["'train'", "--split"]),
    ],
)
def test_data_sets_that_do_not_fit_are_refused(mixed_config, road_dataset, tmp_path, values, words):
    copy = changed(road_dataset, tmp_path, **values)
    also = mixed_config.also[0].replace(str(road_dataset), str(copy))
    with pytest.raises(InputError, match=f"--also {copy}") as caught:
        mixture.read_mixture(dataclasses.replace(mixed_config, also=(also,)))
    for word in words:
        assert word in str(caught.value)


def test_a_data_set_of_which_nothing_is_left_is_refused(config, road_dataset):
    also = f"{road_dataset} background=ignore *=ignore"
    with pytest.raises(InputError, match="all its classes are ignored"):
        mixture.read_mixture(dataclasses.replace(config, also=(also,)))


def test_more_unions_than_ids_are_refused(config, road_dataset, dataset, tmp_path):
    from kseg.labels import LabelClass

    many = LabelSet("many", tuple(LabelClass(f"c{i}", (0, 0, 0)) for i in range(254)))
    copy = changed(dataset, tmp_path, labels=many.to_dict())
    words = [str(road_dataset), "road=c0|c1", "unclear=c1|c2", "*=c0"]
    both = dataclasses.replace(config, data=str(copy), also=(shlex.join(words),))
    with pytest.raises(InputError, match="2 different unions"):
        mixture.read_mixture(both)


def test_labels_of_two_classes_have_no_union():
    also = class_map.parse("d road=road|background")
    with pytest.raises(InputError, match="any class"):
        class_map.resolve(also, CAMVID_ROAD, CITYSCAPES_ROAD)
