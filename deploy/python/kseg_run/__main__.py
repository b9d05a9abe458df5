"""`python -m kseg_run`: the same as `kseg-run`."""

from kseg_run.command import run_and_exit

run_and_exit()
