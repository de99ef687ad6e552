"""The C structs of a release that model code points to."""

from __future__ import annotations

import json

from kmem.abi.data import read
from kmem.abi.release import MODEL
from kmem.lib.cstruct import ANY, DIRECT, VMEMMAP, Struct

RELEASE = MODEL
"""The release whose layout model code is compiled (or interpreted) with."""

_WINDOWS = {"page": VMEMMAP, "slab": VMEMMAP, "folio": VMEMMAP}
_WINDOWS |= dict.fromkeys(("resource", "list_head", "rb_node", "rb_root", "hlist_node", "hlist_head"), ANY)

_NAMES = """page slab folio list_head rb_node rb_root hlist_head hlist_node callback_head zone free_area zonelist
zoneref pglist_data per_cpu_pages per_cpu_zonestat per_cpu_nodestat kmem_cache kmem_cache_cpu kmem_cache_node
 kmem_cache_order_objects reciprocal_value kobject track vm_struct vmap_area vmap_block
 lruvec mm_struct vm_area_struct pgprot task_struct resource""".split()
_OPTIONAL = ("mm_rss_stat", "percpu_counter")
"""Those that only some releases' model needs."""


def _fill(table: dict[str, Struct], release: str) -> None:
    layouts = json.loads(read(release, "structs.json"))
    for name in (*_NAMES, *(name for name in _OPTIONAL if name in layouts)):
        Struct(name, layouts[name]["size"], layouts[name]["members"], _WINDOWS.get(name, DIRECT), table)


_tables: dict[str, dict[str, Struct]] = {}


def structs(release: str) -> dict[str, Struct]:
    """The structs of *release* by name; of `RELEASE`, those that model code has. Raises UsageError for a release that
    is not modelled.
    """
    if release not in _tables:
        table = Struct.registry if release == RELEASE else {}
        _fill(table, release)
        _tables[release] = table
    return _tables[release]


structs(RELEASE)
rb_node = Struct.registry["rb_node"]
rb_root = Struct.registry["rb_root"]
list_head = Struct.registry["list_head"]
