"""Compares our SegFormer-B0 on LiteRT with Hugging Face's on ONNX Runtime and OpenVINO.

    .venv/bin/python scripts/benchmarks/segformer_runtimes.py [--runs 60] [--threads 1] [--out DIR]
    PYTHON scripts/benchmarks/segformer_runtimes.py --only-onnx --out DIR   # with torch

Both have 3 classes, fp32, 288x512, and random weights, which do not affect the time. kseg.benchmark
runs them interleaved in one process; its flags can follow after `--`. There are two tasks:
  logits     normalised float32 image (1, 288, 512, 3 or 3, 288, 512) -> float32 logits at stride 4
  class_map  raw uint8 RGB (1, 288, 512, 3) -> normalise, logits, bilinear to 288x512, argmax,
             uint8 (1, 288, 512)

The models:
  ours          on LiteRT, simplified (kseg.models.simplify, the same logits) and straight (as
                trained). Our logits files also normalise, which the others do not.
  Hugging Face  transformers' SegformerForSemanticSegmentation as ONNX, on ONNX Runtime, on OpenVINO
                in fp32, and on OpenVINO in the precision that it chooses (bf16 on some CPUs)
Needs the extra `benchmark`, and torch, transformers and onnxscript to write the ONNX files.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from kseg.errors import InputError, run

SIZE = (288, 512)
CLASSES = 3
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
TASKS = ("logits", "class_map")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="benchmark-segformer", help="folder for the models")
    parser.add_argument("--only-onnx", action="store_true", help="only write the ONNX files")
    parser.add_argument("--threads", default="1", help="CPU threads (default: 1)")
    parser.add_argument("--runs", default="60", help="rounds (default: 60)")
    parser.add_argument("--task", choices=TASKS, help="run only this task (default: both)")
    args, more = parser.parse_known_args()
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    if not all((out / f"huggingface-{task}.onnx").exists() for task in TASKS):
        write_onnx(out)
    if args.only_onnx:
        return 0
    ours = write_tflite(out)

    from kseg import benchmark

    for task in TASKS if args.task is None else [args.task]:
        print(
            f"\n{task}: "
            f"{'float32 -> logits at stride 4' if task == 'logits' else 'uint8 -> class ids'}"
        )
        onnx = out / f"huggingface-{task}.onnx"
        others = ["--vs", str(onnx), f"openvino:{onnx}", f"openvino-default:{onnx}"]
        limits = ["--threads", args.threads, "--runs", args.runs, "--seconds", "600"]
        report = ["--json", str(out / f"{task}.json")]
        flags = [flag for flag in more if flag != "--"]
        code = benchmark.main([*map(str, ours[task]), *others, *limits, *report, *flags])
        if code:
            return code
    return 0


def write_onnx(out):
    """Writes huggingface-{logits,class_map}.onnx. Raises InputError without torch."""
    try:
        import torch
        from transformers import SegformerConfig, SegformerForSemanticSegmentation
    except ImportError as error:
        raise InputError(
            f"{error.name} is not installed; pip install torch transformers onnxscript, or make "
            f"the files with another Python: PYTHON {sys.argv[0]} --only-onnx --out {out}"
        ) from error

    class Logits(torch.nn.Module):
        """(1, 3, H, W) float32, normalised -> (1, C, H/4, W/4) float32."""

        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            # The defaults are B0 (arXiv:2105.15203, tables 1 and 6).
            config = SegformerConfig(num_labels=CLASSES)
            self.model = SegformerForSemanticSegmentation(config)

        def forward(self, image):
            return self.model(pixel_values=image).logits

    class ClassMap(Logits):
        """(1, H, W, 3) uint8 RGB -> (1, H, W) uint8 ids, as our files."""

        def forward(self, image):
            x = image.permute(0, 3, 1, 2).float() / 255
            x = (x - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
            logits = super().forward(x)
            resized = torch.nn.functional.interpolate(
                logits, size=SIZE, mode="bilinear", align_corners=False
            )
            return resized.argmax(1).to(torch.uint8)

    examples = {
        "logits": (Logits(), torch.zeros(1, 3, *SIZE)),
        "class_map": (ClassMap(), torch.zeros(1, *SIZE, 3, dtype=torch.uint8)),
    }
    for task, (model, example) in examples.items():
        path = out / f"huggingface-{task}.onnx"
        torch.onnx.export(
            model.eval(),
            (example,),
            str(path),
            input_names=["image"],
            output_names=[task],
            dynamo=True,
            external_data=False,
        )


def write_tflite(out):
    """Writes our files that do not exist yet. Returns {task: [simplified, straight]}."""
    paths = {
        task: [out / f"ours-{form}-{task}.tflite" for form in ("simplified", "straight")]
        for task in TASKS
    }
    if all(path.exists() for both in paths.values() for path in both):
        return paths
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    from kseg import models
    from kseg.export import convert
    from kseg.models.simplify import simplify

    keras.utils.set_random_seed(0)
    model = models.build("segformer_b0", SIZE, CLASSES)
    stride_4_model = keras.Model(model.input, model.get_layer("logits_conv").output)
    for path, form in zip(paths["logits"], (simplify, with_the_papers_head), strict=True):
        path.write_bytes(logits_tflite(form(stride_4_model)))
    for path, form in zip(paths["class_map"], (simplify, with_the_papers_head), strict=True):
        path.write_bytes(convert.to_tflite(form(model), "fp32"))
    return paths


def with_the_papers_head(model):
    """Returns a SegFormer whose head computes the paper's layers one by one, as other ports do."""
    import keras

    def call(layer, x, **options):
        if layer.name != "head":
            return layer(x, **options)
        size = x[-1].shape[1:3]
        pairs = zip(layer.projections, x, strict=True)
        resized = [keras.layers.Resizing(*size)(project(y)) for project, y in pairs]
        return layer.fusion(keras.layers.Concatenate()(resized))

    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)


def logits_tflite(model):
    """Converts a Keras model at batch 1, unchanged: float32 image -> float32 logits."""
    import keras
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        archive = keras.export.ExportArchive()
        archive.track(model)
        signature = [keras.InputSpec(shape=(1, *SIZE, 3), dtype="float32", name="image")]
        archive.add_endpoint("serve", model.call, input_signature=signature)
        archive.write_out(folder, verbose=False)
        return tf.lite.TFLiteConverter.from_saved_model(folder).convert()


if __name__ == "__main__":
    sys.exit(run(main))
