"""Memory, cores and free disk of this machine, container or job."""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self")
MB = 2**20


def memory_limit(environment: Mapping[str, str] = os.environ) -> tuple[int, str]:
    """The most memory that this process may take, in bytes, and what sets it."""
    limits = [(_memory_of_machine(), "the machine's memory")]
    limits += [(limit, "the cgroup's limit") for limit in _cgroup_limits()]
    per_node, per_core = environment.get("SLURM_MEM_PER_NODE"), environment.get("SLURM_MEM_PER_CPU")
    if per_node and per_node.isdecimal() and int(per_node):  # 0 is all of the machine
        limits.append((int(per_node) * MB, "the Slurm job's memory"))
    elif per_core and per_core.isdecimal():
        count = environment.get("SLURM_CPUS_ON_NODE", "")
        limits.append(
            (int(per_core) * MB * int(count if count.isdecimal() else 1), "the Slurm job's memory")
        )
    return min(limits)


def _memory_of_machine() -> int:
    if hasattr(os, "sysconf"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    import psutil  # installed on Windows only

    return int(psutil.virtual_memory().total)


def _cgroup_limits() -> Iterator[int]:
    """Limits of the process' own group and of all groups around it, versions 1 and 2."""
    try:
        lines = (OWN / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, kinds, own = line.split(":", 2)
        if kinds not in ("", "memory"):
            continue
        root = CGROUPS / kinds
        name = "memory.limit_in_bytes" if kinds else "memory.max"
        folder = root / own.lstrip("/")
        for group in (folder, *folder.parents):
            with suppress(OSError, ValueError):  # "max" is no number: no limit
                yield int((group / name).read_text(encoding="utf-8"))
            if group == root:
                break


def core_count() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_disk(path: Path) -> tuple[Path, int]:
    """The folder that `path` is in or would be made in, and the bytes that are free there."""
    folder = path.resolve()
    while not folder.is_dir():
        folder = folder.parent
    return folder, shutil.disk_usage(folder).free


def forget_peak() -> None:
    """Let `peak_bytes` count from now on, where the system can (Linux)."""
    with suppress(OSError):
        (OWN / "clear_refs").write_text("5", encoding="ascii")


def peak_bytes() -> int:
    """The most memory that this process held at a time, since `forget_peak` or its start."""
    with suppress(OSError, StopIteration):
        lines = (OWN / "status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024
    if resource is None:
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def bytes_below(path: Path) -> int:
    """Bytes of all files in a folder and below it."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
