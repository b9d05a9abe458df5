"""The same shards as a TensorFlow Datasets data set: tfds.builder_from_directory(DIR) opens them.

Its features are kseg/data/records.py in TFDS' words: {"key", "image" (H, W, 3) uint8,
"mask" (H, W, 1) uint8, "height", "width"}.
"""

from kseg.paths import is_remote, to_path

FILES = ("dataset_info.json", "features.json", "README.md")


def write(folder, built, card):
    """Writes dataset_info.json, features.json and a card, README.md, beside a Manifest's shards."""
    import numpy as np
    import tensorflow_datasets as tfds

    dataset = built.dataset.replace("-", "_")
    height, width = built.size or (None, None)
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
        for name, split in built.splits.items()
    ]
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=features,
        split_infos=split_infos,
        filename_template=template,
        description=card.description,
        homepage=card.homepage,
        citation=card.citation,
        # TFDS would read an example back, which tf.data cannot do from every bucket.
        check_data=not is_remote(folder),
    )
    (to_path(folder) / FILES[-1]).write_text(card_text(built, card))


def card_text(built, card):
    """Returns the data set card (Markdown)."""
    rows = "".join(
        f"| {name} | {split.examples} | {' | '.join(f'{share:.2%}' for share in split.shares)} |\n"
        for name, split in built.splits.items()
    )
    names = built.labels.names
    size = f"{built.size[0]}x{built.size[1]}" if built.size else "of their own sizes"
    return f"""# {built.dataset}

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
{built.request}.
"""
