"""``struct list_head`` in guest memory (include/linux/list.h): what handlers do with the kernel's lists."""

from __future__ import annotations

from collections.abc import Iterator

from kmem.kapi.host import Host


def init_list_head(k: Host, head: int) -> None:
    """``INIT_LIST_HEAD()``: an empty list."""
    k.mem.set_u64(head, head)
    k.mem.set_u64(head + 8, head)


def is_empty(k: Host, head: int) -> bool:
    """``list_empty()``."""
    return k.mem.u64(head) == head


def is_unlinked(k: Host, entry: int) -> bool:
    """Whether *entry* is in no list; it may never have been initialised."""
    return k.mem.u64(entry) in (0, entry)


def _insert(k: Host, new: int, prev: int, next: int) -> None:
    k.mem.set_u64(next + 8, new)
    k.mem.set_u64(new, next)
    k.mem.set_u64(new + 8, prev)
    k.mem.set_u64(prev, new)


def add(k: Host, new: int, head: int) -> None:
    """``list_add()``: first in the list."""
    _insert(k, new, head, k.mem.u64(head))


def add_tail(k: Host, new: int, head: int) -> None:
    """``list_add_tail()``: last in the list."""
    _insert(k, new, k.mem.u64(head + 8), head)


def del_init(k: Host, entry: int) -> None:
    """``list_del_init()``: out of its list, and a list of its own."""
    next, prev = k.mem.u64(entry), k.mem.u64(entry + 8)
    k.mem.set_u64(next + 8, prev)
    k.mem.set_u64(prev, next)
    init_list_head(k, entry)


LIST_POISON = 0xDEAD000000000100, 0xDEAD000000000122


def delete(k: Host, entry: int) -> None:
    """``list_del()``: out of its list; its pointers point to nothing."""
    del_init(k, entry)
    for number, poison in enumerate(LIST_POISON):
        k.mem.set_u64(entry + 8 * number, poison)


def entries(k: Host, head: int) -> Iterator[int]:
    """The entries from first to last; the one that was yielded may be removed."""
    entry = k.mem.u64(head)
    while entry != head:
        following = k.mem.u64(entry)
        yield entry
        entry = following
