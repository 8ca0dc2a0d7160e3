"""Processes that train together, with what torchrun gives them; forked, which saves its start."""

import os
from collections.abc import Callable

from support.processes import Process


def run_together(
    work: Callable[[list[str]], None], *arguments: object, count: int = 2
) -> tuple[list[int | None], str]:
    """Do the work in several processes; return their exit codes and what they wrote to stderr."""
    from torch.distributed import TCPStore

    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    same = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "GROUP_RANK": "0",
        "TORCHELASTIC_RUN_ID": "tests",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    processes = [
        Process(work, *arguments, environment={**same, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(count)
    ]
    message = "".join(process.finish() for process in processes)
    return [process.returncode for process in processes], message
