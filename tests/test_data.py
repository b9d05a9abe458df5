import dataclasses

import numpy as np
import pytest

from kseg import data, manifest
from kseg.errors import InputError
from kseg.labels import IGNORE_ID


def batches(config, count, first_epoch=0):
    return [
        (image.numpy(), mask.numpy())
        for image, mask in data.training_dataset(config, first_epoch=first_epoch).take(count)
    ]


def same(a, b):
    return all(
        np.array_equal(x, y) for pair in zip(a, b, strict=True) for x, y in zip(*pair, strict=True)
    )


def test_batches_have_the_shapes_and_ranges_models_expect(config):
    image, mask = batches(config, 1)[0]
    assert image.shape == (4, *config.size, 3) and image.dtype == np.float32
    assert image.min() >= 0 and 100 < image.max() <= 255
    assert mask.shape == (4, *config.size) and mask.dtype == np.int32
    assert set(np.unique(mask)) <= {0, 1, 2, IGNORE_ID}


def test_order_and_augmentation_are_a_function_of_seed_and_epoch(config):
    # 24 frames in batches of 4: 6 steps an epoch.
    whole_run = batches(config, 18)
    assert same(whole_run, batches(config, 18))
    assert same(whole_run[12:], batches(config, 6, first_epoch=2))
    assert not same(whole_run[:6], whole_run[6:12])
    other_seed = batches(dataclasses.replace(config, seed=1), 6)
    assert not same(whole_run[:6], other_seed)


def test_an_epoch_shows_every_frame_once(config):
    plain = dataclasses.replace(config, flip=False, scale_min=1.0, scale_max=1.0, color_jitter=0.0)
    seen = np.concatenate([image for image, _ in batches(plain, 6, first_epoch=5)])
    on_disk = np.concatenate([b["image"].numpy() for b in data.labelled_frames(plain, "train")])
    assert sorted(i.tobytes() for i in seen) == sorted(i.tobytes() for i in on_disk)


def test_every_epoch_has_an_order_of_its_own(config):
    plain = dataclasses.replace(config, flip=False, scale_min=1.0, scale_max=1.0, color_jitter=0.0)
    first, second = batches(plain, 6), batches(plain, 6, first_epoch=1)
    assert not same(first, second)


def test_frames_of_another_size_are_fitted_as_in_the_car(config):
    from kseg import preprocess

    small = dataclasses.replace(config, size=(48, 48), fit="letterbox")
    stored = next(iter(data.labelled_frames(config, "val").take(1)))
    fitted = next(iter(data.labelled_frames(small, "val").take(1)))
    image = stored["image"][0].numpy().astype(np.uint8)
    assert np.array_equal(
        fitted["image"][0].numpy(), preprocess.fit_image(image, (48, 48), "letterbox")
    )
    mask = stored["mask"][0].numpy().astype(np.uint8)
    assert np.array_equal(
        fitted["mask"][0].numpy(), preprocess.fit_mask(mask, (48, 48), "letterbox")
    )


def test_a_fit_other_than_the_stored_one_is_refused(config):
    with pytest.raises(InputError, match="fit 'letterbox' but the config says 'stretch'"):
        data.training_dataset(dataclasses.replace(config, fit="stretch"))


def test_missing_split_and_damaged_shard_get_one_line(config, dataset, tmp_path):
    with pytest.raises(InputError, match="no split 'test'; it has train, val"):
        data.evaluation_dataset(config, "test")
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in dataset.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    shard = manifest.read(copy).splits["val"].shards[0]
    (copy / shard.name).write_bytes(b"short")
    with pytest.raises(InputError, match=f"{shard.name}: expected {shard.bytes} bytes, found 5"):
        data.evaluation_dataset(dataclasses.replace(config, data=str(copy)), "val")
    (copy / shard.name).unlink()
    with pytest.raises(InputError, match="found nothing"):
        data.evaluation_dataset(dataclasses.replace(config, data=str(copy)), "val")


def test_folder_without_manifest_is_no_data_set(config, tmp_path):
    with pytest.raises(InputError, match=r"no manifest.json here.*tfrecords_tools.build"):
        data.training_dataset(dataclasses.replace(config, data=str(tmp_path)))


def test_batch_larger_than_the_split_is_refused(config):
    with pytest.raises(InputError, match="24 frames, fewer than batch_size 25"):
        data.training_dataset(dataclasses.replace(config, batch_size=25))
