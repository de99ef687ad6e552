"""/proc/slabinfo (mm/slab_common.c cache_show(), mm/slub.c get_slabinfo(); 6.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from kmem.mm.mm_types import slab
from kmem.mm.slub_freelist import oo_objects, oo_order

if TYPE_CHECKING:
    from kmem.mm.api import Mm
    from kmem.mm.view import View

_HEADER = """\
slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> <batchcount> \
<sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>
"""


class SlabInfo(NamedTuple):
    """``struct slabinfo``: what one line says. SLUB has no tunables and no shared array; these are 0 in the text."""

    active_objs: int
    num_objs: int
    active_slabs: int
    num_slabs: int
    objects_per_slab: int
    cache_order: int


def cache_nodes(view: View, s: Any) -> Iterator[tuple[int, Any]]:
    """``for_each_kmem_cache_node()``: node numbers and ``struct kmem_cache_node``."""
    for node in range(view.kdata.nr_node_ids):
        n = s.node[node]
        if n:
            yield node, n


def count_free(sl: Any) -> int:
    """``int count_free(struct slab *slab)``."""
    return int(sl.objects - sl.inuse)


def count_inuse(sl: Any) -> int:
    """``int count_inuse(struct slab *slab)``."""
    return int(sl.inuse)


def count_partial(view: View, n: Any, get_count: Callable[[Any], int]) -> int:
    """``unsigned long count_partial(n, get_count)``: a sum over the node's partial slabs."""
    return sum(get_count(sl) for sl in view.list(n.partial, slab, "slab_list"))


def get_slabinfo(view: View, s: Any) -> SlabInfo:
    """``void get_slabinfo(struct kmem_cache *s, struct slabinfo *sinfo)``.

    Free objects of slabs that belong to a CPU count as active: only the nodes' partial lists are looked at.
    """
    slabs = objects = free = 0
    for _, n in cache_nodes(view, s):
        slabs += int(n.nr_slabs)
        objects += int(n.total_objects)
        free += count_partial(view, n, count_free)
    return SlabInfo(objects - free, objects, slabs, slabs, oo_objects(s.oo.x), oo_order(s.oo.x))


def _line(view: View, s: Any) -> str:
    i = get_slabinfo(view, s)
    return (
        f"{view.cache_name(s):<17} {i.active_objs:6} {i.num_objs:6} {s.size:6} {i.objects_per_slab:4} "
        f"{1 << i.cache_order:4} : tunables {0:4} {0:4} {0:4} : slabdata {i.active_slabs:6} {i.num_slabs:6} {0:6}\n"
    )


def slabinfo(mm: Mm) -> str:
    """/proc/slabinfo: the newest cache first."""
    return _HEADER + "".join(_line(mm.view, s) for s in mm.view.caches())
