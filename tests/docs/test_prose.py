"""The check of prose finds what it is for, and the pages pass it."""

import importlib.util
from types import ModuleType

import pytest
from support import ROOT


@pytest.fixture(scope="module")
def check() -> ModuleType:
    path = ROOT / "scripts" / "checks" / "check_prose.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_banned_words_and_long_sentences_have_their_line(check: ModuleType) -> None:
    long = " ".join(["word"] * 50)
    page = f"# Title\n\nThe user is told\nby its own.\n\n- {long}.\n"
    lines = [line for line, _ in check.faults(page)]
    assert lines == [3, 4, 6]


def test_code_tables_and_links_are_no_prose(check: ModuleType) -> None:
    page = "```\nit is told\n```\n\n| those of | told |\n\n`told` and [a page](those%20of.md).\n"
    assert check.faults(page) == []


def test_the_pages_pass(check: ModuleType) -> None:
    faults = {
        f"{page.relative_to(ROOT)}:{line}: {message}"
        for page in check.PAGES
        for line, message in check.faults(page.read_text(encoding="utf-8"))
    }
    assert faults == set()
