"""Links from a page to a file of the repository that is no page lead to GitHub."""

import re
from pathlib import Path

from sphinx.application import Sphinx

REPOSITORY = "https://github.com/nucleipel/nucleipel"
PAGES = (".md", ".ipynb")
LINK = re.compile(r"(?<!!)(\[[^\]]*\])\(([^)#\s:]+)(#[^)\s]*)?\)")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the change of sources, which Sphinx calls for each page that it reads."""
    app.connect("source-read", _rewrite)
    return {"parallel_read_safe": True}


def _rewrite(app: Sphinx, docname: str, source: list[str]) -> None:
    docs = Path(app.srcdir)
    folder = Path(app.env.doc2path(docname)).parent

    def lead(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        there = (folder / target).resolve()
        if not there.exists() or (there.suffix in PAGES and there.is_relative_to(docs)):
            return match[0]
        kind = "tree" if there.is_dir() else "blob"
        path = there.relative_to(docs.parent).as_posix()
        return f"{text}({REPOSITORY}/{kind}/main/{path}{anchor})"

    source[0] = LINK.sub(lead, source[0])
