"""I/O memory as the rest of the kernel calls it (arch/x86/mm/ioremap.c, kernel/iomem.c): a part of `kmem.mm.api.Mm`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

from kmem.abi.address import PAGE_OFFSET
from kmem.abi.gfp import GFP_KERNEL
from kmem.lib.cstruct import u64
from kmem.machine.bus import PHYS_BITS
from kmem.machine.ram import Ram
from kmem.mm import places
from kmem.mm.binding import Core
from kmem.mm.boot import MemoryBoot
from kmem.mm.mm_types import vm_struct
from kmem.mm.resource import IORESOURCE_SYSTEM_RAM, REGION_INTERSECTS, REGION_MIXED, Resources
from kmem.mm.view import View
from kmem.mm.vm_flags import ISA_END, ISA_START, NOT_ALLOWED, UC, UC_MINUS, WB, WC, WP, WT

PAGE_SIZE = 4096
MEMREMAP_WB, MEMREMAP_WT, MEMREMAP_WC = 1, 2, 4


class IomemCalls:
    """The calls of arch/x86/mm/ioremap.c and kernel/iomem.c."""

    core: Core
    ram: Ram
    view: View
    boot: MemoryBoot
    resources: Resources
    symbol: Callable[[int], str]
    warn: Callable[[int, str], None]
    printk: Callable[[int, str], None]
    dump_stack: Callable[[], None]
    hash_pointer: Callable[[int], str]

    @abstractmethod
    def _here(self, caller: int = 0, gfp: int = 0) -> None: ...

    @abstractmethod
    def is_vmalloc_addr(self, p: int) -> bool: ...

    @abstractmethod
    def find_vm_area(self, p: int) -> int: ...

    def ioremap(self, phys: int, size: int, pcm: int = UC_MINUS) -> int:
        """``void __iomem *ioremap(resource_size_t phys_addr, unsigned long size)``; *pcm* is the kind of caching.

        NULL for nothing and for RAM. As in the kernel, RAM is a whole page that is in nobody's reserve; a part of one
        passes.
        """
        last = phys + size - 1
        if not size or last >= 1 << 64:
            return 0
        self._here(0, GFP_KERNEL)
        if phys >> PHYS_BITS:
            self.printk(4, f"ioremap: invalid physical address {phys:x}")
            self.warn(places.IOREMAP_INVALID, "")
            return 0
        if self.ram_pages(phys, size):
            self.warn(places.IOREMAP_RAM, f"ioremap on RAM at {phys:#018x} - {last:#018x}\n")
            return 0
        got = self.core.k_ioremap(phys, size, pcm, int(self._in_ram(phys)))
        if got >> 63 and got > u64(-4096):
            self.printk(3, f"ioremap memtype_reserve failed {got - (1 << 64)}")
            return 0
        if got >> 8 == NOT_ALLOWED >> 8:
            start, end = phys & -PAGE_SIZE, -(-(phys + size) // PAGE_SIZE) * PAGE_SIZE
            self.printk(3, f"ioremap error for 0x{start:x}-0x{end:x}, requested 0x{pcm:x}, got 0x{got & 0xFF:x}")
            return 0
        if got and not self.resources.map_sanity_check(phys, size):
            self.printk(4, f"caller {self.symbol(self.core.private.call_site)} mapping multiple BARs")
        return got

    def ioremap_wc(self, phys: int, size: int) -> int:
        """``void __iomem *ioremap_wc(resource_size_t phys_addr, unsigned long size)``: write-combining."""
        return self.ioremap(phys, size, WC)

    def ioremap_wt(self, phys: int, size: int) -> int:
        """``void __iomem *ioremap_wt(resource_size_t phys_addr, unsigned long size)``: write-through."""
        return self.ioremap(phys, size, WT)

    def ioremap_uc(self, phys: int, size: int) -> int:
        """``void __iomem *ioremap_uc(resource_size_t phys_addr, unsigned long size)``: strongly uncached."""
        return self.ioremap(phys, size, UC)

    def ioremap_cache(self, phys: int, size: int) -> int:
        """``void __iomem *ioremap_cache(resource_size_t phys_addr, unsigned long size)``: write-back, where the MTRRs
        allow it.
        """
        return self.ioremap(phys, size, WB)

    def ioremap_prot(self, phys: int, size: int, prot: int) -> int:
        """``void __iomem *ioremap_prot(resource_size_t phys_addr, unsigned long size, unsigned long prot_val)``: cached
        as the bits of a page table entry say.
        """
        index = (prot >> 7 & 1) << 2 | prot >> 3 & 3
        return self.ioremap(phys, size, (WB, WC, UC_MINUS, UC, WB, WP, UC_MINUS, WT)[index])

    def _in_ram(self, phys: int) -> bool:
        return any(True for _ in self.resources.ram(phys & -PAGE_SIZE, PAGE_SIZE))

    def ram_pages(self, phys: int, size: int) -> bool:
        """``__ioremap_check_ram()``: whether a page of RAM lies wholly inside the range."""
        for first, last in self.resources.ram(phys, size):
            for pfn in range(-(-first // PAGE_SIZE), last // PAGE_SIZE):
                if not self.view.page(pfn).flags >> self.view.page_flags.bit("PG_reserved") & 1:
                    return True
        return False

    def iounmap(self, p: int) -> None:
        """``void iounmap(volatile void __iomem *addr)``."""
        self._here()
        if p <= PAGE_OFFSET + self.ram.size:
            return
        if PAGE_OFFSET + ISA_START <= p < PAGE_OFFSET + ISA_END:
            self.warn(places.IOUNMAP_ISA, "iounmap() called for ISA range not obtained using ioremap()\n")
            return
        area = self.find_vm_area(p & -PAGE_SIZE)
        of_ram = bool(area) and self._in_ram(u64(self.view.ptr(vm_struct, area).phys_addr))
        if not area or self.core.k_iounmap(p, int(of_ram)):
            self.printk(3, f"iounmap: bad address {self.hash_pointer(p & -PAGE_SIZE)}")
            self.dump_stack()

    def memremap(self, phys: int, size: int, flags: int) -> int:
        """``void *memremap(resource_size_t offset, size_t size, unsigned long flags)``: RAM where the direct map has
        it, other memory through ioremap with the first kind of caching of *flags* that can be had.
        """
        if not flags:
            return 0
        self._here(0, GFP_KERNEL)
        ram = self.resources.region_intersects(phys, size, IORESOURCE_SYSTEM_RAM)
        if ram == REGION_MIXED:
            self.warn(places.MEMREMAP_MIXED, f"memremap attempted on mixed range {phys:#018x} size: {size:#x}\n")
            return 0
        got = 0
        if flags & MEMREMAP_WB:
            got = PAGE_OFFSET + phys if ram == REGION_INTERSECTS else self.ioremap_cache(phys, size)
        if not got and ram == REGION_INTERSECTS and flags != MEMREMAP_WB:
            self.warn(places.MEMREMAP_RAM, f"memremap attempted on ram {phys:#018x} size: {size:#x}\n")
            return 0
        if not got and flags & MEMREMAP_WT:
            got = self.ioremap_wt(phys, size)
        if not got and flags & MEMREMAP_WC:
            got = self.ioremap_wc(phys, size)
        return got

    def memunmap(self, p: int) -> None:
        """``void memunmap(void *addr)``: the direct map stays."""
        if self.is_vmalloc_addr(p):
            self.iounmap(p)

    # resources

    def request_region(self, parent: int, start: int, n: int, name: int, flags: int = 0) -> int:
        """``struct resource *__request_region(struct resource *parent, resource_size_t start, resource_size_t n, const
        char *name, int flags)``; *parent* is the address of a ``struct resource``.
        """
        self._here(0, GFP_KERNEL)
        return self.resources.request_region(parent, start, n, name, flags)

    def request_mem_region(self, start: int, n: int, name: str) -> int:
        """``struct resource *request_mem_region(resource_size_t start, resource_size_t n, const char *name)``."""
        parent = u64(self.view.kdata.iomem_resource._addr)
        return self.request_region(parent, start, n, self.boot.string(name))

    def release_region(self, parent: int, start: int, n: int) -> None:
        """``void __release_region(struct resource *parent, resource_size_t start, resource_size_t n)``."""
        self._here()
        self.resources.release_region(parent, start, n)

    def release_mem_region(self, start: int, n: int) -> None:
        """``void release_mem_region(resource_size_t start, resource_size_t n)``."""
        self.release_region(u64(self.view.kdata.iomem_resource._addr), start, n)
