"""The values of the inspect page; templates/inspect.html lays them out."""

from typing import NamedTuple

import numpy as np

from kseg.labels import IGNORE_ID
from kseg.manifest import Manifest
from kseg.visualize import pages
from kseg.visualize.patterns import pattern_overlay
from kseg.visualize.percent import percent
from tfrecords_tools.inspect_figures import heat_map, heat_scale
from tfrecords_tools.split_statistics import SplitStatistics, dark_threshold

_BINS = 16  # Bars of the brightness histogram, 16 levels each.

Frame = tuple[str, int, np.ndarray, np.ndarray]  # (split, number, image, mask)


class _Share(NamedTuple):
    """A class in one split: its share of the labelled pixels, and of the frames that have it."""

    share: float
    pixels: int
    frames: str


def page(
    title: str,
    manifest: Manifest,
    measured: dict[str, SplitStatistics],
    frames: list[Frame],
    warnings: list[str],
    facts: list[tuple[str, list[str]]],
) -> str:
    """Returns the HTML page of a data set.

    frames: those to show. warnings: lines at the top of the page. facts: rows (heading, one cell
    for each split).
    """
    luma = np.concatenate([np.empty(0), *(values.luma for values in measured.values())])
    threshold = dark_threshold(luma)
    ids = _ids(manifest, measured)
    return pages.render(
        "tfrecords_tools/inspect.html",
        {
            "title": f"{title}: {manifest.dataset}",
            "warnings": warnings,
            "facts": facts,
            "labels": manifest.request.get("labels"),
            "manifest": manifest,
            "measured": measured,
            "megabytes": sum(s.bytes for split in manifest.splits.values() for s in split.shards)
            / 1e6,
            "classes": [
                (name, [_share(values, i, manifest) for values in measured.values()])
                for i, name in ids
            ],
            "heat_scale": heat_scale(),
            "heat_maps": [_heat_maps(name, i, measured) for i, name in ids],
            "threshold": threshold,
            "dark": [
                (name, int((v.luma < (threshold or 0)).sum())) for name, v in measured.items()
            ],
            "histograms": [
                _histogram(name, values.luma) for name, values in measured.items() if values.keys
            ],
            "frames": [_frame(manifest, measured, *frame) for frame in frames],
        },
    )


def _ids(manifest, measured):
    """(id, name) of every class, and of the ignored pixels if there are any."""
    ids = list(enumerate(manifest.labels.names))
    if any(values.counts[IGNORE_ID] for values in measured.values()):
        ids.append((IGNORE_ID, "ignored"))
    return ids


def _share(values, class_id, manifest):
    ignored = class_id == IGNORE_ID
    pixels = (values.counts if ignored else values.counts[: len(manifest.labels.classes)]).sum()
    frames = _rounded(values.present[class_id] / max(1, len(values.keys)))
    return _Share(values.counts[class_id] / max(1, pixels), values.counts[class_id], frames)


def _heat_maps(name, class_id, measured):
    """One map per split, all of a class on one scale."""
    heats = {split: values.heat[class_id] for split, values in measured.items() if values.heat}
    top = max((heat.max() for heat in heats.values()), default=0)
    maps = [(split, heat_map(heat, top), _peak(heat)) for split, heat in heats.items()]
    return {"name": name, "top": top, "maps": maps}


def _peak(heat):
    """Says where a heat map is highest."""
    if not heat.any():
        return "nowhere"
    # Where many cells are equally frequent, the one nearest to their middle.
    cells = np.argwhere(heat >= 0.98 * heat.max())
    row, column = min(cells, key=lambda cell: ((cell - cells.mean(axis=0)) ** 2).sum())
    down, across = (row + 0.5) / heat.shape[0], (column + 0.5) / heat.shape[1]
    return f"most often {down:.0%} down and {across:.0%} across, in {heat.max():.0%} of frames"


def _histogram(name, luma):
    shares = np.histogram(luma, _BINS, (0, 256))[0] / len(luma)
    return {
        "split": name,
        "median": np.median(luma),
        "shares": shares.tolist(),
        "width": 256 // _BINS,
        "mode": int(shares.argmax()) * 256 // _BINS,
    }


def _frame(manifest, measured, split, number, image, mask):
    shares = np.bincount(mask.ravel(), minlength=256) / mask.size
    return {
        "split": split,
        "key": measured[split].keys[number],
        "luma": measured[split].luma[number],
        "overlay": pattern_overlay(image, mask, manifest.labels),
        "classes": ", ".join(
            f"{name} {_rounded(shares[i])}"
            for i, name in enumerate(manifest.labels.names)
            if shares[i]
        ),
    }


def _rounded(share):
    """Percent without decimals; "0%" means none and "100%" all."""
    return "<1%" if 0 < share < 0.005 else percent(share, 0)
