"""How the tests of whole runs call ``kmem run``: through the command, in a process of its own, like a user."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from kmem.modules.kbuild import build

ROOT = Path(__file__).resolve().parent.parent.parent
KMOD = ROOT / "tests" / "kmod"
EXAMPLES = ROOT / "examples"


@dataclass(frozen=True)
class Ran:
    """One call of the command."""

    status: int
    out: str
    err: str

    @property
    def told(self) -> str:
        """Everything that a person sees."""
        return self.out + self.err

    @property
    def json(self) -> dict[str, Any]:
        """The object of ``--json``."""
        document: dict[str, Any] = json.loads(self.out)
        return document

    @property
    def finding(self) -> dict[str, Any]:
        """The only finding."""
        [finding] = self.json["findings"]
        return dict(finding)

    @property
    def dmesg(self) -> str:
        """The texts of the kernel log."""
        return "\n".join(record["text"] for record in self.json["dmesg"])


@cache
def module(directory: str) -> Path:
    """The ``.ko`` that a directory below the repository makes."""
    [path] = build(ROOT / directory).modules
    return path


def run(*words: str | Path, cwd: Path = ROOT, timeout: float = 700, **env: str) -> Ran:
    """Call ``kmem run``; whatever comes of it, no traceback is shown."""
    done = subprocess.run(
        [sys.executable, "-m", "kmem", "run", *map(str, words)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "KMEM_DEBUG": "0", **env},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    ran = Ran(done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in ran.told, ran.told
    assert "internal error" not in ran.told, ran.told
    return ran


def line_of(source: str, marker: str) -> int:
    """The number of the only line of *source* (below the repository) that has *marker*."""
    lines = (ROOT / source).read_text().splitlines()
    [number] = [number for number, line in enumerate(lines, 1) if marker in line]
    return number
