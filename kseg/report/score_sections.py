"""The report's numbers as HTML: scores, curves, classes, confusion, calibration, groups."""

import math
from html import escape

from kseg.evaluation import calibration
from kseg.report import charts
from kseg.visualize.html import bar, data_uri, percent, row, swatch, table


def head(run, i):
    """What stands for a run in heads of columns and rows."""
    return f"{charts.key(i)}{escape(run.name)}"


def heads(runs):
    return [head(run, i) for i, run in enumerate(runs)]


def even(html):
    """A table with columns of one width, so that bars compare across them."""
    return f'<div class="even">{html}</div>'


def class_head(labels, i):
    picture = data_uri(swatch(labels, i))
    return f'<img class="swatch" src="{picture}" alt="">{escape(labels.names[i])}'


def verdict(runs, measured, split):
    """Says which run is ahead, by how much, and on how many of the frames."""
    labels = runs[0].labels
    scores = [m.scores(labels)["mean_iou"] for m in measured]
    first, *others = sorted(range(len(runs)), key=lambda i: -scores[i])
    seen, there = len(measured[0].keys), runs[0].manifest.splits[split].examples
    frames = f"{seen:,}" if seen == there else f"{seen:,} of the {there:,}"
    told = (
        f"{runs[first].name} has a mean IoU of {percent(scores[first])} on {frames} frames of "
        f"{runs[0].manifest.dataset}, {split}"
    )
    if not others:
        return f"{told}."
    second = others[0]
    ahead = 100 * (scores[first] - scores[second])
    better = int((measured[first].by_frame(labels) > measured[second].by_frame(labels)).sum())
    return (
        f"{told}, {ahead:.2f} points ahead of {runs[second].name}, and is the better of the two on "
        f"{better:,} of the {seen:,} frames."
    )


_SCORES = {
    "mean_iou": "mean IoU",
    "drivable_iou": "drivable IoU",
    "mean_boundary_iou": "boundary IoU",
    "pixel_accuracy": "pixels right",
}


def scores(runs, measured):
    """The table of runs by what sums them up; the best of each column is marked."""
    values = [m.scores(run.labels) for run, m in zip(runs, measured, strict=True)]
    columns = [name for name in _SCORES if name in values[0]]
    best = {name: max(value[name] for value in values) for name in columns}
    errors = [calibration.ece(m.calibration.sum(axis=0)) for m in measured]
    rows = []
    for i, (run, m, value) in enumerate(zip(runs, measured, values, strict=True)):
        cells = [_marked(percent(value[n]), value[n] == best[n], runs) for n in columns]
        cells.append(_marked(percent(errors[i]), errors[i] == min(errors), runs))
        cells.append(f"{m.parameters / 1e6:.2f} M")
        cells.append(f"{2 * m.multiply_adds / 1e9:.2f}")
        name = f"{head(run, i)}<small>{escape(run.config.model)}</small>"
        rows.append(row(name, *cells))
    names = [_SCORES[name] for name in columns]
    told = "ECE", "parameters", "GFLOPs"
    return table(("run", *names, *told), rows, "Scores of the runs")


def _marked(text, best, runs):
    return f"<b>{text}</b><small>best</small>" if best and len(runs) > 1 else text


def curves(runs):
    """A chart of mean IoU, of both losses and of each class, a line for each run."""
    names = runs[0].labels.names
    wanted = [("val_mean_iou", "mean IoU, validation", True)]
    wanted += [("val_loss", "loss, validation", False), ("loss", "loss, training", False)]
    by_class = [(f"val_iou/{name}", f"IoU of {name}, validation", True) for name in names]
    drawn = [_curve(runs, f"curve-{i}", *one) for i, one in enumerate(wanted + by_class)]
    figures = [f"<figure>{chart}</figure>" for chart in drawn if chart]
    losses = {run.config.loss for run in runs}
    note = (
        "" if len(losses) == 1 else " The runs' losses are not the same, so theirs do not compare."
    )
    return (
        f"<p>By epoch, while training.{note}</p>{_run_legend(runs)}"
        f'<div class="grid charts">{"".join(figures)}</div>'
    )


def _curve(runs, name, column, title, is_share):
    series, told = [], []
    for i, run in enumerate(runs):
        points = [(r["epoch"] + 1, r[column]) for r in run.history if column in r]
        # NaN: a class that was nowhere.
        points = [(int(x), y) for x, y in points if math.isfinite(y)]
        if points:
            xs, ys = zip(*points, strict=True)
            best = (max if is_share else min)(ys)
            text = percent if is_share else "{:.4g}".format
            at = xs[ys.index(best)]
            told.append(f"{run.name}: {text(ys[0])} at first, best {text(best)} in epoch {at}")
            series.append((i, xs, ys))
    if not series:
        return ""
    y_range = (0, 1) if is_share else None
    options = {"x_label": "epoch", "y_range": y_range, "percent": is_share}
    return charts.line_chart(name, title, "; ".join(told), series, **options)


def _run_legend(runs):
    items = "".join(f"<li>{one}</li>" for one in heads(runs)) if len(runs) > 1 else ""
    return f'<ul class="legend">{items}</ul>' if items else ""


def classes(runs, measured):
    """IoU by class, and the other scores by class below."""
    labels = runs[0].labels
    values = [m.scores(labels) for m in measured]

    def by_class(kind):
        rows = [
            row(class_head(labels, i), *(bar(value[f"{kind}/{name}"]) for value in values))
            for i, name in enumerate(labels.names)
        ]
        return even(table(("class", *heads(runs)), rows, f"{kind} by class"))

    others = {
        "boundary_iou": "Boundary IoU: of the strips along the borders, 2 % of the diagonal wide",
        "precision": "Precision: how much of what was called so is so",
        "recall": "Recall: how much of what is so was found",
        "f1": "F1: the harmonic mean of both",
    }
    folded = "".join(
        f"<details><summary>{told}</summary>{by_class(kind)}</details>"
        for kind, told in others.items()
    )
    return by_class("iou") + folded


def confusion(runs, measured):
    """A matrix for each run, each row's shares and the exact pixels."""
    labels = runs[0].labels
    parts = ["<p>Rows are the truth, columns the answer; of each row what share went where.</p>"]
    for i, (run, m) in enumerate(zip(runs, measured, strict=True)):
        total = m.confusion.sum(axis=0)
        rows = [
            row(class_head(labels, c), *_cells(counts, c))
            for c, counts in enumerate(total.tolist())
        ]
        names = [escape(name) for name in labels.names]
        matrix = table(("truth", *names), rows, f"Confusion matrix of {run.name}")
        parts.append(f"<div><h3>{head(run, i)}</h3>{matrix}</div>")
    return f'{parts[0]}<div class="pair confusion">{"".join(parts[1:])}</div>'


def _cells(counts, truth):
    total = sum(counts)
    for predicted, count in enumerate(counts):
        share = count / total if total else 0
        kind = "right" if predicted == truth else "wrong"
        yield (
            f'<div class="cell {kind}" style="--share:{share:.3f}">'
            f"{percent(share if total else None)}<small>{count:,} px</small></div>"
        )


def calibrated(runs, measured):
    """A reliability diagram and its numbers for each run."""
    figures, rows = [], []
    for i, (run, m) in enumerate(zip(runs, measured, strict=True)):
        total = m.calibration.sum(axis=0)
        error, confidence = calibration.ece(total), calibration.mean_confidence(total)
        right = int(total[:, 1].sum()) / max(1, int(total[:, 0].sum()))
        bins = calibration.reliability(total)
        if confidence is None:
            continue
        bias = "surer than it is right" if confidence > right else "right more often than sure"
        told = (
            f"{run.name} is {percent(confidence)} sure on average and right on {percent(right)} of "
            f"the pixels: {bias}. ECE {percent(error)}."
        )
        chart = charts.reliability_chart(f"reliability-{i}", run.name, told, bins, i)
        figures.append(f"<figure>{chart}<figcaption>{escape(told)}</figcaption></figure>")
        rows.append(row(head(run, i), percent(confidence), percent(right), percent(error)))
    return (
        "<p>Of the pixels of which a model is 90 % sure, 90 % should be right. Across: how sure it "
        f"is, in {calibration.BINS} bins. Up, full bars: how many of these pixels are right; on "
        "the dashed line they would be as many as it says. Hatched: what lies between the two, "
        "above a bar where the model is too sure, within it where it is not sure enough. Below: "
        "how many of all pixels. ECE, the expected calibration error, is the mean of what is "
        "hatched over all pixels (Guo et al., 2017, arXiv:1706.04599).</p>"
        f'<div class="grid charts">{"".join(figures)}</div>'
        + table(("run", "mean confidence", "pixels right", "ECE"), rows, "Calibration of the runs")
    )


def grouped(runs, measured, first, groups):
    """A table of mean IoU (below it: drivable) by groups, [(name, frame numbers)]."""
    rows = []
    for name, frames in groups:
        cells = []
        for m in measured:
            value = m.scores(runs[0].labels, frames)
            drivable = value.get("drivable_iou")
            small = "" if drivable is None else f"<small>drivable {percent(drivable)}</small>"
            cells.append(bar(value["mean_iou"]) + small)
        rows.append(row(f"{escape(str(name))}<small>{len(frames):,} frames</small>", *cells))
    return even(table((escape(first), *heads(runs)), rows, f"Mean IoU by {first}"))
