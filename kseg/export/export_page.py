"""export_report.html: what export measured of its files, and the frames on which they do worst.

One HTML file, no script, nothing from elsewhere. Reports are the dicts that export writes as
FILE.report.json; what one does not have is left out.
"""

import json
from html import escape
from pathlib import Path

from kseg import contract, files
from kseg.export.frame_figures import figures
from kseg.visualize.html import bar, document, legend, percent, row, table

_STYLE = """
h1 { overflow-wrap: anywhere; } td { min-width: 5rem; } th small { display: block; }
.five { display: grid; gap: .5rem; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); }
pre { overflow-x: auto; font-size: .8125rem; } summary { cursor: pointer; }
"""


def write(path, reports, frames, labels):
    """Writes the page of a list of reports and of Shown frames. The files lie beside `path`."""
    path = Path(path)
    html = page(reports, frames, labels, contracts(path.parent, reports))
    with files.atomic_write(path) as partial:
        partial.write_text(html, "utf-8")


def contracts(folder, reports):
    """{file name: its contract (JSON text)} of the reports' files that are in the folder."""
    paths = [Path(folder) / report["file"] for report in reports]
    found = {
        path.name: contract.extract(path.read_bytes(), path) for path in paths if path.exists()
    }
    return {name: text for name, text in found.items() if text}


def page(reports, frames, labels, embedded):
    """Returns the HTML. embedded: {file name: contract's JSON text}."""
    failed = [report for report in reports if not report["passed"]]
    verdict = f"{len(failed)} of {len(reports)} files REJECTED" if failed else "all files passed"
    told = json.loads(next(iter(embedded.values()), "{}"))
    title = f"Export of {told.get('model', 'a model')}: {verdict}"
    sections = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(_summary(reports, told))}</p>",
        *_problems(reports),
        "<h2>Accuracy and speed</h2>",
        file_table(reports),
        "<h2>IoU by class</h2>",
        _classes(reports),
        *_worst(reports, frames, labels),
        "<h2>What the files are made of</h2>",
        *(_lint(report) for report in reports if report.get("lint")),
        _operators(reports),
        *(_contract(name, text) for name, text in embedded.items()),
    ]
    return document(title, sections, _STYLE)


def _summary(reports, told):
    frames = max(report["frames"] for report in reports)
    data = told.get("metrics", {})
    where = f" of {data['data']} ({data['split']})" if "data" in data else ""
    return (
        f"Each .tflite and the Keras model ran on the same {frames} labelled frames{where}. "
        "Agreement is the share of pixels for which the file names the class that the Keras model "
        "names."
    )


def _problems(reports):
    """A line for each problem and, below them, what else is to be known."""
    for report in reports:
        for line in report.get("problems", []):
            yield f'<p class="warning">{escape(_name(report))}: {escape(line)}</p>'
    for report in reports:
        for line in report.get("notes", []):
            yield f'<p class="soft">{escape(_name(report))}: {escape(line)}</p>'


def file_table(reports):
    """Returns the table of accuracy, agreement, speed and size; the Keras model comes first."""
    rows = [row("Keras", "", *_scores(reports[0]["keras"]), *[""] * 4)]
    for report in reports:
        limit = f"<small>limit {report['agreement_limit']:.1%}</small>"
        name = escape(_name(report))
        if name != report["file"]:
            name += f"<small>{escape(report['file'])}</small>"
        rows.append(
            row(
                name,
                "passed" if report["passed"] else "<b>REJECTED</b>",
                *_scores(report["tflite"], than=report["keras"]),
                percent(report["pixel_agreement"], 3) + limit,
                _on_gpu(report),
                f"{report['latency_ms']:.1f} ms",
                f"{report['bytes'] / 1e6:.2f} MB",
            )
        )
        rows += _gpu_rows(report)
    heads = ("file", "", "mean IoU", "drivable IoU", "agreement", "GPU", "CPU, one thread", "size")
    return table(heads, rows)


def _scores(values, than=None):
    """Cells of mean and drivable IoU; below them how many points above or below `than`."""
    for name in ("mean_iou", "drivable_iou"):
        value = values.get(name)
        if value is None:
            yield "-"
        elif than is None:
            yield percent(value)
        else:
            points = round(100 * (value - than[name]), 2) + 0.0  # + 0.0: never "-0.00".
            yield f"{percent(value)}<small>{points:+.2f} points</small>"


def _on_gpu(report):
    gpu = report.get("gpu") or {}
    if not gpu.get("verified"):
        return "not run"
    told = f"as the CPU, {gpu['frames']} frames"
    return f"{percent(gpu['pixel_agreement'], 3)}<small>{told}</small>"


def _gpu_rows(report):
    """What the GPU scored, and below it what the CPU did on the same frames."""
    gpu = report.get("gpu") or {}
    if "gpu" in gpu:
        name = f"&nbsp; on the GPU, {gpu['frames']} frames"
        yield row(name, "", *_scores(gpu["gpu"], than=gpu["cpu"]), *[""] * 4)
        yield row("&nbsp; on the CPU, the same", "", *_scores(gpu["cpu"]), *[""] * 4)


def _classes(reports):
    names = [name for name in reports[0]["keras"] if name.startswith("iou/")]
    columns = [("Keras", reports[0]["keras"]), *((_name(r), r["tflite"]) for r in reports)]
    rows = [
        row(escape(name.removeprefix("iou/")), *(bar(scores.get(name)) for _, scores in columns))
        for name in names
    ]
    return table(["class", *(escape(name) for name, _ in columns)], rows)


def _worst(reports, frames, labels):
    """Frames side by side, by file, those that agree least first."""
    if not frames:
        return
    yield "<h2>Frames on which file and Keras differ most</h2>"
    yield (
        "<p>The frame, its truth, what Keras and what the file answers, and in light yellow the "
        "pixels on which these two differ, drawn larger than they are. Ignored pixels are "
        "darkened.</p>" + legend(labels)
    )
    for report in reports:
        mine = [shown for shown in frames if shown.file == report["file"]]
        if mine:
            yield f"<h3>{escape(_name(report))}</h3>"
        yield from (figures(shown, labels) for shown in mine)


def _lint(report):
    lint = report["lint"]
    parts = [f"{lint['operators']} operators"] if "operators" in lint else []
    if lint.get("delegated") is not None:
        parts.append(f"{lint['delegated']} on the GPU, {lint['left_on_cpu']} left on the CPU")
    found = lint.get("problems") or []
    parts.append("; ".join(map(str, found)) if found else "nothing unfit for its target found")
    return f"<p>{escape(_name(report))}: {escape(', '.join(parts))}.</p>"


def _operators(reports):
    names = sorted({name for report in reports for name in report["operators"]})
    rows = [
        row(escape(name), *(str(report["operators"].get(name, "-")) for report in reports))
        for name in names
    ]
    return table(["operator", *(escape(_name(report)) for report in reports)], rows)


def _contract(name, text):
    pretty = escape(json.dumps(json.loads(text), indent=1))
    return f"<details><summary>Contract in {escape(name)}</summary><pre>{pretty}</pre></details>"


def _name(report):
    """`gpu fp16`, or the file's name where the report tells neither."""
    parts = [report[key] for key in ("profile", "precision") if report.get(key)]
    return " ".join(parts) or report["file"]
