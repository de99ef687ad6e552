"""Small helpers that modules' inline functions call (lib/once.c, lib/math/reciprocal_div.c, net/core), 6.1."""

from __future__ import annotations

from kmem.kapi.export import export, faithful, simplified
from kmem.kapi.fields import get
from kmem.kapi.host import Host


@export(simplified("the lock is taken by nobody else: there is one task"))
def __do_once_start(k: Host, done: int, flags: int) -> bool:
    """``bool __do_once_start(bool *done, unsigned long *flags)``

    lib/once.c, 6.1. Whether this is the first time.
    """
    return not k.mem.u8(done)


@export(simplified("the code stays as it was built"))
def __do_once_done(k: Host, done: int, once_key: int, flags: int, mod: int) -> None:
    """``void __do_once_done(bool *done, struct static_key_true *once_key, unsigned long *flags, struct module *mod)``

    lib/once.c, 6.1.
    """
    k.mem.set_u8(done, 1)


@export(faithful)
def reciprocal_value(k: Host, d: int) -> int:
    """``u64 reciprocal_value(u32 d)``

    lib/math/reciprocal_div.c, 6.1. A ``struct reciprocal_value`` in one register: the factor, then two shifts.
    """
    length = (d - 1).bit_length()
    factor = ((1 << 32) * ((1 << length) - d)) // d + 1
    return factor & 0xFFFFFFFF | min(length, 1) << 32 | max(length - 1, 0) << 40


@export(faithful)
def dev_addr_mod(k: Host, dev: int, offset: int, addr: int, size: int) -> None:
    """``void dev_addr_mod(struct net_device *dev, unsigned int offset, const void *addr, size_t len)``

    net/core/dev_addr_lists.c, 6.1. Writes the device's own address.
    """
    where = get(k, "net_device", dev, "dev_addr")
    if where:
        k.mem.write(where + offset, k.mem.read(addr, size))
