"""Weights and images of the SegFormer that tests/segformer_reference.json has numbers of.

scripts/make_segformer_reference.py writes the file with Hugging Face's transformers, which is in no
environment of the tests. Both sides take weights and images from here, so imports only NumPy.
"""

import json
import zlib
from pathlib import Path

import numpy as np

PATH = Path(__file__).with_name("segformer_reference.json")
SIZES = ((64, 64), (97, 161))
CLASSES = 5
VARIANT = {  # With transformers' names.
    "hidden_sizes": (8, 16, 20, 32),
    "depths": (1, 2, 1, 1),
    "num_attention_heads": (1, 2, 5, 8),
    "decoder_hidden_size": 16,
}
POINTS = 12  # of each output


def random(name, shape):
    """Standard normal values, float32. RandomState's are the same in every version of NumPy."""
    return np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape).astype("f4")


def weight(name, shape):
    """A tensor of Hugging Face's model by its name; any tensor swapped for another is seen."""
    values = random(name, shape) * np.float32(0.3 if len(shape) < 2 else np.prod(shape[1:]) ** -0.5)
    positive = name.endswith("running_var") or ("norm" in name and name.endswith("weight"))
    return np.abs(values) + np.float32(0.5) if positive else values


def image(size):
    """(1, H, W, 3) float32 in [0, 255]."""
    return np.clip(random(f"image {size}", (1, *size, 3)) * np.float32(60) + 128, 0, 255)


def sample(output):
    """Values of an output, (1, H, W, C), at POINTS places."""
    flat = np.asarray(output).ravel()
    places = np.random.RandomState(len(flat)).choice(len(flat), POINTS, replace=False)
    return flat[places]


def read():
    return json.loads(PATH.read_text())
