"""Memory, cores and free disk of this machine, container or job."""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self")
MB = 2**20
JOB_CORES = ("SLURM_CPUS_PER_TASK", "LSB_DJOB_NUMPROC", "NSLOTS")
"""Where Slurm, LSF and SGE say how many cores a job or task has."""


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
    for group, version in _groups("memory"):
        name = "memory.max" if version == 2 else "memory.limit_in_bytes"
        with suppress(OSError, ValueError):  # "max" is no number: no limit
            yield int((group / name).read_text(encoding="utf-8"))


def _groups(controller: str) -> Iterator[tuple[Path, int]]:
    """The process' own control group and all groups around it, each with its version, 1 or 2."""
    try:
        lines = (OWN / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, kinds, own = line.split(":", 2)
        if kinds and controller not in kinds.split(","):
            continue
        root = CGROUPS / kinds
        if kinds and not root.is_dir():  # mounted by one name of several
            root = CGROUPS / controller
        folder = root / own.lstrip("/")
        for group in (folder, *folder.parents):
            yield group, 1 if kinds else 2
            if group == root:
                break


def core_count(environment: Mapping[str, str] = os.environ) -> int:
    """Cores that this process may use, at least 1.

    The least of its affinity, the CPU quota of its control groups (of a container:
    half a core counts as one), and the cores of its job or task.
    """
    counts = [_affinity(), *_quotas()]
    counts += [int(count) for name in JOB_CORES if (count := environment.get(name, "")).isdecimal()]
    return max(1, min(counts))


def limit_threads(environment: MutableMapping[str, str] = os.environ) -> None:
    """Have libraries that are loaded later start no more threads than there are cores.

    They know of affinity alone. What the user has set stays.
    """
    cores = core_count(environment)
    if cores < _affinity():
        environment.setdefault("OMP_NUM_THREADS", str(cores))  # OpenBLAS and MKL read it, too


def wait_without_spinning(environment: MutableMapping[str, str] = os.environ) -> None:
    """Have OpenMP's threads, of libraries that are loaded later, sleep where they wait.

    They would spin for some milliseconds on cores that a second process needs. What the
    user has set stays.
    """
    environment.setdefault("OMP_WAIT_POLICY", "passive")


def _affinity() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _quotas() -> Iterator[int]:
    """Cores that the time of each group with a quota amounts to, rounded up."""
    for group, version in _groups("cpu"):
        with suppress(OSError, ValueError, ZeroDivisionError):  # "max" is no number: no quota
            if version == 2:
                quota, period = (group / "cpu.max").read_text(encoding="utf-8").split()
            else:
                names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
                quota, period = ((group / name).read_text(encoding="utf-8") for name in names)
            if int(quota) > 0:  # -1 of version 1: no quota
                yield -(-int(quota) // int(period))


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
