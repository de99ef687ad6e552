"""A process and its memory: nothing until touched, limits, faults, fork; and what drivers see of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import kmem
from kmem.errors import UsageError
from kmem.kapi.process import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_NORESERVE,
    MAP_POPULATE,
    MAP_PRIVATE,
    PROT_NONE,
    PROT_READ,
    PROT_WRITE,
    Process,
    SegmentationFault,
    SystemCallFailed,
)
from kmem.kernel import Kernel
from kmem.mm.validate import check

PAGE = 4096
ANON = MAP_PRIVATE | MAP_ANONYMOUS
AT = 1 << 40
EFAULT, ENOMEM, EINVAL, EEXIST = 14, 12, 22, 17


@pytest.fixture(scope="module")
def machine() -> Iterator[Kernel]:
    with kmem.boot(ram="128M") as kernel:
        kernel.process("first").exit()
        kernel.mm.core.k_drain_all_pages()
        kernel.snapshot()
        yield kernel


@pytest.fixture
def k(machine: Kernel) -> Iterator[Kernel]:
    machine.rollback()
    yield machine
    assert check(machine.mm) == []


@pytest.fixture
def p(k: Kernel) -> Process:
    return k.process("app")


def free_pages(k: Kernel) -> int:
    k.mm.core.k_drain_all_pages()
    return sum(int(z.vm_stat[0]) for z in k.mm.view.zones())


def test_memory_is_taken_when_it_is_touched(k: Kernel, p: Process) -> None:
    before, rss, tables = free_pages(k), p.rss, p.page_tables
    a = p.mmap(64 * PAGE)
    assert (free_pages(k), p.rss, p.page_tables) == (before, rss, tables)
    p.touch(a, 10 * PAGE)
    assert p.rss == rss + 10
    assert before - free_pages(k) == 10 + p.page_tables - tables
    assert p.phys_of(a + 9 * PAGE) >= 0 > p.phys_of(a + 10 * PAGE)


def test_reading_untouched_memory_maps_the_zero_page(k: Kernel, p: Process) -> None:
    a = p.mmap(2 * PAGE)
    rss = p.rss
    assert p.read(a, 2 * PAGE) == bytes(2 * PAGE)
    assert p.phys_of(a) == p.phys_of(a + PAGE) == k.address_of("empty_zero_page") - 0xFFFFFFFF80000000
    assert p.rss == rss
    p.write(a, b"x")
    assert p.rss == rss + 1
    assert p.phys_of(a) != p.phys_of(a + PAGE)
    assert p.read(a, PAGE) == b"x" + bytes(PAGE - 1)


def test_exit_gives_everything_back(k: Kernel) -> None:
    before = free_pages(k)
    p = k.process("app")
    p.mmap(100 * PAGE, flags=ANON | MAP_POPULATE)
    p.write(p.malloc(10_000), b"x" * 10_000)
    p.exit()
    for s in list(k.mm.view.caches()):
        k.mm.core.k_kmem_cache_shrink(s._addr)
    assert free_pages(k) >= before


def test_mappings_go_from_the_top_down(k: Kernel) -> None:
    p = k.process("app", randomize=False)
    assert p.mmap(PAGE) == 0x7FFFF7FFE000
    assert p.mmap(2 * PAGE) == 0x7FFFF7FFC000
    assert p.proc("maps").splitlines()[0] == "7ffff7ffc000-7ffff7fff000 rw-p 00000000 00:00 0 "


def test_a_gap_that_is_large_enough_is_used_again(p: Process) -> None:
    a = p.mmap(10 * PAGE)
    p.munmap(a + 4 * PAGE, 2 * PAGE)
    assert p.mmap(3 * PAGE) == a - 3 * PAGE
    assert p.mmap(2 * PAGE) == a + 4 * PAGE


def test_places_are_random_by_seed_and_the_same_for_the_same() -> None:
    def places(seed: int) -> tuple[int, int, str]:
        with kmem.boot(ram="128M", seed=seed) as kernel:
            p = kernel.process()
            return p.mmap(PAGE), p.brk(), p.proc("maps")

    assert places(1) == places(1) != places(2)


def test_what_mmap_refuses(p: Process) -> None:
    def errno(*words: int, **more: int) -> int:
        with pytest.raises(SystemCallFailed) as refused:
            p.mmap(*words, **more)  # type: ignore[arg-type]
        return refused.value.errno

    assert errno(0) == EINVAL
    assert errno(PAGE, flags=MAP_ANONYMOUS) == EINVAL
    assert errno(PAGE, flags=ANON | MAP_FIXED, addr=AT + 1) == EINVAL
    assert errno(1 << 48) == ENOMEM
    assert errno(1 << 40) == ENOMEM  # more than there is, and not MAP_NORESERVE
    p.munmap(p.mmap(1 << 40, flags=ANON | MAP_NORESERVE), 1 << 40)
    p.mmap(PAGE, flags=ANON | MAP_FIXED, addr=AT)
    assert errno(PAGE, flags=ANON | MAP_FIXED_NOREPLACE, addr=AT) == EEXIST


def test_limits_of_the_process(p: Process) -> None:
    p.rlimit("AS", 1 << 20)
    with pytest.raises(SystemCallFailed):
        p.mmap(2 << 20)
    p.rlimit("AS", -1)
    p.rlimit("DATA", 1 << 20)
    heap = p.brk()
    assert p.brk(heap + (2 << 20)) == heap
    with pytest.raises(SystemCallFailed):
        p.mmap(2 << 20)
    p.mmap(2 << 20, PROT_READ)  # no data


def test_accesses_that_get_a_signal(p: Process) -> None:
    a = p.mmap(3 * PAGE, PROT_READ)
    assert p.read(a, 4) == bytes(4)
    with pytest.raises(SegmentationFault, match="write at"):
        p.write(a, b"x")
    p.mprotect(a + PAGE, PAGE, PROT_NONE)
    with pytest.raises(SegmentationFault) as fault:
        p.read(a, 3 * PAGE)
    assert fault.value.address == a + PAGE
    for address in (0, 8, 1 << 47, 0xFFFF888000000000):
        with pytest.raises(SegmentationFault):
            p.read(address, 1)


def test_protection_splits_and_joins_areas(p: Process) -> None:
    a = p.mmap(5 * PAGE)
    p.write(a, b"x" * 5 * PAGE)
    p.mprotect(a + PAGE, 2 * PAGE, PROT_READ)
    assert [line.split()[1] for line in p.proc("maps").splitlines()[:3]] == ["rw-p", "r--p", "rw-p"]
    with pytest.raises(SegmentationFault):
        p.write(a + PAGE, b"y")
    p.mprotect(a + PAGE, 2 * PAGE, PROT_READ | PROT_WRITE)
    assert p.proc("maps").splitlines()[0].startswith(f"{a:08x}-{a + 5 * PAGE:08x} rw-p")
    p.write(a + PAGE, b"y")
    assert p.read(a + PAGE, 2) == b"yx"


def test_the_heap_grows_and_shrinks(p: Process) -> None:
    start = p.brk()
    assert p.brk(start + 3 * PAGE) == start + 3 * PAGE
    p.write(start, b"x" * 3 * PAGE)
    assert "[heap]" in p.proc("maps")
    assert p.brk(start + 100) == start + 100
    with pytest.raises(SegmentationFault):
        p.read(start + PAGE, 1)
    assert p.brk(start - 1) == start + 100


def test_malloc_takes_the_heap_or_a_mapping(p: Process) -> None:
    small, large = p.malloc(100), p.malloc(128 << 10)
    heap = next(line for line in p.proc("maps").splitlines() if "[heap]" in line)
    first, last = (int(word, 16) for word in heap.split()[0].split("-"))
    assert first <= small < last
    assert large % PAGE == 16
    assert not first <= large < last
    assert p.malloc(100) == small + 112


def test_the_stack_grows_down_to_its_limit(p: Process) -> None:
    line = p.proc("maps").splitlines()[-1]
    first, last = (int(word, 16) for word in line.split()[0].split("-"))
    p.write(first - 5 * PAGE, b"x")
    assert p.proc("maps").splitlines()[-1].startswith(f"{first - 5 * PAGE:08x}-{last:08x}")
    with pytest.raises(SegmentationFault):
        p.write(last - (8 << 20) - PAGE, b"x")


def test_fork_shares_until_somebody_writes(k: Kernel, p: Process) -> None:
    a = p.mmap(3 * PAGE)
    p.write(a, b"parent" * 100)
    child = p.fork()
    assert child.phys_of(a) == p.phys_of(a)
    assert "Pss:                   2 kB" in child.proc("smaps")
    child.write(a, b"child ")
    assert (p.read(a, 6), child.read(a, 12)) == (b"parent", b"child parent")
    frame = p.phys_of(a)
    p.write(a, b"PARENT")
    assert p.phys_of(a) == frame  # nobody else has it any more
    assert check(k.mm) == []
    p.exit()
    assert child.read(a, 6) == b"child "
    child.exit()


def test_pages_that_are_locked_are_there(p: Process) -> None:
    a = p.mmap(4 * PAGE)
    p.mlock(a, 4 * PAGE)
    assert all(p.phys_of(a + n * PAGE) >= 0 for n in range(4))
    assert "VmLck:\t      16 kB" in p.proc("status")
    p.munmap(a, 4 * PAGE)
    assert "VmLck:\t       0 kB" in p.proc("status")


def test_a_process_that_has_exited_is_of_no_use(k: Kernel, p: Process) -> None:
    with p, pytest.raises(UsageError, match="running process"):
        p.exit()
    p.exit()
    with pytest.raises(UsageError, match="has exited"):
        p.read(0, 1)


def test_rollback_takes_processes_back(k: Kernel) -> None:
    p = k.process("app")
    a = p.mmap(PAGE)
    with p:
        p.write(a, b"before")
        assert k.comm() == "app"
    k.rollback()
    assert k.comm() == "insmod"
    assert k.process("again").pid == p.pid


def test_pagemap_and_statm(p: Process) -> None:
    a = p.mmap(3 * PAGE)
    p.write(a, b"x")
    p.read(a + PAGE, 1)
    words = [int.from_bytes(p.pagemap(a, 3 * PAGE)[n : n + 8], "little") for n in (0, 8, 16)]
    assert words[0] & (1 << 55) - 1 == p.phys_of(a) >> 12
    assert [word >> 63 for word in words] == [1, 1, 0]
    assert [word >> 56 & 1 for word in words] == [1, 0, 0]
    assert p.proc("statm").split()[1] == str(p.rss)


def test_a_second_process_does_not_see_the_first_one_s_memory(k: Kernel, p: Process) -> None:
    q = k.process("other", randomize=False)
    a = p.mmap(PAGE)
    p.write(a, b"mine")
    with pytest.raises(SegmentationFault):
        q.read(a, 4)
