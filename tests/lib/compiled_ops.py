"""Entries that do one operation each of :mod:`kmem.lib.raw`, :mod:`kmem.lib.list` and :mod:`kmem.lib.rbtree`.

Compiled on their own, they show whether compiled code does what the interpreted twin does.
"""

from __future__ import annotations

from typing import Any

from kmem.lib.jit import (
    address,
    bswap64,
    container_of,
    copy,
    ctz,
    entry,
    fill,
    fls64,
    jit,
    load8,
    load16,
    load32,
    load64,
    lshr,
    mul64,
    offsetof,
    ptr,
    root,
    shl,
    sizeof,
    store8,
    store16,
    store32,
    store64,
    ult,
    unwind,
)
from kmem.lib.kstructs import list_head, rb_root
from kmem.lib.list import INIT_LIST_HEAD, list_add, list_add_tail, list_del, list_del_init, list_empty, list_move_tail
from kmem.lib.rbtree import no_rb, rb_erase, rb_first_of, rb_insert
from kmem.mm.mm_types import kmem_cache, page, slab, vmap_area


@jit
def near(ram: Any) -> Any:
    """Some pointer into *ram*."""
    return root(list_head, 0, ram)


@entry
def op_load(ram: Any, size: int, addr: int) -> int:
    """``loadN``."""
    if size == 1:
        return load8(near(ram), addr)
    if size == 2:
        return load16(near(ram), addr)
    if size == 4:
        return load32(near(ram), addr)
    return load64(near(ram), addr)


@entry
def op_store(ram: Any, size: int, addr: int, value: int) -> int:
    """``storeN``."""
    if size == 1:
        store8(near(ram), addr, value)
    elif size == 2:
        store16(near(ram), addr, value)
    elif size == 4:
        store32(near(ram), addr, value)
    else:
        store64(near(ram), addr, value)
    return 0


@entry
def op_fill(ram: Any, addr: int, byte: int, n: int) -> int:
    """``fill``."""
    fill(near(ram), addr, byte, n)
    return 0


@entry
def op_copy(ram: Any, dest: int, src: int, n: int) -> int:
    """``copy``."""
    copy(near(ram), dest, src, n)
    return 0


@entry
def op_unary(ram: Any, which: int, a: int) -> int:
    """``bswap64``, ``ctz``, ``fls64``."""
    if which == 0:
        return bswap64(a)
    return ctz(a) if which == 1 else fls64(a)


@entry
def op_binary(ram: Any, which: int, a: int, b: int) -> int:
    """``ult``, ``lshr``, ``shl``, ``mul64``."""
    if which == 0:
        return 1 if ult(a, b) else 0
    if which == 1:
        return lshr(a, b)
    return shl(a, b) if which == 2 else mul64(a, b)


@entry
def op_unwind(ram: Any) -> int:
    """``unwind``."""
    unwind(near(ram))
    return 1


@entry
def op_bitfields(ram: Any, addr: int, inuse: int, objects: int, frozen: int) -> int:
    """Write the three bit fields of a slab and return the word that holds them."""
    sl = root(slab, addr, ram)
    sl.inuse = inuse
    sl.objects = objects
    sl.frozen = frozen
    return sl.counters + (sl.inuse << 40) + (sl.objects << 48) + (sl.frozen << 62)


@entry
def op_narrow(ram: Any, addr: int, value: int) -> int:
    """Write a signed 32-bit, an unsigned 32-bit and an 8-bit member, and add up what is read back."""
    p = root(page, addr, ram)
    p._refcount = value
    s = root(kmem_cache, 0xFFFF888000200000 - (1 << 64), ram)
    s.object_size = value
    p.compound_order = value
    return p._refcount + s.object_size * 3 + p.compound_order * 5


@entry
def op_pointers(ram: Any, addr: int, n: int) -> int:
    """Pointer arithmetic: steps, distances, container_of, arrays, comparison."""
    p = root(page, addr, ram)
    q = p + n
    back = container_of(q.lru, page, "lru")
    s = ptr(kmem_cache, 0xFFFF888000200000 - (1 << 64), p)
    total = (q - p) * 1000 + (address(q[2]) - address(q - 1)) // sizeof(page)
    if back == q and back != p:
        total += 100000
    if not ptr(page, 0, p):
        total += 200000
    return total + offsetof(kmem_cache, "node") + address(s.node) - address(s)


@entry
def op_list(ram: Any, which: int, entry_at: int, head_at: int) -> int:
    """One list operation."""
    link, head = root(list_head, entry_at, ram), root(list_head, head_at, ram)
    if which == 0:
        INIT_LIST_HEAD(head)
    elif which == 1:
        list_add(link, head)
    elif which == 2:
        list_add_tail(link, head)
    elif which == 3:
        list_del(link)
    elif which == 4:
        list_del_init(link)
    elif which == 5:
        list_move_tail(link, head)
    return 1 if list_empty(head) else 0


@jit
def place(tree: Any, area: Any, augmented: bool) -> None:
    """Into a tree that is sorted by ``va_start``."""
    parent = no_rb(tree)
    link = tree.rb_node
    left = False
    while link:
        parent = link
        left = area.va_start < container_of(link, vmap_area, "rb_node").va_start
        link = link.rb_left if left else link.rb_right
    rb_insert(tree, area.rb_node, parent, left, augmented)


@entry
def op_rb_insert(ram: Any, tree_at: int, area_at: int, start: int, size: int, augmented: int) -> int:
    """Insert an area."""
    area = root(vmap_area, area_at, ram)
    area.va_start = start
    area.va_end = start + size
    place(root(rb_root, tree_at, ram), area, augmented != 0)
    return 0


@entry
def op_rb_erase(ram: Any, tree_at: int, area_at: int, augmented: int) -> int:
    """Take an area out; the leftmost that is left, or 0."""
    tree = root(rb_root, tree_at, ram)
    rb_erase(tree, root(vmap_area, area_at, ram).rb_node, augmented != 0)
    return address(container_of(rb_first_of(tree.rb_node), vmap_area, "rb_node")) if tree.rb_node else 0
