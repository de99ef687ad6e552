"""Checks of linked lists (lib/list_debug.c, CONFIG_DEBUG_LIST), 6.1.

With CONFIG_BUG_ON_DATA_CORRUPTION, as Debian has it, a corrupted list prints its message and is a BUG; otherwise a
WARNING with the message, and the operation is left undone.
"""

from __future__ import annotations

from kmem.kapi.export import export, faithful
from kmem.kapi.host import Host

LIST_POISON1 = 0xDEAD000000000100
LIST_POISON2 = 0xDEAD000000000122
FILE = "lib/list_debug.c"


def _corrupted(k: Host, function: str, line: int, message: str) -> bool:
    if k.config.get("CONFIG_BUG_ON_DATA_CORRUPTION"):
        k.log.printk(f"\x013{message}\n")
        k.bug(FILE, line, function)
    k.warn(FILE, line, function, message)
    return False


def _add(k: Host, line: int, message: str) -> bool:
    return _corrupted(k, "__list_add_valid", line, message)


def _del(k: Host, line: int, message: str) -> bool:
    return _corrupted(k, "__list_del_entry_valid", line, message)


@export(faithful, alias="__list_add_valid_or_report")
def __list_add_valid(k: Host, new: int, prev: int, next: int) -> bool:
    """``bool __list_add_valid(struct list_head *new, struct list_head *prev, struct list_head *next)``

    lib/list_debug.c, 6.1. False forbids the insertion of *new* between *prev* and *next*.
    """
    if not prev:
        return _add(k, 23, "list_add corruption. prev is NULL.")
    if not next:
        return _add(k, 25, "list_add corruption. next is NULL.")
    was = k.mem.u64(next + 8)
    if was != prev:
        head = "list_add corruption. next->prev should be prev"
        return _add(k, 27, f"{head} ({prev:016x}), but was {was:016x}. (next={next:016x}).")
    was = k.mem.u64(prev)
    if was != next:
        head = "list_add corruption. prev->next should be next"
        return _add(k, 30, f"{head} ({next:016x}), but was {was:016x}. (prev={prev:016x}).")
    if new in (prev, next):
        return _add(k, 33, f"list_add double add: new={new:016x}, prev={prev:016x}, next={next:016x}.")
    return True


@export(faithful, alias="__list_del_entry_valid_or_report")
def __list_del_entry_valid(k: Host, entry: int) -> bool:
    """``bool __list_del_entry_valid(struct list_head *entry)``

    lib/list_debug.c, 6.1. False forbids the removal of *entry*.
    """
    next, prev = k.mem.u64(entry), k.mem.u64(entry + 8)
    head = f"list_del corruption, {entry:016x}"
    if not next:
        return _del(k, 49, f"{head}->next is NULL")
    if not prev:
        return _del(k, 51, f"{head}->prev is NULL")
    if next == LIST_POISON1:
        return _del(k, 53, f"{head}->next is LIST_POISON1 ({next:016x})")
    if prev == LIST_POISON2:
        return _del(k, 56, f"{head}->prev is LIST_POISON2 ({prev:016x})")
    was = k.mem.u64(prev)
    if was != entry:
        message = f"list_del corruption. prev->next should be {entry:016x}, but was {was:016x}. (prev={prev:016x})"
        return _del(k, 59, message)
    was = k.mem.u64(next + 8)
    if was != entry:
        message = f"list_del corruption. next->prev should be {entry:016x}, but was {was:016x}. (next={next:016x})"
        return _del(k, 62, message)
    return True
