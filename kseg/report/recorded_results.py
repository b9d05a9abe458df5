"""The values of the report's sections on what other commands recorded: the data set, settings,
comparisons, exports, timings and attention pages."""

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from kseg import run_folder
from kseg.compare import table as comparison
from kseg.errors import InputError
from kseg.export import export_page
from kseg.files import sha256
from kseg.manifest import Manifest
from kseg.report.runs import Run

_MALFORMED = (KeyError, TypeError, AttributeError)


class TextTable(NamedTuple):
    """A table of texts; the first cell of each row is its heading."""

    label: str
    headings: list[str]
    rows: list[list[str]]


def data_set(manifest: Manifest) -> dict[str, Any]:
    """The table of splits: frames, the share of each class, ignored pixels, shards."""
    splits = manifest.splits.values()
    size = f"{manifest.size[0]}x{manifest.size[1]}" if manifest.size else "frames of several sizes"
    return {
        "description": f"{manifest.dataset}, {size}",
        "splits": manifest.splits,
        "frames": [f"{split.examples:,}" for split in splits],
        "shares": list(zip(*(split.shares for split in splits), strict=True)),
        "ignored": [s.ignored / ((s.ignored + sum(s.pixels)) or 1) for s in splits],
        "shards": [f"{len(split.shards):,}" for split in splits],
        "request": ", ".join(
            f"{key} {_text(value)}"
            for key, value in manifest.request.items()
            if value not in (None, "")
        ),
    }


def settings(runs: Sequence[Run]) -> dict[str, list[dict[str, Any]]]:
    """The settings that differ between the runs, and the others."""
    values = [json.loads(run.config.to_json()) for run in runs]
    rows: dict[str, list[dict[str, Any]]] = {"differing": [], "same": []}
    for field in dataclasses.fields(runs[0].config):
        each = [value[field.name] for value in values]
        differs = any(value != each[0] for value in each)
        row = {"name": field.name, "differs": differs, "texts": [_text(value) for value in each]}
        rows["differing" if differs else "same"].append(row)
    return rows


def _text(value):
    """A value as text; a long hash is cut off."""
    text = "x".join(map(str, value)) if isinstance(value, list) else str(value)
    return text[:12] + "..." if len(text) >= 40 and text.isalnum() else text


def exports(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The files that kseg.export made of the runs, and which are of older weights.

    Raises InputError.
    """
    exported = []
    for i, run in enumerate(runs):
        reports = [_read_json(path) for path in sorted(run.path.glob("*.report.json"))]
        if not reports:
            continue
        weights = sha256(run.path / run_folder.BEST)
        try:
            files = export_page.file_rows(reports)
            # Reports of older versions do not name the weights.
            stale = [r["file"] for r in reports if r.get("weights") not in (None, "", weights)]
        except _MALFORMED as error:
            raise InputError(
                f"{run.path}: a .report.json was not written by kseg.export ({error!r})"
            ) from error
        page = run.path / "export_report.html"
        page_text = str(page) if page.is_file() else ""
        exported.append({"run": i, "files": files, "stale": stale, "page": page_text})
    return exported


def comparisons(runs: Sequence[Run], folders: Sequence[str]) -> list[dict[str, Any]]:
    """The tables of kseg.compare: of the given folders, and of those that contain the runs.

    Raises InputError.
    """
    paths = [Path(folder) / "comparison.json" for folder in folders]
    paths += [path for run in runs if (path := run.path.parent / "comparison.json").is_file()]
    return [_comparison(path) for path in dict.fromkeys(paths)]


def _comparison(path):
    rows = _read_json(path)
    try:
        columns = comparison.columns(rows)
        table = TextTable(
            f"Comparison in {path.parent}",
            ["", *(heading for heading, _ in columns)],
            [[row["name"], *(text(row) for _, text in columns)] for row in rows],
        )
        return {"folder": path.parent, "table": table, "notes": list(comparison.notes(rows))}
    except _MALFORMED as error:
        raise InputError(f"{path}: was not written by kseg.compare ({error!r})") from error


def attention_pages(runs: Sequence[Run], out: Path) -> list[dict[str, Any]]:
    """Links from the page `out` to the pages that kseg.attention wrote into the runs."""
    linked = []
    for i, run in enumerate(runs):
        pages = sorted((run.path / "attention").glob("*.attention.html"))
        links = [
            (
                page.name.removesuffix(".attention.html"),
                quote(os.path.relpath(page, out.parent)),
            )
            for page in pages
        ]
        if links:
            linked.append({"run": i, "links": links})
    return linked


def timings(runs: Sequence[Run], files: Sequence[str]) -> list[dict[str, Any]]:
    """A table for each JSON of kseg.benchmark: the given files, and RUN/benchmark*.json.

    Raises InputError.
    """
    paths = [Path(file) for file in files]
    paths += [path for run in runs for path in sorted(run.path.glob("benchmark*.json"))]
    return [_timing(path) for path in dict.fromkeys(paths)]


def _timing(path):
    report = _read_json(path)
    try:
        machine, threads = report["machine"], report["threads"]
        table = TextTable(
            f"Timings in {path.name}",
            ["file", "runtime", "min", "median", "p90", "p99", "complete frame", "peak memory"],
            [_timing_row(model) for model in report["models"]],
        )
        text = (
            f"{machine['cpu']}, {machine['cores']} cores, load {machine['load_average']}, "
            f"{threads} thread{'s' * (threads > 1)}, {machine['system']}"
        )
        return {"machine": text, "table": table}
    except _MALFORMED as error:
        raise InputError(f"{path}: was not written by kseg.benchmark --json ({error!r})") from error


def _timing_row(model):
    name = model["name"].rsplit("/", 1)[-1]
    if "failed" in model:
        return [name, f"not run: {model['failed']}", *[""] * 6]
    times = [model["model"][f"{key}_ms"] for key in ("min", "median", "p90", "p99")]
    times.append(model.get("whole_frame", {}).get("median_ms"))
    memory = f"{model['peak_mb']:.0f} MB" if "peak_mb" in model else "-"
    return [name, model["runtime"], *map(_milliseconds, times), memory]


def _milliseconds(value):
    return "-" if value is None else f"{value:.2f} ms" if value < 10 else f"{value:.1f} ms"


def _read_json(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
