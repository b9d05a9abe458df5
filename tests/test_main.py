"""The `kseg` command: the list of commands, dispatch, and its errors."""

import importlib
import inspect
import subprocess
import sys

import pytest

import kseg
from kseg.__main__ import COMMANDS, main
from tests import test_layers
from tests.conftest import ROOT

MODULES = {name: module for group in COMMANDS.values() for name, (module, _) in group.items()}


def test_every_command_is_listed_under_the_name_of_its_module():
    modules = {name: module.removesuffix(".__main__") for name, module in MODULES.items()}
    assert set(modules.values()) == test_layers.COMMANDS
    for name, module in modules.items():
        assert name.replace("-", "_") == module.rpartition(".")[2]


@pytest.mark.parametrize("module", MODULES.values())
def test_every_command_has_a_main_that_takes_arguments(module):
    assert list(inspect.signature(importlib.import_module(module).main).parameters) == ["argv"]


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_every_command_with_its_description(capsys, flag):
    assert main([flag]) == 0
    lines = capsys.readouterr().out.splitlines()
    for commands in COMMANDS.values():
        for name, (_, description) in commands.items():
            assert f"  {name:16}{description}" in lines
    assert max(map(len, lines)) <= 80


def test_help_needs_no_tensorflow():
    code = (
        "import sys; from kseg.__main__ import main; main(['--help'])\n"
        "assert not {'tensorflow', 'keras', 'numpy', 'cv2'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


def test_without_a_command_the_help_is_shown_and_the_exit_code_is_2(capsys):
    assert main([]) == 2
    assert "usage: kseg COMMAND" in capsys.readouterr().out


def test_the_version_is_printed(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"kseg {kseg.__version__}\n"


def test_an_unknown_command_names_the_nearest_one(capsys):
    assert main(["trian", "--out", "x"]) == 2
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1
    assert "trian" in err and "train" in err


def test_a_command_gets_the_arguments_after_its_name(capsys):
    assert main(["evaluate", "no-such-run"]) == 2
    out, err = capsys.readouterr()
    assert not out and err.startswith("error: ") and "no-such-run" in err


def test_help_of_a_command_is_its_own(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["train", "--help"])
    assert not ended.value.code
    assert "--save-steps" in capsys.readouterr().out
