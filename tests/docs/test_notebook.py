"""The notebook runs from top to bottom, as Jupyter would, and its outputs can be shown."""

import ast
import json
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from support import ROOT

import nucleipel as npl

pytestmark = pytest.mark.slow

NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def _show(value: Any) -> None:
    html = getattr(value, "_repr_html_", None)
    assert (html() if html else repr(value)) is not None


def _run(source: str, names: dict[str, Any]) -> None:
    """Run a cell; the value of its last line is shown."""
    body = ast.parse(source).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "cell", "exec"), names)  # noqa: S102
    if isinstance(last, ast.Expr):
        _show(eval(compile(ast.Expression(last.value), "cell", "eval"), names))  # noqa: S307


def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: None)
    names: dict[str, Any] = {}
    with matplotlib.rc_context():
        matplotlib.use("agg")
        for cell in CELLS:
            if cell["cell_type"] == "code":
                _run("".join(cell["source"]), names)
        names["plt"].close("all")
    assert names["labels"].max() > 5
    assert isinstance(names["tuned"], npl.Model)
    assert names["again"].shape == names["labels"].shape


def test_it_has_ten_cells_and_shows_no_path_of_a_machine() -> None:
    assert len(CELLS) == 10
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert not [folder for folder in ("home", "tmp", "root", "Users") if f"/{folder}/" in text]
    assert NOTEBOOK.stat().st_size < 300_000
