"""Runs a kseg .tflite or .onnx model on an image, a folder, a video or a camera, from a checkout.

The same as `kseg-run` after `pip install ./deploy/python`.
"""

from kseg_run.command import main, run_and_exit
from kseg_run.errors import InputError
from kseg_run.fit import fit_frame, placement, unfit_class_map
from kseg_run.overlay import draw
from kseg_run.segmenter import Segmenter

__all__ = ["InputError", "Segmenter", "draw", "fit_frame", "main", "placement", "unfit_class_map"]

if __name__ == "__main__":
    run_and_exit()
