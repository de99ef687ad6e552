"""Leaks that are meant: memory that stays behind at a named place, for a reason that is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any


@dataclass
class Allowance:
    """*site* is a function, a file, or file:line; a path counts from its end. Empty: anywhere."""

    site: str
    reason: str
    used: int = field(default=0, compare=False)
    """How many allocations it has excused."""

    def covers(self, facts: dict[str, Any], allocations: int = 1) -> bool:
        """Whether *allocations* made at *facts* (function, file, line) may stay; counted if so."""
        file, _, line = self.site.rpartition(":")
        if not line.isdigit():
            file, line = self.site, ""
        path = PurePath(facts.get("file") or "")
        same = PurePath(file).parts == path.parts[-len(PurePath(file).parts) :] if file and path.parts else False
        found = not self.site or self.site == facts.get("function")
        found = found or (same and (not line or int(line) == facts.get("line")))
        self.used += allocations * found
        return found
