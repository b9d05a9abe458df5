"""Running exported models on this machine: LiteRT, other runtimes, GPUs and benchmarks."""
