"""Losses, metrics, optimizers and callbacks of training, and resuming and distributing it."""
