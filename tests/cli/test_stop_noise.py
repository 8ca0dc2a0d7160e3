"""A stop prints one line, whatever it leaves half made."""

import subprocess
import sys

STOPPED_WITHIN_ITS_MAKING = """
import signal, sys
from nucleipel.cli.main import cli, main

class EventLoop:
    def __init__(self):
        signal.raise_signal(signal.SIGINT)
        self.socket = None
    def __del__(self):
        self.socket

async def open_array():
    pass

@cli.command()
def work():
    coroutine = open_array()
    EventLoop()

sys.argv = ["nucleipel", "work"]
main()
"""


def test_no_complaint_of_an_event_loop_that_was_never_finished() -> None:
    code = STOPPED_WITHIN_ITS_MAKING
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    assert done.stderr == "stopped by SIGINT: the same command continues\n"
    assert done.returncode == 130
