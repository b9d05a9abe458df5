"""kseg: drivable-area segmentation from labelled driving images to a verified model in the car."""

from kseg import tensorflow_log

__version__ = "0.1.0"

tensorflow_log.reduce()  # Must come before TensorFlow is imported.
