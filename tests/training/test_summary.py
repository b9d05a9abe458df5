import pytest

from kseg.config import Config
from kseg.labels import CITYSCAPES_ROAD
from kseg.manifest import Manifest, Split
from kseg.training import history, summary

ROWS = [
    {"epoch": "0", "loss": "0.9", "val_loss": "0.8", "val_mean_iou": "0.5", "learning_rate": ""},
    {"epoch": "1", "loss": "0.7", "val_loss": "0.6", "val_mean_iou": "0.75", "val_iou/road": "0.9"},
    {"epoch": "2", "loss": "0.6", "val_loss": "0.7", "val_mean_iou": "0.75", "val_iou/road": "nan"},
]


def test_values_that_an_older_version_did_not_write_are_absent():
    rows = history.to_numbers(ROWS)
    assert rows[0] == {"epoch": 0, "loss": 0.9, "val_loss": 0.8, "val_mean_iou": 0.5}


def test_the_best_epoch_is_the_first_in_a_tie():
    assert history.best_row(history.to_numbers(ROWS))["epoch"] == 1


def test_the_table_shows_the_best_epoch_class_by_class(capsys):
    rows = history.to_numbers(ROWS)
    rows[1] |= {"val_precision/road": 0.95, "val_recall/road": 0.925, "val_drivable_iou": 0.9}
    summary.print_best(rows, CITYSCAPES_ROAD, "runs/x, epoch 2 of 3")
    out = capsys.readouterr().out
    for part in ("runs/x, epoch 2 of 3", "90.0", "95.0", "92.5", "75.0", "drivable or not"):
        assert part in out
    background = next(line for line in out.splitlines() if "background" in line)
    assert background.count("-") == 3  # Not in this history.


def test_curves_are_drawn(tmp_path):
    summary.plot(history.to_numbers(ROWS[:2]), tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_the_description_of_a_run_counts_its_operations():
    split = Split(examples=100, pixels=(1, 1), ignored=0, shards=())
    manifest = Manifest("d", CITYSCAPES_ROAD, (144, 256), {"train": split}, {})
    config = Config(batch_size=10, epochs=2)
    text = summary.describe_run(config, manifest, (2_500_000, 500_000_000), steps_per_epoch=10)
    # 20 steps of 10 frames, each one GFLOP forward and two backward.
    assert "2.50 M parameters, 1.000 GFLOPs" in text
    for part in ("100 training frames; 20 steps of 10", "2 epochs", "0.6 TFLOPs"):
        assert part in text


@pytest.mark.parametrize(("size", "words"), [((288, 512), "of 288x512,"), (None, "of different")])
def test_the_description_of_a_run_says_that_frames_are_resized(size, words):
    split = Split(examples=100, pixels=(1, 1), ignored=0, shards=())
    manifest = Manifest("d", CITYSCAPES_ROAD, size, {"train": split}, {})
    text = summary.describe_run(Config(), manifest, (1, 1), steps_per_epoch=10)
    assert f"100 training frames {words}" in text and "resized to 144x256; 120 steps" in text
