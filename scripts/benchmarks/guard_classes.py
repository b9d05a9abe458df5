"""What guard classes cost SegFormer-B0: .tflite without them, in a convolution, and by PAD and ADD.

    python scripts/benchmarks/guard_classes.py [--rounds 150] [--size 288 512]

Each file maps a uint8 frame to a class map, in fp32, on one thread of LiteRT's CPU kernels. The
three run interleaved, each first in a third of the rounds. Prints their CPU time. Exit code 1 when
their class maps differ.
"""

import argparse
import sys
import time

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from kseg.export import convert
from kseg.export.profiles import PROFILES
from kseg.models import build
from kseg.models.simplify import pointwise, replace_layers, simplify
from kseg.runtime.litert import TFLiteModel

CLASSES = 3
WARM_UP = 3


class PadAndAdd(layers.Layer):
    """(B, H, W, 3) -> (B, H, W, 4): one more channel in front, of -3e4."""

    def call(self, x):
        return tf.pad(x, [[0, 0], [0, 0], [0, 0], [1, 0]]) + tf.constant([-3e4, 0, 0, 0])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=150, help="(default: 150)")
    parser.add_argument("--size", type=int, nargs=2, default=(288, 512), metavar=("H", "W"))
    args = parser.parse_args()
    size = tuple(args.size)
    files = {name: TFLiteModel(data, 1) for name, data in exported(size).items()}
    frame = np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8)
    maps = {name: file.run(frame) for name, file in files.items()}
    maps["PAD and ADD"] = CLASSES - maps["PAD and ADD"]  # Its channels are reversed.
    differ = {name: int((each != maps["none"]).sum()) for name, each in maps.items()}
    times = {name: [] for name in files}
    for number in range(WARM_UP + args.rounds):
        names = [*files][number % 3 :] + [*files][: number % 3]
        for name in names:
            start = time.process_time()
            files[name].run(frame)
            if number >= WARM_UP:
                times[name].append(1000 * (time.process_time() - start))
    print(
        "| guard | ms, minimum / median | ratio of minima | median of ratios | pixels that differ |"
    )
    print("|---|---|---|---|---|")
    base = np.array(times["none"])
    for name, values in times.items():
        values = np.array(values)
        ratios = f"{values.min() / base.min():.3f} | {np.median(values / base):.3f}"
        absolute = f"{values.min():.2f} / {np.median(values):.2f}"
        print(f"| {name} | {absolute} | {ratios} | {differ[name]} |")
    return int(any(differ.values()))


def exported(size):
    """The three .tflite files, by name. The model has random weights."""
    keras.utils.set_random_seed(1)
    model = simplify(build("segformer_b0", size, CLASSES))
    guarded = convert.form(PROFILES["cpu"])
    plain = guarded._replace(guard_classes=False)
    kernel, bias = model.get_layer("logits_conv").get_weights()
    reverse, pad = pointwise(kernel[0, 0][:, ::-1], bias[::-1], "reversed"), PadAndAdd()
    padded = replace_layers(model, {"logits_conv": lambda features: pad(reverse(features))})
    forms = {
        "none": (model, plain),
        "convolution": (model, guarded),
        "PAD and ADD": (padded, plain),
    }
    files = {}
    for name, (each, form) in forms.items():
        with convert.saved_model(each, form) as folder:
            files[name] = convert.from_saved_model(folder).convert()
    return files


if __name__ == "__main__":
    sys.exit(main())
