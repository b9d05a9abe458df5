"""scripts/install: which extras it installs, by stand-ins for uv and nvidia-smi."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT

H100 = "echo 'GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)'; echo 'GPU 1: T4 (UUID: GPU-2)'"
BROKEN = "echo 'NVIDIA-SMI has failed because it could not communicate with the driver'; exit 9"


@pytest.fixture
def install(tmp_path):
    """A function that runs a copy of the script. Returns (exit code, stdout)."""
    bin_folder = tmp_path / "bin"
    for folder in (bin_folder, tmp_path / "scripts", tmp_path / ".venv" / "bin"):
        folder.mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "install", tmp_path / "scripts")

    def write(path, script):
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    write(tmp_path / ".venv" / "bin" / "python", "exit 0")
    write(bin_folder / "uv", 'for last; do :; done; echo "$last"')
    write(bin_folder / "uname", "echo x86_64")

    def run(*argv, smi=None, **environment):
        write(bin_folder / "nvidia-smi", smi or "exit 127")
        done = subprocess.run(
            [tmp_path / "scripts" / "install", *argv],
            env={
                **{"PATH": f"{bin_folder}:{os.environ['PATH']}", "PYTHON": sys.executable},
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout.splitlines()

    return run


def test_cuda_is_installed_where_there_is_a_gpu(install):
    assert install() == (0, ["."])
    assert install("test,beam", smi=BROKEN) == (0, [".[test,beam]"])
    code, (line, package) = install(smi=H100)
    assert code == 0 and package == ".[gpu]" and "GPU 0: NVIDIA H100 80GB HBM3 (KSEG_GPU=0" in line
    assert install("test,jax", smi=H100)[1][-1] == ".[gpu,test,jax]"


def test_the_user_can_decide(install):
    assert install("jax-gpu", smi=H100) == (0, [".[jax-gpu]"])
    assert install("test", smi=H100, KSEG_GPU="0") == (0, [".[test]"])
    assert install("test", KSEG_GPU="1") == (0, [".[gpu,test]"])
    assert install("gpu", KSEG_GPU="1") == (0, [".[gpu]"])
    assert install(KSEG_GPU="yes") == (2, [])
