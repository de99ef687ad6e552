"""The facts of a real kernel, booted now: Debian's, as it is (debian) and with slub_debug (debug)."""

from __future__ import annotations

from collections.abc import Iterable

from tests.differential.boot import Load, boot
from tests.truth import slabs
from tests.truth.convert import facts_of
from tests.truth.facts import Fact, Golden
from tests.truth.log import Step, steps_of_serial
from tests.truth.modules import built, loads

APPEND = {"debian": "", "debug": "slub_debug=FZPU"}
"""The configurations that Debian's kernel has; ``plain`` is a kernel that nobody ships."""

TOGETHER = (("km1024", ""), ("vm1024", ""), ("probe", ""), *(("burst", f"size={size}") for size in (64, 1024, 96)))
"""What is loaded in one boot. A module that breaks the kernel has a boot of its own."""


AT_THE_FIRST = "oops=panic"
"""Ends the boot at the first oops. A kernel that goes on may hang on a lock that the oops left taken."""


def steps(wanted: Iterable[tuple[str, str]], append: str) -> list[Step]:
    """Load modules, with their parameters, in one boot."""
    answer = boot([Load(built(module), words) for module, words in wanted], append)
    return steps_of_serial(answer.console)


def facts_of_real_kernel(golden: Golden) -> list[Fact]:
    """Ask the real kernel what the golden facts say that it answers."""
    append = APPEND[golden.config]
    if golden.module == "slabinfo":
        return slabs.facts_of_slabinfo(golden.config, boot([], append).files["after/slabinfo"])
    if golden.module == "bug":
        append = f"{append} {AT_THE_FIRST}".strip()
        found = [step for words in loads(golden) for step in steps([("bug", words)], append)]
    else:
        found = [step for step in steps(TOGETHER, append) if step.module == golden.module]
    return facts_of(golden.config, found)[golden.module]
