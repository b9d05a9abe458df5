"""TensorFlow's log: warnings that matter to the owner of a GPU, and none of the chatter.

TensorFlow logs from C++ to file descriptor 2. TF_CPP_MIN_LOG_LEVEL limits that, but not while its
libraries are loaded (measured with 2.21), so what they log then passes through a filter.
"""

import contextlib
import importlib.abc
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator

from kseg import nvidia

# Lines of level INFO, which may continue on a second line, and two that TensorFlow logs by mistake
# on every machine with a GPU.
CHATTER = "|".join(
    (
        r"^I[0-9]{4} ",
        r"^[0-9-]+ [0-9:.]+: I ",
        "^WARNING: All log messages before absl::InitializeLog",
        "^To enable the following instructions",
        r"Unable to register cu[A-Z]+ factory",
        "computation placer already registered",
    )
)


def reduce() -> None:
    """Shows TensorFlow's warnings where there is an NVIDIA GPU, and no log at all elsewhere.

    Without a GPU its warnings are about the GPU. TF_CPP_MIN_LOG_LEVEL=0 shows everything, but only
    if it is set before TensorFlow is imported.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1" if nvidia.has_device_node() else "3")
    if os.environ["TF_CPP_MIN_LOG_LEVEL"] != "0" and not any(
        isinstance(finder, _Finder) for finder in sys.meta_path
    ):
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the package tensorflow and lets it load without chatter."""

    searching = False

    def find_spec(self, name, path=None, target=None):
        if name != "tensorflow" or self.searching:
            return None
        self.searching = True  # The other finders have it.
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self.searching = False
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_quietly(module):
                with _without_chatter():
                    load(module)

            spec.loader.exec_module = load_quietly
        return spec


@contextlib.contextmanager
def _without_chatter() -> Iterator[None]:
    """Removes chatter from what this process writes to stderr."""
    try:
        # A process of its own: should TensorFlow crash, the reason still comes out.
        grep = subprocess.Popen(
            ["grep", "--line-buffered", "-Ev", CHATTER], stdin=subprocess.PIPE, stdout=2
        )
    except OSError:  # No grep here.
        yield
        return
    assert grep.stdin is not None
    sys.stderr.flush()
    before = os.dup(2)
    os.dup2(grep.stdin.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(before, 2)
        os.close(before)
        grep.stdin.close()
        grep.wait()
