"""I/O ports as addresses, and the channels of the ISA bus's DMA (lib/iomap.c, lib/devres.c, kernel/dma.c), 6.1."""

from __future__ import annotations

from kmem.kapi.devres import devres_add, free, own
from kmem.kapi.errno import EBUSY, EINVAL
from kmem.kapi.export import data, export, faithful
from kmem.kapi.host import Host

PIO_OFFSET, PIO_MASK = 0x10000, 0xFFFF
MAX_DMA_CHANNELS, CASCADE = 8, 4

data(
    "kmem_dma_channels",
    MAX_DMA_CHANNELS,
    bytes(n == CASCADE for n in range(MAX_DMA_CHANNELS)),
    doc="Which channels are taken. The model's own.",
    private=True,
)


@export(faithful)
def request_dma(k: Host, dmanr: int, device_id: int) -> int:
    """``int request_dma(unsigned int dmanr, const char *device_id)``

    kernel/dma.c, 6.1. -EINVAL for no channel, -EBUSY for one that is taken.
    """
    if dmanr >= MAX_DMA_CHANNELS:
        return -EINVAL
    slot = k.address_of("kmem_dma_channels") + dmanr
    if k.mem.u8(slot):
        return -EBUSY
    k.mem.set_u8(slot, 1)
    return 0


@export(faithful)
def free_dma(k: Host, dmanr: int) -> None:
    """``void free_dma(unsigned int dmanr)``

    kernel/dma.c, 6.1. Complains of a channel that is free.
    """
    slot = k.address_of("kmem_dma_channels") + dmanr
    if dmanr >= MAX_DMA_CHANNELS:
        k.log.printk(f"\x014Trying to free DMA{dmanr}\n")
    elif not k.mem.u8(slot):
        k.log.printk(f"\x014Trying to free free DMA{dmanr}\n")
    else:
        k.mem.set_u8(slot, 0)


@export(faithful)
def ioport_map(k: Host, port: int, nr: int) -> int:
    """``void __iomem *ioport_map(unsigned long port, unsigned int nr)``

    lib/iomap.c, 6.1. An address for ioread8() and its kin, NULL for no port.
    """
    return port + PIO_OFFSET if port <= PIO_MASK else 0


@export(faithful)
def ioport_unmap(k: Host, addr: int) -> None:
    """``void ioport_unmap(void __iomem *addr)``

    lib/iomap.c, 6.1. Nothing was mapped.
    """


@export(faithful, private=True)
def devm_ioport_map_release(k: Host, dev: int, res: int) -> None:
    """``void devm_ioport_map_release(struct device *dev, void *res)``

    lib/devres.c, 6.1.
    """


@export(faithful)
def devm_ioport_map(k: Host, dev: int, port: int, nr: int) -> int:
    """``void __iomem *devm_ioport_map(struct device *dev, unsigned long port, unsigned int nr)``

    lib/devres.c, 6.1. As ioport_map(), for as long as the driver has the device.
    """
    node = own(k, dev, "devm_ioport_map_release", 8)
    if not node:
        return 0
    addr = ioport_map(k, port, nr)
    if addr:
        k.mem.set_u64(node, addr)
        devres_add(k, dev, node)
    else:
        free(k, node)
    return addr
