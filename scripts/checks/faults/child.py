"""Run commands in forked children, which saves the imports: the start of Python is not tested."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable

# all that commands import late, before any fork
import matplotlib.backends.backend_agg
import matplotlib.figure  # noqa: F401
import pandas  # noqa: F401

import nucleipel.stages.demo  # noqa: F401
from nucleipel.cli.main import cli
from nucleipel.instances.precompile import compile_all

compile_all()  # each child would load the compiled code of its own


class Child:
    """A forked child that does some work, the leader of its own process group.

    With `held` it stops itself before the work, until `go_on` is called.
    """

    def __init__(self, work: Callable[[], None], *, held: bool = False) -> None:
        self._read, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            os.dup2(write, 1)
            os.dup2(write, 2)
            if held:
                os.kill(os.getpid(), signal.SIGSTOP)
            _work_and_exit(work)
        os.close(write)

    def wait_until_held(self) -> None:
        """Wait until the child has stopped itself."""
        os.waitpid(self.pid, os.WUNTRACED)

    def go_on(self) -> None:
        """Let a held child begin its work."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Send SIGKILL to the whole group."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:  # it has not made its group yet, or has ended
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> tuple[int, str]:
        """Wait for the end; return the exit code (-9 if it was killed) and the output."""
        with os.fdopen(self._read, errors="replace") as stream:
            output = stream.read()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]), output


def in_child(work: Callable[[], None], *, kill_after: float | None = None) -> tuple[int, str]:
    """Do the work in a child, killed after `kill_after` seconds; return exit code and output."""
    child = Child(work)
    if kill_after is not None:
        time.sleep(kill_after)
        child.kill()
    return child.wait()


def run(arguments: list[str], *, kill_after: float | None = None) -> tuple[int, str]:
    """Run a command of nucleipel in a child."""
    return in_child(lambda: cli(arguments), kill_after=kill_after)


def _work_and_exit(work: Callable[[], None]) -> None:
    code = 1
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    try:
        work()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
