"""Compares a training step of our models with the same models built from keras-hub.

    PYTHON scripts/benchmarks/training_step.py [--size 128] [--batch 4] [--steps 10] [--threads 1]

PYTHON is one that has kseg and keras-hub. Both models have the same loss (sparse cross-entropy on
logits), optimizer (Adam), data and classes, random weights and no augmentation; their steps are
interleaved. The size is square because keras-hub's SegFormer accepts no other. DeepLabV3+ on
ResNet-50 has output stride 32, that of keras-hub's image encoder. It runs once with our separable
convolutions, and once with dense ones as in keras-hub.
Prints minimum and median of both, and the ratio theirs / ours.
"""

import argparse
import statistics
import time
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

CLASSES = 3


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=128, help="height and width (default: 128)")
    parser.add_argument("--batch", type=int, default=4, help="images per step (default: 4)")
    parser.add_argument(
        "--steps", type=int, default=10, help="timed steps of each model (default: 10)"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--model", choices=PAIRS, help="run only this pair (default: all)")
    args = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(args.threads)
    for name in PAIRS if args.model is None else [args.model]:
        keras.utils.clear_session()
        compare(name, args)


def compare(name, args):
    rng = np.random.default_rng(0)
    frames = (args.batch, args.size, args.size)
    images = tf.constant(rng.uniform(0, 255, (*frames, 3)), tf.float32)
    masks = tf.constant(rng.integers(0, CLASSES, frames), tf.int32)
    models = [build((args.size, args.size)) for build in PAIRS[name]]
    steps = [compiled_step(model, images, masks) for model in models]
    seconds = [[], []]
    for _ in range(args.steps):
        for step, times in zip(steps, seconds, strict=True):
            start = time.process_time() if args.threads == 1 else time.perf_counter()
            step()
            end = time.process_time() if args.threads == 1 else time.perf_counter()
            times.append(end - start)
    minimum, median = ([f(times) for times in seconds] for f in (min, statistics.median))
    clock = "CPU" if args.threads == 1 else "wall"
    print(
        f"{name}, {args.batch} x {args.size}x{args.size}, {args.threads} thread(s), {clock} time: "
        f"ours {models[0].count_params() / 1e6:.2f} M parameters, min {minimum[0]:.3f} s, "
        f"median {median[0]:.3f} s; keras-hub {models[1].count_params() / 1e6:.2f} M, "
        f"min {minimum[1]:.3f} s, median {median[1]:.3f} s; "
        f"theirs / ours: min {minimum[1] / minimum[0]:.2f}, median {median[1] / median[0]:.2f}",
        flush=True,
    )


def compiled_step(model, images, masks):
    """Returns a function that runs one training step; it has been traced and run twice."""
    model.compile(
        keras.optimizers.Adam(1e-4),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[],  # keras-hub's default accuracy would read class ids as one-hot vectors.
        jit_compile=False,
    )

    def step():
        model.train_on_batch(images, masks)

    step(), step()
    return step


def our_deeplab(size):
    from kseg import models

    return models.build("deeplab_v3_plus_resnet50", size, CLASSES, output_stride=32)


def our_dense_deeplab(size):
    """DeepLabV3+ with dense convolutions in ASPP and decoder, as keras-hub has them."""
    from kseg.models import deeplab
    from kseg.models.blocks import conv_bn_relu

    def dense(x, channels, *, dilation=1, name):
        return conv_bn_relu(x, channels, 3, dilation=dilation, name=name)

    with mock.patch.object(deeplab, "separable_conv_bn_relu", dense):
        return our_deeplab(size)


def hub_deeplab(size):
    from keras_hub import models

    encoder = models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=[3, 4, 6, 3],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="bottleneck_block",
        image_shape=(*size, 3),
    )
    backbone = models.DeepLabV3Backbone(
        image_encoder=encoder,
        low_level_feature_key="P2",
        spatial_pyramid_pooling_key="P5",
        upsampling_size=8,
        dilation_rates=[6, 12, 18],
        projection_filters=48,
        image_shape=(*size, 3),
    )
    return models.DeepLabV3ImageSegmenter(backbone, num_classes=CLASSES, preprocessor=None)


def our_segformer(size):
    from kseg import models

    return models.build("segformer_b0", size, CLASSES)


def hub_segformer(size):
    from keras_hub import models

    encoder = models.MiTBackbone(
        layerwise_depths=[2, 2, 2, 2],
        num_layers=4,
        layerwise_num_heads=[1, 2, 5, 8],
        layerwise_sr_ratios=[8, 4, 2, 1],
        max_drop_path_rate=0.1,
        layerwise_patch_sizes=[7, 3, 3, 3],
        layerwise_strides=[4, 2, 2, 2],
        hidden_dims=[32, 64, 160, 256],
        image_shape=(*size, 3),
    )
    backbone = models.SegFormerBackbone(image_encoder=encoder, projection_filters=256)
    return models.SegFormerImageSegmenter(backbone, num_classes=CLASSES, preprocessor=None)


PAIRS = {
    "segformer_b0": (our_segformer, hub_segformer),
    "deeplab_v3_plus_resnet50": (our_deeplab, hub_deeplab),
    "deeplab_v3_plus_resnet50_dense": (our_dense_deeplab, hub_deeplab),
}


if __name__ == "__main__":
    main()
