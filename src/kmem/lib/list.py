"""Doubly linked circular lists in RAM (include/linux/list.h)."""

from __future__ import annotations

from typing import Any

from kmem.lib.jit import address, jit, store64

LIST_POISON1, LIST_POISON2 = 0xDEAD000000000100 - (1 << 64), 0xDEAD000000000122 - (1 << 64)
"""What ``list_del`` leaves in the entry's links (x86-64, CONFIG_ILLEGAL_POINTER_VALUE), signed."""


@jit
def INIT_LIST_HEAD(head: Any) -> None:
    """``void INIT_LIST_HEAD(struct list_head *list)``."""
    head.next = head
    head.prev = head


@jit
def _list_add(new: Any, prev: Any, after: Any) -> None:
    after.prev = new
    new.next = after
    new.prev = prev
    prev.next = new


@jit
def list_add(new: Any, head: Any) -> None:
    """``void list_add(struct list_head *new, struct list_head *head)``: at the front."""
    _list_add(new, head, head.next)


@jit
def list_add_tail(new: Any, head: Any) -> None:
    """``void list_add_tail(struct list_head *new, struct list_head *head)``: at the end."""
    _list_add(new, head.prev, head)


@jit
def list_unlink(entry: Any) -> None:
    """``__list_del_entry()``: take the entry out, leaving its own links as they are."""
    before, after = entry.prev, entry.next
    after.prev = before
    before.next = after


@jit
def list_del(entry: Any) -> None:
    """``void list_del(struct list_head *entry)``: take it out and poison its links."""
    list_unlink(entry)
    poison(entry)


@jit
def poison(entry: Any) -> None:
    """Mark links that must not be followed any more."""
    _set_raw(entry, LIST_POISON1, LIST_POISON2)


@jit
def _set_raw(entry: Any, first: int, second: int) -> None:
    store64(entry, address(entry), first)
    store64(entry, address(entry) + 8, second)


@jit
def list_del_init(entry: Any) -> None:
    """``void list_del_init(struct list_head *entry)``."""
    list_unlink(entry)
    INIT_LIST_HEAD(entry)


@jit
def list_empty(head: Any) -> bool:
    """``int list_empty(const struct list_head *head)``."""
    return head.next == head


@jit
def list_move_tail(entry: Any, head: Any) -> None:
    """``void list_move_tail(struct list_head *list, struct list_head *head)``."""
    list_unlink(entry)
    list_add_tail(entry, head)
