"""Numbers without anything behind them (lib/idr.c), 6.1: an XArray of bitmaps, the small ones in the slots themselves.

A slot stands for 1024 numbers. While only the first 63 of them are in use it is a value; then a ``struct ida_bitmap``.
The free mark is on slots that have a number left.
"""

from __future__ import annotations

from kmem.abi.gfp import __GFP_ZERO, GFP_NOWAIT
from kmem.kapi import xa_store
from kmem.kapi.errno import ENOMEM, ENOSPC
from kmem.kapi.export import export, faithful
from kmem.kapi.host import Host
from kmem.kapi.xa_entry import FREE_MARK, MASK64, RESTART, Nodes, is_value
from kmem.kapi.xa_state import Xas

BITS, VALUE_BITS = 1024, 63
_SIZE = BITS // 8
_FULL = (1 << BITS) - 1


def _first_zero(bits: int, start: int, size: int) -> int:
    """``find_next_zero_bit()``."""
    free = ~bits & (1 << size) - 1
    free = free >> start << start
    return (free & -free).bit_length() - 1 if free else size


class _Bitmap:
    """A ``struct ida_bitmap`` in memory."""

    def __init__(self, k: Host, at: int) -> None:
        self.k, self.at = k, at

    @property
    def bits(self) -> int:
        return int.from_bytes(self.k.mem.read(self.at, _SIZE), "little")

    def set(self, bit: int, on: bool) -> int:
        """The bitmap with *bit* changed."""
        bits = self.bits & ~(1 << bit) | on << bit
        self.k.mem.write(self.at, bits.to_bytes(_SIZE, "little"))
        return bits


def _store(xas: Xas, entry: int) -> None:
    xa_store.run(xa_store.store(xas, entry))


def _bitmap(k: Host, gfp: int) -> int:
    return k.mm.kmalloc(_SIZE, gfp | __GFP_ZERO, caller=k.caller)


def _place(k: Host, xas: Xas, low: int, high: int) -> int | None:
    """Take the first number from *low* to *high*: the bit within the slot of *xas*, whose error says if memory lacked;
    -ENOSPC; None where a bitmap is needed and there is no memory for it."""
    bit = low % BITS
    while True:
        entry = xas.find_marked(high // BITS, FREE_MARK)
        if xas.index > low // BITS:
            bit = 0
        if xas.index * BITS + bit > high:
            return -ENOSPC
        if is_value(entry):
            bits = entry >> 1
            if bit < VALUE_BITS:
                bit = _first_zero(bits, bit, VALUE_BITS)
                if xas.index * BITS + bit > high:
                    return -ENOSPC
                if bit < VALUE_BITS:
                    _store(xas, (bits | 1 << bit) << 1 | 1)
                    return bit
            entry = _bitmap(k, GFP_NOWAIT)
            if not entry:
                return None
            k.mem.set_u64(entry, bits)
            _store(xas, entry)
            if xas.error:
                k.mm.kfree(entry)
                return bit
        if entry:
            bitmap = _Bitmap(k, entry)
            bit = _first_zero(bitmap.bits, bit, BITS)
            if xas.index * BITS + bit > high:
                return -ENOSPC
            if bit == BITS:
                continue
            if bitmap.set(bit, True) == _FULL:
                xas.clear_mark(FREE_MARK)
            return bit
        if bit < VALUE_BITS:
            _store(xas, 1 << bit + 1 | 1)
            return bit
        entry = _bitmap(k, GFP_NOWAIT)
        if not entry:
            return None
        _Bitmap(k, entry).set(bit, True)
        _store(xas, entry)
        if xas.error:
            k.mm.kfree(entry)
        return bit


@export(faithful)
def ida_alloc_range(k: Host, ida: int, min: int, max: int, gfp: int) -> int:
    """``int ida_alloc_range(struct ida *ida, unsigned int min, unsigned int max, gfp_t gfp)``

    lib/idr.c, 6.1. The smallest free number from *min* to *max*; -ENOSPC, -ENOMEM.
    """
    if min >> 31:
        return -ENOSPC
    high = max if not max >> 31 else (1 << 31) - 1
    xas = Xas(Nodes(k), ida, min // BITS)
    while True:
        bit = _place(k, xas, min, high)
        if bit == -ENOSPC:
            return -ENOSPC
        if bit is None:
            spare = _bitmap(k, gfp)
            if not spare:
                return -ENOMEM
            k.mm.kfree(spare)
            xas.index, xas.node = min // BITS, RESTART
            continue
        if xa_store.nomem(xas, gfp):
            xas.index = min // BITS
            continue
        return xas.error or xas.index * BITS + bit


@export(faithful)
def ida_free(k: Host, ida: int, id: int) -> None:
    """``void ida_free(struct ida *ida, unsigned int id)``

    lib/idr.c, 6.1. Warns about a number that is not in use.
    """
    if id >> 31:
        return
    xas, bit = Xas(Nodes(k), ida, id // BITS), id % BITS
    entry = xas.load()
    if is_value(entry):
        if bit < VALUE_BITS and entry >> 1 >> bit & 1:
            left = entry & ~(1 << bit + 1)
            _store(xas, left if left != 1 else 0)
            return
    elif entry and _Bitmap(k, entry).bits >> bit & 1:
        left = _Bitmap(k, entry).set(bit, False)
        xas.set_mark(FREE_MARK)
        if not left:
            k.mm.kfree(entry)
            _store(xas, 0)
        return
    k.warn("lib/idr.c", 527, "ida_free", f"ida_free called for id={id} which is not allocated.")


@export(faithful)
def ida_destroy(k: Host, ida: int) -> None:
    """``void ida_destroy(struct ida *ida)``

    lib/idr.c, 6.1. No number is in use afterwards.
    """
    xas = Xas(Nodes(k), ida)
    entry = xas.find(MASK64)
    while entry:
        if not is_value(entry):
            k.mm.kfree(entry)
        _store(xas, 0)
        entry = xas.find(MASK64)
