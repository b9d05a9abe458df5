"""What the report repeats from elsewhere, as HTML: the data set, comparisons, exports, timings,
pages of attention, configs."""

import dataclasses
import json
import os
from html import escape
from pathlib import Path
from urllib.parse import quote

from kseg.compare import table as comparison
from kseg.errors import InputError
from kseg.export import export_page
from kseg.report.score_sections import class_head, even, head, heads
from kseg.visualize.html import bar, row, table


def data_set(manifest):
    """The table of splits: frames, each class's share, ignored pixels."""
    splits = manifest.splits
    rows = [row("frames", *(f"{split.examples:,}" for split in splits.values()))]
    shares = [split.shares for split in splits.values()]
    for i in range(len(manifest.labels.classes)):
        rows.append(row(class_head(manifest.labels, i), *(bar(share[i]) for share in shares)))
    ignored = [s.ignored / ((s.ignored + sum(s.pixels)) or 1) for s in splits.values()]
    rows.append(row("ignored, of all pixels", *(bar(share) for share in ignored)))
    rows.append(row("shards", *(f"{len(split.shards):,}" for split in splits.values())))
    size = "frames of several sizes" if not manifest.size else "{}x{}".format(*manifest.size)
    request = ", ".join(
        f"{key} {_word(value)}"
        for key, value in manifest.request.items()
        if value not in (None, "")
    )
    return (
        f"<p>{escape(manifest.dataset)}, {size} (height x width). Shares are of the labelled "
        f"pixels.</p>{even(table(('split', *map(escape, splits)), rows, 'Splits of the data set'))}"
        f'<p class="soft">Built from: {escape(request)}</p>'
    )


def _word(value):
    """A value in words, of a long hash its beginning."""
    text = "x".join(map(str, value)) if isinstance(value, list) else str(value)
    return text[:12] + "..." if len(text) >= 40 and text.isalnum() else text


def exports(runs):
    """The tables of the files that kseg.export made of the runs; "" where there are none."""
    parts = []
    for i, run in enumerate(runs):
        reports = [_json(path) for path in sorted(run.path.glob("*.tflite.report.json"))]
        if reports:
            page = run.path / "export_report.html"
            more = f'<p class="soft">More: {escape(str(page))}</p>' if page.is_file() else ""
            try:
                files = export_page.file_table(reports)
            except (KeyError, TypeError, AttributeError) as error:
                raise InputError(
                    f"{run.path}: a .tflite.report.json is not what kseg.export writes ({error!r})"
                ) from error
            parts.append(f"<h3>{head(run, i)}</h3>{files}{more}")
    return "".join(parts)


def comparisons(runs, folders):
    """The tables of kseg.compare: of the folders named, and of those that the runs lie in."""
    found = [Path(folder) / "comparison.json" for folder in folders]
    found += [path for run in runs if (path := run.path.parent / "comparison.json").is_file()]
    return "".join(_comparison(path, _json(path)) for path in dict.fromkeys(found))


def _comparison(path, compared):
    try:
        columns = comparison.columns(compared)
        rows = [
            row(escape(each["name"]), *(escape(text(each)) for _, text in columns))
            for each in compared
        ]
        notes = "".join(f"<li>{escape(note)}</li>" for note in comparison.notes(compared))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not what kseg.compare writes ({error!r})") from error
    headings = ("", *(escape(heading) for heading, _ in columns))
    made = table(headings, rows, f"Comparison in {path.parent}")
    return f'<p>{escape(str(path.parent))}</p>{made}<ul class="soft">{notes}</ul>'


def attention(runs, out):
    """Links from the page `out` to the pages that kseg.attention wrote into the runs."""
    parts = []
    for i, run in enumerate(runs):
        pages = sorted((run.path / "attention").glob("*.attention.html"))
        links = "".join(
            f'<li><a href="{quote(os.path.relpath(page, out.parent))}">'
            f"{escape(page.name.removesuffix('.attention.html'))}</a></li>"
            for page in pages
        )
        parts.append(f"<h3>{head(run, i)}</h3><ul>{links}</ul>" if links else "")
    told = "<p>Where the heads look from a point, picked by a click; files beside this page.</p>"
    return told * any(parts) + "".join(parts)


def benchmarks(runs, paths):
    """A table for each JSON of kseg.benchmark: those named, and RUN/benchmark*.json."""
    found = [Path(path) for path in paths]
    found += [path for run in runs for path in sorted(run.path.glob("benchmark*.json"))]
    return "".join(_benchmark(path, _json(path)) for path in dict.fromkeys(found))


def _benchmark(path, report):
    try:
        machine, rows = report["machine"], []
        for model in report["models"]:
            name = escape(model["name"].rsplit("/", 1)[-1])
            if "failed" in model:
                rows.append(row(name, f"not run: {escape(model['failed'])}", *[""] * 6))
                continue
            times = [_ms(model["model"][f"{key}_ms"]) for key in ("min", "median", "p90", "p99")]
            frame_ms = model.get("whole_frame", {}).get("median_ms")
            memory = f"{model['peak_mb']:.0f} MB" if "peak_mb" in model else "-"
            rows.append(row(name, escape(model["runtime"]), *times, _ms(frame_ms), memory))
        threads = report["threads"]
        told = (
            f"{machine['cpu']}, {machine['cores']} cores, load {machine['load_average']}, "
            f"{threads} thread{'s' * (threads > 1)}, {machine['system']}"
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not what kseg.benchmark --json writes ({error!r})") from error
    columns = ("file", "runtime", "min", "median", "p90", "p99", "whole frame", "peak memory")
    return f"<p>{escape(told)}</p>{table(columns, rows, f'Timings in {path.name}')}"


def _ms(value):
    return "-" if value is None else f"{value:.2f} ms" if value < 10 else f"{value:.1f} ms"


def _json(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error


def configs(runs):
    """What the runs were trained with: first what differs, the rest folded."""
    values = [json.loads(run.config.to_json()) for run in runs]
    differing, same = [], []
    for spec in dataclasses.fields(runs[0].config):
        found = [value[spec.name] for value in values]
        differs = any(value != found[0] for value in found)
        name = f"{'<b>&ne;</b> ' if differs else ''}{spec.name}"
        (differing if differs else same).append(row(name, *(escape(_word(v)) for v in found)))
    parts = []
    if differing:
        parts.append(_wrapped(table(("differs", *heads(runs)), differing, "Settings that differ")))
    elif len(runs) > 1:
        parts.append("<p>The runs differ in none of their settings.</p>")
    summary = "The same in all runs" if len(runs) > 1 else "All settings"
    rest = _wrapped(table(("setting", *heads(runs)), same, "Settings"))
    return f"{''.join(parts)}<details><summary>{summary}</summary>{rest}</details>"


def _wrapped(html):
    """A table whose cells are words."""
    return f'<div class="words">{html}</div>'
