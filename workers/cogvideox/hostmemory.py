"""How much memory this machine has left for a process: the kernel's word, or the tightest control group's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psutil

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
# Where a control group says what it may use, what it uses, and how much of that is files that the kernel gives up:
# version 2, then version 1 (https://docs.kernel.org/admin-guide/cgroup-v2.html, .../cgroup-v1/memory.html).
_V2 = ("memory.max", "memory.current", ("inactive_file", "active_file"))
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))


@dataclass(frozen=True, slots=True)
class HostMemory:
    """Bytes: what there is in all, and what could be taken now without anything being swapped or killed."""

    total: int
    available: int


def read(machine: HostMemory | None = None, *, proc: Path = _PROC, cgroups: Path = _CGROUPS) -> HostMemory:
    """What is left of `machine` (the kernel's figures) under every control group that this process is in."""
    if machine is None:
        told = psutil.virtual_memory()
        machine = HostMemory(told.total, told.available)
    total, available = machine.total, machine.available
    for directory, files in _groups(proc, cgroups):
        if (group := _group(directory, *files)) is not None:
            total, available = min(total, group.total), min(available, group.available)
    return HostMemory(total, max(0, available))


def _groups(proc: Path, cgroups: Path) -> list[tuple[Path, tuple[str, str, tuple[str, ...]]]]:
    """The directories of the groups that this process is in, with their parents, and which files are in them.

    In a container the path is often one outside of it; then the root of what is mounted is the container's own group.
    """
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:  # no Linux
        return []
    found: list[tuple[Path, tuple[str, str, tuple[str, ...]]]] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root, files = cgroups, _V2
        elif "memory" in controllers.split(","):
            root, files = cgroups / "memory", _V1
        else:
            continue
        below = PurePosixPath(path.lstrip("/"))
        found += [(root / part, files) for part in (below, *below.parents)]
    return found


def _group(directory: Path, limit: str, used: str, files: tuple[str, ...]) -> HostMemory | None:
    """A group's limit and what is left of it; None where it has none."""
    try:
        most = (directory / limit).read_text().strip()
        if most == "max":
            return None
        stat = dict(line.split() for line in (directory / "memory.stat").read_text().splitlines())
        taken = int((directory / used).read_text()) - sum(int(stat.get(name, 0)) for name in files)
        return HostMemory(int(most), int(most) - taken)
    except (OSError, ValueError):
        return None
