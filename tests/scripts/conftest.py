"""Run recipes of `scripts/` with stand-ins that log their arguments."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import pytest
from support import ROOT

SCRIPTS = ROOT / "scripts" / "reproduce"
STAND_IN = """#!{python}
import json, os, sys
from pathlib import Path

arguments = sys.argv[1:]
with Path(os.environ["LOG"]).open("a") as stream:
    stream.write(json.dumps([Path(sys.argv[0]).name, *arguments]) + "\\n")
if "--out" in arguments:
    out = Path(arguments[arguments.index("--out") + 1])
    out.mkdir(parents=True, exist_ok=True)
"""


class RunRecipe(Protocol):
    """Runs `SCRIPT DATA OUT` below tmp_path; returns program and arguments of each command."""

    def __call__(
        self, script: str, stand_ins: Mapping[str, str], **variables: str
    ) -> list[list[str]]: ...


@pytest.fixture
def run_recipe(tmp_path: Path) -> RunRecipe:
    """`stand_ins` says in Python what a program leaves in its `out`, Paths and `arguments`."""
    programs = tmp_path / "bin"
    programs.mkdir()
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), "/usr/bin:/bin"])
    log = tmp_path / "commands"

    def run(script: str, stand_ins: Mapping[str, str], **variables: str) -> list[list[str]]:
        log.unlink(missing_ok=True)
        for name, leaves in stand_ins.items():
            (programs / name).write_text(STAND_IN.format(python=sys.executable) + leaves)
            (programs / name).chmod(0o755)
        subprocess.run(
            [SCRIPTS / script, tmp_path / "data", tmp_path / "out"],
            env={"PATH": path, "LOG": str(log), **variables},
            check=True,
            capture_output=True,
        )
        return [json.loads(line) for line in log.read_text().splitlines()]

    return run
