"""The stages of scripts/benchmark_gpu.py, and what they share: steps, children and results."""
