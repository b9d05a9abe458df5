"""Who may import whom (never upwards), and what answers without TensorFlow."""

import ast
import subprocess
import sys

import pytest

from tests.conftest import ROOT

# From the ground up; a room imports only rooms of lower floors, or the rooms listed beside it.
FLOORS = [
    {"errors"},
    {"labels", "paths", "cache", "rendezvous"},
    {"config", "contract", "manifest", "preprocess", "overlay", "boundary", "summary", "history"},
    {
        "presets",
        "records",
        "augment",
        "weather",
        "models",
        "losses",
        "metrics",
        "schedules",
        "optimizers",
        "page",
        "flicker",
        "video",
    },
    {"data", "checkpoints", "averages"},
    {"compiled", "progress", "bar", "tensorboard", "devices", "edge"},
    {"dry_run", "comparison", "segment"},
    {"panels"},
    {
        *("train", "evaluate", "predict", "export", "lint", "benchmark", "import_weights"),
        *("compare", "report", "doctor", "attention"),
    },
]
WITHOUT_TENSORFLOW = {
    *("errors", "labels", "paths", "config", "presets", "contract", "manifest", "preprocess"),
    *("overlay", "boundary", "summary", "history", "cache", "augment", "weather"),
    "rendezvous",
}


def floor(room):
    return next(i for i, rooms in enumerate(FLOORS) if room in rooms)


def imported_rooms(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "kseg":
                yield from (alias.name for alias in node.names)
            elif node.module.startswith("kseg."):
                yield node.module.split(".")[1]


def files():
    for path in sorted((ROOT / "kseg").rglob("*.py")):
        room = path.relative_to(ROOT / "kseg").parts[0].removesuffix(".py")
        if room != "__init__":
            yield pytest.param(room, path, id=str(path.relative_to(ROOT)))


@pytest.mark.parametrize(("room", "path"), list(files()))
def test_imports_never_go_upwards(room, path):
    for other in imported_rooms(path):
        assert other == room or floor(other) < floor(room), f"{room} imports {other}"


@pytest.mark.parametrize(("room", "path"), list(files()))
def test_models_losses_and_metrics_train_under_any_backend(room, path):
    if room in {"models", "losses", "metrics", "schedules", "optimizers"}:
        assert "tensorflow" not in path.read_text()
    if room in WITHOUT_TENSORFLOW:
        assert not {"tensorflow", "keras"} & set(path.read_text().replace(".", " ").split())


def test_deploy_imports_nothing_of_ours():
    for path in (ROOT / "deploy").rglob("*.py"):
        assert not list(imported_rooms(path)) and "tfrecords_tools" not in path.read_text()


@pytest.mark.parametrize(
    "module",
    [
        "kseg.train",
        "kseg.evaluate",
        "kseg.predict",
        "kseg.attention",
        "kseg.export",
        "kseg.import_weights",
        "kseg.lint",
        "kseg.benchmark",
        "kseg.compare",
        "kseg.report",
        "kseg.doctor",
        "tfrecords_tools.build",
        "tfrecords_tools.demo",
        "tfrecords_tools.inspect",
        "tfrecords_tools.verify",
    ],
)
def test_help_answers_without_tensorflow_and_shows_examples(module):
    code = (
        "import runpy, sys; sys.argv = ['x', '--help']\n"
        f"try: runpy.run_module({module!r}, run_name='__main__')\n"
        "except SystemExit: pass\n"
        "assert not {'tensorflow', 'keras'} & sys.modules.keys()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"python -m {module}" in done.stdout and "example" in done.stdout
