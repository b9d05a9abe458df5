"""A .tflite on LiteRT's CPU."""

from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from kseg_run.contract import REEXPORT, reexport
from kseg_run.errors import FrameError, InputError


class CpuModel:
    """Runs a model: (height, width, 3) uint8 RGB of the input size -> output (height, width, ...).

    input_details and output_details are LiteRT's tensor details. Raises InputError for a file that
    LiteRT cannot load or whose graph does not match its contract, FrameError when inference fails.
    """

    def __init__(
        self, tflite: bytes, contract: dict, num_threads: int | None, path: str | Path
    ) -> None:
        try:
            self._interpreter = Interpreter(model_content=tflite, num_threads=num_threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            line = first_line(error)
            raise InputError(f"{path}: corrupt .tflite file ({line}); {REEXPORT}") from error
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1:
            raise InputError(f"{path}: its graph was not written by kseg.export; {REEXPORT}")
        self.input_details, self.output_details = inputs[0], outputs[0]
        check_graph(contract, self.input_details, self.output_details, path)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        tensor = image[None].astype(self.input_details["dtype"], copy=False)
        self._interpreter.set_tensor(self.input_details["index"], tensor)
        try:
            self._interpreter.invoke()
        except RuntimeError as error:
            raise FrameError(f"LiteRT cannot run the model ({first_line(error)})") from error
        return self._interpreter.get_tensor(self.output_details["index"])[0]


def check_graph(
    contract: dict,
    input_details: dict[str, Any],
    output_details: dict[str, Any],
    path: str | Path,
) -> None:
    """Raises InputError unless a graph's tensor details match its contract."""
    size, output_shape = contract["input_size"], [int(side) for side in output_details["shape"]]
    expected = [1, *size]
    if contract["output_kind"] == "logits":
        # There may be more channels than classes: they fill up the GPU's slices of 4.
        channels = output_shape[3] if len(output_shape) == 4 else 0
        expected = [1, *size, max(len(contract["labels"]["classes"]), channels)]
    matches = (
        [int(side) for side in input_details["shape"]] == [1, *size, 3]
        and output_shape == expected
        and np.dtype(input_details["dtype"]).name == contract["input_dtype"]
        and np.dtype(output_details["dtype"]).name == contract["output_dtype"]
    )
    if not matches:
        graph = f"{_describe(input_details)} to {_describe(output_details)}"
        raise InputError(
            f"{path}: its contract does not match its graph ({graph}); {reexport(path)}"
        )


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _describe(details: dict[str, Any]) -> str:
    sides = ", ".join(str(int(side)) for side in details["shape"])
    return f"({sides}) {np.dtype(details['dtype']).name}"
