"""What predictions are measured by: IoU, boundary IoU, calibration and flicker."""
