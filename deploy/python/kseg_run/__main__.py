"""`python -m kseg_run`: the same as `kseg-run`."""

import sys

from kseg_run.command import main

sys.exit(main())
