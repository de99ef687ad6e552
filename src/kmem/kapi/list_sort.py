"""Sorting of lists with a guest comparison function (lib/list_sort.c), 6.1.

The kernel's bottom-up merge sort: sorted sublists whose lengths are powers of two wait on a stack, linked through
their ``prev``; two of one size are merged when the number of elements seen so far asks for it. The comparison function
is called with the kernel's pairs in the kernel's order.
"""

from __future__ import annotations

from kmem.kapi.export import export, faithful
from kmem.kapi.host import Call, Guest, Host, s32

_NEXT, _PREV = 0, 8


class _Sort:
    """One sort; a list without a head ends in NULL."""

    def __init__(self, k: Host, priv: int, cmp: int) -> None:
        self.mem, self.priv, self.cmp = k.mem, priv, cmp

    def next(self, entry: int) -> int:
        return self.mem.u64(entry + _NEXT)

    def prev(self, entry: int) -> int:
        return self.mem.u64(entry + _PREV)

    def ordered(self, a: int, b: int) -> Guest:
        """Whether *a*, which came first, may stay in front of *b*."""
        return int(s32((yield Call(self.cmp, (self.priv, a, b)))) <= 0)

    def merge(self, a: int, b: int) -> Guest:
        """Two sorted lists become one, through ``next`` only."""
        first = last = 0
        while True:
            from_a = yield from self.ordered(a, b)
            taken = a if from_a else b
            if last:
                self.mem.set_u64(last + _NEXT, taken)
            first, last = first or taken, taken
            following = self.next(taken)
            if not following:
                self.mem.set_u64(last + _NEXT, b if from_a else a)
                return first
            a, b = (following, b) if from_a else (a, following)

    def merge_final(self, head: int, a: int, b: int) -> Guest:
        """The last merge makes a list with a head and ``prev`` links again."""
        tail = head
        while True:
            from_a = yield from self.ordered(a, b)
            taken = a if from_a else b
            self._link(tail, taken)
            tail = taken
            following = self.next(taken)
            if not following:
                rest = b if from_a else a
                break
            a, b = (following, b) if from_a else (a, following)
        self.mem.set_u64(tail + _NEXT, rest)
        count = 0
        while rest:
            count = count + 1 & 0xFF
            if not count:  # a chance for the caller to sleep, in long lists that are in order already
                yield Call(self.cmp, (self.priv, rest, rest))
            self.mem.set_u64(rest + _PREV, tail)
            tail, rest = rest, self.next(rest)
        self._link(tail, head)
        return 0

    def _link(self, a: int, b: int) -> None:
        self.mem.set_u64(a + _NEXT, b)
        self.mem.set_u64(b + _PREV, a)


@export(faithful)
def list_sort(k: Host, priv: int, head: int, cmp: int) -> Guest:
    """``void list_sort(void *priv, struct list_head *head, list_cmp_func_t cmp)``

    lib/list_sort.c, 6.1. Stable.
    """
    it = _Sort(k, priv, cmp)
    todo = it.next(head)
    if todo == it.prev(head):
        return 0
    k.mem.set_u64(it.prev(head) + _NEXT, 0)
    pending, count = 0, 0
    while todo:
        above, bits = 0, count
        at = pending
        while bits & 1:
            above, at, bits = at, it.prev(at), bits >> 1
        if bits:
            older = it.prev(at)
            below = it.prev(older)
            merged = yield from it.merge(older, at)
            k.mem.set_u64(merged + _PREV, below)
            if above:
                k.mem.set_u64(above + _PREV, merged)
            else:
                pending = merged
        following = it.next(todo)
        k.mem.set_u64(todo + _PREV, pending)
        k.mem.set_u64(todo + _NEXT, 0)
        pending, todo, count = todo, following, count + 1
    last, pending = pending, it.prev(pending)
    while older := it.prev(pending):
        last = yield from it.merge(pending, last)
        pending = older
    return (yield from it.merge_final(head, pending, last))
