import os
import signal
import subprocess
import sys

import pytest

from kseg import files
from kseg.compare import commands
from kseg.errors import InputError


@pytest.fixture
def child(tmp_path, monkeypatch):
    """A function that runs code as a module in a child process."""

    def run(code, **options):
        (tmp_path / "a_child.py").write_text(code)
        commands.run("a_child", **options)

    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return run


def test_stderr_of_a_child_is_passed_on_and_its_failure_described(child, capsys):
    child("import sys; print('warning', file=sys.stderr)")
    assert capsys.readouterr().err == "warning\n"
    with pytest.raises(commands.CommandFailed, match=r"^no such thing$") as caught:
        child("import sys; print('error: no such thing\\nbye', file=sys.stderr); sys.exit(2)")
    assert caught.value.code == 2
    with pytest.raises(commands.CommandFailed, match=r"ValueError: of two lines$"):
        child("raise ValueError('of two lines\\n\\n and details')")
    with pytest.raises(commands.CommandFailed, match=r"signal 9.*memory"):
        child("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(commands.CommandFailed, match=r"signal 6 .SIGABRT"):
        child("import os; os.abort()")
    with pytest.raises(commands.CommandFailed, match=r"exit code 4"):
        child("import sys; sys.exit(4)")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_interrupting_parent_or_child_ends_both(child, tmp_path, signum, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        child("import sys; sys.exit(130)")
    monkeypatch.setattr(commands, "_GRACE_S", 0.1)
    code = (
        f"import os, pathlib, time\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\n"
        f"os.kill(os.getppid(), {int(signum)})\n"
        "time.sleep(600)"
    )
    with pytest.raises(KeyboardInterrupt):
        child(code)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_child_that_outlives_its_parent_keeps_the_lock(tmp_path):
    waiting = [sys.executable, "-c", "input()"]
    with files.lock(tmp_path, "busy") as lock:
        with pytest.raises(InputError, match="busy"), files.lock(tmp_path, "busy"):
            pass
        process = subprocess.Popen(waiting, stdin=subprocess.PIPE, pass_fds=[lock])
    with pytest.raises(InputError, match="busy"), files.lock(tmp_path, "busy"):
        pass
    process.communicate(b"\n")
    with files.lock(tmp_path, "busy"):
        pass
