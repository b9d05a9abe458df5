"""What one pass of a run's model over a split counts and answers, kept in the run's folder.

RUN/report-SPLIT.jsonl: a line that tells what was measured, then one for each frame. A pass that
was interrupted goes on with the batch it was in, and a finished one is only read.
"""

import base64
import functools
import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from kseg import files, run_folder, trained_model
from kseg.data import pipeline
from kseg.evaluation import boundary, calibration
from kseg.evaluation.scores import compute_scores, confusion_matrix
from kseg.models import cost

_VERSION = 1  # Raise when what is counted changes.


class Measured(NamedTuple):
    """Counts of N frames, int64, and what the model costs.

    keys: N names. luma: (N,) mean Rec. 601 luma of each frame as the model gets it, 0..255.
    confusion: (N, C, C), rows truth. borders: (N, C, 2) of kseg.evaluation.boundary. calibration:
    (N, BINS, 3) of kseg.evaluation.calibration. answers: the class maps, as text.
    """

    keys: list[str]
    luma: np.ndarray
    confusion: np.ndarray
    borders: np.ndarray
    calibration: np.ndarray
    answers: list[str]
    parameters: int
    multiply_adds: int

    def scores(self, labels, frames=slice(None)):
        """metrics.scores and boundary.scores of all or some of the frames together."""
        confusion, borders = self.confusion[frames].sum(axis=0), self.borders[frames].sum(axis=0)
        return compute_scores(confusion, labels) | boundary.scores(borders, labels)

    def by_frame(self, labels):
        """(N,) float: mean IoU of each frame over the classes in its truth or its prediction."""
        return np.array([compute_scores(c, labels)["mean_iou"] for c in self.confusion])

    def answer(self, frame):
        """(H, W) uint8 ids: what the model answered on a frame."""
        png = np.frombuffer(base64.b64decode(self.answers[frame]), np.uint8)
        return cv2.imdecode(png, cv2.IMREAD_GRAYSCALE)


class Predictor:
    """The model of a run, built when it is first needed."""

    def __init__(self, path):
        self.path = path

    @functools.cached_property
    def model(self):
        return trained_model.load(self.path)[0]

    def __call__(self, images):
        """(B, H, W, 3) float32 -> (B, H, W, C) float32 logits."""
        return self.model.predict_on_batch(images)


def measure(predictor, config, labels, split, every, advance):
    """Returns the Measured of each `every`th frame of a split; advance(n) after each n frames.

    Raises InputError when a record is damaged.
    """
    manifest, _ = pipeline.open_split(config, split, labels)
    name = f"report-{split}.jsonl" if every == 1 else f"report-{split}-every-{every}.jsonl"
    path = Path(predictor.path) / name
    asked = _identity(predictor.path, config, manifest, split, every)
    total = -(-manifest.splits[split].examples // every)
    head, lines = _kept(path, asked, total)
    # Whole batches only: then all that follow are those of an uninterrupted pass, to the bit.
    if len(lines) < total:
        lines = lines[: len(lines) // config.batch_size * config.batch_size]
        if not head:
            model = predictor.model
            head = asked | {
                "parameters": model.count_params(),
                "multiply_adds": cost.multiply_adds(model),
            }
        files.write_text(path, "".join(json.dumps(line) + "\n" for line in (head, *lines)))
        advance(len(lines))
        frames = pipeline.labelled_frames(config, split, every).skip(
            len(lines) // config.batch_size
        )
        with path.open("a") as file:
            for counted in _batches(predictor, frames, labels, config.data):
                file.writelines(json.dumps(line) + "\n" for line in counted)
                file.flush()
                lines += counted
                advance(len(counted))
    else:
        advance(total)
    return _stacked(head, lines)


def _identity(run, config, manifest, split, every):
    """What must be the same for counts to be used again."""
    shards = "".join(shard.sha256 for shard in manifest.splits[split].shards)
    return {
        "version": _VERSION,
        "weights": files.sha256(Path(run) / run_folder.BEST),
        "model": [config.model, *config.size, config.fit, config.batch_size],
        "data": hashlib.sha256(shards.encode()).hexdigest(),
        "split": split,
        "every": every,
    }


def _kept(path, asked, total):
    """Returns (head, frames' lines) of a file that answers what is asked, else (None, [])."""
    try:
        texts = path.read_text().split("\n")[:-1]  # What has no newline was cut off.
        head, *lines = [json.loads(text) for text in texts]
        usable = asked.items() <= head.items() and len(lines) <= total
    except (OSError, ValueError, AttributeError):
        usable = False
    return (head, lines) if usable else (None, [])


def _batches(predictor, frames, labels, folder):
    """Yields for each batch the list of what its frames count."""
    with pipeline.raise_on_corrupt_record(folder):
        for batch in frames:
            logits = predictor(batch["image"])
            truths = batch["mask"].numpy().astype(np.uint8)
            yield [
                _count(key.decode(), image, truth, answer, len(labels.classes))
                for key, image, truth, answer in zip(
                    batch["key"].numpy(), batch["image"].numpy(), truths, logits, strict=True
                )
            ]


def _count(key, image, truth, logits, classes):
    predicted = logits.argmax(axis=-1).astype(np.uint8)
    return {
        "key": key,
        "luma": round(float(cv2.cvtColor(image.astype(np.uint8), cv2.COLOR_RGB2GRAY).mean()), 3),
        "confusion": confusion_matrix(truth, predicted, classes).tolist(),
        "borders": boundary.counts(truth, predicted, classes).tolist(),
        "calibration": calibration.counts(truth, logits).tolist(),
        # A few kilobytes; with them a page can be drawn again without the model.
        "answer": base64.b64encode(cv2.imencode(".png", predicted)[1]).decode(),
    }


def _stacked(head, lines):
    def stack(name):
        return np.array([line[name] for line in lines], np.int64)

    return Measured(
        [line["key"] for line in lines],
        np.array([line["luma"] for line in lines]),
        stack("confusion"),
        stack("borders"),
        stack("calibration"),
        [line["answer"] for line in lines],
        head["parameters"],
        head["multiply_adds"],
    )
