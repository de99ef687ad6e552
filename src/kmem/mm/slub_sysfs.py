"""/sys/kernel/slab: one directory for each cache (mm/slub.c, 6.1, Debian's configuration)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from kmem.abi.slab_flags import SlabFlags, slab_flags
from kmem.errors import UsageError
from kmem.lib.cstruct import u64
from kmem.mm.mm_types import kmem_cache, page
from kmem.mm.mmzone import NODES_MASK, NODES_PGSHIFT
from kmem.mm.proc_slab import cache_nodes, count_free, count_inuse, count_partial
from kmem.mm.proc_symbols import Symbols, symbol
from kmem.mm.slub_freelist import oo_objects, oo_order
from kmem.mm.vmstat import per_cpu_ptr

if TYPE_CHECKING:
    from kmem.mm.api import Mm
    from kmem.mm.view import View

_Show = Callable[["View", Any], str]
_ID_LETTERS = (
    ("SLAB_CACHE_DMA", "d"),
    ("SLAB_CACHE_DMA32", "D"),
    ("SLAB_RECLAIM_ACCOUNT", "a"),
    ("SLAB_CONSISTENCY_CHECKS", "F"),
    ("SLAB_ACCOUNT", "A"),
)


def _flags(view: View) -> SlabFlags:
    return slab_flags(view.ram.release)


def slab_unmergeable(view: View, s: Any) -> bool:
    """``int slab_unmergeable(struct kmem_cache *s)``."""
    return bool(
        view.kdata.slab_nomerge or s.flags & _flags(view).SLAB_NEVER_MERGE or s.ctor or s.usersize or s.refcount < 0
    )


def directory(view: View, s: Any) -> str:
    """The name of a cache's directory: its own, or ``:A-0000128`` if others may merge (``create_unique_id()``)."""
    if slab_unmergeable(view, s):
        return view.cache_name(s)
    letters = "".join(letter for flag, letter in _ID_LETTERS if s.flags & getattr(_flags(view), flag))
    return f":{letters}{'-' if letters else ''}{s.size:07}"


def _counts(counts: Iterable[tuple[int, int]]) -> str:
    """``340 N0=340``: the sum, and the nodes that have any."""
    nodes: dict[int, int] = {}
    for node, n in counts:
        nodes[node] = nodes.get(node, 0) + n
    each = "".join(f" N{node}={nodes[node]}" for node in sorted(nodes) if nodes[node])
    return f"{sum(nodes.values())}{each}"


def _all(view: View, s: Any, objects: bool, free_too: bool) -> str:
    """``show_slab_objects()`` with SO_ALL: slabs, or objects."""

    def each() -> Iterator[tuple[int, int]]:
        for node, n in cache_nodes(view, s):
            count = int(n.total_objects) if objects else int(n.nr_slabs)
            yield node, count - (count_partial(view, n, count_free) if objects and not free_too else 0)

    return _counts(each())


def _partial(view: View, s: Any, objects: bool) -> str:
    """``show_slab_objects()`` with SO_PARTIAL: slabs of the nodes' partial lists, or the objects in use in them."""

    def each() -> Iterator[tuple[int, int]]:
        for node, n in cache_nodes(view, s):
            yield node, count_partial(view, n, count_inuse) if objects else int(n.nr_partial)

    return _counts(each())


def _node_of(view: View, sl: Any) -> int:
    return int(view.ptr(page, sl._addr).flags >> NODES_PGSHIFT & NODES_MASK)


def _cpu_slabs(view: View, s: Any) -> str:
    """``show_slab_objects()`` with SO_CPU: slabs that belong to CPUs."""

    def each() -> Iterator[tuple[int, int]]:
        for cpu in range(view.kdata.nr_cpu_ids):
            c = per_cpu_ptr(view, s.cpu_slab, cpu)
            if c.slab:
                yield _node_of(view, c.slab), 1
                if c.partial:
                    yield _node_of(view, c.partial), c.partial.slabs

    return _counts(each())


def _slabs_cpu_partial(view: View, s: Any) -> str:
    """``64(2) C0=32(1) C1=32(1)``: on the CPUs' partial lists, objects (taken to be half of what fits) and slabs."""
    slabs = {}
    for cpu in range(view.kdata.nr_cpu_ids):
        first = per_cpu_ptr(view, s.cpu_slab, cpu).partial
        if first:
            slabs[cpu] = int(first.slabs)
    half = oo_objects(s.oo.x)
    total = sum(slabs.values())
    each = "".join(f" C{cpu}={n * half // 2}({n})" for cpu, n in slabs.items())
    return f"{total * half // 2}({total}){each}"


def _flag(name: str) -> _Show:
    return lambda view, s: str(int(s.flags & getattr(_flags(view), name) != 0))


def _member(name: str) -> _Show:
    return lambda view, s: str(getattr(s, name))


_SHOW: dict[str, _Show] = {
    "aliases": lambda view, s: str(max(s.refcount - 1, 0)),
    "align": _member("align"),
    "cache_dma": _flag("SLAB_CACHE_DMA"),
    "cpu_partial": _member("cpu_partial"),
    "cpu_slabs": _cpu_slabs,
    "destroy_by_rcu": _flag("SLAB_TYPESAFE_BY_RCU"),
    "hwcache_align": _flag("SLAB_HWCACHE_ALIGN"),
    "min_partial": _member("min_partial"),
    "object_size": _member("object_size"),
    "objects": partial(_all, objects=True, free_too=False),
    "objects_partial": partial(_partial, objects=True),
    "objs_per_slab": lambda view, s: str(oo_objects(s.oo.x)),
    "order": lambda view, s: str(oo_order(s.oo.x)),
    "partial": partial(_partial, objects=False),
    "poison": _flag("SLAB_POISON"),
    "reclaim_account": _flag("SLAB_RECLAIM_ACCOUNT"),
    "red_zone": _flag("SLAB_RED_ZONE"),
    "remote_node_defrag_ratio": lambda view, s: str(s.remote_node_defrag_ratio // 10),
    "sanity_checks": _flag("SLAB_CONSISTENCY_CHECKS"),
    "slab_size": _member("size"),
    "slabs": partial(_all, objects=False, free_too=True),
    "slabs_cpu_partial": _slabs_cpu_partial,
    "store_user": _flag("SLAB_STORE_USER"),
    "total_objects": partial(_all, objects=True, free_too=True),
    "trace": _flag("SLAB_TRACE"),
    "usersize": _member("usersize"),
}
ATTRIBUTES = tuple(sorted([*_SHOW, "ctor", "shrink", "validate"]))
"""The files of a cache's directory. ``shrink`` and ``validate`` are there to be written; they read as nothing."""


def find_cache(mm: Mm, cache: str | int) -> Any:
    """The ``struct kmem_cache`` at an address, or of a name, an alias or a directory. UsageError if there is none."""
    if isinstance(cache, int):
        return mm.view.ptr(kmem_cache, cache)
    for name, target in mm.view.aliases():
        if name == cache:
            return mm.view.ptr(kmem_cache, target)
    for s in mm.view.caches():
        if cache in (mm.view.cache_name(s), directory(mm.view, s)):
            return s
    raise UsageError(f"there is no slab cache {cache!r}", remedy="/proc/slabinfo has the names of all caches")


def links(mm: Mm) -> dict[str, str]:
    """The symbolic links of /sys/kernel/slab: each name of a cache that others may merge with, and its directory."""
    view = mm.view
    found = {view.cache_name(s): directory(view, s) for s in view.caches() if not slab_unmergeable(view, s)}
    return found | {name: directory(view, view.ptr(kmem_cache, s)) for name, s in view.aliases()}


def sysfs(mm: Mm, cache: str | int, attribute: str, *, kallsyms: Symbols | None = None) -> str:
    """The text of /sys/kernel/slab/*cache*/*attribute*.

    *cache* is a name, a directory or the address of a ``kmem_cache``. ``ctor`` names its function through *kallsyms*.
    UsageError for a cache or an attribute that there is not.
    """
    if attribute not in ATTRIBUTES:
        raise UsageError(
            f"a slab cache has no attribute {attribute!r}", remedy=f"choose one of {', '.join(ATTRIBUTES)}"
        )
    s = find_cache(mm, cache)
    if attribute in _SHOW:
        return _SHOW[attribute](mm.view, s) + "\n"
    if attribute == "ctor" and s.ctor:
        return symbol(kallsyms, u64(s.ctor)) + "\n"
    return ""
