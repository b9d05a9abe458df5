"""report.html: scores, curves, calibration and frames of one or more runs."""
