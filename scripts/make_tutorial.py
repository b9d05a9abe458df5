"""Runs the tutorial, scripts/tutorial/*.md, and compares it with the actual output.

    python scripts/make_tutorial.py               all chapters; exit code 1 if one is wrong
    python scripts/make_tutorial.py 1 4           two of them (5 to 8 need the files of 1)
    python scripts/make_tutorial.py --write       updates outputs and images in the chapters

A chapter is Markdown with a few conventions:

- Blocks ```python run in order, in one namespace per chapter; blocks ```sh run line by line, each
  `python -m MODULE ...` or `python FILE ...`; blocks ```sh not run are skipped.
- A block ```text directly after a block is that block's output, with a command's exit code unless
  it is 0. Decimal numbers may differ by one in their last digit, integers not at all; with
  ```text within N every number may differ by N.
- A **bold** number in the prose occurs in a text block of the chapter.
- Images are written to runs/pictures/ by the chapter that shows them as pictures/NAME. For one
  titled "of one training" only the size is compared: machines sum floats in different orders.
"""

import argparse
import contextlib
import io
import itertools
import os
import re
import runpy
import shlex
import shutil
import sys
import tempfile
import warnings
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
TUTORIAL = ROOT / "scripts" / "tutorial"
MADE = Path("runs/pictures")
# Mean difference of an image's 8x8 tiles, 0..255, that other fonts or rounding may cause.
IMAGE_TOLERANCE = 6.0

_BLOCK = re.compile(r"^```(.*)\n((?:.*\n)*?)```$", re.MULTILINE)
_IMAGE = re.compile(r'!\[[^\]]*\]\(pictures/([^) ]+)( "of one training")?\)')
_BOLD = re.compile(r"\*\*([-\d.,]*\d)\*\*")
_EXIT_CODE = re.compile("^exit code [1-9].*", re.MULTILINE)
_NUMBER = re.compile(r"(?<![\w.])(-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]\d+)?)(?!\w|\.\d)")


class Block(NamedTuple):
    """A fenced block: its info string, its text, and its first line's number in the file."""

    info: str
    text: str
    line: int


def chapters():
    """Returns the paths of all chapters in order."""
    return sorted(TUTORIAL.glob("[0-9]-*.md"))


def blocks(text):
    """Returns the Blocks of a Markdown text in order."""
    return [
        Block(m[1].strip(), m[2], text.count("\n", 0, m.start()) + 2) for m in _BLOCK.finditer(text)
    ]


def check(path):
    """Runs a chapter in the current folder. Returns (problems, the chapter with actual outputs).

    problems: a list of lines, empty if the chapter is correct. A block that raises is a bug and
    keeps its traceback, with the chapter's line numbers.
    """
    text = path.read_text()
    problems, names, pieces, end = [], {"__name__": "tutorial"}, [], 0
    matches = list(_BLOCK.finditer(text))
    parsed = blocks(text)
    for i, block in enumerate(parsed):
        if block.info not in ("python", "sh"):
            continue
        printed = _printed(block, path, names)
        if i + 1 == len(parsed) or not _is_output(text, matches, i + 1):
            if failed := _EXIT_CODE.search(printed):
                problems.append(f"{path.name}:{block.line}: {failed[0]}")
        else:
            expected = parsed[i + 1]
            if difference := compare(expected.text, printed, _tolerance(expected.info)):
                problems.append(f"{path.name}:{expected.line}: {difference}")
            start, stop = matches[i + 1].span(2)
            pieces += [text[end:start], printed]
            end = stop
    written = "".join([*pieces, text[end:]])
    return problems + wrong_bold_numbers(path.name, text), written


def compare(expected, got, tolerance=None):
    """Returns the first difference between two outputs as one line, or None."""
    for want, have in itertools.zip_longest(expected.splitlines(), got.splitlines(), fillvalue=""):
        wanted, had = _NUMBER.split(want), _NUMBER.split(have)
        # Odd items are numbers; the spaces around them depend on their width and are ignored.
        same = [" ".join(t.split()) for t in wanted[::2]] == [" ".join(t.split()) for t in had[::2]]
        if not same or not all(map(_close(tolerance), wanted[1::2], had[1::2])):
            return f"says {want.strip()!r}, printed was {have.strip()!r}"
    return None


def wrong_bold_numbers(name, text):
    """Returns a line for each **number** that is in no text block of the chapter."""
    shown = {n for b in blocks(text) if b.info.startswith("text") for n in _NUMBER.findall(b.text)}
    prose = _BLOCK.sub("", text)
    missing = [number for number in _BOLD.findall(prose) if number not in shown]
    return [f"{name}: **{number}** is in no output of the chapter" for number in missing]


def wrong_images(path):
    """Returns a line for each image of a chapter that differs from the one its blocks wrote."""
    problems = []
    for name, varies in _IMAGE.findall(path.read_text()):
        made, kept = MADE / name, TUTORIAL / "pictures" / name
        if not made.is_file():
            problems.append(f"{path.name}: no block writes {made}")
        elif not kept.is_file():
            problems.append(f"{path.name}: {kept} is missing; run with --write")
        elif difference := _image_difference(made, kept, varies):
            problems.append(f"{path.name}: {name} differs from the image drawn ({difference})")
    return problems


def write(path, text):
    """Updates a chapter's outputs and images."""
    path.write_text(text)
    (TUTORIAL / "pictures").mkdir(exist_ok=True)
    for name, _ in _IMAGE.findall(text):
        shutil.copy(MADE / name, TUTORIAL / "pictures" / name)


@contextlib.contextmanager
def workplace(folder):
    """Makes the folder current and links deploy/ into it, as in the root of a clone."""
    before = Path.cwd()
    os.environ.setdefault("MPLBACKEND", "Agg")  # Needs no display.
    os.chdir(folder)
    if not Path("deploy").exists():
        Path("deploy").symlink_to(ROOT / "deploy")
    MADE.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        os.chdir(before)


def _printed(block, path, names):
    """Runs one block. Returns what it prints to standard output."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        if block.info == "python":
            # Empty lines before it, so that a traceback names the chapter's own lines.
            exec(compile("\n" * (block.line - 1) + block.text, str(path), "exec"), names)
        else:
            for line in block.text.replace("\\\n", " ").splitlines():
                run_command(line)
    return out.getvalue()


def run_command(line):
    """Runs `python -m MODULE ...` or `python FILE ...` in this process, which has TensorFlow."""
    words = shlex.split(line, comments=True)
    if not words:
        return
    before = sys.argv, list(sys.path)
    try:
        if words[1] == "-m":
            sys.argv = words[2:]
            with warnings.catch_warnings():
                # Earlier blocks may have imported the module; it runs again.
                warnings.simplefilter("ignore", RuntimeWarning)
                runpy.run_module(words[2], run_name="__main__", alter_sys=True)
        else:
            sys.argv = words[1:]
            sys.path.insert(0, str(Path(words[1]).parent))  # As for `python FILE`.
            runpy.run_path(words[1], run_name="__main__")
    except SystemExit as end:
        if end.code:
            print(f"exit code {end.code}")
    finally:
        sys.argv, sys.path[:] = before


def _is_output(text, matches, i):
    """Whether block i is a ```text with only empty lines between it and the block before."""
    between = text[matches[i - 1].end() : matches[i].start()]
    return matches[i][1].startswith("text") and not between.strip()


def _tolerance(info):
    return Decimal(info.split()[2]) if info.startswith("text within") else None


def _close(tolerance):
    def close(want, have):
        want, have = (Decimal(number.replace(",", "")) for number in (want, have))
        last_digit = want.as_tuple().exponent
        allowed = tolerance or (Decimal(10) ** last_digit if last_digit < 0 else 0)
        return abs(want - have) <= allowed

    return close


def _image_difference(one, other, varies):
    """Returns how two images differ, or None; if the image `varies`, only sizes are compared."""
    import cv2
    import numpy as np

    one, other = cv2.imread(str(one)), cv2.imread(str(other))
    if one.shape != other.shape:
        return f"{one.shape[1]}x{one.shape[0]}, not {other.shape[1]}x{other.shape[0]}"
    size = (one.shape[1] // 8, one.shape[0] // 8)
    small = [cv2.resize(p, size, interpolation=cv2.INTER_AREA).astype(float) for p in (one, other)]
    levels = np.abs(small[0] - small[1]).mean()
    return None if varies or levels <= IMAGE_TOLERANCE else f"{levels:.1f} levels"


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("chapter", nargs="*", help="chapter numbers (default: all)")
    parser.add_argument("--write", action="store_true", help="update outputs and images")
    parser.add_argument("--work", metavar="DIR", help="folder for data and runs, kept afterwards")
    args = parser.parse_args(argv)
    sys.path.insert(0, str(ROOT))
    work = Path(args.work or tempfile.mkdtemp()).resolve()
    work.mkdir(exist_ok=True)
    failed = False
    for path in chapters():
        if args.chapter and path.name[0] not in args.chapter:
            continue
        with workplace(work):
            problems, text = check(path)
            if args.write:
                write(path, text)
                problems = wrong_bold_numbers(path.name, text)
            problems += wrong_images(path)
        print("\n".join(problems or [f"{path.name}: correct"]), flush=True)
        failed = failed or bool(problems)
    if not args.work:
        shutil.rmtree(work)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
