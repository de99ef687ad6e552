"""I/O memory (arch/x86/mm/ioremap.c, lib/iomap.c, lib/iomem_copy.c), 6.1. The mapping is done by `Host.mm`.

What answers behind a mapping is the machine's bus (`kmem.machine.bus`): all ones, unless a device model is there.
"""

from __future__ import annotations

from typing import Literal

from kmem.kapi.export import export, faithful, family, simplified
from kmem.kapi.host import Host
from kmem.mm.vm_flags import UC, UC_MINUS, WB, WC, WP, WT

PIO_RESERVED = 0x40000
PIO_MASK = 0xFFFF

_NO_PORTS = simplified("no device answers on the I/O ports: they read as all ones")


_ENCRYPTED = simplified("there is no encrypted memory")


def _declare_ioremap(name: str, pcm: int, caching: str) -> None:
    def remap(k: Host, offset: int, size: int) -> int:
        return k.mm.ioremap(offset, size, pcm)

    prototype = f"void __iomem *{name}(resource_size_t offset, unsigned long size)"
    fidelity = _ENCRYPTED if name == "ioremap_encrypted" else faithful
    family(fidelity, prototype, f"arch/x86/mm/ioremap.c, 6.1. {caching}.", remap)


for _name, _pcm, _kind in (
    ("ioremap", UC_MINUS, "Uncached-minus"),
    ("ioremap_uc", UC, "Strongly uncached"),
    ("ioremap_wc", WC, "Write-combining"),
    ("ioremap_wt", WT, "Write-through"),
    ("ioremap_cache", WB, "Write-back, where the MTRRs allow it"),
    ("ioremap_encrypted", WB, "Encrypted memory"),
):
    _declare_ioremap(_name, _pcm, _kind)


@export(faithful)
def ioremap_prot(k: Host, offset: int, size: int, prot_val: int) -> int:
    """``void __iomem *ioremap_prot(resource_size_t offset, unsigned long size, unsigned long prot_val)``

    arch/x86/mm/ioremap.c, 6.1. Cached as the bits of a page table entry say.
    """
    index = (prot_val >> 7 & 1) << 2 | prot_val >> 3 & 3
    return k.mm.ioremap(offset, size, (WB, WC, UC_MINUS, UC, WB, WP, UC_MINUS, WT)[index])


@export(faithful)
def iounmap(k: Host, addr: int) -> None:
    """``void iounmap(volatile void __iomem *addr)``

    arch/x86/mm/ioremap.c, 6.1.
    """
    k.mm.iounmap(addr)


def _is_memory(k: Host, addr: int, function: str) -> bool:
    """Whether *addr* is I/O memory; False is a port. Anything between is a bad access, which warns."""
    if addr >= PIO_RESERVED:
        return True
    if addr <= PIO_MASK:
        k.warn("lib/iomap.c", 45, "bad_io_access", f"Bad IO access at port {addr:#x} ({function})", once=True)
    return False


def _declare_read(name: str, ctype: str, size: int, order: Literal["little", "big"]) -> None:
    def read(k: Host, addr: int) -> int:
        if not _is_memory(k, addr, name):
            return (1 << 8 * size) - 1
        return int.from_bytes(k.mem.read(addr, size), order)

    family(_NO_PORTS, f"{ctype} {name}(const void __iomem *addr)", "lib/iomap.c, 6.1.", read)


def _declare_write(name: str, ctype: str, size: int, order: Literal["little", "big"]) -> None:
    def write(k: Host, val: int, addr: int) -> None:
        if _is_memory(k, addr, name):
            k.mem.write(addr, val.to_bytes(size, order))

    family(_NO_PORTS, f"void {name}({ctype} val, void __iomem *addr)", "lib/iomap.c, 6.1.", write)


for _bits, _ctype, _orders in (
    (8, "u8", ("",)),
    (16, "u16", ("", "be")),
    (32, "u32", ("", "be")),
):
    for _order in _orders:
        _declare_read(f"ioread{_bits}{_order}", "unsigned int", _bits // 8, "big" if _order else "little")
        _declare_write(f"iowrite{_bits}{_order}", _ctype, _bits // 8, "big" if _order else "little")


def _declare_repeated(bits: int) -> None:
    size = bits // 8

    def read(k: Host, port: int, buf: int, count: int) -> None:
        item = k.mem.read(port, size) if _is_memory(k, port, f"ioread{bits}_rep") else b"\xff" * size
        k.mem.write(buf, item * count)

    def write(k: Host, port: int, buf: int, count: int) -> None:
        content = k.mem.read(buf, size * count) if count else b""
        if content and _is_memory(k, port, f"iowrite{bits}_rep"):
            k.mem.write(port, content[-size:])

    prototype = f"void ioread{bits}_rep(const void __iomem *port, void *dst, unsigned long count)"
    family(_NO_PORTS, prototype, "lib/iomap.c, 6.1. Reads the same place *count* times.", read)
    prototype = f"void iowrite{bits}_rep(void __iomem *port, const void *src, unsigned long count)"
    family(_NO_PORTS, prototype, "lib/iomap.c, 6.1. Writes the same place *count* times.", write)


for _bits in (8, 16, 32):
    _declare_repeated(_bits)


@export(faithful)
def memcpy_fromio(k: Host, to: int, from_: int, n: int) -> None:
    """``void memcpy_fromio(void *to, const volatile void __iomem *from, size_t n)``

    arch/x86/lib/iomem.c, 6.1.
    """
    if n:
        k.mem.write(to, k.mem.read(from_, n))


@export(faithful)
def memcpy_toio(k: Host, to: int, from_: int, n: int) -> None:
    """``void memcpy_toio(volatile void __iomem *to, const void *from, size_t n)``

    arch/x86/lib/iomem.c, 6.1.
    """
    if n:
        k.mem.write(to, k.mem.read(from_, n))


@export(faithful)
def memset_io(k: Host, a: int, b: int, c: int) -> None:
    """``void memset_io(volatile void __iomem *a, int b, size_t c)``

    arch/x86/lib/iomem.c, 6.1.
    """
    if c:
        k.mem.fill(a, b & 0xFF, c)
