"""What an XArray's slots hold, and its nodes in guest memory (include/linux/xarray.h), 6.1.

An entry is a pointer, a value (bit 0 is set) or internal (the lowest bits are 10): a node, a sibling of another slot
or a special entry. An error in a state's ``xa_node`` looks like an internal entry, too.
"""

from __future__ import annotations

from kmem.kapi.host import Host

CHUNK_SHIFT, CHUNK_SIZE, CHUNK_MASK = 6, 64, 63
MASK64 = (1 << 64) - 1
MAX_ERRNO = 4095
FREE_MARK, MARK_MAX, MARKS = 0, 2, 3
LOCK_IRQ, LOCK_BH, LOCK_TYPE, TRACK_FREE, ZERO_BUSY, ALLOC_WRAPPED, ACCOUNT = 1, 2, 3, 4, 8, 16, 32
"""``xa_flags``; above the bits of a gfp mask are the marks of the whole array."""


def internal(value: int) -> int:
    """``xa_mk_internal()``."""
    return (value << 2 | 2) & MASK64


RETRY, ZERO = internal(256), internal(257)
BOUNDS, RESTART = 1, 3
"""``XAS_BOUNDS`` and ``XAS_RESTART``, in a state's ``xa_node``."""
_LAST_SIBLING = internal(CHUNK_MASK)


def is_value(entry: int) -> bool:
    """``xa_is_value()``."""
    return entry & 1 == 1


def is_internal(entry: int) -> bool:
    """``xa_is_internal()``."""
    return entry & 3 == 2


def is_node(entry: int) -> bool:
    """``xa_is_node()``."""
    return entry & 3 == 2 and entry > 4096


def is_sibling(entry: int) -> bool:
    """``xa_is_sibling()``."""
    return entry & 3 == 2 and entry < _LAST_SIBLING


def is_advanced(entry: int) -> bool:
    """``xa_is_advanced()``: what only the advanced interface may store."""
    return is_internal(entry) and entry <= RETRY


def error(number: int) -> int:
    """``XA_ERROR(-number)``: a negative errno as an entry."""
    return internal(number)


def error_of(node: int) -> int:
    """``xa_err()``: the negative errno in *node*, 0 if there is none."""
    if node & 3 == 2 and node >= internal(-MAX_ERRNO):
        return (node - (1 << 64)) >> 2
    return 0


class Nodes:
    """``struct xa_node`` and ``struct xarray`` of one kernel, by member."""

    def __init__(self, k: Host) -> None:
        self.k, self.mem = k, k.mem
        node, array = k.layout["xa_node"], k.layout["xarray"]
        self.slots_at, self.marks_at = node.offset("slots"), node.offset("marks")
        self.parent_at, self.array_at = node.offset("parent"), node.offset("array")
        self.list_at = node.offset("private_list")
        self.rcu_at = self.list_at  # one or the other
        self.flags_at, self.head_at = array.offset("xa_flags"), array.offset("xa_head")
        # The marks of the array lie above a gfp mask, whose bits the release that tags allocations has numbered anew.
        self.tag_shift = 25 if "kmalloc-noprof-symbols" in k.release.features else 27

    def slot(self, node: int, offset: int) -> int:
        return self.mem.u64(node + self.slots_at + 8 * offset)

    def set_slot(self, node: int, offset: int, entry: int) -> None:
        self.mem.set_u64(node + self.slots_at + 8 * offset, entry)

    def shift(self, node: int) -> int:
        return self.mem.u8(node)

    def offset(self, node: int) -> int:
        return self.mem.u8(node + 1)

    def count(self, node: int) -> int:
        return self.mem.u8(node + 2)

    def values(self, node: int) -> int:
        return self.mem.u8(node + 3)

    def set_shift(self, node: int, shift: int) -> None:
        self.mem.set_u8(node, shift)

    def set_offset(self, node: int, offset: int) -> None:
        self.mem.set_u8(node + 1, offset)

    def set_count(self, node: int, count: int) -> None:
        self.mem.set_u8(node + 2, count & 0xFF)

    def set_values(self, node: int, values: int) -> None:
        self.mem.set_u8(node + 3, values & 0xFF)

    def parent(self, node: int) -> int:
        return self.mem.u64(node + self.parent_at)

    def set_parent(self, node: int, parent: int) -> None:
        self.mem.set_u64(node + self.parent_at, parent)

    def head(self, xa: int) -> int:
        return self.mem.u64(xa + self.head_at)

    def set_head(self, xa: int, entry: int) -> None:
        self.mem.set_u64(xa + self.head_at, entry)

    def flags(self, xa: int) -> int:
        return self.mem.u32(xa + self.flags_at)

    def set_flags(self, xa: int, flags: int) -> None:
        self.mem.set_u32(xa + self.flags_at, flags)

    def marks(self, node: int, mark: int) -> int:
        return self.mem.u64(node + self.marks_at + 8 * mark)

    def set_marks(self, node: int, mark: int, bits: int) -> None:
        self.mem.set_u64(node + self.marks_at + 8 * mark, bits & MASK64)

    def marked(self, xa: int, mark: int) -> bool:
        """``xa_marked()``: of the array as a whole."""
        return self.flags(xa) >> self.tag_shift + mark & 1 == 1

    def mark_array(self, xa: int, mark: int, on: bool) -> None:
        """``xa_mark_set()`` or ``xa_mark_clear()``."""
        bit, flags = 1 << self.tag_shift + mark, self.flags(xa)
        self.set_flags(xa, flags | bit if on else flags & ~bit)

    def max_index(self, entry: int) -> int:
        """``max_index()``: the largest index below the head *entry*."""
        return (CHUNK_SIZE << self.shift(entry - 2)) - 1 if is_node(entry) else 0
