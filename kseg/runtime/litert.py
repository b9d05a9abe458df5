"""A .tflite on LiteRT's CPU, whatever form its profile gave it."""

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType


class TFLiteModel:
    """A .tflite of any profile on LiteRT's CPU: (H, W, 3) uint8 RGB -> (H, W) class ids.

    reference_kernels: by LiteRT's plain C++ instead of XNNPACK; slow, and alike on every CPU.
    """

    def __init__(self, tflite, num_threads=None, *, reference_kernels=False):
        kernels = OpResolverType.BUILTIN_REF if reference_kernels else OpResolverType.AUTO
        self._interpreter = Interpreter(
            model_content=tflite,
            num_threads=num_threads,
            experimental_op_resolver_type=kernels,
        )
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]
        self.image_dtype = np.dtype(self._input["dtype"]).name
        self.output_dtype = np.dtype(self._output["dtype"]).name

    def __call__(self, image):
        self._interpreter.set_tensor(self._input["index"], image[None].astype(self.image_dtype))
        self._interpreter.invoke()
        return class_ids(self._interpreter.get_tensor(self._output["index"])[0])


def class_ids(answer):
    """A file's answer for one frame, (H, W) ids or (H, W, C) logits -> (H, W) ids."""
    return answer.argmax(-1) if answer.ndim == 3 else answer
