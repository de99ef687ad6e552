"""A booted mm without the rest of a kernel: upcalls are counted and answered as the simplest kernel would."""

from __future__ import annotations

from collections import Counter

from kmem.mm import codes
from kmem.mm.api import Mm
from kmem.mm.config import configuration
from kmem.mm.validate import check_view

MIB = 1 << 20
NAMES = {value: name for name, value in vars(codes).items() if name.startswith("UP_")}


class BootedMm(Mm):
    """The mm, with what it told: ``upcalls["UP_WARN"]`` is how often, ``told`` the arguments of the reports."""

    def __init__(self, config: str = "plain", ram: int = 128 * MIB, **changes: object) -> None:
        self.upcalls: Counter[str] = Counter()
        self.told: list[tuple[str, int, int, int, int]] = []
        super().__init__(configuration(config, ram=ram, **changes), self.answer)
        self.start()
        self.upcalls.clear()
        self.told.clear()

    def answer(self, code: int, a: int, b: int, c: int, d: int) -> int:
        """Flags of a cache: what the command line adds. Anything else: 0."""
        name = NAMES[code]
        self.upcalls[name] += 1
        if name == "UP_CACHE_FLAGS":
            return self.config.kmem_cache_flags(self.view.string(a), b)
        if name != "UP_SLAB_TRACK":
            self.told.append((name, a, b, c, d))
        return 0

    def on_cpu(self, cpu: int) -> None:
        """From now on calls come from this CPU."""
        self.moment = lambda: (0, 0, 0, cpu, 0)
        self.core.private.cpu = cpu

    def drain(self) -> int:
        """Give all pages of all CPUs' lists back; how many."""
        return self.core.k_drain_all_pages()

    def zone_free(self) -> int:
        """Free pages of all zones, those on CPUs' lists not counted."""
        return sum(int(z.vm_stat[0]) for z in self.view.zones())


def expect_consistent(mm: Mm, only: tuple[str, ...] = ()) -> None:
    """No invariant (of *only*, or of all) is violated."""
    found = check_view(mm.view, only)
    if found:
        raise AssertionError("\n".join(f"{slug}: {message}" for slug, message in found))
