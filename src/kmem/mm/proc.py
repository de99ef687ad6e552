"""What /proc says about memory, computed from the structures in RAM when it is asked for (release 6.1).

Each file's module has the rules, and says which figures stay 0 because the model does not have what they count.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kmem.errors import UsageError
from kmem.mm import proc_system, vmstat
from kmem.mm.proc_iomem import iomem
from kmem.mm.proc_meminfo import meminfo
from kmem.mm.proc_slab import slabinfo
from kmem.mm.proc_vmalloc import HashPointer, vmallocinfo
from kmem.mm.proc_zones import buddyinfo, pagetypeinfo, zoneinfo

if TYPE_CHECKING:
    from kmem.mm.api import Mm
    from kmem.mm.proc_symbols import Symbols

_SHOW: dict[str, Callable[[Mm], str]] = {
    "buddyinfo": buddyinfo,
    "meminfo": meminfo,
    "pagetypeinfo": pagetypeinfo,
    "slabinfo": slabinfo,
    "cmdline": proc_system.cmdline,
    "cpuinfo": proc_system.cpuinfo,
    "loadavg": proc_system.loadavg,
    "stat": proc_system.stat,
    "swaps": proc_system.swaps,
    "uptime": proc_system.uptime,
    "version": proc_system.version,
    "vmstat": vmstat.text,
    "zoneinfo": zoneinfo,
}
NAMES = tuple(sorted([*_SHOW, "iomem", "modules", "vmallocinfo"]))
"""The files below /proc that there are."""


def text(
    mm: Mm,
    name: str,
    *,
    kallsyms: Symbols | None = None,
    hash_pointer: HashPointer | None = None,
    modules: Callable[[], str] = str,
) -> str:
    """The text of /proc/*name*, for root; UsageError for a file that there is not.

    *kallsyms* names the addresses in vmallocinfo and the parts of the kernel image in iomem. *hash_pointer* gives the
    number that ``%p`` prints for an address; without it addresses print as ``(____ptrval____)``, or as they are if the
    boot has no_hash_pointers or slub_debug. *modules* gives the text of /proc/modules; without it there are none.
    """
    if name == "modules":
        return modules()
    if name == "vmallocinfo":
        return vmallocinfo(mm, kallsyms, hash_pointer)
    if name == "iomem":
        return iomem(mm, kallsyms)
    if name == "allocinfo":
        raise UsageError(
            "there is no /proc/allocinfo: the modelled kernels are built without CONFIG_MEM_ALLOC_PROFILING",
            remedy="kmem run --json lists every allocation by call site, as file:line func",
        )
    if name not in _SHOW:
        raise UsageError(f"there is no /proc/{name}", remedy=f"choose one of {', '.join(NAMES)}")
    return _SHOW[name](mm)
