"""What TensorFlow logs while it is imported: chatter is removed, warnings are not."""

import os
import subprocess
import sys

from tests.conftest import ROOT

CHATTER = [
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
    "I0000 00:00:1795710612.844096    6274 port.cc:153] oneDNN custom operations are on.",
    "I0000 00:00:1795710612.844494    6274 cudart_stub.cc:31] Could not find cuda drivers",
    "To enable the following instructions: AVX2, rebuild TensorFlow with the appropriate flags.",
    "2026-11-26 10:00:00.1: I tensorflow/core/util/port.cc:153] oneDNN custom operations are on.",
    "E0000 00:00:17.8  1 cuda_dnn.cc:8310] Unable to register cuDNN factory: it was registered",
]
IMPORTANT = [
    "W0000 00:00:17.8  1 gpu_device.cc:2341] Cannot dlopen some GPU libraries.",
    "Skipping registering GPU devices...",
    "F0000 00:00:17.8  1 cpu_feature_guard.cc:10] compiled to use AVX, which your CPU lacks",
]


def import_tensorflow(folder, ending, **environment):
    """Imports a package `tensorflow` that logs all lines; returns the process' (code, stderr)."""
    (folder / "tensorflow").mkdir()
    log = "".join(f"{line}\n" for line in CHATTER + IMPORTANT)
    (folder / "tensorflow" / "__init__.py").write_text(
        f"import os\nos.write(2, {log.encode()!r})\n{ending}\n"
    )
    code = "import kseg, importlib.util as u; u.find_spec('tensorflow'); import tensorflow, os;"
    code += "os.write(2, b'afterwards\\n')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": f"{folder}:{ROOT}", **environment},
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    return done.returncode, done.stderr.splitlines()


def test_only_what_matters_is_shown(tmp_path):
    assert import_tensorflow(tmp_path, "") == (0, [*IMPORTANT, "afterwards"])


def test_the_reason_of_a_crash_is_shown(tmp_path):
    code, shown = import_tensorflow(tmp_path, "os.abort()")
    assert code < 0 and shown[: len(IMPORTANT)] == IMPORTANT


def test_a_failed_import_is_shown(tmp_path):
    code, shown = import_tensorflow(tmp_path, "raise ImportError('libcuda')")
    assert code == 1 and shown[-1] == "ImportError: libcuda"


def test_level_0_shows_everything(tmp_path):
    _, shown = import_tensorflow(tmp_path, "", TF_CPP_MIN_LOG_LEVEL="0")
    assert shown == [*CHATTER, *IMPORTANT, "afterwards"]


def test_the_level_lets_warnings_through_only_where_there_is_a_gpu(monkeypatch):
    from kseg import nvidia, tensorflow_log

    for present, level in ((True, "1"), (False, "3")):
        monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
        monkeypatch.setattr(nvidia, "has_device_node", lambda present=present: present)
        tensorflow_log.reduce()
        assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == level
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "2")
    tensorflow_log.reduce()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "2"
