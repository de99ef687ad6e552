"""``struct list_head`` in simulated RAM, for the scheduler's own queues."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class Memory(Protocol):
    """Guest virtual memory, as far as needed here."""

    def u64(self, addr: int) -> int: ...
    def set_u64(self, addr: int, value: int) -> None: ...


def init(mem: Memory, head: int) -> None:
    """``INIT_LIST_HEAD()``."""
    mem.set_u64(head, head)
    mem.set_u64(head + 8, head)


def insert_before(mem: Memory, new: int, at: int) -> None:
    """Put *new* before *at*; ``list_add_tail()`` where *at* is the head."""
    before = mem.u64(at + 8)
    mem.set_u64(at + 8, new)
    mem.set_u64(new, at)
    mem.set_u64(new + 8, before)
    mem.set_u64(before, new)


def remove(mem: Memory, entry: int) -> None:
    """``list_del_init()``."""
    following, before = mem.u64(entry), mem.u64(entry + 8)
    mem.set_u64(following + 8, before)
    mem.set_u64(before, following)
    init(mem, entry)


def linked(mem: Memory, entry: int) -> bool:
    """Whether *entry* is in a list; one that was never initialised is not."""
    return mem.u64(entry) not in (0, entry)


def entries(mem: Memory, head: int) -> Iterator[int]:
    """From first to last; the one that was yielded may be removed."""
    entry = mem.u64(head)
    while entry != head:
        following = mem.u64(entry)
        yield entry
        entry = following
