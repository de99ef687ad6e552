"""What ``kmem_dump_obj()`` wants to know of an address (mm/slab_common.c, mm/vmalloc.c, 6.1).

Plain Python: it only looks.
"""

from __future__ import annotations

from typing import Any

from kmem.abi.address import PAGE_OFFSET
from kmem.abi.slab_flags import slab_flags
from kmem.lib.cstruct import u64
from kmem.machine.ram import Ram
from kmem.mm.binding import Core
from kmem.mm.mm_types import track, vm_struct
from kmem.mm.view import View

PAGE_SIZE, ZERO_SIZE_PTR = 4096, 16


class Provenance:
    """What `kmem.mm.api.Mm` inherits."""

    core: Core
    ram: Ram
    view: View

    def is_vmalloc_addr(self, p: int) -> bool:
        raise NotImplementedError

    def _slab(self, p: int) -> tuple[Any, Any, int] | None:
        """The slab that *p* lies in, its cache, its first address."""
        if not PAGE_OFFSET <= p < PAGE_OFFSET + self.ram.size:
            return None
        head = self.view.page_of(p)
        if not self.view.is_slab(head):
            return None
        sl = self.view.slab(head)
        return sl, sl.slab_cache, PAGE_OFFSET + (self.view.pfn(head._addr) << 12)

    def slab_object_info(self, p: int) -> tuple[str, int, int, int, int] | None:
        """``kmem_obj_info()``: cache, the object's start, what lies before its data, the size that users may copy, and
        who allocated it (0: not known); None for what is no slab object.
        """
        found = self._slab(p) if p >= PAGE_SIZE else None
        if found is None:
            return None
        sl, s, base = found
        size, pad = int(s.size), int(s.red_left_pad) if s.flags & slab_flags(self.ram.release).SLAB_RED_ZONE else 0
        index = max(p - pad - base, 0) // size
        start = base + index * size
        by = 0
        if s.flags & slab_flags(self.ram.release).SLAB_STORE_USER and index < sl.objects:
            info_end = s.inuse + (8 if s.offset >= s.inuse else 0)
            by = u64(self.view.ptr(track, start + pad + info_end).addr)
        return self.view.cache_name(s), start, pad, int(s.usersize), by

    def vmalloc_area_info(self, p: int) -> tuple[int, int, int] | None:
        """Pages, start and caller of the vmalloc area that *p* lies in."""
        p = -(-p // PAGE_SIZE) * PAGE_SIZE
        found = self.core.k_find_vm_area(p) if self.is_vmalloc_addr(p) else 0
        if not found:
            return None
        area = self.view.ptr(vm_struct, found)
        return int(area.nr_pages), u64(area.addr), u64(area.caller)
