"""Data and models that tests share: one tiny data set, one training run, one conversion."""

import contextlib
import dataclasses
import hashlib
import json
import os
import resource
import shlex
import signal
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests import bdd100k_files
from tests.skips import pytest_make_collect_report, pytest_runtest_makereport  # noqa: F401

# A shell starts what it puts in the background deaf to Ctrl-C, and children inherit that; tests of
# interruption would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parent.parent
# Of a process that trains small models under JAX: XLA compiles them in half the time.
XLA_FLAGS = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
JAX = {"KERAS_BACKEND": "jax", "XLA_FLAGS": XLA_FLAGS}
SIZE = (64, 97)  # Neither square nor a multiple of 32.
sys.path.insert(0, str(ROOT / "deploy" / "python"))  # Imports nothing of kseg, nor kseg of it.


@pytest.fixture(scope="session")
def shared_data():
    """Folder of real frames; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("KSEG_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real frames at {folder} (set KSEG_SHARED_DATA)")
    return folder


@pytest.fixture
def bdd100k(tmp_path):
    """A BDD100K folder of 6 training and 3 validation frames, 120x200, that tests may damage."""
    return write_bdd100k(tmp_path / "bdd", {"train": 6, "val": 3})


@pytest.fixture
def bdd(tmp_path):
    """A function (names of WRITERS) -> a BDD100K folder that holds these forms of labels."""

    def write(*kinds):
        bdd100k_files.write_images(tmp_path)
        for split in ("train", "val"):
            for kind in kinds:
                bdd100k_files.WRITERS[kind](tmp_path, split)
        return tmp_path

    return write


def write_bdd100k(root, counts, size=(120, 200)):
    """Writes frames whose road is a grey trapezium and whose lane lies by chance left or right."""
    rng = np.random.default_rng(0)
    for split, count in counts.items():
        images = root / "images/100k" / split
        masks = root / "labels/drivable/masks" / split
        images.mkdir(parents=True)
        masks.mkdir(parents=True)
        for number in range(count):
            image, mask = scene(rng, size)
            cv2.imwrite(str(images / f"{split}{number}.jpg"), image)
            cv2.imwrite(str(masks / f"{split}{number}.png"), mask)
    return root


def scene(rng, size):
    """Returns image (H, W, 3) uint8 BGR and mask (H, W) uint8 of BDD100K ids."""
    height, width = size
    horizon, apex = height // 2, int(rng.integers(width // 4, width * 3 // 4))
    mask = np.full(size, 2, np.uint8)
    image = np.full((*size, 3), (200, 160, 120), np.uint8)
    image[horizon:] = (60, 140, 60)
    middle = width // 2
    for class_id, color, left, right in (
        (0, (90, 90, 90), 0, middle),
        (1, (150, 150, 150), middle, width),
    ):
        corners = np.array([[apex, horizon], [left, height], [right, height]])
        cv2.fillPoly(mask, [corners], class_id)
        cv2.fillPoly(image, [corners], color)
    noise = rng.integers(-12, 13, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8), mask


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """TFRecords of such frames at SIZE: 24 train, 8 val."""
    from tfrecords_tools import build

    root = tmp_path_factory.mktemp("data")
    write_bdd100k(root / "bdd", {"train": 24, "val": 8}, size=(128, 194))
    out = root / "records"
    command = ["--source", "bdd100k", "--data", str(root / "bdd"), "--out", str(out)]
    assert build.main([*command, "--size", *map(str, SIZE)]) == 0
    return out


@pytest.fixture(scope="session")
def road_dataset(tmp_path_factory):
    """TFRecords of 10 such frames at SIZE whose labels say road, not which lane; no val split."""
    from tfrecords_tools import build

    root = tmp_path_factory.mktemp("road")
    colors = {"background": (0, 0, 0), "road": (9, 9, 9), "unclear": (99, 99, 99)}
    classes = [{"id": i, "name": n, "color": colors[n]} for i, n in enumerate(colors)]
    for kind in ("images", "masks"):
        (root / "own" / kind).mkdir(parents=True)
    (root / "own/classes.json").write_text(json.dumps({"name": "roads", "classes": classes}))
    rng = np.random.default_rng(7)
    for number in range(10):
        image, mask = scene(rng, (128, 194))
        mask = np.where(mask == 2, 0, 1).astype(np.uint8)
        mask[:10] = 2
        cv2.imwrite(str(root / f"own/images/{number}.png"), image)
        cv2.imwrite(str(root / f"own/masks/{number}.png"), mask)
    command = ["--source", "folder", "--data", str(root / "own"), "--out", str(root / "records")]
    assert build.main([*command, "--size", *map(str, SIZE)]) == 0
    return root / "records"


@pytest.fixture(scope="session")
def mixed_config(config, road_dataset):
    """`config` with half of each batch from `road_dataset`; `road` is the union of both lanes."""
    words = [str(road_dataset), "2", "road=direct|alternative", "*=ignore"]
    return dataclasses.replace(config, also=(shlex.join(words),))


@pytest.fixture(scope="session")
def config(dataset):
    """A Config that trains in seconds on `dataset`."""
    from kseg.config import Config

    return Config(
        data=str(dataset),
        size=SIZE,
        encoder_alpha=0.35,
        decoder_channels=16,
        batch_size=4,
        epochs=4,
        learning_rate=5e-3,
        scale_min=0.8,
        scale_max=1.25,
    )


@pytest.fixture(scope="session")
def trained_run(config, tmp_path_factory):
    """A finished training run of `config`."""
    from kseg.train import train

    out = tmp_path_factory.mktemp("runs") / "run"
    assert train(config, out) == 0
    return out


@pytest.fixture(scope="session")
def tflite_path(trained_run):
    """The fp32 .tflite of `trained_run`, exported by the command."""
    from kseg.export import __main__ as export

    assert export.main([str(trained_run), "--tflite"]) == 0
    return trained_run / "model-fp32.tflite"


@pytest.fixture(scope="session")
def onnx_paths(trained_run):
    """The .onnx of `trained_run` by precision, fp32 and fp16, exported by the command."""
    from kseg.export import __main__ as export

    assert export.main([str(trained_run), "--onnx", "--precision", "fp32", "fp16"]) == 0
    return {name: trained_run / f"model-{name}.onnx" for name in ("fp32", "fp16")}


@pytest.fixture(scope="session")
def runner():
    """deploy/python/run.py as a module."""
    import run

    return run


def command(main, argv):
    """Runs a command's main as its module does, and returns its exit code."""
    from kseg.errors import run

    return run(lambda: main([str(a) for a in argv]))


def run_build(data, out, *flags, source="bdd100k"):
    """Calls tfrecords_tools.build and returns its exit code."""
    from tfrecords_tools import build

    return command(build.main, ["--source", source, "--data", data, "--out", out, *flags])


def assert_one_line(capsys, *parts):
    """Asserts that stderr is one `error:` line that holds all `parts`."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, lines
    for part in parts:
        assert str(part) in lines[0]


@contextlib.contextmanager
def files_of_at_most(size):
    """As on a full disk: the system refuses to write more than `size` bytes into a file."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def randomize(model, seed):
    """Random weights everywhere, batch norm's averages too, so that a swap cannot hide.

    Kernels are scaled by what they sum over, so that values stay finite through 100 layers.
    """
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        values = rng.normal(0, 0.3, weight.shape)
        if len(weight.shape) == 4:
            depthwise = weight.shape[-1] == 1
            values /= 0.3 * np.prod(weight.shape[: 2 if depthwise else 3]) ** 0.5
        positive = weight.name in ("moving_variance", "gamma")
        weight.assign(np.abs(values) + 0.5 if positive else values)


def write_shard(path, examples):
    """Writes serialized examples as they are to one TFRecord file. Returns its manifest.Shard."""
    import tensorflow as tf

    from kseg.manifest import Shard

    with tf.io.TFRecordWriter(str(path)) as writer:
        for example in examples:
            writer.write(example)
    data = path.read_bytes()
    return Shard(path.name, len(examples), hashlib.sha256(data).hexdigest(), len(data))
