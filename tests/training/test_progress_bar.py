import io
import sys

import keras
import numpy as np
import pytest

from kseg.labels import BDD100K_DRIVABLE, CAMVID_11
from kseg.training.progress_bar import ProgressBar

LOGS = {
    **{"loss": 0.5, "mean_iou": 0.25, "f1/direct": 0.1, "precision/direct": 0.2},
    **{f"iou/{name}": 0.75 for labels in (BDD100K_DRIVABLE, CAMVID_11) for name in labels.names},
}


class _Screen(io.StringIO):
    def __init__(self, terminal):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal


def shown(labels, monkeypatch, *, terminal):
    screen = _Screen(terminal)
    monkeypatch.setattr(sys, "stdout", screen)
    bar = ProgressBar(labels)
    bar.set_params({"verbose": "auto", "epochs": 2, "steps": 2})
    bar.on_train_begin()
    bar.on_epoch_begin(0)
    for step in range(2):
        bar.on_train_batch_end(step, LOGS)
    bar.on_epoch_end(0, LOGS | {f"val_{name}": value for name, value in LOGS.items()})
    return screen.getvalue()


def test_a_terminal_shows_loss_and_iou_of_few_classes_at_each_step(monkeypatch):
    text = shown(BDD100K_DRIVABLE, monkeypatch, terminal=True)
    for name in ("loss", "mean_iou", "iou/direct", "iou/background", "val_mean_iou"):
        assert f"{name}: " in text
    assert "1/2" in text and "precision" not in text and "f1" not in text


def test_many_classes_are_shown_as_their_mean_only(monkeypatch):
    text = shown(CAMVID_11, monkeypatch, terminal=True)
    assert "mean_iou" in text and "iou/road" not in text


def test_a_log_file_gets_one_line_per_epoch(monkeypatch):
    text = shown(BDD100K_DRIVABLE, monkeypatch, terminal=False)
    assert [line.split(" ")[0] for line in text.splitlines() if line] == ["Epoch", "2/2"]


@pytest.mark.filterwarnings("ignore")
def test_fit_draws_no_second_bar(monkeypatch):
    screen = _Screen(terminal=False)
    monkeypatch.setattr(sys, "stdout", screen)
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile(loss="mse", run_eagerly=True)
    data = np.zeros((4, 3)), np.zeros((4, 1))
    model.fit(*data, epochs=1, callbacks=[ProgressBar(BDD100K_DRIVABLE)])
    assert screen.getvalue().count("loss") == 1
