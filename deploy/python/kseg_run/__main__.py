import sys

from kseg_run.command import main

sys.exit(main())
