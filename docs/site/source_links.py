"""Links from a page into the sources: a path, or a path and a name in it. A name that is not there breaks the build.

`[slab_alloc_node](../src/kmem/mm/slub.py#slab_alloc_node)` is an ordinary link, which leads to the file wherever
Markdown is shown. On the site it leads to a page with the source, at the line of the definition.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^()\s#]*)(?:#([^()\s]*))?(?=\))")
PICTURES = (".png", ".svg")
FENCE = re.compile(r"\s*(```+|~~~+)")


class BrokenLink(ValueError):
    """A link of a page that leads nowhere; the text says from where, to what."""


def outside_fences(text: str) -> Iterator[tuple[int, str, bool]]:
    """Each line with its number, and whether it is prose and not a fenced block's."""
    fence = ""
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        found = FENCE.match(line)
        if fence:
            yield number, line, False
            if found and found[1].startswith(fence):
                fence = ""
        else:
            fence = found[1] if found else ""
            yield number, line, not found


def line_of(path: Path, name: str) -> int | None:
    """The line on which *name* (or `Class.method`) is defined in a Python file, None when it is not."""
    body: list[ast.stmt] = ast.parse(path.read_text()).body
    line = None
    for part in name.split("."):
        found = next((node for node in body if part in _defined(node)), None)
        if found is None:
            return None
        line, body = found.lineno, getattr(found, "body", [])
    return line


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def target(page: Path, path: str, name: str) -> tuple[Path, int | None]:
    """The file or directory that a link of *page* leads to, and the line of the name, if it has one."""
    file = Path(os.path.normpath(page.parent / path))
    shown = f"{page.relative_to(ROOT)}: {path}{'#' if name else ''}{name}"
    if not file.exists():
        raise BrokenLink(f"{shown}: there is no such file")
    if not name or file.suffix != ".py":
        return file, None
    line = line_of(file, name)
    if line is None:
        raise BrokenLink(f"{shown}: the file defines no such name")
    return file, line


def rewritten(page: Path, text: str, is_page: Callable[[Path], bool]) -> tuple[str, list[str]]:
    """*text* with its links out of the site as `source:PATH#LINE`, and what is wrong with its links."""
    wrong: list[str] = []

    def one(link: re.Match[str]) -> str:
        try:
            file, line = target(page, link[1], link[2] or "")
        except BrokenLink as error:
            wrong.append(str(error))
            return link[0]
        if file.suffix in PICTURES:
            return link[0]
        if file.is_dir():
            if not (file / "README.md").exists():
                return "source:" + file.relative_to(ROOT).as_posix()
            file = file / "README.md"
        if is_page(file):
            return os.path.relpath(file, page.parent) + (f"#{link[2]}" if link[2] else "")
        return f"source:{file.relative_to(ROOT).as_posix()}" + (f"#L-{line}" if line else "")

    lines = [LINK.sub(one, line) if prose and "](" in line else line for _, line, prose in outside_fences(text)]
    return "".join(lines), wrong
