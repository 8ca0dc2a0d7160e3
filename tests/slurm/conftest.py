"""A real Slurm of one node, private to the tests: own key, sockets and ports, nothing in /etc."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue")
CONF = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={run}/munge.socket
CredType=cred/munge
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={run}/ctld
SlurmdSpoolDir={run}/d
SlurmctldPidFile={run}/slurmctld.pid
SlurmdPidFile={run}/slurmd.pid
SlurmctldLogFile={run}/slurmctld.log
SlurmdLogFile={run}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
ReturnToService=2
SlurmdTimeout=300
InactiveLimit=0
KillWait=5
MinJobAge=300
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=cpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def _without_slurm() -> None:
    missing = [name for name in NEEDED if _which(name) is None]
    if not missing:
        return
    message = f"a real Slurm: {', '.join(missing)} not found; apt-get install slurm-wlm munge"
    if os.environ.get("NUCLEIPEL_REQUIRE_SLURM"):
        pytest.fail(message)
    pytest.skip(message)


def _which(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Runs one of Slurm's commands against the private cluster; returns what it prints."""
    _without_slurm()
    # sockets have short names, pytest's folders long ones
    run = Path(tempfile.mkdtemp(prefix="slurm-"))
    (run / "ctld").mkdir()
    (run / "d").mkdir()
    run.chmod(0o755)
    key = run / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    conf = run / "slurm.conf"
    host = socket.gethostname().split(".")[0]
    cpus = len(os.sched_getaffinity(0))
    user = getpass.getuser()
    conf.write_text(CONF.format(host=host, user=user, run=run, ports=_free_ports(2), cpus=cpus))
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(conf)
    daemons = [
        [
            _which("munged"), "--foreground", "--force", f"--key-file={key}",
            f"--socket={run}/munge.socket", f"--pid-file={run}/munged.pid",
            f"--log-file={run}/munged.log", f"--seed-file={run}/munged.seed",
        ],
        [_which("slurmctld"), "-D"],
        [_which("slurmd"), "-D", "-N", host],
    ]  # fmt: skip
    started: list[subprocess.Popen[bytes]] = []
    try:
        for command in daemons:
            with (run / f"{Path(str(command[0])).name}.out").open("wb") as out:
                started.append(subprocess.Popen(command, stdout=out, stderr=out))
            time.sleep(0.5)
        _wait_for_node(run, started)
        yield _call
    finally:
        if all(process.poll() is None for process in started[1:]):
            subprocess.run(["scancel", "--user", user], capture_output=True)
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if before is None:
            del os.environ["SLURM_CONF"]
        else:
            os.environ["SLURM_CONF"] = before
        shutil.rmtree(run, ignore_errors=True)


def _call(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _wait_for_node(run: Path, started: list[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = subprocess.run(["sinfo", "-h", "-o", "%t"], capture_output=True, text=True)
        if found.stdout.strip() == "idle":
            return
        time.sleep(0.2)
    logs = "\n".join(
        path.read_text(errors="replace")[-2000:] for path in run.glob("*.[lo]*") if path.is_file()
    )
    pytest.fail(f"the private Slurm did not start: {logs}")
