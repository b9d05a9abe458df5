"""Runs a kseg .tflite on an image, a folder of images, a video or a camera, from a checkout.

The same as `kseg-run` of `pip install ./deploy/python`; the parts are in kseg_run/.
"""

import sys

from kseg_run.command import main
from kseg_run.drawing import draw
from kseg_run.errors import InputError
from kseg_run.fit import fit_frame, placement, unfit_class_map
from kseg_run.model import Runner

__all__ = ["InputError", "Runner", "draw", "fit_frame", "main", "placement", "unfit_class_map"]

if __name__ == "__main__":
    sys.exit(main())
