"""kseg: drivable-area segmentation from labelled driving images to a verified model in the car."""

__version__ = "0.1.0"
