"""The values of report.html; templates/report.html lays them out."""

from collections.abc import Sequence
from typing import Any

from kseg.evaluation import calibration, failures
from kseg.report import frame_groups, recorded_results, score_sections
from kseg.report.failure_sections import failure_values
from kseg.report.frame_groups import Groups
from kseg.report.frame_sections import ShownFrame, frame_values, mistake_swatches
from kseg.report.run_counts import RunCounts
from kseg.report.runs import Run
from kseg.visualize import pages

# {title: name of its values}, in the order of the page.
_SECTIONS = {
    "Side by side": "frames",
    "Curves": "curves",
    "Classes": "class_scores",
    "Confusion": "confusion",
    "Calibration": "calibration",
    "Brightness": "brightness",
    "Scenes": "scenes",
    "Failures": "failures",
    "Frames": "frames",
    "Data set": "data_set",
    "Comparison": "comparisons",
    "Exports": "exports",
    "Timings": "timings",
    "Attention": "attention_pages",
    "Settings": "settings",
}


def page(
    runs: Sequence[Run],
    counts: Sequence[RunCounts],
    shown: Sequence[ShownFrame],
    *,
    split: str,
    scenes: Sequence[tuple[str, Groups]],
    recorded: dict[str, list],
) -> str:
    """Returns the HTML page.

    scenes: (heading, groups) of frame_groups. recorded: the values of recorded_results under
    "comparisons", "exports", "timings" and "attention_pages".
    """
    labels = runs[0].labels
    names = " and ".join(run.name for run in runs) if len(runs) < 3 else f"{len(runs)} runs"

    def by_group(groupings):
        return [score_sections.group_scores(runs, counts, *grouping) for grouping in groupings]

    thirds = frame_groups.brightness_thirds(counts[0].luma)
    values: dict[str, Any] = {
        "title": f"{names} on {runs[0].manifest.dataset}, {split}",
        "verdict": score_sections.verdict(runs, counts, split),
        "runs": runs,
        "labels": labels,
        "scores": score_sections.summary(runs, counts),
        "mistakes": mistake_swatches(bool(labels.drivable_ids)),
        "curves": score_sections.curves(runs),
        "same_loss": len({run.config.loss for run in runs}) == 1,
        "class_scores": score_sections.class_scores(runs, counts),
        "confusion": score_sections.confusion(counts),
        "calibration": list(score_sections.calibrations(runs, counts)),
        "calibration_bins": calibration.BINS,
        "brightness": by_group([("brightness", thirds)] if thirds else []),
        "scenes": by_group(scenes),
        "failures": failure_values(labels, counts, [each.number for each in shown]),
        "failure_threshold": failures.THRESHOLD,
        "frames": frame_values(runs, counts, shown) if shown else None,
        "data_set": recorded_results.data_set(runs[0].manifest),
        "settings": recorded_results.settings(runs),
        **recorded,
    }
    sections = [title for title, name in _SECTIONS.items() if values[name]]
    return pages.render("kseg.report/report.html", {**values, "sections": sections})
