"""results.json and report.md, written again after every measurement."""

import json
import time
from pathlib import Path
from typing import Any

from kseg.files import write_text


class Results:
    """The measurements so far: {"machine": {...}, "stages": {name: {"title", "status", ...}}}.

    A stage has "rows", one dict each, and "notes" and "problems", lists of lines.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.values: dict[str, dict] = {"machine": {}, "stages": {}}

    def begin(self, name: str, title: str) -> None:
        self.start = time.monotonic()
        self.stage: dict = {
            "title": title,
            "status": "running",
            "rows": [],
            "notes": [],
            "problems": [],
        }
        self.values["stages"][name] = self.stage
        print(f"== {name}: {title}", flush=True)
        self._write()

    def row(self, **values: Any) -> dict:
        """Adds a row to the table of the stage. Returns it, for `update`."""
        row: dict = {}
        self.stage["rows"].append(row)
        self.update(row, **values)
        return row

    def update(self, row: dict, **values: Any) -> None:
        row |= values
        cells = ", ".join(f"{key} {_cell(value)}" for key, value in row.items())
        print(f"  {cells}", flush=True)
        self._write()

    def note(self, text: str) -> None:
        self.stage["notes"].append(text)
        print(f"  {text}", flush=True)
        self._write()

    def problem(self, text: str) -> None:
        self.stage["problems"].append(text)
        print(f"  PROBLEM {text}", flush=True)
        self._write()

    def end(self, status: str = "done", reason: str | None = None) -> None:
        self.stage["status"] = status
        if reason:
            self.stage["reason"] = reason
        self.stage["seconds"] = round(time.monotonic() - self.start, 1)
        print(f"  {status} after {self.stage['seconds']} s" + (f": {reason}" if reason else ""))
        self._write()

    def machine(self, **values: Any) -> None:
        self.values["machine"] |= values
        self._write()

    def _write(self):
        write_text(self.folder / "results.json", json.dumps(self.values, indent=1) + "\n")
        write_text(self.folder / "report.md", report(self.values))


def report(values: dict) -> str:
    """Returns the results as Markdown, with one table per stage."""
    machine = "".join(f"- {key}: {_cell(value)}\n" for key, value in values["machine"].items())
    blocks = [f"# kseg on a GPU\n\n{machine}"]
    for name, stage in values["stages"].items():
        seconds = f", {stage['seconds']} s" if "seconds" in stage else ""
        reason = f": {stage['reason']}" if "reason" in stage else ""
        blocks.append(f"## {name}: {stage['title']}\n\n{stage['status']}{reason}{seconds}\n")
        blocks += [f"- PROBLEM: {line}" for line in stage["problems"]]
        blocks += [f"- {line}" for line in stage["notes"]]
        blocks += [""] * bool(stage["problems"] or stage["notes"])
        if stage["rows"]:
            blocks.append(_table(stage["rows"]))
    return "\n".join(blocks)


def _table(rows):
    """A Markdown table of dicts; a key that a row lacks is an empty cell."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, ["---"] * len(columns)]
    lines += [[_cell(row.get(key, "")) for key in columns] for row in rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _cell(value):
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace("|", "/").replace("\n", " ")
