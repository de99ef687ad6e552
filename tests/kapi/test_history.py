"""What an address went through, put together from events."""

from __future__ import annotations

import pytest

import kmem
from kmem.errors import UsageError
from kmem.kapi.history import OUTSIDE, UNNAMED, History, Step, UnknownAddress, address_of, dump, region
from kmem.kernel import Kernel

OBJECT = 0xFFFF888000100040
PAGE = OBJECT & -4096


def step(number: int, kind: str, start: int = OBJECT, size: int = 64, requested: int = 0, what: str = "") -> Step:
    known = what or ("" if kind.endswith("free") else "pages of order 0" if kind.startswith("mm") else "kmalloc-64")
    size = 0 if kind.endswith("free") and not kind.startswith("mm") else size
    return Step(number, number * 1000, kind, 0, "task (7)", f"fn{number}", start, size, requested, "", known)


def of(address: int, *steps: Step) -> History:
    return History.of(address, steps, source="made", until="at the end", region=region(address))


def told(history: History) -> list[tuple[int, str]]:
    return [(one.number, text) for one, text in history.rows()]


def test_an_object_is_known_by_any_of_its_bytes() -> None:
    made = step(1, "kmalloc", requested=50)
    for inside in (0, 1, 49):
        found = of(OBJECT + inside, made)
        assert found.live == made
        assert found.state().startswith("in use: kmalloc-64: 50 of 64 bytes at 0xffff888000100040")
    assert of(OBJECT + 50, made).state().endswith("50 bytes in, beyond what was asked for, since event 1")
    for outside in (-1, 64):
        assert of(OBJECT + outside, made).lives == []


def test_free_and_reuse_are_told_in_order() -> None:
    other = step(3, "kmem_cache_alloc", what="dentry", size=192, start=OBJECT - 64)
    found = of(OBJECT, step(1, "kmalloc"), step(2, "kfree"), other)
    assert told(found) == [
        (1, "kmalloc-64: 64 bytes at 0xffff888000100040"),
        (2, "freed"),
        (3, "reused: dentry: 192 bytes at 0xffff888000100000, 64 bytes in"),
    ]
    assert found.live == other


def test_what_is_free_says_who_freed_it() -> None:
    found = of(OBJECT + 8, step(1, "kmalloc"), step(2, "kfree"))
    assert found.live is None
    assert found.state() == "free since event 2, 0.000002000 s: kfree() by fn2"


def test_a_cache_that_only_the_free_names_is_the_allocations() -> None:
    free = step(2, "kmem_cache_free", what="task_struct")
    found = of(OBJECT, step(1, "kmem_cache_alloc", what=UNNAMED), free)
    assert told(found)[0] == (1, "task_struct: 64 bytes at 0xffff888000100040")


def test_a_second_free_is_told_as_one() -> None:
    found = of(OBJECT, step(1, "kmalloc"), step(2, "kfree"), step(3, "kfree"))
    assert told(found)[1:] == [(2, "freed"), (3, "freed again")]


def test_handed_out_again_without_a_free_in_between() -> None:
    found = of(OBJECT, step(1, "kmalloc"), step(2, "kmalloc"))
    assert [life.how for life in found.lives] == ["handed out again", ""]
    assert told(found)[1] == (2, "reused: kmalloc-64: 64 bytes at 0xffff888000100040")


def test_a_free_of_what_lived_before() -> None:
    found = of(OBJECT, step(5, "kfree"))
    assert told(found) == [(5, "freed (allocated earlier than that)")]
    assert of(OBJECT + 8, step(5, "kfree")).lives == []


def test_the_page_of_a_freed_object_is_still_allocated() -> None:
    pages = step(1, "mm_page_alloc", start=PAGE, size=4096)
    found = of(OBJECT, pages, step(2, "kmalloc"), step(3, "kfree"))
    assert found.state().endswith("kfree() by fn3; its page is still allocated")
    gone = of(OBJECT, pages, step(2, "kmalloc"), step(3, "kfree"), step(4, "mm_page_free", start=PAGE, size=4096))
    assert gone.live is None
    assert told(gone)[-1] == (4, "freed")


def test_a_part_of_a_block_of_pages_can_be_freed_alone() -> None:
    block = step(1, "mm_page_alloc", start=PAGE - 4096, size=8192)
    assert of(OBJECT, block, step(2, "mm_page_free", start=PAGE - 4096, size=4096)).live == block
    assert of(OBJECT, block, step(2, "mm_page_free", start=PAGE, size=4096)).live is None


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0xffff888000100040", OBJECT),
        ("FFFF888000100040", OBJECT),
        ("pfn:0x100", PAGE),
        ("4096", 4096),
        ("drv_init", 0x1000),
        ("drv_init+0x10", 0x1010),
        ("drv_init+16/0x40", 0x1010),
    ],
)
def test_addresses_are_written_in_several_ways(text: str, address: int) -> None:
    assert address_of(text, {"drv_init": 0x1000}.get) == address


@pytest.mark.parametrize("text", ["", "what is it", "0x", "no_such+0x10", "0x1ffffffffffffffff0", "+0x10"])
def test_what_is_no_address_says_what_one_is(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        address_of(text, {}.get)
    assert caught.value.remedy


def test_regions() -> None:
    assert region(OBJECT) == "direct map, page frame 0x100"
    assert region(0xFFFFC90000000000) == "vmalloc space"
    assert region(0xFFFFFFFFC0001000) == "memory of modules"
    assert region(8) == "the NULL page"
    assert region(0x8000000000000000) == "no part of the kernel's address space"


def test_bytes_are_shown_by_sixteen() -> None:
    assert dump(0x1000, b"hello\0" + bytes(12)) == [
        "0000000000001000  68 65 6c 6c 6f 00 00 00 00 00 00 00 00 00 00 00  hello...........",
        "0000000000001010  00 00                                            ..",
    ]


@pytest.fixture(scope="module")
def machine() -> Kernel:
    return kmem.boot(ram="128M", config="plain", history=True)


def test_a_machine_tells_what_happened_and_what_is_there(machine: Kernel) -> None:
    p = machine.kmalloc(50)
    machine.write(p, b"hello")
    found = machine.x(p + 2)
    assert found.live
    assert (found.live.start, found.live.requested, found.live.size, found.live.site) == (p, 50, 64, OUTSIDE)
    assert found.memory
    assert found.memory[:3] == b"llo"
    machine.kfree(p)
    assert f"kfree() by {OUTSIDE}" in machine.x(p).state()
    again = machine.kmalloc(64)
    assert again == p
    assert [text.partition(":")[0] for _, text in machine.x(f"{p:#x}").rows()][-3:] == ["kmalloc-64", "freed", "reused"]


def test_a_machine_tells_of_mapped_memory(machine: Kernel) -> None:
    p = machine.vmalloc(9000)
    machine.write(p + 5000, b"there")
    found = machine.x(p + 5000)
    assert found.memory
    assert found.memory[:5] == b"there"
    machine.vfree(p)
    assert machine.x(p + 5000).live is None


def test_an_address_that_nothing_touched_is_an_error(machine: Kernel) -> None:
    with pytest.raises(UnknownAddress, match="nothing was allocated or freed there"):
        machine.x(0xFFFF888000000000)


def test_a_rollback_takes_its_events_along(machine: Kernel) -> None:
    p = machine.kmalloc(2000)
    machine.snapshot()
    machine.kfree(p)
    machine.rollback()
    assert machine.x(p).live


def test_a_machine_without_history_says_how_to_have_one() -> None:
    with kmem.boot(ram="128M", config="plain") as k, pytest.raises(UsageError, match="keeps no history"):
        k.x(0)
