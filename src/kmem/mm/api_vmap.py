"""vmalloc and vmap as the rest of the kernel calls them (mm/vmalloc.c): a part of `kmem.mm.api.Mm`.

Simplified: a kernel that keeps vmap areas by node ("mm: vmalloc: remove global vmap_area_root rb-tree") has one tree
here, as before, and no pools of freed areas by size: which address a new area has may differ once areas were freed.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

from kmem.abi.address import MODULES_END, MODULES_VADDR, PAGE_OFFSET, VMALLOC_END, VMALLOC_START
from kmem.abi.gfp import __GFP_DIRECT_RECLAIM as GFP_DIRECT_RECLAIM
from kmem.abi.gfp import __GFP_ZERO as GFP_ZERO
from kmem.abi.gfp import GFP_DMA32, GFP_KERNEL
from kmem.lib.cstruct import u64
from kmem.machine.ram import Ram
from kmem.mm.binding import Core
from kmem.mm.mm_types import vm_struct
from kmem.mm.view import View
from kmem.mm.vm_flags import (
    IN_INTERRUPT,
    VM_ALLOW_HUGE_VMAP,
    VM_DMA_COHERENT,
    VM_IOREMAP,
    VM_MAP,
    VM_MAP_PUT_PAGES,
    VM_NO_GUARD,
    VM_USERMAP,
)

PAGE_SIZE = 4096
SIZE_MAX = (1 << 64) - 1
PAGE_KERNEL = 0x8000000000000163
EINVAL = 22


class VmapCalls:
    """The calls of mm/vmalloc.c."""

    core: Core
    ram: Ram
    view: View
    sleep_forbidden: Callable[[], bool]
    might_sleep: Callable[[str, str, int], None]

    @abstractmethod
    def _here(self, caller: int = 0, gfp: int = 0) -> None: ...

    @abstractmethod
    def virt_to_page(self, p: int) -> int: ...

    def _may_sleep(self, function: str, line: int) -> None:
        """``might_sleep()`` in mm/vmalloc.c, after `_here`; in an interrupt these functions stop the kernel instead."""
        context = self.core.private.context
        if not context & IN_INTERRUPT and (context or self.sleep_forbidden()):
            self.might_sleep(function, "mm/vmalloc.c", line)

    def _here_vmalloc(self, gfp: int, size: int) -> None:
        """Tell the model who calls; complain where `alloc_vmap_area` and the allocations that it needs may sleep."""
        self._here()
        if not size or size >> 12 > self.view.kdata.totalram_pages or self.core.private.context & IN_INTERRUPT:
            return
        if gfp & GFP_DIRECT_RECLAIM:
            self._here(0, gfp)
        else:
            self._may_sleep("alloc_vmap_area", 1673)

    # vmalloc

    def vmalloc(self, size: int, gfp: int = GFP_KERNEL, node: int = -1, align: int = 1, vm_flags: int = 0) -> int:
        """``void *__vmalloc_node(unsigned long size, unsigned long align, gfp_t gfp_mask, int node, const void
        *caller)``; *vm_flags* as for ``__vmalloc_node_range()``.
        """
        self._here_vmalloc(gfp, size)
        return self.core.k_vmalloc(size, align, gfp, vm_flags, node)

    def vzalloc(self, size: int) -> int:
        """``void *vzalloc(unsigned long size)``."""
        return self.vmalloc(size, GFP_KERNEL | GFP_ZERO)

    def vmalloc_node(self, size: int, node: int) -> int:
        """``void *vmalloc_node(unsigned long size, int node)``."""
        return self.vmalloc(size, GFP_KERNEL, node)

    def vzalloc_node(self, size: int, node: int) -> int:
        """``void *vzalloc_node(unsigned long size, int node)``."""
        return self.vmalloc(size, GFP_KERNEL | GFP_ZERO, node)

    def vmalloc_huge(self, size: int, gfp: int = GFP_KERNEL) -> int:
        """``void *vmalloc_huge(unsigned long size, gfp_t gfp_mask)``: mapped with 2 MiB pages where there are any."""
        return self.vmalloc(size, gfp, vm_flags=VM_ALLOW_HUGE_VMAP)

    def vmalloc_user(self, size: int) -> int:
        """``void *vmalloc_user(unsigned long size)``: zeroed, and fit for ``remap_vmalloc_range()``."""
        return self.vmalloc(size, GFP_KERNEL | GFP_ZERO, align=PAGE_SIZE, vm_flags=VM_USERMAP)

    def vmalloc_32(self, size: int) -> int:
        """``void *vmalloc_32(unsigned long size)``: of pages below 4 GiB."""
        return self.vmalloc(size, GFP_DMA32 | GFP_KERNEL)

    def vmalloc_32_user(self, size: int) -> int:
        """``void *vmalloc_32_user(unsigned long size)``."""
        return self.vmalloc(size, GFP_DMA32 | GFP_KERNEL | GFP_ZERO, align=PAGE_SIZE, vm_flags=VM_USERMAP)

    def vmalloc_array(self, n: int, size: int, gfp: int = GFP_KERNEL) -> int:
        """``void *__vmalloc_array(size_t n, size_t size, gfp_t flags)``: NULL if the product does not fit size_t."""
        return self.vmalloc(n * size, gfp) if n * size <= SIZE_MAX else 0

    def vcalloc(self, n: int, size: int, gfp: int = GFP_KERNEL) -> int:
        """``void *__vcalloc(size_t n, size_t size, gfp_t flags)``."""
        return self.vmalloc_array(n, size, gfp | GFP_ZERO)

    def vmalloc_node_range(
        self,
        size: int,
        align: int,
        start: int,
        end: int,
        gfp: int = GFP_KERNEL,
        prot: int = PAGE_KERNEL,
        vm_flags: int = 0,
        node: int = -1,
    ) -> int:
        """``void *__vmalloc_node_range(unsigned long size, unsigned long align, unsigned long start, unsigned long end,
        gfp_t gfp_mask, pgprot_t prot, unsigned long vm_flags, int node, const void *caller)``.
        """
        self._here_vmalloc(gfp, size)
        return self.core.k_vmalloc_range(size, align, start, end, gfp, prot, vm_flags, node)

    def vfree(self, p: int) -> None:
        """``void vfree(const void *addr)``: in an interrupt the memory waits to be freed outside it."""
        self._here()
        self._may_sleep("vfree", 2858)
        self.core.k_vfree(p)

    def vfree_atomic(self, p: int) -> None:
        """``void vfree_atomic(const void *addr)``: the memory waits to be freed by somebody who may sleep."""
        self._here()
        self.core.k_vfree_atomic(p)

    def run_work(self) -> None:
        """What other tasks do while this one sleeps: free what waits, purge if that is due."""
        self._here()
        self.core.k_run_work()

    # vmap

    def vmap(self, pages: Sequence[int], flags: int = VM_MAP, prot: int = PAGE_KERNEL) -> int:
        """``void *vmap(struct page **pages, unsigned int count, unsigned long flags, pgprot_t prot)``.

        With VM_MAP_PUT_PAGES the array that is handed over is a new one.
        """
        self._here(0, GFP_KERNEL)
        keep = bool(flags & VM_MAP_PUT_PAGES)
        raw = b"".join(u64(page).to_bytes(8, "little") for page in pages)
        where = self.core.k_kmalloc(len(raw), GFP_KERNEL, -1) if keep else self.core.k_scratch(len(raw))
        if not where:
            return 0
        self.ram.mem[where - PAGE_OFFSET : where - PAGE_OFFSET + len(raw)] = raw
        made = self.core.k_vmap(where, len(pages), flags, prot)
        if not keep:
            self.core.k_scratch_free(where)
        elif not made:
            self.core.k_kfree(where)
        return made

    def vmap_array(self, pages: int, count: int, flags: int, prot: int) -> int:
        """``vmap()`` of the array at the address *pages*."""
        self._here()
        self._may_sleep("vmap", 2907)
        return self.core.k_vmap(pages, count & 0xFFFFFFFF, flags, prot)

    def vmap_pfn(self, pfns: int, count: int, prot: int) -> int:
        """``void *vmap_pfn(unsigned long *pfns, unsigned int count, pgprot_t prot)``; *pfns* is an address."""
        self._here(0, GFP_KERNEL)
        return self.core.k_vmap_pfn(pfns, count & 0xFFFFFFFF, prot)

    def vunmap(self, p: int) -> None:
        """``void vunmap(const void *addr)``."""
        self._here()
        self._may_sleep("vunmap", 2879)
        self.core.k_vunmap(p)

    def vm_map_ram(self, pages: int, count: int, node: int = -1) -> int:
        """``void *vm_map_ram(struct page **pages, unsigned int count, int node)``; *pages* is an address."""
        self._here(0, GFP_KERNEL)
        return self.core.k_vm_map_ram(pages, count & 0xFFFFFFFF, node)

    def vm_unmap_ram(self, p: int, count: int) -> None:
        """``void vm_unmap_ram(const void *mem, unsigned int count)``."""
        self._here()
        self._may_sleep("vm_unmap_ram", 2280)
        self.core.k_vm_unmap_ram(p, count & 0xFFFFFFFF)

    def vm_unmap_aliases(self) -> None:
        """``void vm_unmap_aliases(void)``: no TLB knows any unmapped address afterwards."""
        self._here()
        self._may_sleep("_vm_unmap_aliases", 2214)
        self.core.k_vm_unmap_aliases()

    def set_memory(self, addr: int, count: int, *, write: bool, execute: bool) -> int:
        """``set_memory_ro()``, ``set_memory_rw()``, ``set_memory_x()``, ``set_memory_nx()``: 0 or -EINVAL."""
        self._here(0, GFP_KERNEL)
        return self.core.k_set_memory(addr, count, int(write), int(execute))

    # looking

    def lookup_address(self, p: int) -> tuple[int, int]:
        """``pte_t *lookup_address(unsigned long address, unsigned int *level)``: the entry's address (0: none), and the
        level.
        """
        found = self.core.k_lookup_address(p)
        return (found & ~7, found & 7) if found > 7 else (0, found)

    def is_vmalloc_addr(self, p: int) -> bool:
        """``bool is_vmalloc_addr(const void *x)``."""
        return VMALLOC_START <= p <= VMALLOC_END

    def is_vmalloc_or_module_addr(self, p: int) -> bool:
        """``int is_vmalloc_or_module_addr(const void *x)``."""
        return MODULES_VADDR <= p < MODULES_END or self.is_vmalloc_addr(p)

    def vmalloc_to_page(self, p: int) -> int:
        """``struct page *vmalloc_to_page(const void *vmalloc_addr)``."""
        return self.core.k_vmalloc_to_page(p)

    def vmalloc_to_pfn(self, p: int) -> int:
        """``unsigned long vmalloc_to_pfn(const void *vmalloc_addr)``."""
        return (self.core.k_vmalloc_to_page(p) - self.virt_to_page(PAGE_OFFSET)) // 64

    def vread(self, addr: int, count: int) -> bytes:
        """``long vread(char *buf, char *addr, unsigned long count)``: what lies in the areas of a range.

        Zeros where nothing is mapped and for I/O memory; nothing at all if the range meets no area.
        """
        end = min(addr + count, 1 << 64)
        found, at = bytearray(), addr
        areas = [va for va in self.view.vmap_areas() if u64(va.va_end) > addr]
        if not areas or u64(areas[0].va_start) >= end:
            return b""
        for va in areas:
            vm = va.vm
            if not vm:
                continue
            start = u64(vm.addr)
            last = start + vm.size - (0 if vm.flags & VM_NO_GUARD else PAGE_SIZE)
            if at >= last:
                continue
            found += bytes(max(0, min(start, end) - at))
            at = max(at, min(start, end))
            while at < min(last, end):
                length = min(PAGE_SIZE - at % PAGE_SIZE, min(last, end) - at)
                phys = -1 if vm.flags & VM_IOREMAP else self.core.k_lookup(at)
                mapped = 0 <= phys < self.ram.size
                found += self.ram.mem[phys : phys + length] if mapped else bytes(length)
                at += length
        return bytes(found) + bytes(end - addr - len(found)) if found else b""

    def find_vm_area(self, p: int) -> int:
        """``struct vm_struct *find_vm_area(const void *addr)``."""
        return self.core.k_find_vm_area(p)

    def vmalloc_range_pages(self, kaddr: int, pgoff: int, size: int) -> list[int] | int:
        """The pages that ``remap_vmalloc_range_partial()`` maps into a process, or -EINVAL: *kaddr* must begin a page
        of an area that was allocated for users, or for DMA, and the range must lie inside the area.
        """
        off = pgoff << 12
        size = -(-size // PAGE_SIZE) * PAGE_SIZE
        area = self.find_vm_area(kaddr) if kaddr % PAGE_SIZE == 0 else 0
        if off > SIZE_MAX or not area:
            return -EINVAL
        vm = self.view.ptr(vm_struct, area)
        length = vm.size - (0 if vm.flags & VM_NO_GUARD else PAGE_SIZE)
        if not vm.flags & (VM_USERMAP | VM_DMA_COHERENT) or size + off > length:
            return -EINVAL
        return [self.vmalloc_to_page(at) for at in range(kaddr + off, kaddr + off + size, PAGE_SIZE)]
