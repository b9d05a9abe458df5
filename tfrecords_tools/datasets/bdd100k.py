"""BDD100K drivable area, current release (bdd100k doc/source/format.rst).

    DATA/images/100k/{train,val}/KEY.jpg             1280x720
    DATA/labels/drivable/masks/{train,val}/KEY.png   0 direct, 1 alternative, 2 background

The test split has no public labels. Another coding with other ids is around (legacy,
drivable_maps/): reading it as this one would be silent, so the sky must be background.
"""

from pathlib import Path

import numpy as np

from kseg.errors import InputError
from kseg.labels import BDD100K_DRIVABLE
from tfrecords_tools.datasets import Card, Source, pair, read_ids, read_mask

CARD = Card(
    description="BDD100K drivable area: the lane driven in, lanes to change to, and the rest.",
    homepage="https://www.vis.xyz/bdd100k/",
    license="BDD100K licence: research and education; read it where you download",
    citation="""@inproceedings{bdd100k,
  title={BDD100K: A Diverse Driving Dataset for Heterogeneous Multitask Learning},
  author={Yu, Fisher and Chen, Haofeng and Wang, Xin and Xian, Wenqi and Chen, Yingying and
          Liu, Fangchen and Madhavan, Vashisht and Darrell, Trevor},
  booktitle={CVPR},
  year={2020}
}""",
    download="After registration: `100K Images` and `Drivable Area`, unpacked into one folder.",
)

BACKGROUND_ID = 2
_SAMPLE = 25  # Masks looked at to confirm the coding.


def source(data, skip_unpaired=False):
    """Returns the Source of an unpacked BDD100K (or demo) folder. Raises InputError."""
    data = Path(data)
    images, masks = data / "images" / "100k", data / "labels" / "drivable" / "masks"
    for folder in (data, images, masks):
        if not folder.is_dir():
            legacy = " (the legacy drivable_maps coding is not read yet)"
            hint = legacy if (data / "drivable_maps").is_dir() else ""
            raise InputError(
                f"{folder}: no such folder; --data must hold images/100k/ and "
                f"labels/drivable/masks/ as BDD100K unpacks them{hint}"
            )
    names = [name for name in ("train", "val") if (images / name).is_dir()]
    if not names:
        raise InputError(f"{images}: neither train/ nor val/ in it")
    splits = {n: pair(images / n, masks / n, skip_unpaired=skip_unpaired) for n in names}
    confirm_coding(splits[names[0]])
    return Source("bdd100k-drivable", BDD100K_DRIVABLE, splits, read_mask, CARD)


def confirm_coding(frames):
    """Raises InputError unless the top quarter of sampled masks is mostly background (id 2)."""
    step = max(1, len(frames) // _SAMPLE)
    shares = []
    for frame in frames[::step][:_SAMPLE]:
        try:
            mask = read_ids(frame.label)
        except InputError:
            continue  # One bad mask is the conversion's to report.
        shares.append(float(np.mean(mask[: max(1, len(mask) // 4)] == BACKGROUND_ID)))
    if shares and np.mean(shares) < 0.5:
        raise InputError(
            f"{frames[0].label.parent}: only {np.mean(shares):.0%} of the top quarter of the "
            f"masks is background (id {BACKGROUND_ID}), so these are not BDD100K's current masks "
            "(0 direct, 1 alternative, 2 background); legacy *_drivable_id.png have other ids"
        )
