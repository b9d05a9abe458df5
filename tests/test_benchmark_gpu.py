"""scripts/benchmark_gpu.py: it detects planted faults, and every stage runs."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.conftest import ROOT, XLA_FLAGS

sys.path.insert(0, str(ROOT / "scripts"))

from benchmark_gpu import children, feed, litert, results, right, speed, steps, training_state


@pytest.fixture
def small_model(monkeypatch):
    """Four layers in place of every model, and fewer steps to compare."""
    import keras

    from kseg.training import build_training

    def build_model_and_encoder(config, labels, encoder_weights):
        image = keras.Input((*config.size, 3))
        x = keras.layers.Rescaling(1 / 128, -1)(image)
        x = keras.layers.Conv2D(8, 3, padding="same")(x)
        x = keras.layers.BatchNormalization()(x)
        logits = keras.layers.Conv2D(len(labels.classes), 3, padding="same")(x)
        return keras.Model(image, logits), None

    monkeypatch.setattr(
        build_training.trained_model, "build_model_and_encoder", build_model_and_encoder
    )
    monkeypatch.setattr(right, "STEPS", 5)
    monkeypatch.setattr(right, "CHECKED", (0, 1, 4))


def test_a_wrong_update_on_the_device_is_found(small_model, monkeypatch, tmp_path):
    from kseg.training import optimizers

    model = right.build("unet", size=(32, 48))
    training_state.save(tmp_path / "states.npz", *right.train_reference(model))
    losses, states = training_state.load(tmp_path / "states.npz")
    perturbed = right.effect_of_rounding(model, losses, states, right.ROUNDING["float32"])
    assert (
        right.find_problems(dict(right.compare(model, losses, states)), perturbed, "float32") == []
    )
    training_state.restore(model, states[0][0])
    assert [right.train_step(model, number) for number in range(right.STEPS)] == losses

    update = optimizers.Adam.update_step
    monkeypatch.setattr(
        optimizers.Adam,
        "update_step",
        lambda self, gradient, variable, rate: update(self, gradient, variable, rate * 1.5),
    )
    wrong = right.build("unet", size=(32, 48))
    problems = right.find_problems(dict(right.compare(wrong, losses, states)), perturbed, "float32")
    assert any("weights" in line for line in problems)
    assert not any("loss" in line for line in problems)


def comparison(tmp_path):
    out = results.Results(tmp_path)
    out.begin("right", "a title")
    return out, right.Comparison(out)


def test_steps_compared_before_the_time_limit_are_reported(tmp_path):
    out, comparison_ = comparison(tmp_path)
    equal = dict.fromkeys(("loss", *right.GROUPS), 0.0)
    comparison_.add("device", "unet", "float32", {"first_step_s": 1.0, "device": "a GPU"})
    comparison_.add("device", "unet", "float32", {"checked": {"0": equal}})
    assert "verdict" not in out.stage["rows"][0]
    comparison_.add("cpu", "unet", "float32", {"losses": [2.0, 1.0]})
    comparison_.add("cpu", "unet", "float32", {"perturbed": {"float32": {"0": equal, "1": equal}}})
    late = children.ChildError("no result within 9 s")
    comparison_.add("device", "unet", "float32", late)
    comparison_.add("cpu", "fcn", "float32", {"losses": [3.0, 2.5]})
    comparison_.add("device", "fcn", "float32", None)
    comparison_.finish()
    (row,) = out.stage["rows"]
    assert (row["verdict"], row["steps compared"]) == ("right", "1 of 5")
    assert row["CPU's last loss"] == 1.0
    assert "9 s" in out.stage["problems"][0]
    assert "fcn" in out.stage["notes"][0] and "2.5" in out.stage["notes"][0]


def test_a_difference_beyond_rounding_is_a_problem(tmp_path):
    out, comparison_ = comparison(tmp_path)
    equal = dict.fromkeys(("loss", *right.GROUPS), 0.0)
    comparison_.add("cpu", "unet", "float32", {"perturbed": {"float32": {"0": equal}}})
    comparison_.add("device", "unet", "float32", {"first_step_s": 1.0, "device": "a GPU"})
    comparison_.add("device", "unet", "float32", {"checked": {"0": equal | {"weights": 0.1}}})
    assert out.stage["rows"][0]["verdict"] == "wrong"
    assert len(out.stage["problems"]) == 1 and "weights" in out.stage["problems"][0]


def child(code, tmp_path):
    """A child process that runs `code`."""
    (tmp_path / "a_child.py").write_text("from benchmark_gpu.children import emit\n" + code)
    env = children.environment("tensorflow", tmp_path)
    env["PYTHONPATH"] += os.pathsep + str(tmp_path)
    return children.Child(tmp_path / "log.txt", "a_child", env=env)


def test_results_before_the_deadline_are_kept(tmp_path):
    code = "import time\nemit(number=1)\nprint('a bar', end=' ')\nemit(number=2)\ntime.sleep(60)"
    received = []
    with pytest.raises(children.ChildError, match="no result within"):
        for result in children.stream(child(code, tmp_path), time.monotonic() + 3):
            received.append(result["number"])
    assert received == [1, 2]


def test_a_failed_child_does_not_stop_the_others(tmp_path):
    jobs = {
        ("device", "good"): lambda: child("emit(number=1)", tmp_path),
        ("device", "bad"): lambda: child("raise ValueError('broken')", tmp_path),
    }
    received = list(children.stream_all(jobs, {"device": 1}, time.monotonic() + 60))
    assert received[0] == (("device", "good"), {"number": 1})
    assert received[1][0] == ("device", "bad") and "ValueError: broken" in str(received[1][1])
    late = list(children.stream_all(jobs, {"device": 1}, time.monotonic() - 1))
    assert late == [(name, None) for name in jobs]


def train(dataset, tmp_path, monkeypatch, capsys):
    """Returns the table's row of stage feed for a small training."""
    import keras
    from benchmark_gpu import feed_child

    monkeypatch.setattr(keras.Model, "fit", keras.Model.fit)  # Undoes what the child patches.
    monkeypatch.setattr(feed_child, "SECONDS", 0.5)
    arguments = ["--data", dataset, "--size", 64, 97, "--model", "unet", "--epochs", 2]
    arguments += ["--batch-size", 4, "--no-tensorboard"]
    feed_child.main([str(argument) for argument in [*arguments, "--out", tmp_path / "run"]])
    measured = {"epochs": []}
    for line in capsys.readouterr().out.splitlines():
        if "RESULT " in line:
            measured |= json.loads(line.partition("RESULT ")[2])
            measured["epochs"] += [measured.pop("epoch")] if "epoch" in measured else []
    return feed.summarize(measured)


def test_a_starving_input_is_found(small_model, dataset, tmp_path, monkeypatch, capsys):
    import tensorflow as tf

    from kseg.data import training_batches

    training_dataset = training_batches.training_dataset

    def slow(images, masks):
        time.sleep(0.1)
        return images, masks

    def starving(config, *args, **options):
        batches = training_dataset(config, *args, **options)
        spec = batches.element_spec
        slowed = batches.map(lambda *batch: tf.numpy_function(slow, batch, [tf.uint8, tf.uint8]))
        return slowed.map(
            lambda i, m: (tf.ensure_shape(i, spec[0].shape), tf.ensure_shape(m, spec[1].shape))
        )

    monkeypatch.setattr(training_batches, "training_dataset", starving)
    data = feed.repeat_training_shards(dataset, tmp_path / "long", 1)
    row = train(data, tmp_path, monkeypatch, capsys)
    assert row["share of time waiting"] > 0.3
    assert row["input alone frames/s"] < 4 / 0.1
    out = results.Results(tmp_path / "out")
    out.begin("feed", "a title")
    feed.judge(out, row)
    assert "input" in out.stage["problems"][0] and "slower" in out.stage["problems"][0]


def test_an_input_that_is_fast_enough_is_no_problem(tmp_path):
    epochs = [{"steps": 10, "seconds": s, "batch": 4} for s in (60.0, 1.0)]
    measured = {"epochs": epochs, "step_ms": [98.0, 99.0, 100.0], "input_frames_per_s": 400.0}
    row = feed.summarize(measured)
    assert row["share of time waiting"] == pytest.approx(0.01)
    out = results.Results(tmp_path)
    out.begin("feed", "a title")
    feed.judge(out, row)
    assert out.stage["problems"] == []
    assert "share of time waiting" not in feed.summarize({"epochs": epochs})


def test_training_shards_are_repeated(dataset, tmp_path):
    from kseg.manifest import read_manifest

    short = read_manifest(dataset).splits
    long = read_manifest(feed.repeat_training_shards(dataset, tmp_path / "long", 3)).splits
    assert long["train"].examples == 3 * short["train"].examples
    assert long["val"].examples == short["val"].examples


def test_one_wrong_class_is_found():
    expected = np.full((1, 288, 512), 2, np.uint8)
    expected[0, 100:110, 200:220] = 1  # 0.1 % of the pixels.
    assert litert.find_wrong_classes(expected, expected) == []
    wrong = expected.copy()
    wrong[expected == 1] = 0
    problems = litert.find_wrong_classes(expected, wrong)
    assert [line.partition(":")[0] for line in problems] == ["class 1", "class 0"]
    noisy = expected.copy()
    noisy[0, 0, :100] = 1  # Fewer than one pixel in a thousand, as from rounding at borders.
    assert litert.find_wrong_classes(expected, noisy) == []


def test_golden_files_are_listed():
    files = {path.name: images.shape[0] for path, images in litert.golden_files()}
    assert files["model.tflite"] == 5 and not any(name.startswith("tensor") for name in files)


@pytest.mark.parametrize("prefix", ["ERROR:            ", "[Vulkan Loader] ERROR | DRIVER: "])
def test_a_device_without_vulkan_is_one_line_with_the_loaders_reason(prefix):
    log = f"ERROR: [litert.cc:1] no\n{prefix}libGLX_nvidia.so.0: libX11.so.6: cannot open\nanother"
    line = litert.device_failure("Vulkan finds no device (nvidia_icd.json)", log)
    assert "libX11.so.6" in line and "libegl1" in line
    assert "litert.cc" not in line and "\n" not in line


def test_every_measurement_is_written_at_once(tmp_path):
    out = results.Results(tmp_path)
    out.begin("speed", "frames a second")
    out.row(model="a", rate=1.5)
    out.row(model="b|c", memory=2)
    assert json.loads((tmp_path / "results.json").read_text())["stages"]["speed"]["rows"][0] == {
        "model": "a",
        "rate": 1.5,
    }
    assert "| b/c |  | 2 |" in (tmp_path / "report.md").read_text()


def test_the_most_important_cases_come_first():
    cases = speed.all_cases()
    labels = [speed.label(case) for case in cases]
    assert len(labels) == len(set(labels)) == 48
    assert labels[0] == "segformer_b0 288x512 b16 bfloat16"
    assert [speed.has_counterpart(case) for case in cases].index(False) == 4
    assert sum(map(speed.has_counterpart, cases)) == 4


class SpeedRun:
    """A run of stage speed on a clock of its own, in which compiling takes `compile_s`."""

    tiny, backend = False, "jax"

    def __init__(self, tmp_path, monkeypatch, compile_s, seconds):
        self.compile_s, self.deadline, self.clock, self.measured = compile_s, seconds, 0.0, []
        self.results, self.compiled = results.Results(tmp_path), tmp_path / "compiled"
        self.results.begin("speed", "a title")
        monkeypatch.setattr(speed, "time", self)
        monkeypatch.setattr(speed, "compile_case", self.compile_case)
        monkeypatch.setattr(speed, "measure", self.measure)

    def monotonic(self):
        return self.clock

    def seconds_left(self):
        return self.deadline - self.clock

    def has(self, package):
        return True

    def compile_case(self, run, case, side, deadline):
        ends = self.clock + self.compile_s[side]
        self.clock = min(ends, deadline)
        return None if ends > deadline else speed.Compiled(self, {}, None)

    def measure(self, run, case, sides):
        self.measured.append((speed.label(case).split()[0], *sides))
        self.clock += 15

    def stop(self):
        pass


def test_pytorch_is_timed_where_kseg_does_not_compile(tmp_path, monkeypatch):
    run = SpeedRun(tmp_path, monkeypatch, {"kseg": 500, "PyTorch": 60}, 240)
    speed.stage(run)
    assert run.measured == [("segformer_b0", "PyTorch")]


def test_no_case_is_started_that_cannot_end(tmp_path, monkeypatch):
    run = SpeedRun(tmp_path, monkeypatch, {"kseg": 50, "PyTorch": 40}, 260)
    speed.stage(run)
    assert run.measured[0] == ("segformer_b0", "kseg", "PyTorch")
    assert run.measured[1] == ("deeplab_v3_plus_resnet50", "kseg", "PyTorch")
    assert len(run.measured) == 2 and run.clock < 260
    assert "not started" in run.results.stage["notes"][-1]


def test_compiled_programs_of_an_earlier_call_need_little_time(tmp_path, monkeypatch):
    (tmp_path / "compiled" / "pytorch").mkdir(parents=True)
    run = SpeedRun(tmp_path, monkeypatch, {"kseg": 16, "PyTorch": 17}, 102)
    speed.stage(run)
    assert run.measured[0] == ("segformer_b0", "kseg", "PyTorch")


def test_of_little_time_kseg_gets_all(tmp_path, monkeypatch):
    run = SpeedRun(tmp_path, monkeypatch, {"kseg": 70, "PyTorch": 70}, 102)
    speed.stage(run)
    assert run.measured == [("segformer_b0", "kseg")]


def test_pytorch_has_the_same_loss():
    torch = pytest.importorskip("torch")
    from benchmark_gpu import pytorch

    from kseg.training.losses import Dice

    _, masks = steps.batch((16, 32), 2)
    logits = np.random.default_rng(0).normal(size=(2, 16, 32, 3)).astype(np.float32)
    theirs = pytorch.log_dice(torch.from_numpy(logits).permute(0, 3, 1, 2), torch.from_numpy(masks))
    assert float(theirs) == pytest.approx(float(Dice(log=True).cost(masks, logits)), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_every_stage_runs_once(backend, dataset, tmp_path):
    """On TensorFlow without the real runs: they are kseg.train's, which other tests run."""
    pytest.importorskip(backend)
    names = ["smoke", "right", "speed", "feed", "litert", *(["real"] if backend == "jax" else [])]
    out = tmp_path / "out"
    flags = f"{XLA_FLAGS} --xla_force_host_platform_device_count=2"
    done = subprocess.run(
        [
            *(sys.executable, "scripts/benchmark_gpu.py", "--tiny", "--minutes", "40"),
            *("--data", str(dataset), "--out", str(out), "--stages", *names),
        ],
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": backend, "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        check=False,
    )
    stages = json.loads((out / "results.json").read_text())["stages"]
    assert list(stages) == names, done.stdout
    status = {name: stage["status"] for name, stage in stages.items()}
    assert status.pop("litert") in ("done", "skipped")
    assert set(status.values()) == {"done"}, done.stdout
    assert stages["right"]["rows"][0]["verdict"] == "right"
    assert stages["right"]["rows"][0]["steps compared"] == "5 of 5"
    assert stages["speed"]["rows"][0]["compile s"] > 0
    if backend == "jax":
        assert (out / "runs/segformer_b0/best.weights.h5").stat().st_size > 1e6
