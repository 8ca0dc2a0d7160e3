"""Plain English in README and docs: words that are banned, and sentences that are too long.

    python scripts/checks/check_prose.py            # part of `make lint`; exit code 1 for a fault

Readers of the pages have English as a second language. A sentence has one
thought; words are used in their plain meaning. Code, tables and links are not
prose and are not checked.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted({
    *ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "data_manifests").glob("*.md"),
    *(ROOT / "scripts").glob("*.md"), *(ROOT / "nucleipel").rglob("*.md"),
} - {ROOT / "CHANGELOG.md"})  # fmt: skip
MOST_WORDS = 35
BANNED = {
    r"told|tells?": "say, show, report",
    r"asked|asks": "need, want, request",
    r"judged?s?": "measure, decide",
    r"beside": "compared with, next to",
    r"by (?:its|their) own": "alone",
    r"those of": "name the thing again",
    r"(?:in|into) the (?:night|dark)": "say what is meant",
    r"besides": "and, also",
    r"thereof|therein|hereby|whereby": "of it, in it",
    r"utili[sz]e[sd]?": "use",
    r"in order to": "to",
    r"leverages?": "use",
    r"simply|just|obviously|of course": "leave it out",
}
"""Patterns of words that are not used, and what to write."""
CODE = re.compile(r"^(```|~~~).*?^\1 *$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`[^`]*`")
LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)", re.DOTALL)


def faults(text: str) -> list[tuple[int, str]]:
    """List what is wrong in a page of Markdown: line number and message."""
    found = []
    for start, paragraph in _paragraphs(text):
        for pattern, instead in BANNED.items():
            for match in re.finditer(rf"\b(?:{pattern})\b", paragraph, re.IGNORECASE):
                line = start + paragraph.count("\n", 0, match.start())
                found.append((line, f"'{match[0]}'; write: {instead}"))
        at = 0
        for sentence in re.split(r"(?<=[.!?:])\s+(?=[A-Z0-9*(\[]|code)|(?<=;)\s", paragraph):
            words = len(re.findall(r"[\w'-]*[A-Za-z][\w'-]*", sentence))
            if words > MOST_WORDS:
                line = start + paragraph.count("\n", 0, at)
                found.append((line, f"a sentence of {words} words; at most {MOST_WORDS}"))
            at += len(sentence) + 1
    return sorted(found)


def _paragraphs(text: str) -> list[tuple[int, str]]:
    """Return prose by paragraph and item of a list, with the number of its first line."""
    text = CODE.sub(lambda match: "\n" * match[0].count("\n"), text)
    text = LINK.sub(lambda match: match[1], INLINE.sub("code", text))
    paragraphs: list[tuple[int, str]] = []
    new = True
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith(("|", "#", "<")):
            new = True
        elif new or re.match(r"\s*(?:[-*]|\d+\.) ", line):
            paragraphs.append((number, line))
            new = False
        else:
            paragraphs[-1] = (paragraphs[-1][0], f"{paragraphs[-1][1]}\n{line}")
    return paragraphs


def main() -> None:
    """Check all pages; print each fault with its file and line."""
    lines = [
        f"{page.relative_to(ROOT)}:{number}: {message}"
        for page in PAGES
        for number, message in faults(page.read_text(encoding="utf-8"))
    ]
    print("\n".join(lines), end="\n" if lines else "")  # noqa: T201
    sys.exit(bool(lines))


if __name__ == "__main__":
    main()
