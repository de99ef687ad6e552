"""The machines that are asked: one for each configuration, booted when it is first needed, each at a snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kmem.compare import Lab
from kmem.kapi.executor import TaskDied
from kmem.lib.cstruct import CoreFault

if TYPE_CHECKING:
    from collections.abc import Callable

    from kmem.kernel import Kernel

CRASH = "the kernel crashes: a BUG or an oops"
REPORT = "the kernel complains in its log and goes on"
FREED = "nothing is said, and the memory is free again"
SILENT = "nothing is said, and the memory is not given back"


class Room:
    """Machines of one release by configuration (plain, debian, debug), whose memory has been used for a while."""

    def __init__(self, release: str, seed: int) -> None:
        self.release, self.seed = release, seed
        self._labs: dict[str, Lab] = {}

    def lab(self, config: str = "debian") -> Lab:
        """The machine of that configuration, as it was after its boot."""
        import kmem

        if config not in self._labs:
            self._labs[config] = Lab(kmem.boot(release=self.release, config=config, seed=self.seed))
        self._labs[config].reset()
        return self._labs[config]

    def kernel(self, config: str = "debian") -> Kernel:
        """The kernel of :meth:`lab`."""
        return self.lab(config).k

    def outcome(self, lab: Lab, p: int, act: Callable[[], None]) -> str:
        """What comes of *act*, which frees *p* in some way: one of the four sentences above."""
        lab.trouble.clear()
        try:
            act()
        except (CoreFault, TaskDied):
            return CRASH
        if lab.trouble:
            return REPORT
        return FREED if lab.is_free(p) else SILENT

    def close(self) -> None:
        """Give the machines back."""
        for lab in self._labs.values():
            lab.k.close()
