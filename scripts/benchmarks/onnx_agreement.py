"""Pixels on which exported files differ from Keras, by family: LiteRT and ONNX Runtime, on the CPU.

    python scripts/benchmarks/onnx_agreement.py FOLDER [--frames 16] [--models NAME ...]

FOLDER: images. The models have random weights, whose logits lie close together: a strict test.
Batch norms have the frames' statistics; otherwise logits would be too small for float16.
Prints a row of a Markdown table per family.
"""

import argparse
from pathlib import Path

import cv2
import keras
import numpy as np

from kseg import preprocess
from kseg.export import convert, onnx_convert
from kseg.models import build
from kseg.models.simplify import simplify
from kseg.runtime.exported_file import load

MODELS = {
    "unet": {"decoder_channels": 8},
    "fcn_mobilenet_v2": {"encoder_alpha": 0.35},
    "pspnet_mobilenet_v2": {"encoder_alpha": 0.35, "decoder_channels": 64},
    "deeplab_v3_plus_mobilenet_v2": {"encoder_alpha": 0.35},
    "segformer_b0": {},
}
_STATISTICS_FRAMES, _STATISTICS_STEPS = 4, 30


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--size", nargs=2, type=int, default=(144, 256), metavar=("H", "W"))
    args = parser.parse_args()
    paths = sorted(p for p in args.folder.rglob("*") if p.suffix in (".jpg", ".png"))
    paths = paths[:: max(1, len(paths) // args.frames)][: args.frames]
    size = tuple(args.size)
    frames = [
        preprocess.fit_image(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB), size, "stretch")
        for path in paths
    ]
    print("| | pixels | LiteRT fp32 | ONNX Runtime fp32 | ONNX Runtime fp16 |")
    print("|---|---|---|---|---|")
    for name in args.models:
        keras.utils.set_random_seed(1)
        model = build(name, size, 3, **MODELS[name])
        batch = np.stack(frames[:_STATISTICS_FRAMES]).astype(np.float32)
        for _ in range(_STATISTICS_STEPS):
            model(batch, training=True)
        simplified = simplify(model)
        files = [
            convert.to_tflite(simplified, "fp32"),
            *(onnx_convert.to_onnx(simplified, precision) for precision in ("fp32", "fp16")),
        ]
        runners = [load(data) for data in files]
        logits = [model.predict_on_batch(frame[None].astype(np.float32)) for frame in frames]
        expected = [values[0].argmax(-1) for values in logits]
        differ = [
            sum(int((run(x) != y).sum()) for x, y in zip(frames, expected, strict=True))
            for run in runners
        ]
        pixels = len(frames) * size[0] * size[1]
        print(f"| `{name}` | {pixels} | {' | '.join(map(str, differ))} |", flush=True)


if __name__ == "__main__":
    main()
