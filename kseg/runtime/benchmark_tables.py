"""The tables that kseg.benchmark prints."""

from rich.console import Console
from rich.table import Table

_MUCH = 0.25  # Above this, a lucky run of one model makes the ratio of minima worthless.


def print_report(report):
    """Prints the report that kseg.benchmark writes as JSON."""
    console = Console()
    measured = [row for row in report["models"] if "failed" not in row]
    shown = short_names([row["name"] for row in measured])
    threads = report["threads"]
    title = f"ms from input to output array, {threads} thread{'s' * (threads > 1)}"
    console.print(_speed_table(measured, shown, title))
    height, width = report["frame_size"]
    console.print(
        _context_table(measured, shown, f"to the first; whole frames of {width}x{height}")
    )
    for row, name in zip(measured, shown, strict=True):
        if "operators" in row:
            console.print(_operator_table(row["operators"], name))
    for row in report["models"]:
        if "failed" in row:
            print(f"{row['name']}: not run: {row['failed']}")
    print(_noise(report, measured))


def short_names(names):
    """Shortens paths to file names where no two become the same."""
    short = []
    for name in names:
        prefix, colon, path = name.rpartition(":")
        short.append(prefix + colon + path.rsplit("/", 1)[-1])
    return short if len(set(short)) == len(short) else names


def _speed_table(rows, shown, title):
    table = Table(title=title)
    table.add_column("model", overflow="fold")
    table.add_column("runtime")
    for column in ("min", "median", "p90", "p99"):
        table.add_column(column, justify="right")
    for row, name in zip(rows, shown, strict=True):
        values = (row["model"][f"{key}_ms"] for key in ("min", "median", "p90", "p99"))
        table.add_row(name, row["runtime"], *map(_number, values))
    return table


def _context_table(rows, shown, title):
    table = Table(title=title)
    table.add_column("model", overflow="fold")
    for column in ("minima", "by round", "frame ms", "frames/s", "peak MB"):
        table.add_column(column, justify="right")
    for row, name in zip(rows, shown, strict=True):
        ratio, whole = row.get("ratio"), row.get("whole_frame")
        table.add_row(
            name,
            f"{ratio['of_minima']:.2f}" if ratio else "-",
            f"{ratio['median']:.2f} ({ratio['p10']:.2f}-{ratio['p90']:.2f})" if ratio else "-",
            _number(whole["median_ms"] if whole else None),
            _number(1000 / whole["median_ms"] if whole else None),
            f"{row['peak_mb']:.0f}",
        )
    return table


def _operator_table(operators, name):
    total = sum(row["ms"] for row in operators)
    table = Table(title=f"{name}: {total:.1f} ms by operator")
    table.add_column("operator", overflow="fold")
    for column in ("calls", "ms", "share"):
        table.add_column(column, justify="right")
    for row in operators:
        share = f"{row['ms'] / total:.1%}"
        table.add_row(row["operator"], str(row["calls"]), f"{row['ms']:.2f}", share)
    return table


def _noise(report, measured):
    above = [row["model"]["median_ms"] / row["model"]["min_ms"] - 1 for row in measured]
    here = report["machine"]
    doubt = "; too much to trust minima: see `by round`" if max(above) > _MUCH else ""
    return (
        f"{measured[0]['model']['runs']} rounds on {here['cpu']}, {here['cores']} cores, load "
        f"{here['load_average']}; noise: medians lie {min(above):.0%} to {max(above):.0%} above "
        f"minima{doubt}"
    )


def _number(value):
    return "-" if value is None else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
