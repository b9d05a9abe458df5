"""The memory that this process may still allocate, also within a container."""

from pathlib import Path

import psutil

_V2 = ("memory.max", "memory.current", "inactive_file")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def available_memory(cgroups: Path = Path("/sys/fs/cgroup"), memberships: str | None = None) -> int:
    """Returns bytes: the kernel's estimate, or what the limit of a control group leaves of it.

    The limit of every enclosing group counts, in versions 1 and 2 of control groups. cgroups: where
    they are mounted. memberships: those of this process, as in /proc/self/cgroup (the default).
    """
    available = [psutil.virtual_memory().available]
    if memberships is None:
        own = Path("/proc/self/cgroup")
        memberships = own.read_text() if own.is_file() else ""
    for line in memberships.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, names = (cgroups / "memory", _V1) if controllers else (cgroups, _V2)
        group = Path(path.strip("/"))
        # Within a container, its own group is often mounted as the root.
        for folder in (root / group, *(root / parent for parent in group.parents)):
            available += _left(folder, *names)
    return max(0, min(available))


def _left(folder, limit_name, usage_name, reclaimable_name):
    """[bytes left] of a control group; [] if it has no limit or does not exist.

    The page cache counts as used; what of it was not used lately is freed on demand.
    """
    try:
        limit, usage = ((folder / name).read_text().strip() for name in (limit_name, usage_name))
        if limit == "max":
            return []
        statistics = dict(
            line.split(" ", 1) for line in (folder / "memory.stat").read_text().splitlines()
        )
        return [int(limit) - int(usage) + int(statistics.get(reclaimable_name, 0))]
    except FileNotFoundError:
        return []
