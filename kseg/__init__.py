"""kseg: drivable-area segmentation from labelled driving images to a verified model in the car."""

import os

__version__ = "0.1.0"

# Before anything imports TensorFlow: hundreds of lines about CPU features and missing GPUs hide
# our own one line. Python exceptions carry what matters; set it to 0 to see all.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
