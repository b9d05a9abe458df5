"""A model on LiteRT's CPU."""

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from kseg_run.contract import REEXPORT
from kseg_run.errors import FrameError, InputError


class Cpu:
    """(height, width, 3) uint8 RGB of the model's size -> its answer, (height, width, ...).

    Raises FrameError for an answer that LiteRT does not give.
    """

    name = "CPU"

    def __init__(self, tflite, contract, num_threads, path):
        try:
            self._interpreter = Interpreter(model_content=tflite, num_threads=num_threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            line = _first_line(error)
            raise InputError(f"{path}: damaged .tflite file ({line}); {REEXPORT}") from error
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1:
            raise InputError(f"{path}: its graph is not one that kseg.export writes; {REEXPORT}")
        self.input, self.output = inputs[0], outputs[0]
        check_graph(contract, self.input, self.output, path)

    def __call__(self, image):
        self._interpreter.set_tensor(
            self.input["index"], image[None].astype(self.input["dtype"], copy=False)
        )
        try:
            self._interpreter.invoke()
        except RuntimeError as error:
            raise FrameError(f"LiteRT cannot run the model ({_first_line(error)})") from error
        return self._interpreter.get_tensor(self.output["index"])[0]

    def close(self):
        pass


def check_graph(contract, takes, gives, path):
    """Raises InputError unless a graph (tensor details of LiteRT) is what its contract says."""
    size, gives_shape = contract["input_size"], [int(side) for side in gives["shape"]]
    expected = [1, *size]
    if contract["output_kind"] == "logits":
        # Channels beyond the classes fill up the GPU's slices of 4.
        channels = gives_shape[3] if len(gives_shape) == 4 else 0
        expected = [1, *size, max(len(contract["labels"]["classes"]), channels)]
    fits = (
        [int(side) for side in takes["shape"]] == [1, *size, 3]
        and gives_shape == expected
        and np.dtype(takes["dtype"]).name == contract["input_dtype"]
        and np.dtype(gives["dtype"]).name == contract["output_dtype"]
    )
    if not fits:
        raise InputError(
            f"{path}: its contract and its graph differ ({_words(takes)} to {_words(gives)}); "
            f"{REEXPORT}"
        )


def _first_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _words(tensor):
    sides = ", ".join(str(int(side)) for side in tensor["shape"])
    return f"({sides}) {np.dtype(tensor['dtype']).name}"
