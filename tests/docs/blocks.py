"""The code blocks of a page, and what comes of running them in order. Pages of README.md and docs/ are tested so.

    ```console      `$ command`, and what it prints; `…` on a line of its own stands for lines that are not shown
    ```python       `>>> expression`, and what it prints; or a script, in the namespace of the page
    ```c            a file

A comment above a block says more: `<!-- file: NAME -->` writes it to that file, `<!-- more of: NAME -->` adds it there,
`<!-- replaces FUNCTION in: NAME -->` puts it there in place of the function, `<!-- exit: 1 -->` is how its last command
ends, `<!-- not run: REASON -->` lets it be.
Each page has a directory of its own, with copies of the examples; nothing else of the repository can be changed there.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shutil
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WORDS = r"(?:file|more of|replaces \w+ in|exit|not run)"
FENCE = re.compile(
    rf"(?P<notes>(?:^ *<!-- {WORDS}: [^\n]+ -->\n)*)^(?P<indent> *)```(?P<language>[^\n`]*)\n(?P<text>.*?)^ *```$",
    re.DOTALL | re.MULTILINE,
)
NOTE = re.compile(rf"<!-- ({WORDS}): (.+?) -->")
RUN = ("console", "python", "c", "make")
OMITTED = "…"


class Different(AssertionError):
    """A block does not show what comes of running it."""


@dataclass(frozen=True)
class Block:
    """One fenced block: where its text lies in the page, how far it is indented, what the comments above it say."""

    language: str
    text: str
    start: int
    end: int
    indent: str
    line: int
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def runs(self) -> bool:
        """Whether it is code that is run, or has to say why not."""
        return self.language in RUN and "not run" not in self.notes


def blocks(page: str) -> Iterator[Block]:
    """Every fenced block of a page."""
    for found in FENCE.finditer(page):
        notes = dict(NOTE.findall(found["notes"]))
        line = page.count("\n", 0, found.start("text"))
        text = re.sub(rf"^{found['indent']}", "", found["text"], flags=re.MULTILINE)
        start, end = found.span("text")
        yield Block(found["language"].strip(), text, start, end, found["indent"], line, notes)


class Workplace:
    """The directory in which the blocks of one page are run."""

    def __init__(self, root: Path, directory: Path) -> None:
        self.directory = directory
        self.names: dict[str, Any] = {"__name__": "page"}
        shutil.copytree(root / "examples", directory / "examples", ignore=shutil.ignore_patterns("__pycache__"))
        (directory / "tests").symlink_to(root / "tests")
        (directory / ".venv").symlink_to(sys.prefix)
        words = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.env = {**os.environ, "PATH": words, "COLUMNS": "100", "NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        for name in (
            "PYTEST_ADDOPTS",
            "PYTEST_CURRENT_TEST",
            "PYTEST_XDIST_WORKER",
            "GITHUB_ACTIONS",
            "KMEM_UPDATE",
            "CI",
            "BUILD_NUMBER",
        ):
            self.env.pop(name, None)

    def run(self, block: Block) -> str:
        """Run a block; what it should look like."""
        if self._kept(block):
            return block.text
        if block.language == "console":
            return self._console(block)
        if block.language == "python":
            return self._python(block)
        raise Different(f"line {block.line}: a block of {block.language} needs `file:`, or `not run:` and why")

    def _kept(self, block: Block) -> bool:
        """Whether the block is a file, or part of one; it is written."""
        for note, name in block.notes.items():
            file = self.directory / name
            if note in ("file", "more of"):
                file.parent.mkdir(parents=True, exist_ok=True)
                with file.open("w" if note == "file" else "a") as out:
                    out.write(block.text)
                return True
            if note.startswith("replaces "):
                function = re.compile(rf"^\S[^\n;]*\b{note.split()[1]}\([^\n;]*\n{{.*?^}}\n", re.DOTALL | re.MULTILINE)
                now, places = function.subn(lambda _: block.text, file.read_text())
                if places != 1:
                    raise Different(f"line {block.line}: {name} defines {note.split()[1]}() {places} times")
                file.write_text(now)
                return True
        return False

    def _console(self, block: Block) -> str:
        parts = re.split(r"^\$ (.*)\n", block.text, flags=re.MULTILINE)
        if parts[0] or len(parts) < 3:
            raise Different(f"line {block.line}: a console block begins with `$ command`")
        shown, status = "", 0
        for command, printed in zip(parts[1::2], parts[2::2], strict=True):
            done = subprocess.run(
                ["bash", "-c", f"(exit {status}); {command}"],
                cwd=self.directory,
                env=self.env,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            status = done.returncode
            now = re.sub(r"(passed|failed)(.*) in [\d.]+s(?: \([\d:]+\))?", r"\1\2 in 0.9s", done.stdout)
            now = now.replace(f"{self.directory}/", "")
            if OMITTED in printed.splitlines():
                now = _excerpt(printed, now, f"line {block.line}: $ {command}")
            shown += f"$ {command}\n{now}"
        wanted = int(block.notes.get("exit", "0"))
        if status != wanted:
            raise Different(f"line {block.line}: ended with {status}, not {wanted}:\n{done.stdout}{done.stderr}")
        return shown

    def _python(self, block: Block) -> str:
        with contextlib.chdir(self.directory):
            if not block.text.startswith(">>> "):
                exec(compile(block.text, f"<line {block.line}>", "exec"), self.names)
                return block.text
            shown = ""
            for example in doctest.DocTestParser().get_examples(block.text):
                lines = example.source.splitlines()
                if lines[-1].startswith(" "):
                    lines.append("")
                shown += "".join(f"{'... ' if n else '>>> '}{line}".rstrip() + "\n" for n, line in enumerate(lines))
                shown += self._statement(example.source)
            return shown

    def _statement(self, source: str) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            try:
                exec(compile(source, "<page>", "single"), self.names)
            except Exception as error:
                said = "".join(traceback.format_exception_only(error)).strip()
                return f"{out.getvalue()}Traceback (most recent call last):\n  ...\n{said}\n"
        return out.getvalue()


def _excerpt(shown: str, printed: str, where: str) -> str:
    """*shown*, when its lines are in *printed*, in order, those between two `…` together."""
    pieces = [piece.strip("\n") for piece in re.split(rf"^{OMITTED}\n", shown, flags=re.MULTILINE)]
    rest = "\n" + printed
    for piece in filter(None, pieces):
        _, found, rest = rest.partition(f"\n{piece}\n")
        if not found:
            raise Different(f"{where}: this is not there:\n{piece}\n\nbut this:\n{printed}")
        rest = "\n" + rest
    return shown


def played(root: Path, directory: Path, page: str) -> str:
    """Run all blocks of a page in order; the page with what they print now."""
    workplace = Workplace(root, directory)
    result, end = "", 0
    for block in blocks(page):
        if block.runs:
            result += page[end : block.start] + textwrap.indent(workplace.run(block), block.indent)
            end = block.end
    return result + page[end:]
