"""Measures kseg on a GPU in ten minutes: correctness, speed beside PyTorch, and waiting for input.

    python scripts/benchmark_gpu.py --data data/bdd100k-180x320 data/bdd100k-288x512 --out FOLDER

The stages are in scripts/benchmark_gpu/.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # kseg, where it is not installed.

from benchmark_gpu.main import main  # The folder beside this file.

if __name__ == "__main__":
    sys.exit(main())
