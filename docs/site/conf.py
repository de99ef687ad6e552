"""The documentation as a site: `./dev site`. Its pages are the Markdown files of the repository, where they are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from docutils import nodes
from source_links import LINK, ROOT, outside_fences, rewritten, target
from sphinx.application import Sphinx
from sphinx.util import logging

log = logging.getLogger(__name__)

project = "kmem"
copyright = "the authors of kmem; GPL-2.0-or-later"
extensions = ["myst_parser"]
root_doc = "docs/README"
include_patterns = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "docs/*.md",
    "docs/decisions/*.md",
    "examples/*/README.md",
]
exclude_patterns = [".*", "src", "tests", "build", "benchmarks", "docs/site"]
nitpicky = True
highlight_language = "none"
myst_heading_anchors = 3
myst_url_schemes = ["http", "https", "mailto", "source"]
html_theme = "furo"
html_title = "kmem"
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["wide.css"]
html_js_files = ["keys.js"]

SHOWN: set[str] = set()
"""The sources to which pages link: each has a page."""


def listed(text: str) -> Iterator[tuple[str, list[str]]]:
    """The headings of the page that lists all pages, each with the links below it."""
    heading, links = "", []
    for _, line, prose in outside_fences(text):
        if prose and line.startswith("## "):
            if links:
                yield heading, links
            heading, links = line[3:].strip(), []
        elif prose and line.startswith("- "):
            links += [found[1] for found in LINK.finditer(line)][:1]
    if links:
        yield heading, links


def contents(page: Path, text: str) -> str:
    """The site's table of contents: what the page that lists all pages lists."""
    parts = []
    for heading, links in listed(text):
        entries = []
        for link in links:
            file, _ = target(page, link, "")
            if file.is_dir():
                pages = [file / "README.md"] if (file / "README.md").exists() else sorted(file.glob("*/README.md"))
            else:
                pages = [file]
            entries += ["/" + str(p.relative_to(ROOT).with_suffix("")) for p in pages]
        parts.append("\n".join(["```{toctree}", ":hidden:", f":caption: {heading}", "", *entries, "```"]))
    return "\n\n".join(parts)


def read(app: Sphinx, docname: str, source: list[str]) -> None:
    """Links out of the site lead to pages of source; lists of pages become the site's contents."""
    page = ROOT / f"{docname}.md"
    text, wrong = rewritten(page, source[0], lambda file: app.env.path2doc(str(file)) in app.env.found_docs)
    for problem in wrong:
        log.warning(problem)
    if docname == root_doc:
        text += "\n" + contents(page, source[0]) + "\n"
    if docname == "docs/decisions/README":
        text += "\n```{toctree}\n:glob:\n\n[0-9]*\n```\n"
    source[0] = text


def resolve(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Let references to source lead to the pages that `pages_of_source` makes."""
    for reference in doctree.findall(nodes.reference):
        uri = reference.get("refuri", "")
        if uri.startswith("source:"):
            path, _, anchor = uri.removeprefix("source:").partition("#")
            SHOWN.add(path)
            there = app.builder.get_relative_uri(docname, f"source/{path}")
            reference["refuri"] = there + (f"#{anchor}" if anchor else "")


def pages_of_source(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """A page for each file that a page links to."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import TextLexer, guess_lexer_for_filename
    from pygments.util import ClassNotFound

    for path in sorted(SHOWN):
        file = ROOT / path
        text = "\n".join(sorted(p.name for p in file.iterdir())) if file.is_dir() else file.read_text()
        try:
            lexer = guess_lexer_for_filename(file.name, text)
        except ClassNotFound:
            lexer = TextLexer()
        shown = highlight(text, lexer, HtmlFormatter(linenos="inline", lineanchors="L", anchorlinenos=True))
        yield f"source/{path}", {"title": path, "body": f"<h1><code>{path}</code></h1>\n{shown}"}, "page.html"


def finish(app: Sphinx, problem: Exception | None) -> None:
    """The address of the whole site leads to its first page."""
    if problem is None:
        first = f"{root_doc}.html"
        (Path(app.outdir) / "index.html").write_text(
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>kmem</title>'
            f'<meta http-equiv="refresh" content="0; url={first}"></head>'
            f'<body><a href="{first}">kmem</a></body></html>\n'
        )


def setup(app: Sphinx) -> None:
    """Connect the steps above."""
    app.connect("source-read", read)
    app.connect("doctree-resolved", resolve)
    app.connect("html-collect-pages", pages_of_source)
    app.connect("build-finished", finish)
