"""A notebook as a page: its cells as Markdown, its code and outputs as they were run."""

import json
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from myst_parser.parsers.sphinx_ import MystParser
from sphinx.application import Sphinx

RAW = "```{{raw}} html\n{}\n```"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the parser for files with the suffix .ipynb."""
    app.add_source_suffix(".ipynb", "notebook")
    app.add_source_parser(NotebookParser)
    return {"parallel_read_safe": True}


class NotebookParser(MystParser):
    """Parses a notebook of format 4 as the Markdown that it stands for."""

    supported = ("notebook",)

    def parse(self, inputstring: str, document: nodes.document) -> None:
        """Parse the text of the file into `document`."""
        cells = json.loads(inputstring)["cells"]
        super().parse("\n\n".join(part for cell in cells for part in _parts(cell)), document)


def _parts(cell: dict[str, Any]) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield f"```python\n{source}\n```"
    for output in cell["outputs"]:
        yield _shown(output)


def _shown(output: dict[str, Any]) -> str:
    """The richest form of an output that a page can hold."""
    data = output.get("data", {})
    if "image/png" in data:
        png = "".join(data["image/png"].split())
        return RAW.format(f'<img alt="output of the cell above" src="data:image/png;base64,{png}">')
    if "text/html" in data:
        return RAW.format("".join(data["text/html"]))
    return "```\n{}\n```".format("".join(data.get("text/plain", output.get("text", ""))))
