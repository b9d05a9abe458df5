"""kseg: drivable-area segmentation from labelled driving images to a verified model in the car."""

import os

__version__ = "0.1.0"

# Must be set before TensorFlow is imported. Otherwise its log about CPU features and missing GPUs
# buries kseg's one-line errors; Python exceptions still appear. Set it to 0 to see the log.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
