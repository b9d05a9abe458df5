"""The tutorial's blocks run, and its outputs, bold numbers and images are the actual ones."""

import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import make_tutorial as tutorial

FIRST_SLOW = "5"  # From there on chapters train.
CHAPTERS = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.name[0] >= FIRST_SLOW))
    for path in tutorial.chapters()
]


@pytest.fixture(scope="session")
def problems_of(tmp_path_factory):
    """A function: a chapter's path -> what is wrong with it; each chapter is run once."""
    folder, found = tmp_path_factory.mktemp("tutorial"), {}

    def problems_of(path):
        for chapter in (tutorial.chapters()[0], path):  # The first draws the data of all.
            if chapter not in found:
                with tutorial.workplace(folder):
                    problems, _ = tutorial.check(chapter)
                    found[chapter] = problems + tutorial.wrong_images(chapter)
        return found[path]

    return problems_of


@pytest.mark.parametrize("path", CHAPTERS)
def test_a_chapter_shows_its_actual_output(path, problems_of):
    assert problems_of(path) == []


@pytest.mark.parametrize("path", tutorial.chapters(), ids=lambda path: path.stem)
def test_blocks_pass_ruff(path):
    blocks = [b.text for b in tutorial.blocks(path.read_text()) if b.info == "python"]
    # `ruff format` sees to Markdown by itself. Imports stand where they are first needed.
    ruff = [sys.executable, "-m", "ruff", "check", "--ignore", "E402"]
    done = subprocess.run(
        [*ruff, "--stdin-filename", str(ROOT / "scripts" / "block.py"), "-"],
        input="\n\n".join(blocks),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def commands_not_run():
    for path in tutorial.chapters():
        for block in tutorial.blocks(path.read_text()):
            if block.info == "sh not run":
                yield from block.text.replace("\\\n", " ").splitlines()


@pytest.mark.parametrize("line", list(commands_not_run()))
def test_commands_that_are_not_run_use_existing_flags(line, capsys):
    module = line.split()[2]
    tutorial.run_command(f"python -m {module} --help")
    known = re.findall(r"--[\w-]+", capsys.readouterr().out)
    assert set(re.findall(r"--[\w-]+", line)) <= set(known)


def test_links_resolve_and_every_image_is_shown():
    shown = set()
    for path in [tutorial.TUTORIAL / "README.md", *tutorial.chapters()]:
        prose = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
        for link in re.findall(r"\]\((?!https:)([^) #]+)", prose):
            assert (path.parent / link).is_file(), f"{path.name}: {link}"
            shown.add((path.parent / link).resolve())
    kept = set((tutorial.TUTORIAL / "pictures").iterdir())
    assert kept <= shown and set(tutorial.chapters()) <= shown
    assert sum(picture.stat().st_size for picture in kept) < 1_000_000


def chapter(folder, text):
    path = folder / "1-chapter.md"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("said", "printed", "right"),
    [
        ("iou 0.61\n", "iou 0.61\n", True),
        ("iou 0.61\n", "iou  0.62\n", True),  # Rounding's last digit, and what pads it.
        ("iou 0.61\n", "iou 0.63\n", False),
        ("31,049,539 weights\n", "31,049,539 weights\n", True),
        ("31,049,539 weights\n", "31,049,540 weights\n", False),
        ("iou 0.61\n", "f1 0.61\n", False),
        ("one\n", "one\ntwo\n", False),
        ("one\ntwo\n", "one\n", False),
        ("resnet50\n", "resnet51\n", False),
        ("rate 2.00e-08\n", "rate 2.01e-08\n", True),
        ("rate 2.00e-08\n", "rate 2.00e-07\n", False),
        ("by -3\n", "by 3\n", False),
    ],
)
def test_outputs_are_compared_number_by_number(said, printed, right):
    assert (tutorial.compare(said, printed) is None) == right


def test_a_tolerance_holds_for_every_number_and_no_further(tmp_path):
    text = "```python\nprint('mean 71, top 8.5')\n```\n\n```text within 3\nmean {}, top 8.5\n```\n"
    for said, right in ((74, True), (75, False)):
        problems, _ = tutorial.check(chapter(tmp_path, text.format(said)))
        assert (problems == []) == right


def test_a_wrong_number_is_reported_with_its_line_and_corrected(tmp_path):
    text = "Two:\n\n```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n"
    problems, written = tutorial.check(chapter(tmp_path, text))
    assert problems == ["1-chapter.md:8: says '3', printed was '2'"]
    assert written == text.replace("3", "2")
    assert tutorial.check(chapter(tmp_path, written))[0] == []


def test_a_bold_number_must_be_in_an_output(tmp_path):
    text = "```python\nprint(0.25)\n```\n\n```text\n0.25\n```\n\nIt is **0.26**, **very** much.\n"
    problems, _ = tutorial.check(chapter(tmp_path, text))
    assert problems == ["1-chapter.md: **0.26** is in no output of the chapter"]


def test_a_bold_number_may_repeat_a_written_number_that_is_within_tolerance(tmp_path):
    text = "```python\nprint(0.31)\n```\n\n```text within 0.1\n0.25\n```\n\nThat is **0.25**.\n"
    assert tutorial.check(chapter(tmp_path, text))[0] == []


def test_a_block_that_raises_names_the_chapters_line(tmp_path):
    path = chapter(tmp_path, "A line.\n\n```python\nfine = 1\nbroken = fine + missing\n```\n")
    with pytest.raises(NameError) as caught:
        tutorial.check(path)
    assert caught.traceback[-1].lineno == 4 and caught.traceback[-1].path == path


def test_a_failing_command_is_reported_unless_the_chapter_shows_its_exit_code(tmp_path):
    text = "```sh\npython -m kseg.lint\n```\n"
    problems, _ = tutorial.check(chapter(tmp_path, text))
    assert problems == ["1-chapter.md:2: exit code 2"]
    problems, _ = tutorial.check(chapter(tmp_path, text + "\n```text\nexit code 2\n```\n"))
    assert problems == []


def test_an_image_is_drawn_by_the_chapter_and_equals_the_stored_one(tmp_path, monkeypatch):
    monkeypatch.setattr(tutorial, "TUTORIAL", tmp_path)
    drawing = (
        "```python\nimport numpy as np\n\nfrom kseg.visualize.images import write_image\n\n"
        "write_image('runs/pictures/grey.png', np.full((32, 64, 3), {}, np.uint8))\n```\n\n"
        "![grey](pictures/grey.png)\n"
    )
    with tutorial.workplace(tmp_path):
        path = chapter(tmp_path, drawing.format(100))
        assert tutorial.wrong_images(path) == [
            "1-chapter.md: no block writes runs/pictures/grey.png"
        ]
        tutorial.write(path, tutorial.check(path)[1])
        assert tutorial.wrong_images(path) == []
        tutorial.check(chapter(tmp_path, drawing.format(120)))
        (problem,) = tutorial.wrong_images(path)
        assert "grey.png" in problem and "20.0 levels" in problem
        titled = drawing.format(120).replace("grey.png)", 'grey.png "of one training")')
        assert tutorial.wrong_images(chapter(tmp_path, titled)) == []
