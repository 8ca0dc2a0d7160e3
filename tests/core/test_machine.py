"""Cores and memory of a machine, a container or a job."""

import subprocess
import sys
from pathlib import Path

import pytest

from nucleipel.core import machine


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In place of /proc/self, in a machine without groups."""
    folder = tmp_path / "self"
    folder.mkdir()
    monkeypatch.setattr(machine, "OWN", folder)
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "cgroup")
    return folder


def _group(path: Path, file: str, text: str) -> None:
    path.mkdir(parents=True, exist_ok=True)
    (path / file).write_text(text)


def test_without_a_limit_it_is_the_machines_memory(own: Path) -> None:
    size, set_by = machine.memory_limit({})
    assert size > 2**28
    assert set_by == "the machine's memory"


def test_the_narrowest_group_counts(own: Path) -> None:
    (own / "cgroup").write_text("0::/job/step\n")
    _group(machine.CGROUPS / "job" / "step", "memory.max", "max\n")
    _group(machine.CGROUPS / "job", "memory.max", f"{3 * 2**20}\n")
    assert machine.memory_limit({}) == (3 * 2**20, "the cgroup's limit")


def test_groups_of_the_first_version(own: Path) -> None:
    (own / "cgroup").write_text("5:cpu,cpuacct:/a\n4:memory:/a/b\n")
    _group(machine.CGROUPS / "memory" / "a" / "b", "memory.limit_in_bytes", "5000000")
    assert machine.memory_limit({}) == (5000000, "the cgroup's limit")


@pytest.mark.parametrize(
    ("environment", "megabytes"),
    [
        ({"SLURM_MEM_PER_NODE": "100"}, 100),
        ({"SLURM_MEM_PER_CPU": "20", "SLURM_CPUS_ON_NODE": "3"}, 60),
        ({"SLURM_MEM_PER_CPU": "20"}, 20),
    ],
)
def test_a_slurm_job(own: Path, environment: dict[str, str], megabytes: int) -> None:
    assert machine.memory_limit(environment) == (megabytes * 2**20, "the Slurm job's memory")


def test_a_slurm_job_with_all_of_the_machine(own: Path) -> None:
    assert machine.memory_limit({"SLURM_MEM_PER_NODE": "0"})[1] == "the machine's memory"


@pytest.fixture
def many_cores(own: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(64)))
    return own


def test_without_a_quota_all_cores_of_the_affinity_are_used(many_cores: Path) -> None:
    (many_cores / "cgroup").write_text("0::/job\n")
    _group(machine.CGROUPS / "job", "cpu.max", "max 100000\n")
    assert machine.core_count({}) == 64


@pytest.mark.parametrize(
    ("quota", "cores"), [("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1)]
)
@pytest.mark.parametrize("place", ["", "job", "job/step"])
def test_a_cpu_quota_bounds_the_cores(many_cores: Path, quota: str, cores: int, place: str) -> None:
    (many_cores / "cgroup").write_text("0::/job/step\n")
    _group(machine.CGROUPS / place, "cpu.max", f"{quota}\n")
    assert machine.core_count({}) == cores


@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct", "cpuacct,cpu"])
@pytest.mark.parametrize(("quota", "cores"), [("300000", 3), ("-1", 64)])
def test_a_cpu_quota_of_the_first_version(
    many_cores: Path, controllers: str, quota: str, cores: int
) -> None:
    (many_cores / "cgroup").write_text(f"7:cpuset:/\n5:{controllers}:/docker/1\n")
    mounted = controllers if controllers != "cpuacct,cpu" else "cpu"  # by one name of the two
    _group(machine.CGROUPS / mounted, "cpu.cfs_quota_us", f"{quota}\n")
    _group(machine.CGROUPS / mounted, "cpu.cfs_period_us", "100000\n")
    assert machine.core_count({}) == cores


@pytest.mark.parametrize("name", ["SLURM_CPUS_PER_TASK", "LSB_DJOB_NUMPROC", "NSLOTS"])
def test_cores_of_a_job(many_cores: Path, name: str) -> None:
    assert machine.core_count({name: "4"}) == 4
    assert machine.core_count({name: "100"}) == 64
    assert machine.core_count({name: "4 (x2)"}) == 64


def test_libraries_are_bounded_unless_the_user_has_done_it(many_cores: Path) -> None:
    job = {"SLURM_CPUS_PER_TASK": "4"}
    machine.limit_threads(job)
    assert job["OMP_NUM_THREADS"] == "4"
    users = {"SLURM_CPUS_PER_TASK": "4", "OMP_NUM_THREADS": "9"}
    machine.limit_threads(users)
    assert users["OMP_NUM_THREADS"] == "9"
    free: dict[str, str] = {}
    machine.limit_threads(free)
    assert free == {}


def test_the_disk_of_what_is_not_there_yet(tmp_path: Path) -> None:
    folder, free = machine.free_disk(tmp_path / "a" / "b" / "out.zarr")
    assert folder == tmp_path.resolve()
    assert free > 0
    assert not list(tmp_path.iterdir())


HOLDING = """
import numpy as np
from nucleipel.core import machine
machine.forget_peak()
before = machine.peak_bytes()
held = np.ones(2**26, np.uint8)
between = machine.peak_bytes()
del held
after = machine.peak_bytes()
machine.forget_peak()
print(between - before, after - between, machine.peak_bytes() - after)
"""


def test_the_peak_is_what_was_held() -> None:
    """In a process of its own: here, what other tests left may be freed in the middle of it."""
    done = subprocess.run(
        [sys.executable, "-c", HOLDING], capture_output=True, text=True, check=True
    )
    rose, stayed, fell = map(int, done.stdout.split())
    assert 2**25 < rose < 2**27
    assert abs(stayed) < 2**21, "the kernel sums it up from each CPU, now and then"
    assert fell < -(2**25)


def test_bytes_below_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "x").write_bytes(b"123")
    (tmp_path / "a" / "b" / "y").write_bytes(b"4567")
    assert machine.bytes_below(tmp_path) == 7


def test_threads_sleep_unless_the_user_has_them_spin() -> None:
    free: dict[str, str] = {}
    machine.wait_without_spinning(free)
    assert free == {"OMP_WAIT_POLICY": "passive"}
    users = {"OMP_WAIT_POLICY": "active"}
    machine.wait_without_spinning(users)
    assert users == {"OMP_WAIT_POLICY": "active"}
