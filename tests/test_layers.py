"""Package layering: which module may import which, and what answers --help without TensorFlow."""

import ast
import subprocess
import sys

import pytest

from tests.conftest import ROOT

# From the lowest layer up. Each name is a module or a package of kseg; a module imports from lower
# layers and from its own package, and within PEERS from the neighbours of its layer too.
PEERS = {"evaluation", "training", "visualize", "runtime", "export"}
PARTS_OF_COMMANDS = {"compare", "report", "attention"}
LAYERS = [
    {"child_process", "errors", "nvidia"},
    {"files", "labels", "model_names", "onnx_file", "paths", "tensorflow_log"},
    {"class_map"},
    {"config", "contract", "image_file", "manifest", "preprocess", "published_models"},
    {"mixture", "video_file"},
    {"run_folder"},
    {"init_source"},
    {"presets"},
    {"data", "models"},
    {"trained_model"},
    PEERS,
    PARTS_OF_COMMANDS,
]
COMMANDS = {
    *("kseg.train", "kseg.evaluate", "kseg.predict", "kseg.attention", "kseg.export"),
    *("kseg.import_weights", "kseg.lint", "kseg.benchmark", "kseg.compare", "kseg.report"),
    *(
        "kseg.doctor",
        "kseg.serve",
        "tfrecords_tools.build",
        "tfrecords_tools.demo",
        "tfrecords_tools.inspect",
    ),
    *("kseg.published", "tfrecords_tools.verify"),
}
ANY_BACKEND = (
    "models",
    *(f"training.{name}" for name in ("losses", "metrics", "schedules", "optimizers")),
)
WITHOUT_TENSORFLOW = (
    *("nvidia", "tensorflow_log", "runtime.missing_gpu", "runtime.training_check"),
    *("child_process", "errors", "files", "labels", "paths", "config", "presets", "contract"),
    *("manifest", "preprocess", "run_folder", "visualize.overlay", "evaluation.boundary"),
    *("evaluation.scores", "evaluation.calibration", "evaluation.agreement", "init_source"),
    *("image_file", "onnx_file", "video_file"),
    *("class_map", "mixture", "published_models"),
    *("training.summary", "training.history"),
    *("model_names", "training.coordinator", "data.augment", "data.weather", "data.frame_cache"),
)


def modules():
    """(dotted name below kseg, path) of every module but kseg/__init__.py and kseg/__main__.py."""
    for path in sorted((ROOT / "kseg").rglob("*.py")):
        parts = path.relative_to(ROOT / "kseg").with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        if name not in ("", "__main__"):
            yield pytest.param(name, path, id=name)


def is_command(name):
    return name.endswith(".__main__") or f"kseg.{name}" in COMMANDS


def layer(name):
    if is_command(name):
        return len(LAYERS)
    return next(i for i, names in enumerate(LAYERS) if name.split(".")[0] in names)


def imported_modules(path):
    """Dotted names below kseg of all modules that a file imports, also within functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "kseg":
            below = node.module.split(".")[1:]
            for alias in node.names:
                inner = ROOT.joinpath("kseg", *below, alias.name)
                is_module = inner.is_dir() or inner.with_suffix(".py").is_file()
                yield ".".join([*below, alias.name] if is_module else below)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("kseg."):
                    yield alias.name.removeprefix("kseg.")


def other_imports(path):
    """Top-level names of all packages that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)


@pytest.mark.parametrize(("name", "path"), list(modules()))
def test_imports_point_down(name, path):
    package = name.split(".")[0]
    for other in filter(None, imported_modules(path)):
        peers = layer(name) == layer(other) and not is_command(name) and package != other
        allowed = peers and package in PEERS | PARTS_OF_COMMANDS
        same = other.split(".")[0] == package and not is_command(other)
        assert same or allowed or layer(other) < layer(name), f"{name} imports {other}"


@pytest.mark.parametrize(("name", "path"), list(modules()))
def test_some_modules_import_no_tensorflow(name, path):
    imported = set(other_imports(path))
    if name.startswith(ANY_BACKEND):
        assert "tensorflow" not in imported
    if name in WITHOUT_TENSORFLOW:
        assert not {"tensorflow", "keras"} & imported


def test_the_lists_above_name_modules_that_exist():
    known = {param.values[0] for param in modules()} | {
        "attention",
        "compare",
        "export",
        "published",
        "report",
    }
    listed = {*ANY_BACKEND, *WITHOUT_TENSORFLOW, *(name for names in LAYERS for name in names)}
    listed |= {name.removeprefix("kseg.") for name in COMMANDS if name.startswith("kseg.")}
    assert listed <= known


def test_deploy_imports_nothing_of_ours():
    for path in (ROOT / "deploy").rglob("*.py"):
        assert not {"kseg", "tfrecords_tools"} & set(other_imports(path)), path


@pytest.mark.parametrize("module", sorted(COMMANDS))
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
    assert f"python -m {module}" in done.stdout and "examples:" in done.stdout
