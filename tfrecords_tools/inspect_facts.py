"""What inspect says of a data set's files, sizes, classes and drives, and what is odd there."""

from collections.abc import Mapping

from kseg.manifest import Manifest
from tfrecords_tools.split_statistics import SplitStatistics
from tfrecords_tools.splits import count_drives, shared_drives

_SHOWN = 3  # Sizes or file formats that are listed; the rest are counted.


def facts(manifest: Manifest, measured: dict[str, SplitStatistics]) -> list[tuple[str, list[str]]]:
    """Returns rows (heading, one cell for each split)."""
    drives = _drives(manifest, measured)
    shared = shared_drives(drives)
    rows = {
        "classes without a pixel": [
            ", ".join(_empty_classes(manifest, values)) or "none" for values in measured.values()
        ],
        "sizes": [_counted(_named(values.sizes)) for values in measured.values()],
        "image files": [_counted(values.formats) for values in measured.values()],
    }
    if manifest.drive_pattern:
        rows["drives"] = [_drives_cell(counts) for counts in drives.values()]
        rows["drives also in other splits"] = [
            str(sum(name in counts for counts in shared.values())) for name in drives
        ]
    return list(rows.items())


def oddities(manifest: Manifest, measured: dict[str, SplitStatistics]) -> list[str]:
    """Returns a line for each thing that is probably not what the user wants."""
    lines = []
    for name, values in measured.items():
        if empty := _empty_classes(manifest, values):
            lines.append(
                f"split '{name}' has no pixel of {', '.join(empty)}; do masks use another value "
                "for it, or has the split too few frames?"
            )
        tagged = sum(n for form, n in values.formats.items() if "orientation" in form)
        if tagged:
            lines.append(
                f"split '{name}': {tagged} images have an EXIF orientation; compare the overlays "
                "below with their labels"
            )
    shared = shared_drives(_drives(manifest, measured))
    if shared:
        lines.append(
            f"{len(shared)} drives are in two splits ({', '.join(list(shared)[:3])}, ...), so "
            "scores are too high; build with --split and without --group-by none"
        )
    return lines


def _empty_classes(manifest, values):
    return [name for name, n in zip(manifest.labels.names, values.counts, strict=False) if not n]


def _drives(manifest, measured):
    pattern = manifest.drive_pattern
    return {name: count_drives(values.keys, pattern) for name, values in measured.items()}


def _drives_cell(counts):
    if not counts:
        return "0"
    return f"{len(counts):,} of {min(counts.values())} to {max(counts.values())} frames"


def _named(sizes):
    return {f"{height}x{width}": count for (height, width), count in sizes.items()}


def _counted(counts: Mapping[str, int]) -> str:
    """{"JPEG": 3, "PNG": 1} -> "JPEG (3), PNG (1)"; a single one without its count."""
    if len(counts) == 1:
        return next(iter(counts))
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    parts = [f"{name} ({count:,})" for name, count in ranked[:_SHOWN]]
    if len(ranked) > _SHOWN:
        parts.append(f"{len(ranked) - _SHOWN} more")
    return ", ".join(parts) or "none"
