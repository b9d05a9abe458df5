import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from kseg.config import Config
from kseg.data import pipeline, training_batches
from kseg.errors import InputError
from kseg.labels import IGNORE_ID
from kseg.manifest import read_manifest
from tests.conftest import run_build, write_bdd100k


def batches(config, count, **first):
    return [
        (image.numpy(), mask.numpy())
        for image, mask in training_batches.training_dataset(config, **first).take(count)
    ]


def same(a, b):
    return all(
        np.array_equal(x, y) for pair in zip(a, b, strict=True) for x, y in zip(*pair, strict=True)
    )


def test_batches_have_the_shapes_and_ranges_models_expect(config):
    image, mask = batches(config, 1)[0]
    assert image.shape == (4, *config.size, 3) and image.dtype == np.uint8
    assert image.max() > 100
    assert mask.shape == (4, *config.size) and mask.dtype == np.uint8
    assert set(np.unique(mask)) <= {0, 1, 2, IGNORE_ID}


def test_order_and_augmentation_are_a_function_of_seed_and_epoch(config):
    # 24 frames in batches of 4: 6 steps an epoch.
    three_epochs = batches(config, 18)
    assert same(three_epochs, batches(config, 18))
    assert same(three_epochs[12:], batches(config, 6, first_epoch=2))
    assert same(three_epochs[10:], batches(config, 8, first_epoch=1, first_step=4))
    assert not same(three_epochs[:6], three_epochs[6:12])
    other_seed = batches(dataclasses.replace(config, seed=1), 6)
    assert not same(three_epochs[:6], other_seed)


def test_cached_frames_make_the_same_batches(config, tmp_path, monkeypatch):
    config = dataclasses.replace(config, weather=0.5)
    decoded = batches(config, 9, first_step=2)
    assert same(decoded, batches(config, 9, first_step=2, cache="memory"))
    folder = str(tmp_path / "frames")
    assert same(decoded, batches(config, 9, first_step=2, cache=folder))
    # Frames in the cache are not decoded again.
    monkeypatch.setattr(training_batches, "_decode", None)
    assert same(decoded, batches(config, 9, first_step=2, cache=folder))
    assert len(list((tmp_path / "frames").glob("*.npy"))) == 2


@pytest.mark.parametrize("version", ["records.DECODE_VERSION", "preprocess.FIT_VERSION"])
def test_cached_frames_of_another_decoder_are_not_used(config, tmp_path, monkeypatch, version):
    batches(config, 1, cache=str(tmp_path))
    files = set(tmp_path.glob("*.npy"))
    monkeypatch.setattr(f"kseg.data.training_batches.{version}", 99)
    batches(config, 1, cache=str(tmp_path))
    assert len(set(tmp_path.glob("*.npy")) - files) == 2


def test_a_split_with_nothing_but_ignored_pixels_is_refused(config, tmp_path):
    manifest = read_manifest(config.data)
    ignored = dataclasses.replace(manifest.splits["val"], pixels=(0, 0, 0))
    without = dataclasses.replace(manifest, splits=manifest.splits | {"val": ignored})
    (tmp_path / "manifest.json").write_text(without.to_json())
    with pytest.raises(InputError, match=r"every pixel of split 'val' is ignored"):
        pipeline.open_split(dataclasses.replace(config, data=str(tmp_path)), "val")


def test_the_slices_of_all_hosts_make_the_batch(config):
    slices = [batches(config, 8, first_step=3, rank=rank, world_size=2) for rank in range(2)]
    together = [
        tuple(np.concatenate(arrays) for arrays in zip(*pair, strict=True))
        for pair in zip(*slices, strict=True)
    ]
    assert same(batches(config, 8, first_step=3), together)


def test_an_epoch_shows_every_frame_once(config):
    plain = dataclasses.replace(config, flip=False, scale_min=1.0, scale_max=1.0, color_jitter=0.0)
    seen = np.concatenate([image for image, _ in batches(plain, 6, first_epoch=5)])
    on_disk = np.concatenate([b["image"].numpy() for b in pipeline.labelled_frames(plain, "train")])
    assert sorted(i.tobytes() for i in seen) == sorted(
        i.astype(np.uint8).tobytes() for i in on_disk
    )


def test_every_epoch_has_its_own_order(config):
    plain = dataclasses.replace(config, flip=False, scale_min=1.0, scale_max=1.0, color_jitter=0.0)
    first, second = batches(plain, 6), batches(plain, 6, first_epoch=1)
    assert not same(first, second)


def test_frames_of_another_size_are_fitted_by_preprocess(config):
    from kseg import preprocess

    small = dataclasses.replace(config, size=(48, 48), fit="letterbox")
    stored = next(iter(pipeline.labelled_frames(config, "val").take(1)))
    fitted = next(iter(pipeline.labelled_frames(small, "val").take(1)))
    image = stored["image"][0].numpy().astype(np.uint8)
    assert np.array_equal(
        fitted["image"][0].numpy(), preprocess.fit_image(image, (48, 48), "letterbox")
    )
    mask = stored["mask"][0].numpy().astype(np.uint8)
    assert np.array_equal(
        fitted["mask"][0].numpy(), preprocess.fit_mask(mask, (48, 48), "letterbox")
    )


@pytest.mark.parametrize(
    ("fit", "size", "again", "refused"),
    [
        ("letterbox", (64, 64), (96, 128), True),
        ("crop", (64, 64), (96, 128), True),
        ("stretch", (64, 64), (96, 128), False),
        ("letterbox", (64, 64), (96, 97), False),  # But for rounding, the same aspect ratio.
        ("letterbox", (64, 97), (96, 128), False),  # That of the files: nothing was added.
    ],
)
def test_frames_are_not_fitted_twice(tmp_path, fit, size, again, refused):
    write_bdd100k(tmp_path / "bdd", {"train": 2, "val": 1}, size=(128, 194))
    flags = ["--size", *size, "--fit", fit]
    assert run_build(tmp_path / "bdd", tmp_path / "out", *flags) == 0
    config = Config(data=str(tmp_path / "out"), size=again, fit=fit)
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["reframed"] == (0 if fit == "stretch" or size == (64, 97) else 3)
    if refused:
        with pytest.raises(InputError, match=r"have (bars|cut edges) that fit 64x64, .*--size 96"):
            pipeline.open_split(config, "val")
        del manifest["reframed"]  # As an older version wrote it.
        (tmp_path / "out/manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(InputError, match="may have"):
            pipeline.open_split(config, "val")
    else:
        frame = next(iter(pipeline.labelled_frames(config, "val")))
        assert frame["image"].shape[1:3] == again
    pipeline.open_split(dataclasses.replace(config, size=size), "val")


def test_a_fit_other_than_the_stored_one_is_refused(config):
    with pytest.raises(InputError, match=r"'letterbox'.*'stretch'.*--fit"):
        training_batches.training_dataset(dataclasses.replace(config, fit="stretch"))


def test_missing_splits_and_corrupt_shards_are_refused(config, dataset, tmp_path):
    with pytest.raises(InputError, match=r"'test'.*train, val"):
        pipeline.evaluation_dataset(config, "test")
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in dataset.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    shard = read_manifest(copy).splits["val"].shards[0]
    (copy / shard.name).write_bytes(b"short")
    with pytest.raises(InputError, match=f"{shard.name}: .*{shard.bytes} bytes.* 5 bytes"):
        pipeline.evaluation_dataset(dataclasses.replace(config, data=str(copy)), "val")
    (copy / shard.name).unlink()
    with pytest.raises(InputError, match=f"{shard.name}: .*no file"):
        pipeline.evaluation_dataset(dataclasses.replace(config, data=str(copy)), "val")


def test_other_classes_than_the_runs_are_refused(config):
    labels = pipeline.open_split(config, "val")[0].labels
    pipeline.open_split(config, "val", labels)
    first, *others = labels.classes
    renamed = dataclasses.replace(first, name="street")
    undrivable = dataclasses.replace(first, drivable=not first.drivable)
    for other, message in ((renamed, "classes are"), (undrivable, "drivable classes")):
        with pytest.raises(InputError, match=message):
            pipeline.open_split(
                config, "val", dataclasses.replace(labels, classes=(other, *others))
            )


def test_a_folder_without_manifest_is_refused(config, tmp_path):
    with pytest.raises(InputError, match=r"manifest\.json.*tfrecords_tools.build"):
        training_batches.training_dataset(dataclasses.replace(config, data=str(tmp_path)))


def test_batch_larger_than_the_split_is_refused(config):
    with pytest.raises(InputError, match=r"24 frames.*batch_size 25"):
        training_batches.training_dataset(dataclasses.replace(config, batch_size=25))


@pytest.mark.parametrize(
    ("stored", "size", "fit", "ratio"),
    [
        ((720, 1280), (720, 1280), "letterbox", 1),
        ((720, 1280), (361, 640), "stretch", 1),
        ((720, 1280), (360, 640), "letterbox", 2),
        ((720, 1280), (288, 512), "letterbox", 2),
        ((720, 1280), (180, 320), "letterbox", 4),
        ((720, 1280), (64, 97), "letterbox", 8),
        ((720, 1280), (180, 180), "crop", 4),
        ((721, 1280), (64, 97), "letterbox", 1),  # 721 rows cannot be halved.
        (None, (64, 97), "letterbox", 1),
    ],
)
def test_large_frames_are_decoded_smaller_where_that_loses_nothing(
    config, stored, size, fit, ratio
):
    config = dataclasses.replace(config, size=size, fit=fit)
    assert training_batches.decode_ratio(stored, config) == ratio


def test_a_frame_decoded_smaller_is_the_resized_frame(config):
    import cv2

    from kseg.data import records

    # A smooth image: it has no details that half the size would lose.
    rows, columns = np.mgrid[:96, :160].astype(np.float32)
    image = np.stack([rows * 2, columns, 255 - rows], axis=-1).astype(np.uint8)
    mask = np.zeros((96, 160), np.uint8)
    jpg, png = (cv2.imencode(kind, image[..., ::-1])[1].tobytes() for kind in (".jpg", ".png"))
    mask_png = cv2.imencode(".png", mask)[1].tobytes()
    half = records.parse(records.encode("a", jpg, mask_png, (96, 160)), ratio=2)
    assert half["image"].shape == (48, 80, 3) and half["mask"].shape == (96, 160)
    expected = cv2.resize(image, (80, 48), interpolation=cv2.INTER_AREA)
    assert np.abs(half["image"].numpy().astype(int) - expected).max() <= 6
    full = records.parse(records.encode("a", png, mask_png, (96, 160)), ratio=2)
    assert np.array_equal(full["image"].numpy(), image)


# A mixture: 24 frames of `config` and 10 of `road_dataset`, 2 of each in a batch, so 12 steps in an
# epoch. Ids 0 to 2 are the classes, 3 is direct|alternative.


def test_a_mixture_has_its_share_of_each_batch(mixed_config):
    plain = dataclasses.replace(mixed_config, flip=False, scale_min=1.0, scale_max=1.0)
    assert pipeline.steps_per_epoch(plain, read_manifest(plain.data)) == 12
    for _, masks in batches(plain, 12):
        labels = [set(np.unique(mask)) for mask in masks]
        # Even places: our frames. Odd places: theirs, with road and unclear rows.
        assert all({0, 1} & found and 3 not in found for found in labels[::2])
        assert all(found == {2, 3, IGNORE_ID} for found in labels[1::2])


def test_the_masks_of_a_mixture_are_those_of_the_data_set(mixed_config, road_dataset):
    plain = dataclasses.replace(
        mixed_config, flip=False, scale_min=1.0, scale_max=1.0, color_jitter=0.0
    )
    theirs = dataclasses.replace(plain, data=str(road_dataset), also=())
    stored = {
        image.astype(np.uint8).tobytes(): mask
        for batch in pipeline.labelled_frames(theirs, "train")
        for image, mask in zip(batch["image"].numpy(), batch["mask"].numpy(), strict=True)
    }
    ids = {0: 2, 1: 3, 2: IGNORE_ID, IGNORE_ID: IGNORE_ID}
    for images, masks in batches(plain, 3):
        for image, mask in zip(images[1::2], masks[1::2], strict=True):
            expected = np.vectorize(ids.get)(stored[image.tobytes()])
            assert np.array_equal(mask, expected)


def test_each_pass_over_a_data_set_of_a_mixture_shows_every_frame_once(mixed_config):
    plain = dataclasses.replace(
        mixed_config,
        also=(mixed_config.also[0].replace(" 2 ", " 1 "),),
        flip=False,
        scale_min=1.0,
        scale_max=1.0,
        color_jitter=0.0,
    )
    seen = batches(plain, 30)
    # 24 frames of ours, 3 in a batch: an epoch has 8 batches.
    ours = [images[place].tobytes() for images, _ in seen[:8] for place in (0, 1, 3)]
    assert len(set(ours)) == 24
    # 10 frames of theirs, 1 in a batch: a pass ends every 10 batches, whatever the epoch.
    theirs = [images[2].tobytes() for images, _ in seen]
    passes = [theirs[i : i + 10] for i in (0, 10, 20)]
    assert all(set(one) == set(passes[0]) and len(set(one)) == 10 for one in passes)
    assert passes[0] != passes[1] != passes[2]


def test_a_mixture_resumes_in_its_order(mixed_config):
    mixed_config = dataclasses.replace(mixed_config, weather=0.5)
    two_epochs = batches(mixed_config, 24)
    assert same(two_epochs[12:], batches(mixed_config, 12, first_epoch=1))
    assert same(two_epochs[9:], batches(mixed_config, 15, first_step=9))
    assert same(two_epochs[19:], batches(mixed_config, 5, first_epoch=1, first_step=7))


def test_a_mixture_is_the_same_from_a_cache_and_in_slices(mixed_config, tmp_path):
    decoded = batches(mixed_config, 14, first_step=5)
    for cache in ("memory", str(tmp_path / "frames")):
        assert same(decoded, batches(mixed_config, 14, first_step=5, cache=cache))
    slices = [batches(mixed_config, 8, first_step=5, rank=rank, world_size=2) for rank in range(2)]
    together = [
        tuple(np.concatenate(arrays) for arrays in zip(*pair, strict=True))
        for pair in zip(*slices, strict=True)
    ]
    assert same(decoded[:8], together)


def test_caches_of_other_class_maps_are_not_used(mixed_config, tmp_path):
    folder = str(tmp_path / "frames")
    batches(mixed_config, 1, cache=folder)
    other = dataclasses.replace(
        mixed_config, also=(mixed_config.also[0].replace("road=direct|alternative", "road=direct"),)
    )
    assert same(batches(other, 3), batches(other, 3, cache=folder))


def test_our_frames_are_augmented_alike_with_and_without_others(config, mixed_config):
    alone = batches(dataclasses.replace(config, batch_size=2), 12)
    ours = [(image[::2], mask[::2]) for image, mask in batches(mixed_config, 12)]
    assert same(alone, ours)


@pytest.mark.parametrize(("backend", "hidden"), [("jax", [[]]), ("tensorflow", [])])
def test_tensorflow_leaves_gpus_to_another_backend(monkeypatch, backend, hidden):
    changes = []
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU:0"])
    monkeypatch.setattr(
        tf.config, "set_visible_devices", lambda devices, kind: changes.append(devices)
    )
    pipeline._leave_gpus_to_backend()
    assert changes == hidden


def test_building_a_dataset_leaves_opencvs_threads_as_they_are(config):
    import cv2

    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(2)
        batches(config, 1)
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)
