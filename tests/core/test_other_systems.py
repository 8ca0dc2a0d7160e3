"""Windows has no fcntl, resource, SIGUSR1, alarms or sysconf: a whole run does without them.

A process hides them from the package, and gives it a `msvcrt` that locks as
Windows does. What Windows does otherwise than POSIX is not tested by this.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from support import ROOT

from nucleipel.cli import cli

HIDE = """
import builtins, fcntl, os, signal, sys, types

msvcrt = types.ModuleType("msvcrt")
msvcrt.LK_NBLCK, msvcrt.locked = 2, []
def locking(descriptor, mode, count):
    assert (mode, count) == (2, 1)
    assert os.lseek(descriptor, 0, os.SEEK_CUR) > 2**20, "a locked byte cannot be read"
    fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    msvcrt.locked.append(descriptor)
msvcrt.locking = locking

USERS  # their own use of the system stays as it is
sys.modules["msvcrt"] = msvcrt
tried, true_import = [], builtins.__import__
def without(name, globals=None, *rest, **named):
    if name in ("fcntl", "resource") and str((globals or {}).get("__name__")).startswith("nuc"):
        tried.append(name)
        raise ImportError(name)
    return true_import(name, globals, *rest, **named)
builtins.__import__ = without
for name in ("SIGUSR1", "SIGALRM", "setitimer", "alarm"):
    delattr(signal, name)
for name in ("sysconf", "sched_getaffinity", "O_CLOEXEC", "pread", "pwrite", "fork"):
    delattr(os, name)
"""
RUN = (
    HIDE.replace("USERS", "import psutil, subprocess, torch, zarr")
    + """
from nucleipel.cli import main
sys.argv = ["nucleipel", *sys.argv[1:]]
try:
    main()
finally:
    assert sorted(set(tried)) == ["fcntl", "resource"], tried
    assert msvcrt.locked, "nothing was locked"
"""
)
HOLD = (
    HIDE.replace("USERS", "import psutil, subprocess")
    + """
from pathlib import Path
from nucleipel.core.locks import Lock
lock = Lock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
lock.release()
"""
)


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.slow
def test_a_run_without_them_gives_the_same_bytes(
    tmp_path: Path, random_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tmp_path / "image.tif"
    pixels = np.random.default_rng(0).integers(0, 255, (96, 80), dtype=np.uint8)
    tifffile.imwrite(image, pixels)
    command = ["segment", str(image), "--checkpoint", str(random_checkpoint), "--device", "cpu"]
    command += ["--mpp", "0.5", "--out", "out"]
    for where in ("here", "there"):
        (tmp_path / where).mkdir()
    subprocess.run(
        [sys.executable, "-c", RUN, *command],
        check=True,
        cwd=tmp_path / "there",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    monkeypatch.chdir(tmp_path / "here")
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 0, result.output
    assert _contents(tmp_path / "there") == _contents(tmp_path / "here")


def test_a_lock_without_record_locks_keeps_others_out(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    hold = [sys.executable, "-c", HOLD, str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    first = subprocess.Popen(
        hold, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    second = subprocess.run(hold, input="", capture_output=True, text=True, env=environment)
    assert f"HeldError: process {first.pid} on " in second.stderr
    first.communicate("")
    third = subprocess.run(hold, input="", capture_output=True, text=True, env=environment)
    assert third.stdout == "held\n", third.stderr
    assert not path.exists()
