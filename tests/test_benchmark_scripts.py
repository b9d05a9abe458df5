"""Scripts in scripts/benchmarks: what decides a comparison, without the runs that it compares."""

import json
import sys

import numpy as np
import pytest

from kseg.errors import InputError
from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "scripts" / "benchmarks"))

import cross_validation
import runtime_agreement


def test_classes_that_do_not_exist_and_clear_mistakes_show_in_the_agreement():
    logits = np.zeros((1, 2, 2, 3), np.float32)
    logits[0, 0, 0] = [5, 0, 0]
    expected = logits.argmax(-1).astype(np.uint8)
    assert str(runtime_agreement.difference(expected, logits)) == "0"
    invalid = expected.copy()
    invalid[0, 1, 1] = 3
    assert runtime_agreement.difference(invalid, logits) == (1, 0, 1)
    assert "1 invalid" in str(runtime_agreement.difference(invalid, logits))
    tie, mistake = expected.copy(), expected.copy()
    tie[0, 1, 0] = 2
    mistake[0, 0, 0] = 1
    assert runtime_agreement.difference(tie, logits) == (1, 0, 0)
    pixels, margin, invalid = runtime_agreement.difference(mistake, logits)
    assert (pixels, invalid) == (1, 0) and margin == pytest.approx(5 / logits.std())


def test_trials_are_trained_once_per_split_and_averaged(tmp_path, monkeypatch, capsys):
    commands = []

    def command(module, *arguments):
        commands.append([module, *map(str, arguments)])
        if module == "kseg.evaluate":
            score = 0.5 + 0.1 * str(arguments[0]).endswith("-1")
            folder = tmp_path / arguments[0]
            folder.mkdir()
            result = {"model": dict.fromkeys(cross_validation.COLUMNS.values(), score)}
            (folder / "evaluation-val.json").write_text(json.dumps(result))

    monkeypatch.setattr(cross_validation, "command", command)
    argv = ["x", "--data", "BDD", "--out", str(tmp_path), "--flags", "--loss dice"]
    monkeypatch.setattr(sys, "argv", [*argv, "--trial", "plain", "--trial", "no flip", "--no-flip"])
    cross_validation.main()
    trained = [each for each in commands if each[0].startswith("kseg.train")]
    assert len(trained) == 4
    assert [each[-1] for each in trained] == ["dice", "dice", "--no-flip", "--no-flip"]
    assert [each[each.index("--seed") + 1] for each in trained] == ["0", "1", "0", "1"]
    row = capsys.readouterr().out.splitlines()[-1]
    assert row == "| no flip | 55.0 | 55.0 | 55.0 | 55.0 | 55.0 | 50.0, 60.0 |"
    commands.clear()
    cross_validation.main()  # kseg.train decides whether the runs are those of these flags.
    assert len([each for each in commands if each[0].startswith("kseg.train")]) == 4
    assert not [each for each in commands if each[0] == "kseg.evaluate"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "name at least one recipe"),
        (["--trial"], "--trial needs a name"),
        (["--trial", "no flip", "--trial", "no-flip", "--no-flip"], "no-flip: two trials"),
        (["--repeats", "0", "--trial", "plain"], "--repeats 0: expected at least 1"),
    ],
)
def test_trials_without_a_name_of_their_own_are_refused(flags, message, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", "--data", "BDD", "--out", str(tmp_path), *flags])
    with pytest.raises(InputError, match=message):
        cross_validation.main()
