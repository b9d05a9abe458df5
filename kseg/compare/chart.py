"""The chart of a comparison: mean IoU of each row, and mean IoU over latency."""

from collections.abc import Sequence
from pathlib import Path

from kseg.files import atomic_write


def draw(rows: Sequence[dict], path: Path) -> None:
    """Draws the rows of kseg.compare.table that have a mean IoU to an image file.

    Removes the file when there is no such row.
    """
    rows = [row for row in rows if row["mean_iou"] is not None]
    if not rows:
        path.unlink(missing_ok=True)
        return
    import matplotlib

    matplotlib.use("Agg")  # Needs no display.
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(
        1, 2, figsize=(12, 1.5 + max(2.5, 0.4 * len(rows))), layout="constrained"
    )
    names = [row["name"] for row in rows]
    score = f"{rows[0]['split']} mean IoU, %"
    bars = left.barh(names, [100 * row["mean_iou"] for row in rows], height=0.6, color="C0")
    left.bar_label(bars, fmt="%.1f", padding=3)
    left.invert_yaxis()  # The first row on top, as in the table.
    left.set(xlabel=score, xlim=(0, 108))
    timed = [row for row in rows if row["latency_ms"]]
    for number, row in enumerate(timed):
        point = (row["latency_ms"], 100 * row["mean_iou"])
        right.plot(*point, "o", color=f"C{number % 10}", markersize=8)
        right.annotate(row["name"], point, xytext=(7, 4), textcoords="offset points", fontsize=9)
    right.set(xlabel="latency of the .tflite, ms", ylabel=score)
    latencies = [row["latency_ms"] for row in timed]
    if timed and max(latencies) > 10 * min(latencies):
        right.set_xscale("log")
    right.margins(x=0.25, y=0.15)
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
    with atomic_write(path) as partial:
        figure.savefig(partial, dpi=120)
    pyplot.close(figure)
