"""Stage "feed": whether kseg.train keeps the device busy."""

import json
import statistics
from pathlib import Path

from benchmark_gpu.children import ChildError, stream
from benchmark_gpu.results import Results
from benchmark_gpu.run import Run
from kseg.files import write_text

GOAL = 0.95  # Of the rate of the training step alone.
COPIES, EPOCHS = 10, 3  # Long epochs, so that batches prefetched before an epoch count for little.
SIZE = (288, 512)
PATIENT_S = 300  # XLA may take minutes to compile SegFormer; with less time another model trains.


def stage(run: Run) -> None:
    """Trains with the command, and times the same training step alone in the same process."""
    data = run.tfrecords(SIZE)
    if not data:
        run.results.end("skipped", "no TFRecords; name some with --data")
        return
    size = json.loads((data / "manifest.json").read_text())["size"]
    data = repeat_training_shards(data, run.work / "feed-data", 1 if run.tiny else COPIES)
    patient = run.tiny or run.seconds_left() > PATIENT_S
    model = "segformer_b0" if patient else "deeplab_v3_plus_mobilenet_v2"
    arguments = ["--preset", "course", "--model", model, "--data", data]
    arguments += ["--size", *size, "--batch-size", 4 if run.tiny else 16]
    arguments += ["--epochs", 2 if run.tiny else EPOCHS, "--mixed-precision", "bfloat16"]
    arguments += ["--out", run.work / "feed-run"]
    row = run.results.row(model=model, size="x".join(map(str, size)))
    measured: dict = {"epochs": []}
    try:
        child = run.start("feed", "benchmark_gpu.feed_child", *arguments)
        for result in stream(child, run.deadline):
            if "epoch" in result:
                measured["epochs"].append(result["epoch"])
            measured |= result
            run.results.update(row, **summarize(measured))
    except ChildError:
        if not row.get("share of time waiting"):
            raise
    judge(run.results, row)


def summarize(measured: dict) -> dict:
    """Returns the cells of the table's row for what feed_child has emitted so far."""
    cells: dict = {}
    epochs = measured["epochs"]
    if epochs:
        cells |= {"batch": epochs[0]["batch"], "first epoch s": epochs[0]["seconds"]}
    if len(epochs) > 1:
        later = epochs[1:]  # The first compiles.
        frames = sum(epoch["batch"] * epoch["steps"] for epoch in later)
        cells["training frames/s"] = frames / sum(epoch["seconds"] for epoch in later)
    if "input_frames_per_s" in measured:
        cells["input alone frames/s"] = measured["input_frames_per_s"]
    if "step_ms" in measured:
        step_rate = 1000 * cells["batch"] / statistics.median(measured["step_ms"])
        cells["step alone frames/s"] = step_rate
        cells["share of time waiting"] = 1 - cells["training frames/s"] / step_rate
    return cells


def judge(results: Results, row: dict) -> None:
    """Reports whether the goal is reached, and otherwise what is too slow."""
    share = 1 - row["share of time waiting"]
    line = f"training runs at {100 * share:.1f} % of the rate of its step alone"
    if share >= GOAL:
        results.note(f"{line}; goal reached")
    elif row["input alone frames/s"] < row["step alone frames/s"]:
        results.problem(f"{line}, goal {100 * GOAL:g} %: the input is slower than the step")
    else:
        results.problem(
            f"{line}, goal {100 * GOAL:g} %: the input alone is fast enough, so Python or copies "
            "to the device take the time"
        )


def repeat_training_shards(data: str | Path, out: str | Path, copies: int) -> Path:
    """Creates a data set that has each training shard `copies` times, as links. Returns `out`."""
    data, out = Path(data).resolve(), Path(out)
    out.mkdir(parents=True)
    manifest = json.loads((data / "manifest.json").read_text())
    for name, split in manifest["splits"].items():
        times = copies if name == "train" else 1
        shards = []
        for copy in range(times):
            for shard in split["shards"]:
                link = shard["name"].replace("tfrecord", f"copy{copy}.tfrecord")
                (out / link).symlink_to(data / shard["name"])
                shards.append(shard | {"name": link})
        split |= {"shards": shards, "ignored": split["ignored"] * times}
        split["examples"] *= times
        split["pixels"] = [count * times for count in split["pixels"]]
    write_text(out / "manifest.json", json.dumps(manifest))
    return out
