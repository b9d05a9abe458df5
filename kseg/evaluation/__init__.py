"""Measures of predictions (IoU, boundary IoU, calibration, flicker), and a run's predictions."""
