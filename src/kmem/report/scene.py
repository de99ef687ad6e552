"""Where everything lies in a machine's memory, as plain data for a picture: frames, slabs, areas, page tables.

It is read from RAM alone, with the classes that check the invariants; nothing here knows who will draw it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import numpy as np

from kmem.abi.address import MODULES_END, MODULES_VADDR, PAGE_OFFSET, VMALLOC_END, VMALLOC_START, VMEMMAP_START
from kmem.abi.address import START_KERNEL_MAP as KERNEL
from kmem.abi.release import release
from kmem.lib.cstruct import u64
from kmem.mm.mm_types import vm_struct
from kmem.mm.validate_buddy import CACHED, RESERVED, Buddy
from kmem.mm.validate_memory import PAGE_SIZE, Memory
from kmem.mm.validate_slub import CacheState, SlabState, Slub
from kmem.mm.validate_vmalloc import FRAME, PRESENT, PSE, Area, Vmap
from kmem.mm.view import View

STATES = ("not there", "reserved", "in use", "free", "on a CPU's list", "slab", "vmalloc", "page table", "module")
HOLE, KEPT, USED, FREE, CPU_LIST, SLAB, VMALLOC, TABLE, MODULE = range(len(STATES))
MOST_SLABS, MOST_BYTES = 2000, 192 << 10
"""Of so many slabs the free lists are told, and so many bytes of slabs."""
VM_FLAGS = ("VM_IOREMAP", "VM_ALLOC", "VM_MAP", "VM_USERMAP", "VM_DMA_COHERENT", "VM_NO_GUARD", "VM_ALLOW_HUGE_VMAP")
_ORDERS, _TYPES = 11, 5

Scene = dict[str, Any]


def scene(view: View, near: Iterable[int] = ()) -> Scene:
    """All of it. *near* are addresses whose slabs are told first and with their bytes."""
    memory = Memory(view)
    buddy, slub = Buddy(memory), Slub(memory)
    vmap = Vmap(buddy, slub)
    caches = {address: number for number, address in enumerate(slub.caches)}
    first = [(address - PAGE_OFFSET) // PAGE_SIZE for address in near if PAGE_OFFSET <= address < VMALLOC_START]
    return {
        "states": STATES,
        "pages": memory.last_pfn,
        "frames": _frames(buddy, slub, vmap, caches),
        "zones": [_zone(z) for z in buddy.zones],
        "caches": [_cache(cache) for cache in slub.caches.values()],
        **_slabs(memory, slub, caches, first),
        "areas": [_area(view, vmap, area) for area in vmap.busy],
        "lazy": [[hex(area.start), area.end - area.start] for area in vmap.lazy],
        "regions": _regions(view),
        "tables": _tables(view),
        "top": u64(view.kdata.swapper_pg_dir) - PAGE_OFFSET,
    }


def _frames(buddy: Buddy, slub: Slub, vmap: Vmap, caches: dict[int, int]) -> list[list[int]]:
    """Runs of page frames that are alike: first frame, how many, state, and its order or the number of its cache."""
    of_byte = np.full(256, HOLE, np.uint8)
    for byte, state in ((ord("."), USED), (ord("f"), FREE), (CACHED, CPU_LIST), (RESERVED, KEPT)):
        of_byte[byte] = state
    state = of_byte[buddy.states()].copy()
    what = np.zeros(len(state), np.int32)
    for z in buddy.zones:
        for block in z.free:
            what[block.pfn : block.pfn + (1 << block.order)] = block.order
    for sl in (*slub.slabs.values(), *slub.waiting):
        state[sl.pfn : sl.pfn + (1 << sl.order)] = SLAB
        what[sl.pfn : sl.pfn + (1 << sl.order)] = caches.get(sl.cache, -1)
    for leaf in vmap.mapped():
        frame, count = leaf.phys // PAGE_SIZE, leaf.size // PAGE_SIZE
        if frame + count <= len(state):
            there = state[frame : frame + count]
            there[there == USED] = MODULE if leaf.addr >= MODULES_VADDR else VMALLOC
    for table in vmap.tables:
        state[table // PAGE_SIZE] = TABLE
    changes = np.flatnonzero((np.diff(state) != 0) | (np.diff(what) != 0)) + 1
    starts = np.concatenate(([0], changes))
    counts = np.diff(np.concatenate((starts, [len(state)])))
    return np.stack((starts, counts, state[starts], what[starts]), axis=1).tolist()  # type: ignore[no-any-return]


def _zone(z: Any) -> dict[str, Any]:
    free = [[0] * _TYPES for _ in range(_ORDERS)]
    for block in z.free:
        free[block.order][block.migratetype] += 1
    waiting = sum(1 << block.order for _, block in z.pcp)
    return {"name": z.name, "start": z.start, "end": z.end, "free": free, "cpu_lists": waiting}


def _cache(cache: CacheState) -> dict[str, Any]:
    return {
        "name": cache.name,
        "size": cache.size,
        "object": cache.object_size,
        "inuse": cache.inuse,
        "left": cache.pad,
        "pointer": cache.offset,
        "order": int(cache.s.oo.x) >> 16,
        "red": bool(cache.flags & cache.f.SLAB_RED_ZONE),
    }


def _slabs(memory: Memory, slub: Slub, caches: dict[int, int], first: list[int]) -> Scene:
    """Slabs by frame: cache, order, objects, in use, where it is, and its free objects in the order of its lists."""
    wanted = [pfn for head in first for pfn in range(head, max(head - 8, -1), -1) if pfn in slub.slabs]
    where = {cache.addr: _places(cache) for cache in slub.caches.values()}
    told: dict[int, list[Any]] = {}
    raw: dict[int, str] = {}
    room = MOST_BYTES
    for pfn in dict.fromkeys((*wanted, *slub.slabs)):
        sl = slub.slabs[pfn]
        cache = slub.caches.get(sl.cache)
        if cache is None:
            continue
        size = PAGE_SIZE << sl.order
        if pfn in wanted and size <= room:
            raw[pfn] = base64.b64encode(memory.bytes_at(PAGE_OFFSET + pfn * PAGE_SIZE, size)).decode()
            room -= size
        free = _free(slub, cache, sl) if len(told) < MOST_SLABS else None
        place = where[cache.addr].get(pfn, "full")
        told[pfn] = [caches[sl.cache], sl.order, sl.objects, sl.inuse, place, free]
    return {
        "near": [pfn for pfn in dict.fromkeys(wanted) if pfn in raw],
        "slabs": told,
        "bytes": raw,
        "slabs_without_lists": max(0, len(told) - MOST_SLABS),
    }


def _free(slub: Slub, cache: CacheState, sl: SlabState) -> list[list[int]]:
    """The free objects of the CPU's list, then those of the slab's own, by number."""
    start = PAGE_OFFSET + sl.pfn * PAGE_SIZE + cache.pad
    lists = (cache.current.get(sl.pfn, []), sl.free)
    return [[(address - start) // cache.size for address in objects] for objects in lists]


def _places(cache: CacheState) -> dict[int, str]:
    places = dict.fromkeys(cache.current, "a CPU's current slab")
    for cpu, chain in enumerate(cache.cpu_partial):
        places |= dict.fromkeys(chain, f"on the partial list of CPU {cpu}")
    for node, partial in enumerate(cache.partial):
        places |= dict.fromkeys(partial, f"on the partial list of node {node}")
    return places


def _area(view: View, vmap: Vmap, area: Area) -> dict[str, Any]:
    """One area of vmalloc space; ``guard`` are the unmapped bytes at its end."""
    found: dict[str, Any] = {"start": hex(area.start), "size": area.end - area.start, "what": "vm_map_ram", "guard": 0}
    if area.vm:
        vm = view.ptr(vm_struct, area.vm)
        constants = release(view.ram.release).constants
        flags = [name for name in VM_FLAGS if vm.flags & constants.get(name, 0)]
        found |= {"what": " ".join(flags) or "VM_?", "pages": int(vm.nr_pages), "caller": hex(u64(vm.caller))}
        found["guard"] = 0 if "VM_NO_GUARD" in flags else min(PAGE_SIZE, found["size"])
    return found


def _regions(view: View) -> list[list[Any]]:
    ram = view.ram.size
    return [
        ["direct map of all memory", hex(PAGE_OFFSET), ram],
        ["vmalloc and ioremap", hex(VMALLOC_START), VMALLOC_END + 1 - VMALLOC_START],
        ["struct page of every frame", hex(VMEMMAP_START), view.ram.mem_map_size],
        ["kernel image", hex(KERNEL), 512 << 20],
        ["modules", hex(MODULES_VADDR), MODULES_END - MODULES_VADDR],
    ]


def _tables(view: View) -> dict[int, list[list[Any]]]:
    """Every page table by physical address: runs of entries, as index, how many, the first one, and the step."""
    found: dict[int, list[list[Any]]] = {}
    below = [(u64(view.kdata.swapper_pg_dir) - PAGE_OFFSET, 3)]
    while below:
        table, level = below.pop()
        if table in found or table + PAGE_SIZE > view.ram.size:
            continue
        entries = np.frombuffer(view.ram.mem, "<u8", 512, table)
        found[table] = _runs(entries, PAGE_SIZE << 9 * level)
        if level:
            used = entries[(entries & np.uint64(PRESENT | PSE)) == PRESENT]
            below += [(int(entry) & FRAME, level - 1) for entry in used]
    return found


def _runs(entries: Any, step: int) -> list[list[Any]]:
    runs: list[list[Any]] = []
    before = None
    for index in np.flatnonzero(entries).tolist():
        entry = int(entries[index])
        if before == (index - 1, entry - step):
            runs[-1][1] += 1
        else:
            runs.append([index, 1, hex(entry), step])
        before = (index, entry)
    return runs
