"""Runs kseg_run in whichever environment has it: segment_files.py JOBS.json, made by a test.

Each job has a model and cases of frame, fit and the .npy file for its class map.
"""

import json
import sys
from pathlib import Path

import numpy as np
from kseg_run import image_file
from kseg_run.segmenter import Segmenter

for job in json.loads(Path(sys.argv[1]).read_text()):
    segmenter = Segmenter(job["model"], 1)
    for case in job["cases"]:
        segmenter.contract["fit"] = case["fit"]
        frame = image_file.decode(Path(case["frame"]).read_bytes())
        np.save(case["out"], segmenter(frame))
