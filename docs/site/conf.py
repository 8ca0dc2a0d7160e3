"""How Sphinx builds the site: `make docs` calls it with this folder's settings.

The pages are Markdown (MyST), so that they also read well on GitHub.
Nothing in the built site is loaded from elsewhere.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from nucleipel import __version__

project = "nucleipel"
copyright = "the nucleipel authors; BSD-3-Clause"  # noqa: A001 - Sphinx reads this name
release = __version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
    "repository_links",
    "settings_list",
    "notebook_page",
]
exclude_patterns = ["site"]
suppress_warnings = ["ref.python"]  # several results have an attribute `labels`
myst_heading_anchors = 4
highlight_language = "none"
default_role = "literal"  # one backtick, in docstrings
smartquotes = False  # it would make one dash of the two before an option
nitpicky = False
autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_google_docstring = False

html_theme = "furo"
html_title = f"nucleipel {release}"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "source_repository": "https://github.com/nucleipel/nucleipel",
    "source_branch": "main",
    "source_directory": "docs/",
}
