"""A place in an XArray and how it moves (lib/xarray.c), 6.1: ``struct xa_state``, as Python holds it during a call.

`Xas.node` is the address of the node that the place is in, 0 for the head of the array, or what is no place:
`xa_entry.BOUNDS`, `xa_entry.RESTART`, an error. `kmem.kapi.xa_store` changes what is there.
"""

from __future__ import annotations

from kmem.kapi.xa_entry import (
    BOUNDS,
    CHUNK_MASK,
    CHUNK_SIZE,
    FREE_MARK,
    MARK_MAX,
    MASK64,
    RESTART,
    RETRY,
    TRACK_FREE,
    Nodes,
    error,
    error_of,
    is_node,
    is_sibling,
)

SIZE = 56


class Xas:
    """The state of one operation on the array at *xa*."""

    def __init__(self, nodes: Nodes, xa: int, index: int = 0) -> None:
        self.n, self.xa, self.index = nodes, xa, index
        self.order_shift = self.sibs = self.offset = 0
        self.node, self.alloc, self.update, self.lru = RESTART, 0, 0, 0

    @classmethod
    def read(cls, nodes: Nodes, at: int) -> Xas:
        """The guest's ``struct xa_state`` at *at*."""
        raw = nodes.mem.read(at, SIZE)
        words = [int.from_bytes(raw[8 * n : 8 * n + 8], "little") for n in range(7)]
        xas = cls(nodes, words[0], words[1])
        xas.order_shift, xas.sibs, xas.offset = raw[16], raw[17], raw[18]
        xas.node, xas.alloc, xas.update, xas.lru = words[3:]
        return xas

    def write(self, at: int) -> None:
        """Store what an operation may have changed."""
        small = bytes([self.order_shift & 0xFF, self.sibs & 0xFF, self.offset & 0xFF])
        mem = self.n.mem
        mem.set_u64(at + 8, self.index)
        mem.write(at + 16, small)
        mem.write(at + 24, self.node.to_bytes(8, "little") + self.alloc.to_bytes(8, "little"))

    # what the place is

    @property
    def invalid(self) -> bool:
        """``xas_invalid()``: no place in the array."""
        return self.node & 3 != 0

    @property
    def top(self) -> bool:
        """``xas_top()``: at the head, or nowhere yet."""
        return self.node <= RESTART

    @property
    def not_node(self) -> bool:
        """``xas_not_node()``."""
        return self.node & 3 != 0 or not self.node

    @property
    def error(self) -> int:
        """``xas_error()``: a negative errno, or 0."""
        return error_of(self.node)

    def set_error(self, number: int) -> None:
        """``xas_set_err()``."""
        self.node = error(number)

    def bounds(self) -> int:
        """``set_bounds()``: off the end; NULL."""
        self.node = BOUNDS
        return 0

    @property
    def tracks_free(self) -> bool:
        """``xa_track_free()``."""
        return self.n.flags(self.xa) & TRACK_FREE != 0

    @property
    def size(self) -> int:
        """``xas_size()``: how many indices an entry here covers."""
        return self.sibs + 1 << self.order_shift

    @property
    def max(self) -> int:
        """``xas_max()``: the largest index that the array must reach for an entry here."""
        largest = self.index
        if self.order_shift or self.sibs:
            mask = self.size - 1
            largest |= mask
            if mask == largest:
                largest += 1
        return largest & MASK64

    # moving

    def offset_in(self, node: int) -> int:
        """``get_offset()``."""
        return self.index >> self.n.shift(node) & CHUNK_MASK

    def set_offset(self) -> None:
        """``xas_set_offset()``."""
        self.offset = self.offset_in(self.node)

    def next_offset(self) -> None:
        """``xas_next_offset()``."""
        self.offset += 1
        self._advance_to(self.offset)

    def _advance_to(self, offset: int) -> None:
        """``xas_move_index()``: the first index of slot *offset* of this node."""
        shift = self.n.shift(self.node)
        kept = self.index & (-CHUNK_SIZE << shift) & MASK64
        self.index = kept + (offset << shift) & MASK64

    def start(self) -> int:
        """``xas_start()``: the entry at the place, or the head if there is no place yet."""
        if not self.invalid:
            return self.n.slot(self.node, self.offset) if self.node else self.n.head(self.xa)
        if self.error:
            return 0
        entry = self.n.head(self.xa)
        if not is_node(entry):
            if self.index:
                return self.bounds()
        elif self.index >> self.n.shift(entry - 2) > CHUNK_MASK:
            return self.bounds()
        self.node = 0
        return entry

    def descend(self, node: int) -> int:
        """``xas_descend()``: into *node*; a sibling leads to the slot that has the entry."""
        offset = self.offset_in(node)
        entry = self.n.slot(node, offset)
        self.node = node
        while is_sibling(entry):
            offset = entry >> 2
            entry = self.n.slot(node, offset)
            if self.n.shift(node) and is_node(entry):
                entry = RETRY
        self.offset = offset
        return entry

    def load(self) -> int:
        """``xas_load()``."""
        entry = self.start()
        while is_node(entry):
            node = entry - 2
            if self.order_shift > self.n.shift(node):
                break
            entry = self.descend(node)
            if not self.n.shift(node):
                break
        return entry

    def _up(self, step: int) -> None:
        """To the slot before or behind the node's own, in its parent."""
        node = self.node
        self.offset = self.n.offset(node) + step
        self.node = self.n.parent(node)

    def step(self, step: int) -> int:
        """``__xas_next()`` (1) or ``__xas_prev()`` (-1): the neighbouring index, present or not."""
        if not self.node & 2:
            self.index = self.index + step & MASK64
        if not self.node:
            return self.bounds()
        if self.not_node:
            return self.load()
        if self.offset != self.offset_in(self.node):
            self.offset += step
        edge = CHUNK_SIZE if step > 0 else -1
        while self.offset == edge:
            self._up(step)
            if not self.node:
                return self.bounds()
        while True:
            entry = self.n.slot(self.node, self.offset)
            if not is_node(entry):
                return entry
            self.node = entry - 2
            self.set_offset()

    def find(self, max: int) -> int:
        """``xas_find()``: the next entry that is present, up to *max*."""
        if self.error or self.node == BOUNDS:
            return 0
        if self.index > max:
            return self.bounds()
        if not self.node:
            self.index = 1
            return self.bounds()
        if self.node == RESTART:
            entry = self.load()
            if entry or self.not_node:
                return entry
        elif not self.n.shift(self.node) and self.offset != self.index & CHUNK_MASK:
            self.offset = (self.index - 1 & CHUNK_MASK) + 1
        self.next_offset()
        while self.node and self.index <= max:
            if self.offset == CHUNK_SIZE:
                self._up(1)
                continue
            entry = self.n.slot(self.node, self.offset)
            if is_node(entry):
                self.node, self.offset = entry - 2, 0
                continue
            if entry and not is_sibling(entry):
                return entry
            self.next_offset()
        if not self.node:
            self.node = BOUNDS
        return 0

    def _find_chunk(self, advance: bool, mark: int) -> int:
        """``xas_find_chunk()``: the next marked slot of the node."""
        offset = self.offset + advance
        bits = self.n.marks(self.node, mark) >> offset << offset if offset < CHUNK_SIZE else 0
        return (bits & -bits).bit_length() - 1 if bits else CHUNK_SIZE

    def find_marked(self, max: int, mark: int) -> int:
        """``xas_find_marked()``: the next entry with *mark*, up to *max*."""
        if self.error:
            return 0
        if self.index > max:
            self.node = RESTART
            return 0
        entry = self._find_marked(max, mark)
        if entry is not None:
            return entry
        if self.index > max:
            self.node = RESTART
            return 0
        return self.bounds()

    def _find_marked(self, max: int, mark: int) -> int | None:
        """None where the array ends."""
        advance = True
        if not self.node:
            self.index = 1
            return None
        if self.top:
            advance = False
            entry = self.n.head(self.xa)
            self.node = 0
            if self.index > self.n.max_index(entry):
                return None
            if not is_node(entry):
                if self.n.marked(self.xa, mark):
                    return entry
                self.index = 1
                return None
            self.node = entry - 2
            self.offset = self.index >> self.n.shift(self.node)
        while self.index <= max:
            if self.offset == CHUNK_SIZE:
                self._up(1)
                if not self.node:
                    break
                advance = False
                continue
            if not advance and is_sibling(entry := self.n.slot(self.node, self.offset)):
                self.offset = entry >> 2
                self._advance_to(self.offset)
            offset = self._find_chunk(advance, mark)
            if offset > self.offset:
                advance = False
                self._advance_to(offset)
                if self.index - 1 & MASK64 >= max:
                    self.node = RESTART
                    return 0
                self.offset = offset
                if offset == CHUNK_SIZE:
                    continue
            entry = self.n.slot(self.node, self.offset)
            if not entry and not (self.tracks_free and mark == FREE_MARK):
                continue
            if not is_node(entry):
                return entry
            self.node = entry - 2
            self.set_offset()
        return None

    def find_conflict(self) -> int:
        """``xas_find_conflict()``: the next entry in the range that an entry here would cover."""
        if self.error or not self.node:
            return 0
        if self.top:
            entry = self.start()
            if not entry:
                return 0
            while is_node(entry):
                entry = self.descend(entry - 2)
            if entry:
                return entry
        if self.n.shift(self.node) > self.order_shift:
            return 0
        while True:
            if self.n.shift(self.node) == self.order_shift:
                if self.offset & self.sibs == self.sibs:
                    break
            elif self.offset == CHUNK_MASK:
                self._up(0)
                if not self.node:
                    break
                continue
            self.offset += 1
            entry = self.n.slot(self.node, self.offset)
            if is_sibling(entry):
                continue
            while is_node(entry):
                self.node, self.offset = entry - 2, 0
                entry = self.n.slot(self.node, 0)
            if entry:
                return entry
        self.offset -= self.sibs
        return 0

    def pause(self) -> None:
        """``xas_pause()``: the walk goes on behind this entry later."""
        if self.invalid:
            return
        node, self.node = self.node, RESTART
        if not node:
            self.index = self.index + 1 & MASK64
            return
        offset = self.offset + 1
        while offset < CHUNK_SIZE and is_sibling(self.n.slot(node, offset)):
            offset += 1
        self.index = self.index + (offset - self.offset << self.n.shift(node)) & MASK64
        if not self.index:
            self.node = BOUNDS

    def order(self) -> int:
        """``xas_get_order()``: of the entry at the place."""
        if not self.node:
            return 0
        order = 0
        while (slot := self.offset + (1 << order)) < CHUNK_SIZE and is_sibling(self.n.slot(self.node, slot)):
            order += 1
        return order + self.n.shift(self.node)

    # marks

    def get_mark(self, mark: int) -> bool:
        """``xas_get_mark()``."""
        if self.invalid:
            return False
        if not self.node:
            return self.n.marked(self.xa, mark)
        return self.n.marks(self.node, mark) >> self.offset & 1 == 1

    def set_mark(self, mark: int) -> None:
        """``xas_set_mark()``: here and in all nodes above."""
        if self.invalid:
            return
        node, offset = self.node, self.offset
        while node:
            bits = self.n.marks(node, mark)
            if bits >> offset & 1:
                return
            self.n.set_marks(node, mark, bits | 1 << offset)
            offset, node = self.n.offset(node), self.n.parent(node)
        self.n.mark_array(self.xa, mark, True)

    def clear_mark(self, mark: int) -> None:
        """``xas_clear_mark()``: here, and above where no other slot has it."""
        if self.invalid:
            return
        node, offset = self.node, self.offset
        while node:
            bits = self.n.marks(node, mark)
            if not bits >> offset & 1:
                return
            bits &= ~(1 << offset)
            self.n.set_marks(node, mark, bits)
            if bits:
                return
            offset, node = self.n.offset(node), self.n.parent(node)
        self.n.mark_array(self.xa, mark, False)

    def init_marks(self) -> None:
        """``xas_init_marks()``: as of an entry that is not there."""
        for mark in range(MARK_MAX + 1):
            if mark == FREE_MARK and self.tracks_free:
                self.set_mark(mark)
            else:
                self.clear_mark(mark)
