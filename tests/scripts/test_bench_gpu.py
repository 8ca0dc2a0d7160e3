"""The table of a GPU says whether a goal is met; what has no goal is not judged."""

import runpy

import pytest
from support import ROOT

SCRIPT = ROOT / "scripts" / "benchmarks" / "bench_gpu.py"


@pytest.mark.parametrize(
    ("value", "limits", "goal", "met"),
    [
        (0.996, {"least": 0.995}, ">= 0.995", True),
        (0.9, {"least": 0.995}, ">= 0.995", False),
        (0.2, {"most": 0.1}, "<= 0.1", False),
        (0.2, {}, None, None),
    ],
)
def test_goals(value: float, limits: dict[str, float], goal: str | None, met: bool | None) -> None:
    row = runpy.run_path(str(SCRIPT))["_row"]("what", value, **limits)
    assert row == {"what": "what", "value": value, "goal": goal, "met": met}
