"""The rules, numbered as in the catalogue that ``kmem oops --explain RULE`` prints: one small function each."""

from kmem.oops.rules import (
    address,
    allocator,
    atomic,
    lifetime,
    pages,
    patterns,
    sanitizers,
    slub,
    small,
    stack,
)
from kmem.oops.rules.base import CAUSES, RULES, Case, Finding, Rule
from kmem.oops.rules.log import Doubt, doubts

__all__ = ["CAUSES", "RULES", "Case", "Doubt", "Finding", "Rule", "apply", "doubts"]

_FAMILIES = (address, allocator, atomic, lifetime, pages, patterns, sanitizers, slub, small, stack)


def apply(case: Case) -> list[Finding]:
    """What every rule says of *case*, the most confident first; equal ones by their numbers."""
    found = [finding for rule in RULES if (finding := rule.apply(case)) is not None]
    return sorted(found, key=lambda finding: (-finding.confidence, finding.rule))
