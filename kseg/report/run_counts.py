"""Counts and predictions of a run's model on every frame of a split, cached in the run's folder.

RUN/report-SPLIT.jsonl: a line that identifies the measurement, then one line per frame. An
interrupted pass continues with the batch it was in, and a finished one is only read.
"""

import base64
import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from kseg import files, preprocess, run_folder, trained_model
from kseg.config import Config
from kseg.data import pipeline, records
from kseg.errors import InputError
from kseg.evaluation import boundary, calibration, failures
from kseg.evaluation.scores import SCORES_VERSION, compute_scores, confusion_matrix
from kseg.labels import LabelSet
from kseg.models import cost

_VERSION = 2  # Of the cache's form.


class RunCounts(NamedTuple):
    """Counts of N frames, int64, and the cost of the model.

    keys: N names. luma: (N,) mean Rec. 601 luma of each frame as the model gets it, 0..255.
    confusion: (N, C, C), rows truth. borders: (N, C, 2) of kseg.evaluation.boundary. calibration:
    (N, BINS, 3) of kseg.evaluation.calibration. failures: (N, K) of kseg.evaluation.failures.
    class_maps: PNG files in Base64.
    """

    keys: list[str]
    luma: np.ndarray
    confusion: np.ndarray
    borders: np.ndarray
    calibration: np.ndarray
    failures: np.ndarray
    class_maps: list[str]
    parameters: int
    multiply_adds: int

    def scores(self, labels: LabelSet, frames: Any = slice(None)) -> dict[str, Any]:
        """compute_scores and boundary.scores of all or some of the frames together."""
        confusion, borders = self.confusion[frames].sum(axis=0), self.borders[frames].sum(axis=0)
        return compute_scores(confusion, labels) | boundary.scores(borders, labels)

    def by_frame(self, labels: LabelSet) -> np.ndarray:
        """(N,) float: mean IoU of each frame over the classes in its truth or its prediction.

        NaN for a frame with nothing but ignored pixels.
        """
        scores = [compute_scores(c, labels)["mean_iou"] for c in self.confusion]
        return np.array(scores, np.float64)  # None becomes NaN.

    def failure_shares(self) -> np.ndarray:
        """(N, K) float, 0..1: each kind of failure as a share of a frame's labelled pixels."""
        return failures.shares(self.failures, self.confusion.sum(axis=(1, 2)))

    def class_map(self, frame: int) -> np.ndarray:
        """(H, W) uint8 ids: the prediction on a frame."""
        png = np.frombuffer(base64.b64decode(self.class_maps[frame]), np.uint8)
        class_map = cv2.imdecode(png, cv2.IMREAD_GRAYSCALE)
        assert class_map is not None  # Encoded by us.
        return class_map


class Predictor:
    """The model of a run, loaded when it is first needed.

    cache: folder of the counts; RUN, or another one where RUN is a published model.
    """

    def __init__(self, path: Path, cache: Path | None = None):
        self.path, self.cache = path, cache or path

    @functools.cached_property
    def model(self):
        return trained_model.load(self.path)[0]

    def __call__(self, images: Any) -> np.ndarray:
        """(B, H, W, 3) float32 -> (B, H, W, C) float32 logits."""
        return self.model.predict_on_batch(images)


def count_frames(
    predictor: Predictor,
    config: Config,
    labels: LabelSet,
    split: str,
    every: int,
    advance: Callable[[int], None],
) -> RunCounts:
    """Returns the counts of each `every`th frame of a split; calls advance(n) after n frames.

    Raises InputError when a record is corrupt, or when the weights change while they are loaded.
    """
    manifest, _ = pipeline.open_split(config, split, labels)
    name = f"report-{split}.jsonl" if every == 1 else f"report-{split}-every-{every}.jsonl"
    path = Path(predictor.cache) / name
    identity = _identity(predictor.path, config, manifest, split, every)
    total = -(-manifest.splits[split].examples // every)
    header, lines = _read_cache(path, identity, total)
    # Complete batches only: those that follow then equal the ones of an uninterrupted pass exactly.
    if len(lines) < total:
        lines = lines[: len(lines) // config.batch_size * config.batch_size]
        model = predictor.model
        if files.sha256(Path(predictor.path) / run_folder.BEST) != identity["weights"]:
            # Else the counts of the new weights would be recorded as those of the old.
            raise InputError(
                f"{predictor.path}: its best weights changed while they were loaded, since it is "
                "still training; run the same command again"
            )
        if not header:
            header = identity | {
                "parameters": model.count_params(),
                "multiply_adds": cost.multiply_adds(model),
            }
        files.write_text(path, "".join(json.dumps(line) + "\n" for line in (header, *lines)))
        advance(len(lines))
        frames = pipeline.labelled_frames(config, split, every).skip(
            len(lines) // config.batch_size
        )
        with path.open("a") as file:
            for batch in _count_batches(predictor, frames, labels, config.data):
                file.writelines(json.dumps(line) + "\n" for line in batch)
                file.flush()
                lines += batch
                advance(len(batch))
    else:
        advance(total)
    return _stack(header, lines)


def _identity(run, config, manifest, split, every):
    """What must be equal for cached counts to be used."""
    shards = "".join(shard.sha256 for shard in manifest.splits[split].shards)
    return {
        "version": [_VERSION, records.DECODE_VERSION, preprocess.FIT_VERSION, SCORES_VERSION],
        "weights": files.sha256(Path(run) / run_folder.BEST),
        "model": [config.model, *config.size, config.fit, config.batch_size],
        "data": hashlib.sha256(shards.encode()).hexdigest(),
        "split": split,
        "every": every,
    }


def _read_cache(path, identity, total):
    """Returns (header, lines of frames) of a cache of this identity, else (None, [])."""
    try:
        texts = path.read_text().split("\n")[:-1]  # A line without a newline was truncated.
        header, *lines = [json.loads(text) for text in texts]
        usable = identity.items() <= header.items() and len(lines) <= total
    except (OSError, ValueError, AttributeError):
        usable = False
    return (header, lines) if usable else (None, [])


def _count_batches(predictor, frames, labels, folder):
    """Yields the list of the counts of its frames for each batch."""
    with pipeline.raise_on_corrupt_record(folder):
        for batch in frames:
            logits = predictor(batch["image"].numpy())
            truths = batch["mask"].numpy().astype(np.uint8)
            yield [
                _count(key.decode(), image, truth, frame_logits, labels)
                for key, image, truth, frame_logits in zip(
                    batch["key"].numpy(), batch["image"].numpy(), truths, logits, strict=True
                )
            ]


def _count(key, image, truth, logits, labels):
    classes = len(labels.classes)
    predicted = logits.argmax(axis=-1).astype(np.uint8)
    return {
        "key": key,
        "luma": round(float(cv2.cvtColor(image.astype(np.uint8), cv2.COLOR_RGB2GRAY).mean()), 3),
        "confusion": confusion_matrix(truth, predicted, classes).tolist(),
        "borders": boundary.counts(truth, predicted, classes).tolist(),
        "calibration": calibration.counts(truth, logits).tolist(),
        "failures": failures.counts(truth, predicted, labels).tolist(),
        # A few kilobytes, with which a page can be drawn again without the model.
        "answer": base64.b64encode(cv2.imencode(".png", predicted)[1]).decode(),
    }


def _stack(header, lines):
    def stack(name):
        return np.array([line[name] for line in lines], np.int64)

    return RunCounts(
        [line["key"] for line in lines],
        np.array([line["luma"] for line in lines]),
        stack("confusion"),
        stack("borders"),
        stack("calibration"),
        stack("failures"),
        [line["answer"] for line in lines],
        header["parameters"],
        header["multiply_adds"],
    )
