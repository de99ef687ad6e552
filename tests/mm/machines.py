"""How much the machines at random and the exhaustive tests do: KMEM_MACHINES=ci is the long run.

``KMEM_MACHINES=ci ./dev test tests/mm`` runs 1,000 machines of 100 steps each; without it there are fewer and shorter
ones, so that ``./dev test`` stays short.
"""

from __future__ import annotations

import os

from hypothesis import settings

PROFILE = os.environ.get("KMEM_MACHINES", "short")


def sized(machines: int, examples: int, steps: int) -> settings:
    """*machines* of 100 steps in the profile ``ci``, else *examples* of *steps*."""
    if PROFILE == "ci":
        return settings(max_examples=machines, stateful_step_count=100)
    return settings(max_examples=examples, stateful_step_count=steps)
