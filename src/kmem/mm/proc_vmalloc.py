"""/proc/vmallocinfo (mm/vmalloc.c s_show(), 6.1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from struct import unpack_from
from typing import TYPE_CHECKING, Any

from kmem.abi.release import release
from kmem.lib.cstruct import VMEMMAP, CoreFault, load, s64, u64
from kmem.mm.mm_types import vmap_area
from kmem.mm.mmzone import NODES_MASK, NODES_PGSHIFT, PAGE_SIZE
from kmem.mm.proc_symbols import Symbols, symbol

if TYPE_CHECKING:
    from kmem.mm.api import Mm

HashPointer = Callable[[int], int]
"""``ptr_to_hashval()``: the number that ``%p`` prints for an address."""

WORDS = (
    ("VM_IOREMAP", " ioremap"),
    ("VM_ALLOC", " vmalloc"),
    ("VM_MAP", " vmap"),
    ("VM_USERMAP", " user"),
    ("VM_DMA_COHERENT", " dma-coherent"),
)
"""What a flag of an area is called."""


def _pointer(mm: Mm, addr: int, hash_pointer: HashPointer | None) -> str:
    """``0x%pK`` with kptr_restrict = 0. Without a hash: a kernel that has no key yet, or one that needs none."""
    if hash_pointer is not None:
        return f"0x{hash_pointer(addr):016x}"
    plain = mm.config.no_hash_pointers or mm.config.slub_debug
    return f"0x{addr:016x}" if plain else "0x(____ptrval____)"


def _range(mm: Mm, start: int, end: int, hash_pointer: HashPointer | None) -> str:
    start, end = u64(start), u64(end)
    return f"{_pointer(mm, start, hash_pointer)}-{_pointer(mm, end, hash_pointer)} {end - start:7}"


def _page_array(mm: Mm, addr: int, count: int) -> Iterator[int]:
    """``v->pages[0 … count - 1]``; the array may itself be vmalloc memory. CoreFault where nothing is mapped."""
    while count:
        here = min(count, (PAGE_SIZE - addr % PAGE_SIZE) // 8)
        phys = mm.phys_of(addr)
        if phys < 0:
            raise CoreFault(addr, 8, False)
        yield from unpack_from(f"<{here}Q", mm.ram.mem, phys)
        addr, count = addr + 8 * here, count - here


def _numa(mm: Mm, v: Any) -> str:
    """``show_numa_info()``: `` N0=4``, pages by node."""
    step = 1 << v.page_order
    counts: Counter[int] = Counter()
    for at in islice(_page_array(mm, u64(v.pages), v.nr_pages), None, None, step):
        counts[load(mm.ram, VMEMMAP, s64(at), 8, False) >> NODES_PGSHIFT & NODES_MASK] += step
    return "".join(f" N{node}={counts[node]}" for node in range(mm.view.kdata.nr_node_ids) if counts[node])


def _area(mm: Mm, va: Any, kallsyms: Symbols | None, hash_pointer: HashPointer | None) -> str:
    v = va.vm
    if not v:
        return _range(mm, va.va_start, va.va_end, hash_pointer) + " vm_map_ram\n"
    constants = release(mm.config.release).constants
    line = _range(mm, v.addr, v.addr + v.size, hash_pointer)
    if v.caller:
        line += f" {symbol(kallsyms, u64(v.caller))}"
    if v.nr_pages:
        line += f" pages={v.nr_pages}"
    if v.phys_addr:
        line += f" phys=0x{u64(v.phys_addr):016x}"
    line += "".join(word for flag, word in WORDS if v.flags & constants[flag])
    if mm.is_vmalloc_addr(u64(v.pages)):
        line += " vpages"
    if not v.flags & constants["VM_UNINITIALIZED"]:
        line += _numa(mm, v)
    return line + "\n"


def vmallocinfo(mm: Mm, kallsyms: Symbols | None = None, hash_pointer: HashPointer | None = None) -> str:
    """/proc/vmallocinfo: busy areas by address, then, if there is one, the freed ones that wait for a purge."""
    lines = [_area(mm, va, kallsyms, hash_pointer) for va in mm.view.vmap_areas()]
    if lines:
        for va in mm.view.list(mm.view.kdata.purge_vmap_area_list, vmap_area, "list"):
            lines.append(_range(mm, va.va_start, va.va_end, hash_pointer) + " unpurged vm_area\n")
    return "".join(lines)
