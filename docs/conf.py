"""The site that ``make docs`` builds from these pages, which are also read as they are: plain Markdown."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import pytest_llmperf  # noqa: E402
from docs.reference import expanded  # noqa: E402

project = "pytest-llmperf"
author = "The pytest-llmperf authors"
copyright = author
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_copybutton"]
exclude_patterns = ["*.py", "__pycache__"]
highlight_language = "text"
myst_heading_anchors = 4
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
add_module_names = False
python_use_unqualified_type_names = True
maximum_signature_line_length = 90
copybutton_exclude = ".linenos, .gp, .go"

html_theme = "furo"
html_title = "pytest-llmperf"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False

SOURCE = os.environ.get("LLMPERF_SOURCE_URL", "").rstrip("/")
"""Where files of the repository that are no pages can be read, as in https://…/blob/main."""

if SOURCE:
    repository, _, branch = SOURCE.partition("/blob/")
    html_theme_options = {
        "source_repository": f"{repository}/",
        "source_branch": branch,
        "source_directory": "docs/",
        "top_of_page_buttons": ["view"],
    }

_LISTED = re.compile(r"\]\(([a-z][a-z0-9-]*)\.md\)")
_FILE_NAMES = re.compile(r"\[[a-z-]+\.md\]\(([a-z-]+\.md(?:#[\w-]+)?)\)")
"""Links whose text is the name of a file: on a site it is the title that tells."""
_OUTSIDE = re.compile(r"\[([^\]]*)\]\(\.\./([^)\s]+)\)")


def setup(app: Sphinx) -> None:
    """What this site has beside what its extensions do."""
    app.connect("source-read", _read)
    app.connect("missing-reference", _find)


def _read(app: Sphinx, docname: str, source: list[str]) -> None:
    page = expanded(source[0])
    if docname == app.config.root_doc:
        page += "".join(_trees(page))
    page = _FILE_NAMES.sub(r"[](\1)", page)
    source[0] = _OUTSIDE.sub(_outside, page)


def _trees(page: str) -> Iterator[str]:
    """The sidebar has what the landing page lists, under the same headings; comments keep places of pages to
    come."""
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        caption, _, listed = section.partition("\n")
        if names := [name for name in _LISTED.findall(listed) if (HERE / f"{name}.md").exists()]:
            lines = "\n".join(dict.fromkeys(names))
            yield f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{lines}\n```\n"


def _outside(found: re.Match[str]) -> str:
    """A link to a file of the repository that is no page of the site."""
    text, path = found.groups()
    if SOURCE:
        return f"[{text}]({SOURCE}/{path})"
    return text if path in text else f"{text} (`{path}`)"


def _find(app: Sphinx, env: Any, node: Any, contents: nodes.Node) -> nodes.Node | None:
    """Docstrings name things by where they are defined; the site documents the public ones of the package."""
    name = str(node.get("reftarget", "")).rpartition(".")[2]
    if node.get("refdomain") != "py" or name not in pytest_llmperf.__all__:
        return None
    found: nodes.Node | None = env.domains["py"].resolve_xref(
        env, node.get("refdoc"), app.builder, "obj", f"pytest_llmperf.{name}", node, contents
    )
    return found
