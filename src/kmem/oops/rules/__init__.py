"""The rules, numbered as in the catalogue that ``kmem oops --explain RULE`` prints: one small function each."""

from kmem.oops.rules import context, pages, pointers, slab
from kmem.oops.rules.base import CAUSES, RULES, Case, Finding, Rule
from kmem.oops.rules.log import Doubt, doubts

__all__ = ["CAUSES", "RULES", "Case", "Doubt", "Finding", "Rule", "apply", "doubts"]

_FAMILIES = (context, pages, pointers, slab)


def apply(case: Case) -> list[Finding]:
    """What every rule says of *case*, the most confident first; equal ones in the order of the rules."""
    found = [finding for rule in RULES if (finding := rule.apply(case)) is not None]
    return sorted(found, key=lambda finding: -finding.confidence)
