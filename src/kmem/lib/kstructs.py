"""The target release's C structs that model code points to."""

from __future__ import annotations

import json
import os
from pathlib import Path

from kmem.lib.cstruct import ANY, DIRECT, VMEMMAP, Struct

RELEASE = os.environ.get("KMEM_RELEASE", "6.1")
"""The release whose layout model code is compiled (or interpreted) with."""

_WINDOWS = {"page": VMEMMAP, "slab": VMEMMAP, "folio": VMEMMAP}
_WINDOWS |= dict.fromkeys(("list_head", "rb_node", "rb_root", "hlist_node", "hlist_head"), ANY)

_NAMES = """page slab folio list_head rb_node rb_root hlist_head hlist_node callback_head zone free_area zonelist
zoneref pglist_data per_cpu_pages per_cpu_zonestat kmem_cache kmem_cache_cpu kmem_cache_node kmem_cache_order_objects
reciprocal_value kobject track vm_struct vmap_area vmap_block""".split()

_FILE = Path(__file__).parent.parent / "abi" / "releases" / f"{RELEASE}.structs.json"
_layouts = json.loads(_FILE.read_bytes())
for _name in _NAMES:
    Struct(_name, _layouts[_name]["size"], _layouts[_name]["members"], _WINDOWS.get(_name, DIRECT))

rb_node = Struct.registry["rb_node"]
rb_root = Struct.registry["rb_root"]
list_head = Struct.registry["list_head"]
