"""Looking at the kernel's structures in RAM with their own field names, from Python.

``View(ram).kdata.kmalloc_caches[0][6].object_size`` reads the very words that compiled code and modules use; nothing
is copied.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from kmem.abi.address import PAGE_OFFSET, VMEMMAP_START
from kmem.abi.page_flags import page_flags
from kmem.lib.cstruct import Ptr, Struct, u64
from kmem.machine.ram import Ram
from kmem.mm.mm_types import KDATA, PRIVATE_AT, kdata, kmem_cache, page, private, slab, vmap_area


class View:
    """Typed windows onto one RAM."""

    def __init__(self, ram: Ram) -> None:
        self.ram = ram
        self.page_flags = page_flags(ram.release)
        self.kdata: Any = Ptr(ram, kdata, KDATA)
        self.private: Any = Ptr(ram, private, PRIVATE_AT)

    def ptr(self, struct: Struct, addr: int) -> Any:
        """``(struct NAME *)addr``."""
        return Ptr(self.ram, struct, addr)

    def addr(self, p: Any) -> int:
        """The (unsigned) address that a pointer holds."""
        return u64(p._addr)

    def page(self, pfn: int) -> Any:
        """``pfn_to_page(pfn)``."""
        return self.ptr(page, VMEMMAP_START + pfn * 64)

    def pfn(self, page_address: int) -> int:
        """``page_to_pfn(page)``."""
        return (u64(page_address) - VMEMMAP_START) // 64

    def per_cpu_offset(self, cpu: int) -> int:
        """``__per_cpu_offset[cpu]``, signed."""
        return int(getattr(self.kdata, "__per_cpu_offset")[cpu])

    def slab(self, page: Any) -> Any:
        """The same memory as ``struct slab``."""
        return self.ptr(slab, page._addr)

    def page_of(self, addr: int) -> Any:
        """``virt_to_head_page(addr)`` for the direct map."""
        found = self.page((addr - PAGE_OFFSET) >> 12)
        head = found.compound_head
        return self.ptr(page, head - 1) if head & 1 else found

    def struct(self, struct: Struct) -> Struct:
        """*struct* as this machine's release has it."""
        return struct.among(self.ram.structs)

    def offset(self, struct: Struct, member: str) -> int:
        """``offsetof(struct, member)`` in this machine's release."""
        return self.struct(struct).field(member).offset

    def is_slab(self, page: Any) -> bool:
        """``PageSlab(page)``, of a head page."""
        return self.page_flags.is_slab(page.flags, page.page_type)

    def string(self, addr: int, limit: int = 256) -> str:
        """The C string at *addr* in a linear window."""
        if not addr:
            return ""
        at = self.ram.offset("any", addr if addr < 0 else addr - (1 << 64) if addr >> 63 else addr, 1, False)
        raw = bytes(self.ram.whole[at : at + limit])
        return raw.split(b"\0", 1)[0].decode("utf-8", "replace")

    def list(self, head: Any, struct: Struct, member: str) -> Iterator[Any]:
        """``list_for_each_entry()``; stops after as many entries as RAM could hold, should the list be corrupted."""
        offset = self.offset(struct, member)
        link = head.next
        for _ in range(self.ram.size // 64):
            if link == head:
                return
            yield self.ptr(struct, link._addr - offset)
            link = link.next

    def caches(self) -> Iterator[Any]:
        """Every cache, newest first, as in /proc/slabinfo."""
        return self.list(self.kdata.slab_caches, kmem_cache, "list")

    def vmap_areas(self) -> Iterator[Any]:
        """Every busy vmap area, by address."""
        return self.list(self.kdata.vmap_area_list, vmap_area, "list")

    def cache_name(self, s: Any) -> str:
        """``s->name``."""
        return self.string(s.name)

    def aliases(self) -> Iterator[tuple[str, int]]:
        """Names of caches that were merged into others (``alias_list``), newest first, with the cache that each is."""
        at = u64(self.kdata.alias_list)
        while at:
            following, s = struct.unpack_from("<QQ", self.ram.mem, at - PAGE_OFFSET)
            yield self.string(at + 16), s
            at = following

    def described_cache(self, s: Any) -> str:
        """``s->name``, and the names of the caches that were merged into it: ``vmap_area (also drv_cache)``."""
        also = [name for name, target in self.aliases() if target == self.addr(s)]
        return f"{self.cache_name(s)} (also {', '.join(reversed(also))})" if also else self.cache_name(s)

    def zones(self) -> Iterator[Any]:
        """Every zone with pages, node by node."""
        for node in range(self.kdata.nr_node_ids):
            for index in range(5):
                z = self.kdata.node_data[node].node_zones[index]
                if z.present_pages:
                    yield z
