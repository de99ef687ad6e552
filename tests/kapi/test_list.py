"""Checks of lists, and lists in guest memory."""

from __future__ import annotations

import pytest

from kmem.kapi.lists import add, add_tail, del_init, entries, init_list_head, is_empty
from tests.kapi.fakehost import FakeBug, FakeHost

POISON1, POISON2 = 0xDEAD000000000100, 0xDEAD000000000122


@pytest.fixture
def ring(k: FakeHost) -> tuple[int, int, int]:
    """A list head and two entries."""
    head, a, b = k.alloc(16), k.alloc(16), k.alloc(16)
    init_list_head(k, head)
    add_tail(k, a, head)
    add_tail(k, b, head)
    return head, a, b


def test_a_sound_list_passes(ring: tuple[int, int, int], k: FakeHost) -> None:
    _, a, b = ring
    assert k.run("__list_add_valid", k.alloc(16), a, b) == 1
    assert k.run("__list_del_entry_valid", a) == 1
    assert (k.log.records, k.warnings) == ([], [])


def corrupt(k: FakeHost, ring: tuple[int, int, int], how: str) -> tuple[str, tuple[int, ...], str, int]:
    """Breaks the list; the check to call, its arguments, what it says and the line that it says it in."""
    head, a, b = ring
    new = k.alloc(16)
    hexadecimal = {name: f"{value:016x}" for name, value in (("head", head), ("a", a), ("b", b), ("new", new))}
    h, ah, bh, nh = hexadecimal.values()
    if how == "add prev null":
        return "__list_add_valid", (new, 0, b), "list_add corruption. prev is NULL.", 23
    if how == "add next null":
        return "__list_add_valid", (new, a, 0), "list_add corruption. next is NULL.", 25
    if how == "add next prev":
        k.mem.set_u64(b + 8, head)
        text = f"list_add corruption. next->prev should be prev ({ah}), but was {h}. (next={bh})."
        return "__list_add_valid", (new, a, b), text, 27
    if how == "add prev next":
        k.mem.set_u64(a, head)
        text = f"list_add corruption. prev->next should be next ({bh}), but was {h}. (prev={ah})."
        return "__list_add_valid", (new, a, b), text, 30
    if how == "add twice":
        return "__list_add_valid", (a, a, b), f"list_add double add: new={ah}, prev={ah}, next={bh}.", 33
    if how == "del next null":
        k.mem.set_u64(a, 0)
        return "__list_del_entry_valid", (a,), f"list_del corruption, {ah}->next is NULL", 49
    if how == "del prev null":
        k.mem.set_u64(a + 8, 0)
        return "__list_del_entry_valid", (a,), f"list_del corruption, {ah}->prev is NULL", 51
    if how == "del poison1":
        k.mem.set_u64(a, POISON1)
        return "__list_del_entry_valid", (a,), f"list_del corruption, {ah}->next is LIST_POISON1 (dead000000000100)", 53
    if how == "del poison2":
        k.mem.set_u64(a + 8, POISON2)
        return "__list_del_entry_valid", (a,), f"list_del corruption, {ah}->prev is LIST_POISON2 (dead000000000122)", 56
    if how == "del prev next":
        k.mem.set_u64(head, b)
        text = f"list_del corruption. prev->next should be {ah}, but was {bh}. (prev={h})"
        return "__list_del_entry_valid", (a,), text, 59
    k.mem.set_u64(b + 8, new)
    text = f"list_del corruption. next->prev should be {ah}, but was {nh}. (next={bh})"
    return "__list_del_entry_valid", (a,), text, 62


HOWS = """add prev null,add next null,add next prev,add prev next,add twice,del next null,del prev null,del poison1,
del poison2,del prev next,del next prev""".replace("\n", "").split(",")
corruptions = pytest.mark.parametrize("how", HOWS)


@corruptions
def test_a_corrupted_list_is_a_bug_on_debian(how: str, ring: tuple[int, int, int], k: FakeHost) -> None:
    name, args, text, line = corrupt(k, ring, how)
    with pytest.raises(FakeBug, match=f"lib/list_debug.c:{line} {name}"):
        k.run(name, *args)
    assert [(record.level, record.text) for record in k.log.records] == [(3, text)]


@corruptions
def test_a_corrupted_list_is_a_warning_without_bug_on_data_corruption(
    how: str, ring: tuple[int, int, int], k: FakeHost
) -> None:
    k.config["CONFIG_BUG_ON_DATA_CORRUPTION"] = False
    name, args, text, line = corrupt(k, ring, how)
    assert k.run(name, *args) == 0
    assert k.warnings == [f"lib/list_debug.c:{line} {name}: {text}"]


def test_lists_in_guest_memory(ring: tuple[int, int, int], k: FakeHost) -> None:
    head, a, b = ring
    c = k.alloc(16)
    add(k, c, head)
    assert list(entries(k, head)) == [c, a, b]
    del_init(k, a)
    assert list(entries(k, head)) == [c, b]
    assert is_empty(k, a)
    for entry in entries(k, head):
        del_init(k, entry)
    assert is_empty(k, head)
