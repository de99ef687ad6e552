"""docs/oops.md names what the command knows; what it shows is tested with every page, by tests/docs."""

from __future__ import annotations

import re
from pathlib import Path

from kmem.oops.rules import CAUSES


def test_every_cause_is_named(root: Path) -> None:
    words = set(re.findall(r"\w+", (root / "docs/oops.md").read_text()))
    assert set(CAUSES) <= words
