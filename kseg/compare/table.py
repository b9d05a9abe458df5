"""The table of a comparison: flat rows of named numbers, as JSON, CSV, Markdown and on a terminal.

A row is a dict. Scores are 0..1; every other number has its unit in its name. Unknown values are
None. Standard library and rich only.
"""

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kseg.compare.plan import Row
from kseg.files import write_text
from kseg.training import history
from kseg.visualize.percent import percent_cell

_MEGA = 1e6
_NOISY = 0.25  # Median over minimum, minus 1; kseg.benchmark has the same limit.
_FEW_CLASSES = 4  # This many fit beside the means on a terminal of 80 characters.


def new_row(row: Row, split: str) -> dict:
    """Returns a row with all columns, before anything is measured."""
    height, width = row.config.size
    return {
        "name": row.name,
        "status": "waiting",
        "why": None,
        "model": row.config.model,
        "run": str(row.run),
        "data": row.config.data,
        "split": split,
        "frames": None,
        "input_height_px": height,
        "input_width_px": width,
        "mean_iou": None,
        "drivable_iou": None,
        "mean_boundary_iou": None,
        "pixel_accuracy": None,
        "parameters": None,
        "gflops": None,
        "weights_bytes": None,
        "tflite_bytes": None,
        "tflite_pixel_agreement": None,
        "latency_ms": None,
        "latency_min_ms": None,
        "latency_rounds": None,
        "latency_threads": None,
        "latency_cpu": None,
        "latency_load_average": None,
        "training_seconds": None,
        "epochs": None,
        "epochs_planned": row.config.epochs,
        "finished": None,
        "best_epoch": None,
    }


def training_columns(row: Row) -> dict:
    """Returns the columns that the run folder gives."""
    return {
        "weights_bytes": (row.run / "best.weights.h5").stat().st_size,
        "training_seconds": history.training_seconds(row.run),
        "epochs": len(history.read(row.run)),
        "best_epoch": history.best_epoch(row.run),
        "finished": history.is_complete(row.run, row.config),
    }


def evaluation_columns(report: dict) -> dict:
    """Returns the columns that the report of kseg.evaluate gives."""
    scores = report["model"]
    by_class = {name: value for name, value in scores.items() if "iou/" in name}
    means = ("mean_iou", "drivable_iou", "mean_boundary_iou", "pixel_accuracy")
    return {
        **{name: report[name] for name in ("frames", "parameters", "gflops")},
        **{name: scores.get(name) for name in means},
        **by_class,
    }


def export_columns(report: dict) -> dict:
    """Returns the columns that the report of kseg.export gives."""
    return {
        "tflite_bytes": report["bytes"],
        "tflite_pixel_agreement": report["pixel_agreement"],
    }


def timing_columns(report: dict, index: int) -> dict:
    """Returns the columns that the report of kseg.benchmark gives for its model `index`."""
    model = report["models"][index]["model"]
    return {
        "latency_ms": model["median_ms"],
        "latency_min_ms": model["min_ms"],
        "latency_rounds": model["runs"],
        "latency_threads": report["threads"],
        "latency_cpu": report["machine"]["cpu"],
        "latency_load_average": report["machine"]["load_average"],
    }


def classes(rows: Sequence[dict]) -> list[str]:
    """Returns the class names, in the order of the first row with an evaluation."""
    for row in rows:
        names = [key.removeprefix("iou/") for key in row if key.startswith("iou/")]
        if names:
            return names
    return []


def columns(rows: Sequence[dict]) -> list[tuple[str, Callable[[dict], str]]]:
    """Returns the columns of the table as (heading, function of a row -> text)."""
    by_class = [(name, _percent_of(f"iou/{name}")) for name in classes(rows)]
    return [
        ("mean IoU", _percent_of("mean_iou")),
        *by_class,
        ("drivable IoU", _percent_of("drivable_iou")),
        ("boundary IoU", _percent_of("mean_boundary_iou")),
        ("parameters, M", _scaled("parameters", _MEGA, 2)),
        ("weights, MB", _scaled("weights_bytes", _MEGA, 2)),
        (".tflite, MB", _scaled("tflite_bytes", _MEGA, 2)),
        ("latency, ms", _scaled("latency_ms", 1, 1)),
        ("training, min", _scaled("training_seconds", 60, 1)),
    ]


def notes(rows: Sequence[dict]) -> list[str]:
    """Returns the lines of explanation below the table."""
    lines = []
    if measured := [row for row in rows if row["frames"]]:
        first = measured[0]
        lines.append(
            f"IoU in %, on all {first['frames']} frames of split '{first['split']}' of "
            f"{first['data']}; drivable: drivable or not, two classes; boundary: mean over classes"
        )
        if any(row["training_seconds"] is None for row in measured):
            lines.append("training: -, where an older version did not record the time")
    lines += _latency_notes([row for row in rows if row["latency_ms"]])
    for row in rows:
        if row["status"] == "done" and not row["finished"]:
            lines.append(
                f"{row['name']}: not fully trained, {row['epochs']} of "
                f"{row['epochs_planned']} epochs"
            )
        if row["status"] != "done":
            lines.append(f"{row['name']}: {row['status']}" + f": {row['why']}" * bool(row["why"]))
    return lines


def _latency_notes(timed):
    if not timed:
        return []
    first = timed[0]
    threads = first["latency_threads"]
    lines = [
        f"latency: median of {first['latency_rounds']} interleaved rounds, fp32, from uint8 frame "
        f"to class map, {threads} thread{'s' * (threads > 1)} of {first['latency_cpu']}"
    ]
    noise = max(row["latency_ms"] / row["latency_min_ms"] - 1 for row in timed)
    if noise > _NOISY:
        lines.append(
            f"the machine was busy (load average {first['latency_load_average']:g}): medians are "
            f"up to {noise:.0%} above minima; remove benchmark.json to time again"
        )
    return lines


def save(out: Path, rows: Sequence[dict]) -> None:
    """Writes OUT/comparison.json, .csv and .md, each atomically."""
    names = list(dict.fromkeys(key for row in rows for key in row))
    write_text(out / "comparison.json", json.dumps(rows, indent=1, allow_nan=False) + "\n")
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(out / "comparison.csv", text.getvalue())
    write_text(out / "comparison.md", markdown(rows))


def markdown(rows: Sequence[dict]) -> str:
    """Returns the table with its notes in GitHub's Markdown."""
    shown = columns(rows)
    lines = [
        _line(["", *(heading for heading, _ in shown)]),
        _line(["---", *["---:"] * len(shown)]),
        *(_line([f"`{row['name']}`", *(text(row) for _, text in shown)]) for row in rows),
    ]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes(rows))]) + "\n"


def show(rows: Sequence[dict]) -> None:
    """Prints the table, split so that it fits into a terminal."""
    names, shown = classes(rows), dict(columns(rows))
    by_class = {name: shown.pop(name) for name in names}
    scores = {heading: shown.pop(heading) for heading in list(shown) if "IoU" in heading}
    if len(names) <= _FEW_CLASSES:
        _print(rows, scores | by_class, "IoU, %")
    else:
        _print(rows, scores, "IoU, %")
        _print(rows, by_class, "IoU by class, %")
    _print(rows, shown, "cost")
    for note in notes(rows):
        print(note)


def _print(rows, shown, title):
    table = Table(title=title)
    table.add_column("", overflow="fold")
    for heading in shown:
        table.add_column(heading.replace(" IoU", "").replace(", ", "\n"), justify="right")
    for row in rows:
        table.add_row(row["name"], *(text(row) for text in shown.values()))
    Console().print(table)


def _line(cells):
    return "| " + " | ".join(cells) + " |"


def _percent_of(key):
    return lambda row: percent_cell(row.get(key))


def _scaled(key, unit, digits):
    return lambda row: "-" if row.get(key) is None else f"{row[key] / unit:.{digits}f}"
