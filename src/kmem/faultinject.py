"""``--fail-nth`` and ``--fail-each``: what a module does when an allocation fails (failslab, fail_page_alloc).

The module is loaded once. Before each try the machine goes back to the moment before init; then one allocation of the
module's fails: once, or that one and all after it. Each try is judged like any run: a task that dies, a leak, a wrong
access are findings, with the number of the allocation that failed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from kmem.errors import UnsupportedSymbol
from kmem.mm.stream import Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from kmem.kernel import Kernel
    from kmem.modules.module import Module

MOST = 100_000
"""Allocations that are failed at most."""
NEVER = -1


@dataclass(frozen=True, slots=True)
class Ended:
    """How a module's life went: what init returned (None: it did not return), what became of exit."""

    init: int | None
    exit: str | None
    died: bool

    def __str__(self) -> str:
        if self.died:
            return "the task died" if self.init is None else "the task died in exit"
        if self.init is not None and self.init < 0:
            return f"init returned {self.init}"
        return f"init returned {self.init}, exit ran" if self.exit == "done" else f"init returned {self.init}"


def live(kernel: Kernel, module: Module, between: Callable[[], object] = lambda: None) -> Ended:
    """Run init, *between* and exit of a loaded module."""
    from kmem.kapi.executor import TaskDied
    from kmem.kapi.insmod import InitFailed

    init: int | None = None
    ended: str | None = None
    died = False
    try:
        loaded = kernel.loader.init(module)
        init = loaded.init
        between()
        kernel.tasks.settle()
        ended = "none"
        if module.exit_function:
            ended = None
            loaded.rmmod()
            ended = "done"
    except InitFailed as error:
        init, ended = error.code, "not run"
    except (TaskDied, UnsupportedSymbol):
        died = True
    kernel.drain()
    return Ended(init, ended, died)


@dataclass(frozen=True, slots=True)
class Injection:
    """One try: which allocation failed, where, and what came of it. *lasting*: all after it failed, too."""

    number: int
    lasting: bool
    call: str
    site: str
    outcome: str
    findings: int


class Failing:
    """Makes allocations of one kernel fail."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel, self._private = kernel, kernel.mm.core.private
        self._lasting = False
        self.failed: Event | None = None
        self.site = ""
        self._sites: dict[int, str] = {}
        kernel.events.listen(self._event)

    def _event(self, event: Event) -> None:
        if event.ptr in (0, (1 << 64) - 1) and self.failed is None and self._kernel.loader.is_code(event.call_site):
            self.failed = event
            known = self._sites.get(event.call_site)
            if known is None:
                known = self._sites[event.call_site] = str(self._kernel.site.call_site(event.call_site))
            self.site = known
            if self._lasting:
                self._private.fail_after = 0
        elif self._lasting and self.failed is not None and self._private.fail_after < 0:
            self._private.fail_after = 0

    def arm(self, number: int, lasting: bool) -> None:
        """Let allocation *number* from now on fail, counted from 1."""
        self.failed, self.site, self._lasting = None, "", lasting
        self._private.fail_after = number - 1
        also = " and all after it" if lasting else ""
        self._kernel.circumstances = f" (allocation {number}{also} failed)"
        self._kernel.reproduce = f" --fail-nth {number}{' --fail-all' if lasting else ''}"

    def disarm(self) -> None:
        """Let no allocation fail."""
        self._lasting = False
        self._private.fail_after = NEVER
        self._kernel.circumstances = self._kernel.reproduce = ""


def fail_each(kernel: Kernel, module: Module, leaks: Callable[[], None]) -> list[dict[str, Any]]:
    """Fail every allocation of the module's life in turn; *leaks* looks for what is left after a try.

    The module must be loaded and its init not run; the machine is in that state again afterwards.
    """
    kernel.snapshot()
    failing = Failing(kernel)
    before = kernel.mm.core.private.allocations
    live(kernel, module)
    count = kernel.mm.core.private.allocations - before
    tries = []
    for number in range(1, min(count, MOST) + 1):
        for lasting in (False, True):
            kernel.rollback()
            failing.arm(number, lasting)
            known = kernel.findings.total
            ended = live(kernel, module)
            if not ended.died and ended.exit != "none":
                leaks()
            event = failing.failed
            tries.append(
                Injection(
                    number,
                    lasting,
                    event.kind if event else "",
                    failing.site,
                    str(ended),
                    kernel.findings.total - known,
                )
            )
            failing.disarm()
    kernel.rollback()
    kernel.leaks.restart()
    return [asdict(one) for one in tries]
