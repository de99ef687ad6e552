"""Sorting and searching of guest arrays with guest comparison functions (lib/sort.c, lib/bsearch.c), 6.1.

The sort is the kernel's heap sort, so that elements which compare equal end up in the kernel's order and the
comparison function is called with the kernel's pairs.
"""

from __future__ import annotations

from kmem.kapi.export import export, faithful
from kmem.kapi.host import Call, Guest, Host, s32


def _swap(k: Host, a: int, b: int, size: int, swap: int, priv: tuple[int, ...]) -> Guest:
    if swap:
        yield Call(swap, (a, b, size, *priv))
    else:
        first, second = k.mem.read(a, size), k.mem.read(b, size)
        k.mem.write(a, second)
        k.mem.write(b, first)
    return 0


def _heap_sort(k: Host, base: int, num: int, size: int, cmp: int, swap: int, priv: tuple[int, ...]) -> Guest:
    """Heap sort that sifts to a leaf first and climbs back ("bottom-up"). Indexes count elements."""
    if num < 2 or not size:
        return 0

    def at(index: int) -> int:
        return base + index * size

    def compare(a: int, b: int) -> Guest:
        return s32((yield Call(cmp, (at(a), at(b), *priv))))

    top, end = num // 2, num
    while True:
        if top:
            top -= 1
        else:
            end -= 1
            if not end:
                return 0
            yield from _swap(k, base, at(end), size, swap, priv)
        node = top
        while (right := 2 * node + 2) < end:
            left = right - 1
            node = left if (yield from compare(left, right)) >= 0 else right
        if right == end:
            node = right - 1
        while node != top and (yield from compare(top, node)) >= 0:
            node = (node - 1) // 2
        target = node
        while node != top:
            node = (node - 1) // 2
            yield from _swap(k, at(node), at(target), size, swap, priv)


@export(faithful)
def sort(k: Host, base: int, num: int, size: int, cmp_func: int, swap_func: int) -> Guest:
    """``void sort(void *base, size_t num, size_t size, cmp_func_t cmp_func, swap_func_t swap_func)``

    lib/sort.c, 6.1. Not stable. Without *swap_func* elements are exchanged as bytes.
    """
    yield from _heap_sort(k, base, num, size, cmp_func, swap_func, ())
    return 0


@export(faithful)
def sort_r(k: Host, base: int, num: int, size: int, cmp_func: int, swap_func: int, priv: int) -> Guest:
    """``void sort_r(void *base, size_t num, size_t size, cmp_r_func_t cmp_func, swap_r_func_t swap_func, const void
    *priv)``

    lib/sort.c, 6.1. *priv* is handed to both functions.
    """
    yield from _heap_sort(k, base, num, size, cmp_func, swap_func, (priv,))
    return 0


@export(faithful)
def bsearch(k: Host, key: int, base: int, num: int, size: int, cmp: int) -> Guest:
    """``void *bsearch(const void *key, const void *base, size_t num, size_t size, cmp_func_t cmp)``

    lib/bsearch.c, 6.1. An element equal to *key*, or NULL.
    """
    while num:
        pivot = base + (num >> 1) * size
        result = s32((yield Call(cmp, (key, pivot))))
        if not result:
            return pivot
        if result > 0:
            base = pivot + size
            num -= 1
        num >>= 1
    return 0
