"""Every command line of the pages is one that the real command line takes; nothing is run."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from support import ROOT

from nucleipel import config
from nucleipel.cli import cli
from nucleipel.config.settings import Settings

PAGES = sorted({
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "data_manifests").glob("*.md"),
    *(ROOT / "configs").rglob("*.yaml"),
    *(ROOT / "scripts").rglob("*.sh"),
    *(ROOT / "nucleipel" / "model" / "weights").glob("*.md"),
})  # fmt: skip
STARTS = r"(?:# *|\$ |uv run |torchrun .* -m |srun .*|docker run .* |apptainer run )?"
CALL = re.compile(rf"^\s*{STARTS}nucleipel(?:\.sif)? +((?:-[qv] )?[a-z][a-z-]*(?: .*)?)$")
INLINE = re.compile(r"`(nucleipel [^`]+)`")
SETTING = re.compile(r"--set[ =]+'?\"?([a-z_.]+)=")


class Line(NamedTuple):
    """A command line, and where it stands."""

    place: str
    text: str
    whole: bool
    """Whether it names all that it needs: a mention in a sentence may not."""


def _lines(page: Path) -> list[Line]:
    """Command lines in blocks of code, comments and `inline code` of a page."""
    text = re.sub(r" *\\\n[ #]*", " ", page.read_text(encoding="utf-8"))
    name = page.relative_to(ROOT).as_posix()
    if page.suffix != ".md":
        return [Line(name, call, True) for call in _calls(text.splitlines())]
    blocks = re.findall(r"^ *```(?!python)\w*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    mentions = [" ".join(code.split()) for code in INLINE.findall(prose)]
    return [
        *(Line(name, call, True) for call in _calls("".join(blocks).splitlines())),
        *(Line(name, call, "--" in call) for call in _calls(mentions)),
    ]


def _calls(lines: list[str]) -> list[str]:
    calls = [match[1] for match in map(CALL.search, lines) if match]
    return [call for call in calls if not re.match("in Python|import FORMAT", call)]


def _is_whole(line: Line) -> bool:
    return line.whole and not re.search(r"\.\.\.|\$|COMMAND", line.text)


LINES = [line for page in PAGES for line in _lines(page)]


def test_there_are_lines() -> None:
    shown = {shlex.split(line.text, comments=True)[0] for line in LINES if _is_whole(line)}
    assert set(cli.commands) <= shown


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"{line.place}: {line.text}"[:90])
def test_the_command_line_takes_it(line: Line) -> None:
    words = shlex.split(line.text, comments=True)
    words = words[1:] if words[0] in ("-q", "-v") else words
    assert words[0] in cli.commands, line
    command = cli.commands[words[0]]
    if _is_whole(line):
        command.make_context(words[0], words[1:])
    else:
        known = {name for option in command.params for name in option.opts}
        assert {word.split("=")[0] for word in words if word.startswith("--")} <= known | {"--help"}


def _keys(kind: type[Settings], prefix: str = "") -> set[str]:
    keys = set()
    for name, field in kind.model_fields.items():
        keys.add(prefix + name)
        for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(part, type) and issubclass(part, Settings):
                keys |= _keys(part, f"{prefix}{name}.")
    return keys


def test_every_setting_that_is_set_exists() -> None:
    kinds = [getattr(config, name) for name in config.__all__ if name.endswith("Config")]
    known = set().union(*map(_keys, kinds))
    set_somewhere = {
        (page.relative_to(ROOT).as_posix(), key)
        for page in PAGES
        for key in SETTING.findall(page.read_text(encoding="utf-8"))
        if page.name != "CHANGELOG.md"
    }
    assert {(page, key) for page, key in set_somewhere if key not in {*known, "key"}} == set()


def test_click_refuses_what_does_not_exist() -> None:
    with pytest.raises(click.NoSuchOption):
        cli.commands["segment"].make_context("segment", ["a.png", "--out", "o", "--nope"])
