"""Claims of physical addresses and ports (kernel/resource.c, kernel/iomem.c), 6.1. The work is done by `Host.mm`."""

from __future__ import annotations

from kmem.kapi.export import export, faithful, simplified
from kmem.kapi.host import Host
from kmem.mm.resource import IORESOURCE_SYSTEM_RAM, REGION_DISJOINT

_NO_WAIT = simplified("a muxed region that is taken is refused, not waited for")


@export(_NO_WAIT)
def __request_region(k: Host, parent: int, start: int, n: int, name: int, flags: int) -> int:
    """``struct resource *__request_region(struct resource *parent, resource_size_t start, resource_size_t n, const char
    *name, int flags)``

    kernel/resource.c, 6.1. What request_mem_region() and request_region() become. NULL if a part is taken.
    """
    return k.mm.request_region(parent, start, n, name, flags)


@export(faithful)
def __release_region(k: Host, parent: int, start: int, n: int) -> None:
    """``void __release_region(struct resource *parent, resource_size_t start, resource_size_t n)``

    kernel/resource.c, 6.1. What was not claimed so is complained about.
    """
    k.mm.release_region(parent, start, n)


@export(faithful)
def request_resource(k: Host, root: int, new: int) -> int:
    """``int request_resource(struct resource *root, struct resource *new)``

    kernel/resource.c, 6.1. 0 or -EBUSY.
    """
    return k.mm.resources.request_resource(root, new)


@export(faithful)
def release_resource(k: Host, old: int) -> int:
    """``int release_resource(struct resource *old)``

    kernel/resource.c, 6.1.
    """
    return k.mm.resources.release_resource(old)


@export(simplified("descriptors of resources are not looked at"))
def region_intersects(k: Host, start: int, size: int, flags: int, desc: int) -> int:
    """``int region_intersects(resource_size_t start, size_t size, unsigned long flags, unsigned long desc)``

    kernel/resource.c, 6.1. 0 inside, 1 beside, 2 both.
    """
    return k.mm.resources.region_intersects(start, size, flags)


@export(faithful)
def page_is_ram(k: Host, pfn: int) -> int:
    """``int page_is_ram(unsigned long pfn)``

    kernel/resource.c, 6.1. 1 or 0.
    """
    return int(k.mm.resources.region_intersects(pfn << 12, 4096, IORESOURCE_SYSTEM_RAM) != REGION_DISJOINT)


@export(faithful)
def memremap(k: Host, offset: int, size: int, flags: int) -> int:
    """``void *memremap(resource_size_t offset, size_t size, unsigned long flags)``

    kernel/iomem.c, 6.1. RAM is where the direct map has it; the rest is mapped like I/O memory.
    """
    return k.mm.memremap(offset, size, flags)


@export(faithful)
def memunmap(k: Host, addr: int) -> None:
    """``void memunmap(void *addr)``

    kernel/iomem.c, 6.1.
    """
    k.mm.memunmap(addr)
