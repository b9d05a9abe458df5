#!/usr/bin/env python3
"""Writes tests/segformer_reference.json: outputs of Hugging Face's SegFormer at a few places.

In an environment with torch and transformers (kseg is not needed):

    python scripts/make_segformer_reference.py

tests/models/test_pretrained.py compares kseg's SegFormer with them.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file, save_file

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests import segformer_reference as reference

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main():
    config = transformers.SegformerConfig(num_labels=reference.CLASSES, **reference.VARIANT)
    with tempfile.TemporaryDirectory() as folder:
        # By way of a file, since its names are those of published weights, not the module's own.
        transformers.SegformerForSemanticSegmentation(config).save_pretrained(folder)
        path = Path(folder) / "model.safetensors"
        shapes = {name: list(tensor.shape) for name, tensor in load_file(path).items()}
        shapes = {name: s for name, s in shapes.items() if not name.endswith("num_batches_tracked")}
        tensors = {name: reference.weight(name, tuple(shape)) for name, shape in shapes.items()}
        save_file(tensors, path, metadata={"format": "pt"})
        model = transformers.SegformerForSemanticSegmentation.from_pretrained(folder).eval()
    document = {
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "outputs": {"x".join(map(str, size)): outputs(model, size) for size in reference.SIZES},
        "tensors": shapes,
    }
    text = json.dumps(document, indent=0).replace("[\n", "[").replace(",\n", ", ")
    text = text.replace("\n]", "]").replace('], "', '],\n"')
    reference.PATH.write_text(text + "\n")


def outputs(model, size):
    """Per output of the encoder's stages and of the head: its shape, largest value and samples."""
    normalized = (reference.image(size) / 255 - np.array(MEAN)) / np.array(STD)
    with torch.no_grad():
        tensor = torch.from_numpy(normalized.astype(np.float32).transpose(0, 3, 1, 2).copy())
        found = model(tensor, output_hidden_states=True)
    maps = [m.numpy().transpose(0, 2, 3, 1) for m in (*found.hidden_states, found.logits)]
    return [
        {
            "shape": list(values.shape),
            "largest": round(float(np.abs(values).max()), 5),
            "samples": [round(float(x), 6) for x in reference.sample(values)],
        }
        for values in maps
    ]


if __name__ == "__main__":
    main()
