"""I/O memory that a device gives back (lib/devres.c, kernel/iomem.c, kernel/resource.c), 6.1."""

from __future__ import annotations

from kmem.abi.gfp import GFP_KERNEL
from kmem.kapi.device import dev_print
from kmem.kapi.devres import devres_add, free, own, take
from kmem.kapi.errno import EBUSY, EINVAL, ENOMEM, ENXIO
from kmem.kapi.export import export, faithful, family, simplified
from kmem.kapi.host import Host
from kmem.kapi.logbuf import ERR
from kmem.mm.resource import IORESOURCE_MEM, IORESOURCE_TYPE_BITS
from kmem.mm.vm_flags import UC, UC_MINUS, WC

MASK64 = (1 << 64) - 1


@export(faithful, private=True)
def devm_ioremap_release(k: Host, dev: int, res: int) -> None:
    """``void devm_ioremap_release(struct device *dev, void *res)``

    lib/devres.c, 6.1.
    """
    k.mm.iounmap(k.mem.u64(res))


def _ioremap(k: Host, dev: int, offset: int, size: int, pcm: int) -> int:
    """``__devm_ioremap()``."""
    res = own(k, dev, "devm_ioremap_release", 8)
    if not res:
        return 0
    addr = k.mm.ioremap(offset, size, pcm)
    if not addr:
        free(k, res)
        return 0
    k.mem.set_u64(res, addr)
    devres_add(k, dev, res)
    return addr


def _declare(name: str, pcm: int) -> None:
    def remap(k: Host, dev: int, offset: int, size: int) -> int:
        return _ioremap(k, dev, offset, size, pcm)

    prototype = f"void __iomem *{name}(struct device *dev, resource_size_t offset, resource_size_t size)"
    family(faithful, prototype, "lib/devres.c, 6.1. NULL on failure.", remap)


for _name, _pcm in (("devm_ioremap", UC_MINUS), ("devm_ioremap_uc", UC), ("devm_ioremap_wc", WC)):
    _declare(_name, _pcm)


@export(faithful)
def devm_iounmap(k: Host, dev: int, addr: int) -> None:
    """``void devm_iounmap(struct device *dev, void __iomem *addr)``

    lib/devres.c, 6.1.
    """
    res = take(k, dev, "devm_ioremap_release", addr)
    if res:
        free(k, res)
    else:
        k.warn("lib/devres.c", 115, "devm_iounmap")
    k.mm.iounmap(addr)


@export(faithful, private=True)
def devm_region_release(k: Host, dev: int, res: int) -> None:
    """``void devm_region_release(struct device *dev, void *res)``

    kernel/resource.c, 6.1. Start, parent, size.
    """
    start, parent, n = (k.mem.u64(res + at) for at in (8, 0, 16))
    k.mm.release_region(parent, start, n)


@export(faithful)
def __devm_request_region(k: Host, dev: int, parent: int, start: int, n: int, name: int) -> int:
    """``struct resource *__devm_request_region(struct device *dev, struct resource *parent, resource_size_t start,
    resource_size_t n, const char *name)``

    kernel/resource.c, 6.1. What devm_request_mem_region() becomes.
    """
    res = own(k, dev, "devm_region_release", 24)
    if not res:
        return 0
    for at, value in ((0, parent), (8, start), (16, n)):
        k.mem.set_u64(res + at, value)
    region = k.mm.request_region(parent, start, n, name)
    if region:
        devres_add(k, dev, res)
    else:
        free(k, res)
    return region


@export(faithful)
def __devm_release_region(k: Host, dev: int, parent: int, start: int, n: int) -> None:
    """``void __devm_release_region(struct device *dev, struct resource *parent, resource_size_t start, resource_size_t
    n)``

    kernel/resource.c, 6.1.
    """
    k.mm.release_region(parent, start, n)
    res = take(k, dev, "devm_region_release", start, 8)
    if res:
        free(k, res)
    else:
        k.warn("kernel/resource.c", 1636, "__devm_release_region")


@export(simplified("the name of the region is that of the resource, without the device's"))
def devm_ioremap_resource(k: Host, dev: int, res: int) -> int:
    """``void __iomem *devm_ioremap_resource(struct device *dev, const struct resource *res)``

    lib/devres.c, 6.1. Claims the region and maps it; an error pointer on failure.
    """
    layout = k.layout["resource"]
    start, end, flags, name = (k.mem.u64(res + layout.offset(field)) for field in ("start", "end", "flags", "name"))
    if not res or flags & IORESOURCE_TYPE_BITS != IORESOURCE_MEM:
        dev_print(k, ERR, dev, b"invalid resource\n")
        return -EINVAL & MASK64
    size = end - start + 1
    if not __devm_request_region(k, dev, k.address_of("iomem_resource"), start, size, name):
        dev_print(k, ERR, dev, b"can't request region for resource [mem %#010x-%#010x]\n" % (start, end))
        return -EBUSY & MASK64
    addr = _ioremap(k, dev, start, size, UC_MINUS)
    if not addr:
        dev_print(k, ERR, dev, b"ioremap failed for resource [mem %#010x-%#010x]\n" % (start, end))
        __devm_release_region(k, dev, k.address_of("iomem_resource"), start, size)
        return -ENOMEM & MASK64
    return addr


@export(faithful, private=True)
def devm_memremap_release(k: Host, dev: int, res: int) -> None:
    """``void devm_memremap_release(struct device *dev, void *res)``

    kernel/iomem.c, 6.1.
    """
    k.mm.memunmap(k.mem.u64(res))


@export(faithful)
def devm_memremap(k: Host, dev: int, offset: int, size: int, flags: int) -> int:
    """``void *devm_memremap(struct device *dev, resource_size_t offset, size_t size, unsigned long flags)``

    kernel/iomem.c, 6.1. An error pointer on failure.
    """
    res = own(k, dev, "devm_memremap_release", 8, GFP_KERNEL)
    if not res:
        return -ENOMEM & MASK64
    addr = k.mm.memremap(offset, size, flags)
    if not addr:
        free(k, res)
        return -ENXIO & MASK64
    k.mem.set_u64(res, addr)
    devres_add(k, dev, res)
    return addr


@export(faithful)
def devm_memunmap(k: Host, dev: int, addr: int) -> None:
    """``void devm_memunmap(struct device *dev, void *addr)``

    kernel/iomem.c, 6.1.
    """
    res = take(k, dev, "devm_memremap_release", addr)
    if not res:
        k.warn("kernel/iomem.c", 164, "devm_memunmap")
        return
    k.mm.memunmap(addr)
    free(k, res)
