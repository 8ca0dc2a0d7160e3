"""Commands in forked children, which saves the imports: the start of Python is not under test."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable

from nucleipel.cli.main import cli


class Child:
    """Work in a forked child, the leader of its own process group.

    With `held` it stops itself before the work, until it may `go_on`.
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
        """Until it has stopped itself."""
        os.waitpid(self.pid, os.WUNTRACED)

    def go_on(self) -> None:
        """Let it begin the work that it was held before."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL for the whole group."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:  # it has not made its group yet, or has ended
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> tuple[int, str]:
        """Its exit code (-9 if it was killed) and what it told."""
        with os.fdopen(self._read, errors="replace") as stream:
            told = stream.read()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]), told


def in_child(work: Callable[[], None], *, kill_after: float | None = None) -> tuple[int, str]:
    """Do it in a child, which is killed after so many seconds; exit code and what it told."""
    child = Child(work)
    if kill_after is not None:
        time.sleep(kill_after)
        child.kill()
    return child.wait()


def run(arguments: list[str], *, kill_after: float | None = None) -> tuple[int, str]:
    """A command of nucleipel in a child."""
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
