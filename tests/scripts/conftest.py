"""Recipes of `scripts/` with stand-ins, which tell what they were asked, for what they start."""

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
with Path(os.environ["ASKED"]).open("a") as stream:
    stream.write(json.dumps([Path(sys.argv[0]).name, *arguments]) + "\\n")
if "--out" in arguments:
    out = Path(arguments[arguments.index("--out") + 1])
    out.mkdir(parents=True, exist_ok=True)
"""


class RunRecipe(Protocol):
    """Runs `SCRIPT DATA OUT`, both below tmp_path; returns program and words of each command."""

    def __call__(
        self, script: str, stand_ins: Mapping[str, str], **variables: str
    ) -> list[list[str]]: ...


@pytest.fixture
def run_recipe(tmp_path: Path) -> RunRecipe:
    """`stand_ins` says in Python what a program leaves in its `out`, Paths and `arguments`."""
    programs = tmp_path / "bin"
    programs.mkdir()
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), "/usr/bin:/bin"])
    asked = tmp_path / "asked"

    def run(script: str, stand_ins: Mapping[str, str], **variables: str) -> list[list[str]]:
        asked.unlink(missing_ok=True)
        for name, leaves in stand_ins.items():
            (programs / name).write_text(STAND_IN.format(python=sys.executable) + leaves)
            (programs / name).chmod(0o755)
        subprocess.run(
            [SCRIPTS / script, tmp_path / "data", tmp_path / "out"],
            env={"PATH": path, "ASKED": str(asked), **variables},
            check=True,
            capture_output=True,
        )
        return [json.loads(line) for line in asked.read_text().splitlines()]

    return run
