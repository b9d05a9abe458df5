"""The tables that kseg.benchmark prints."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

# Where medians lie further above minima, one lucky run makes the ratio of minima meaningless.
_MAX_NOISE = 0.25


def print_report(report: Mapping[str, Any]) -> None:
    """Prints the report that kseg.benchmark writes as JSON."""
    console = Console()
    measured = [row for row in report["models"] if "failed" not in row]
    names = short_names([row["name"] for row in measured])
    console.print(_latency_table(measured, names, report["threads"]))
    console.print(_comparison_table(measured, names, report["frame_size"]))
    for row, name in zip(measured, names, strict=True):
        if "operators" in row:
            console.print(_operator_table(row["operators"], name))
    for row in report["models"]:
        if "failed" in row:
            print(f"{row['name']}: not run: {row['failed']}")
        elif "agreement" in row:
            print(f"{row['name']}: {100 * row['agreement']:.3f} % of pixels as by LiteRT here")
    print(_conditions(report["machine"], measured))


def short_names(names: Sequence[str]) -> Sequence[str]:
    """Shortens paths to file names, unless two would become the same."""
    short = []
    for name in names:
        prefix, colon, path = name.rpartition(":")
        short.append(prefix + colon + path.rsplit("/", 1)[-1])
    return short if len(set(short)) == len(short) else names


def _latency_table(rows, names, threads):
    plural = "s" if threads > 1 else ""
    table = Table(title=f"ms from input array to output array, {threads} thread{plural}")
    table.add_column("model", overflow="fold")
    table.add_column("runtime")
    columns = ("min", "median", "p90", "p99")
    for column in columns:
        table.add_column(column, justify="right")
    for row, name in zip(rows, names, strict=True):
        table.add_row(
            name, row["runtime"], *(_number(row["model"][f"{column}_ms"]) for column in columns)
        )
    return table


def _comparison_table(rows, names, frame_size):
    height, width = frame_size
    table = Table(title=f"ratio to the first model; complete frames of {width}x{height}")
    table.add_column("model", overflow="fold")
    for column in ("minima", "by round", "frame ms", "frames/s", "peak MB"):
        table.add_column(column, justify="right")
    for row, name in zip(rows, names, strict=True):
        ratio, frame = row.get("ratio"), row.get("whole_frame")
        table.add_row(
            name,
            f"{ratio['of_minima']:.2f}" if ratio else "-",
            f"{ratio['median']:.2f} ({ratio['p10']:.2f}-{ratio['p90']:.2f})" if ratio else "-",
            _number(frame["median_ms"] if frame else None),
            _number(1000 / frame["median_ms"] if frame else None),
            f"{row['peak_mb']:.0f}" if "peak_mb" in row else "-",
        )
    return table


def _operator_table(operators, name):
    total_ms = sum(row["ms"] for row in operators)
    table = Table(title=f"{name}: {total_ms:.1f} ms by operator")
    table.add_column("operator", overflow="fold")
    for column in ("calls", "ms", "share"):
        table.add_column(column, justify="right")
    for row in operators:
        share = f"{row['ms'] / total_ms:.1%}"
        table.add_row(row["operator"], str(row["calls"]), f"{row['ms']:.2f}", share)
    return table


def _conditions(machine, rows):
    """One line on the machine and its noise."""
    noise = [row["model"]["median_ms"] / row["model"]["min_ms"] - 1 for row in rows]
    advice = "; too noisy to compare minima, see `by round`" if max(noise) > _MAX_NOISE else ""
    return (
        f"{rows[0]['model']['runs']} rounds on {machine['cpu']}, {machine['cores']} cores, load "
        f"{machine['load_average']}; noise: medians lie {min(noise):.0%} to {max(noise):.0%} above "
        f"minima{advice}"
    )


def _number(value):
    return "-" if value is None else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
