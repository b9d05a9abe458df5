"""Memory limits of control groups, in files as the kernel writes them."""

import psutil
import pytest

from kseg.data.available_memory import available_memory

MB = 10**6


def write_group(folder, version, limit, usage, inactive):
    limit_name, usage_name, inactive_name = {
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        2: ("memory.max", "memory.current", "inactive_file"),
    }[version]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / limit_name).write_text(f"{limit}\n")
    (folder / usage_name).write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{inactive_name} {inactive}\nactive_file 7\n")


@pytest.mark.parametrize(
    ("version", "memberships", "folder"),
    [
        (2, "0::/\n", "."),
        (2, "0::/user.slice/run-1.scope\n", "user.slice/run-1.scope"),
        (2, "0::/user.slice/run-1.scope\n", "user.slice"),
        (1, "5:cpu,cpuacct:/\n4:memory:/docker/ab\n0::/\n", "memory/docker/ab"),
        (1, "4:memory:/docker/ab\n", "memory"),
    ],
)
def test_a_container_may_use_what_its_limit_leaves(tmp_path, version, memberships, folder):
    # Of 95 MB in use, 20 are page cache that the kernel drops when memory is needed.
    write_group(tmp_path / folder, version, 100 * MB, 95 * MB, 20 * MB)
    assert available_memory(tmp_path, memberships) == 25 * MB


def test_the_lowest_of_nested_limits_counts(tmp_path):
    write_group(tmp_path / "a", 2, 50 * MB, 20 * MB, 0)
    write_group(tmp_path / "a/b", 2, "max", 10 * MB, 0)
    assert available_memory(tmp_path, "0::/a/b\n") == 30 * MB


def test_a_group_beyond_its_limit_leaves_nothing(tmp_path):
    write_group(tmp_path, 2, 100 * MB, 101 * MB, 0)
    assert available_memory(tmp_path, "0::/\n") == 0


def test_without_a_limit_all_free_memory_is_available(tmp_path):
    everything = psutil.virtual_memory().total
    assert 0 < available_memory(tmp_path, "") <= everything
    write_group(tmp_path, 2, "max", 10, 0)
    # Version 1 has no word for "no limit".
    write_group(tmp_path / "memory", 1, 9223372036854771712, 10, 0)
    assert 10**7 < available_memory(tmp_path, "0::/\n4:memory:/\n") <= everything
    assert 0 < available_memory() <= everything
