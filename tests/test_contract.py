"""The contract inside a .tflite, and the checksum after it."""

import dataclasses

import pytest

from kseg import contract, run_folder
from kseg.errors import InputError
from tests import golden_files
from tests.conftest import ROOT


def test_exported_file_has_the_contract_that_a_runner_needs(tflite_path, trained_run, config):
    embedded = contract.read(tflite_path)
    assert embedded.input_size == config.size and embedded.input_dtype == "uint8"
    assert (embedded.fit, embedded.output_kind, embedded.precision) == (
        "letterbox",
        "class_map",
        "fp32",
    )
    assert [c["name"] for c in embedded.labels["classes"]] == [
        "direct",
        "alternative",
        "background",
    ]
    assert embedded.config_hash == run_folder.config_hash(trained_run)
    assert embedded.metrics["frames"] == 8 and embedded.metrics["pixel_agreement"] > 0.999


def test_json_round_trip(tflite_path):
    embedded = contract.read(tflite_path)
    assert contract.Contract.from_json(embedded.to_json(), "x") == embedded


def test_embedding_again_replaces_the_contract_and_keeps_the_output(tflite_path):
    import numpy as np

    from kseg.runtime.litert import TFLiteModel

    before = tflite_path.read_bytes()
    changed = dataclasses.replace(contract.read(tflite_path), dataset="another")
    after = contract.append_checksum(contract.embed(before, changed))
    assert contract.Contract.from_json(contract.extract(after), "x") == changed
    assert after.count(b'"contract_version"') == 1
    image = np.random.default_rng(0).integers(0, 256, (*changed.input_size, 3), dtype=np.uint8)
    assert np.array_equal(TFLiteModel(before)(image), TFLiteModel(after)(image))


def damaged(tmp_path, name, data):
    path = tmp_path / f"{name}.tflite"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("reader", ["kseg", "runner"])
def test_files_that_are_no_kseg_model_are_refused_with_one_line(
    tmp_path, tflite_path, runner, reader
):
    good = tflite_path.read_bytes()
    original = contract.Contract.from_json(contract.extract(good), "x")
    cases = {
        "text": (b"hello, this is text", "not a .tflite file"),
        "empty": (b"", "not a .tflite file"),
        "cut": (good[:200], "corrupt|no kseg contract"),
        "without": (good.replace(b"kseg_contract", b"other_contrac"), "no kseg contract"),
        "broken": (good.replace(b'"contract_version"', b'"contract_versiom"'), "kseg contract"),
    }
    newer_file = contract.append_checksum(
        contract.embed(good, dataclasses.replace(original, contract_version=2))
    )
    cases["newer"] = (newer_file, "version 2")
    for name, (data, tokens) in cases.items():
        path = damaged(tmp_path, name, data)
        if reader == "kseg":
            with pytest.raises(InputError, match=tokens) as error:
                contract.read(path)
        else:
            with pytest.raises(runner.InputError, match=tokens) as error:
                runner.Segmenter(path)
        assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


@pytest.mark.parametrize("reader", ["kseg", "runner"])
def test_a_file_that_differs_in_one_bit_or_lacks_its_checksum_is_refused(tmp_path, runner, reader):
    read = contract.read if reader == "kseg" else runner.Segmenter
    refusal = InputError if reader == "kseg" else runner.InputError
    good = (ROOT / "tests" / "golden" / "model.tflite").read_bytes()
    read(damaged(tmp_path, "good", good))
    for at in (len(good) // 2, len(good) - 9, len(good) - 1):
        flipped = bytearray(good)
        flipped[at] ^= 1
        with pytest.raises(refusal, match="checksum"):
            read(damaged(tmp_path, "flipped", bytes(flipped)))
    for name, data in (("cut", good[:-1]), ("no checksum", good[:-8]), ("longer", good + b"x")):
        with pytest.raises(refusal, match="checksum"):
            read(damaged(tmp_path, name, data))


# Without those that differ from their graphs, which kseg.contract does not read.
OF_THE_CONTRACT = [e for e in golden_files.DAMAGED if "match its graph" not in e["error"]]


@pytest.mark.parametrize("entry", OF_THE_CONTRACT, ids=lambda entry: entry["name"])
def test_kseg_refuses_what_runners_refuse(tmp_path, entry):
    data = golden_files.corrupted(golden_files.MODEL.read_bytes(), entry)
    path = damaged(tmp_path, "damaged", data)
    with pytest.raises(InputError) as error:
        contract.read(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)
    if "invalid kseg contract (" in entry["error"]:
        name = entry["error"].split("(")[1].split(")")[0].split("*")[0]
        assert f"({name}" in str(error.value)


def test_missing_file_gets_one_line(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        contract.read(tmp_path / "nothing.tflite")
