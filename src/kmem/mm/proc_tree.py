"""/proc, /sys/kernel/slab and /sys/devices/system/node as a tree of files: ``meminfo``, ``sys/vm/min_free_kbytes``,
``97/statm``, ``sys/kernel/slab/kmalloc-64/objects``, ``sys/devices/system/node/node0/numastat``.

`tree` says which files there are at this moment, and each is made when it is read. ``sys`` has what is below /proc/sys
and what is below /sys.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from kmem.lib.cstruct import u64
from kmem.mm import node_sysfs, proc, proc_maps
from kmem.mm.proc_system import tasks
from kmem.mm.slub_sysfs import ATTRIBUTES, directory, sysfs

if TYPE_CHECKING:
    from kmem.mm.api import Mm
    from kmem.mm.proc_symbols import Symbols
    from kmem.mm.proc_vmalloc import HashPointer

SLAB = "sys/kernel/slab"
_SYSCTLS: dict[str, Callable[[Mm], str]] = {
    "lowmem_reserve_ratio": lambda mm: "256\t256\t32\t0\t0",
    "min_free_kbytes": lambda mm: str(mm.view.kdata.min_free_kbytes),
    "watermark_boost_factor": lambda mm: str(mm.view.kdata.watermark_boost_factor),
    "watermark_scale_factor": lambda mm: str(mm.view.kdata.watermark_scale_factor),
}


@dataclass
class Tree:
    """What gives the text of each file, and where each symbolic link leads, by path."""

    files: dict[str, Callable[[], str]] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)


def tree(
    mm: Mm,
    *,
    kallsyms: Symbols | None = None,
    hash_pointer: HashPointer | None = None,
    modules: Callable[[], str] = str,
) -> Tree:
    """The files that there are now; the arguments are those of `kmem.mm.proc.text`.

    As in sysfs a cache that others may merge with has a directory like ``:0000128``, to which its name is a link. Of
    two caches that want one such directory the newer has none, as sysfs refuses the second.
    """
    show = partial(proc.text, mm, kallsyms=kallsyms, hash_pointer=hash_pointer, modules=modules)
    found = Tree({name: partial(show, name) for name in proc.NAMES})
    found.files |= {f"sys/vm/{name}": partial(_sysctl, mm, name) for name in _SYSCTLS}
    found.files |= {f"sys/devices/system/node/{name}": give for name, give in node_sysfs.files(mm).items()}
    _processes(mm, found)
    _caches(mm, found, kallsyms)
    return found


def _sysctl(mm: Mm, name: str) -> str:
    return _SYSCTLS[name](mm) + "\n"


def _processes(mm: Mm, found: Tree) -> None:
    """A directory for each task that has a number, and ``self`` for the one that runs."""
    current = mm.moment()[2]
    for task in tasks(mm):
        pid = int(task.pid)
        found.files |= {f"{pid}/{name}": give for name, give in proc_maps.files(mm.view, u64(task._addr)).items()}
        if pid == current:
            found.links["self"] = str(pid)


def _caches(mm: Mm, found: Tree, kallsyms: Symbols | None) -> None:
    seen = set()
    for s in reversed(list(mm.view.caches())):
        home, name = directory(mm.view, s), mm.view.cache_name(s)
        if home in seen:
            continue
        seen.add(home)
        if home != name:
            found.links[f"{SLAB}/{name}"] = home
        at = u64(s._addr)
        for attribute in ATTRIBUTES:
            found.files[f"{SLAB}/{home}/{attribute}"] = partial(sysfs, mm, at, attribute, kallsyms=kallsyms)
