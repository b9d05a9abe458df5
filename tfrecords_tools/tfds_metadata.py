"""Metadata by which TensorFlow Datasets opens the shards: tfds.builder_from_directory(DIR).

Its features are those of kseg/data/records.py: {"key", "image" (H, W, 3) uint8, "mask" (H, W, 1)
uint8, "height", "width"}.
"""

from pathlib import Path

from kseg.manifest import Manifest
from kseg.paths import is_remote
from tfrecords_tools.datasets import Card

FILES = ("dataset_info.json", "features.json", "README.md")


def write(folder: Path, manifest: Manifest, card: Card) -> None:
    """Writes dataset_info.json, features.json and the data set card, README.md, into `folder`."""
    import numpy as np
    import tensorflow_datasets as tfds

    dataset = manifest.dataset.replace("-", "_")
    height, width = manifest.size or (None, None)
    features = tfds.features.FeaturesDict(
        {
            "key": tfds.features.Text(),
            "image": tfds.features.Image(shape=(height, width, 3)),
            "mask": tfds.features.Image(shape=(height, width, 1), encoding_format="png"),
            "height": tfds.features.Scalar(np.int64),
            "width": tfds.features.Scalar(np.int64),
        }
    )
    template = tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name=dataset, filetype_suffix="tfrecord"
    )
    split_infos = [
        tfds.core.SplitInfo(
            name=name,
            shard_lengths=[shard.examples for shard in split.shards],
            num_bytes=sum(shard.bytes for shard in split.shards),
            filename_template=template.replace(split=name),
        )
        for name, split in manifest.splits.items()
    ]
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=features,
        split_infos=split_infos,
        filename_template=template,
        description=card.description,
        homepage=card.homepage,
        citation=card.citation,
        # TFDS would read an example, which tf.data cannot do in every bucket.
        check_data=not is_remote(folder),
    )
    (folder / FILES[-1]).write_text(card_text(manifest, card))


def card_text(manifest: Manifest, card: Card) -> str:
    """Returns the data set card (Markdown)."""
    rows = "".join(
        f"| {name} | {split.examples} | {' | '.join(f'{share:.2%}' for share in split.shares)} |\n"
        for name, split in manifest.splits.items()
    )
    names = manifest.labels.names
    size = f"{manifest.size[0]}x{manifest.size[1]}" if manifest.size else "of their own sizes"
    return f"""# {manifest.dataset}

{card.description}

Frames are {size}. Class ids: {", ".join(f"{i} {n}" for i, n in enumerate(names))}; 255 is ignored.

| split | frames | {" | ".join(names)} |
|---|---|{"---|" * len(names)}
{rows}
- homepage: {card.homepage or "none"}
- licence: {card.license or "as the source's"}
- download: {card.download or "not published"}

```bibtex
{card.citation or "none"}
```

Open with `tfds.builder_from_directory("DIR")` or `kseg.data.pipeline`; made by
`tfrecords_tools.build` from
{manifest.request}.
"""
