"""slub_debug's reports from values; the golden reports are compared in tests/kapi/test_dumpstack.py."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from kmem.abi.slab_flags import SLAB_KMALLOC, SLAB_POISON, SLAB_RED_ZONE, SLAB_STORE_USER
from kmem.mm.slub_report import (
    ALREADY_FREE,
    POISON,
    SLAB_DISABLED,
    AllocationFailure,
    CacheGeometry,
    Line,
    NodeCounts,
    SlabReport,
    SlabValues,
    Track,
    cache_still_used,
    not_a_slab_page,
    page_allocation,
    slab_out_of_memory,
    unexpected_gfp,
    vmalloc_exceeds,
    vmalloc_no_area,
    vmalloc_no_page_array,
    vmalloc_no_pages,
    vmalloc_not_mapped,
    vmap_exhausted,
    wrong_slab_cache,
)

FZPU = SLAB_RED_ZONE | SLAB_POISON | SLAB_STORE_USER
KMALLOC_32 = CacheGeometry("kmalloc-32", 160, 32, 40, 40, 32, FZPU | SLAB_KMALLOC)
PLAIN = CacheGeometry("things", 40, 33, 40, 16, 0, 0)
BASE = 0xFFFF8880067D9000
OBJ = BASE + 0x160
DUMP: list[Line] = [(4, "Call Trace:")]


def memory(fill: int = 0x6B) -> bytearray:
    content = bytearray([fill]) * 4096
    content[0x140:0x160] = b"\xbb" * 32
    content[0x17F] = 0xA5
    content[0x180:0x188] = b"\xbb" * 8
    content[0x1D4:0x1E0] = b"\x5a" * 12
    return content


def report(
    cache: CacheGeometry = KMALLOC_32,
    content: bytearray | None = None,
    tracks: tuple[Track | None, Track | None] = (None, None),
    notice: Iterable[Line] = (),
) -> SlabReport:
    data = memory() if content is None else content
    return SlabReport(
        cache=cache,
        slab=SlabValues(0xFFFFEA000019F640, BASE, 25, 13, BASE + 0x2A0, "0x200(slab)"),
        read=lambda addr, n: bytes(data[addr - BASE : addr - BASE + n]),
        free_pointer=lambda obj: 0,
        tracks=lambda obj: tracks,
        jiffies=1000,
        tainted="Tainted: G           OE     ",
        symbol=lambda addr: f"sym{addr:x}+0x1/0x2",
        dump_stack=DUMP,
        taint_notice=notice,
    )


def texts(lines: Iterable[Line]) -> list[str]:
    return [text for _, text in lines]


def test_poison_overwritten() -> None:
    content = memory()
    content[0x170:0x178] = b"\x0d" + bytes(7)
    notice = [(4, "Disabling lock debugging due to kernel taint")]
    lines = list(report(content=content, notice=notice).overwritten(POISON, OBJ, OBJ + 16, OBJ + 23, 0x6B))
    assert texts(lines) == [
        "=" * 77,
        "BUG kmalloc-32 (Tainted: G           OE     ): Poison overwritten",
        "-" * 77 + "\n",
        "0xffff8880067d9170-0xffff8880067d9177 @offset=368. First byte 0xd instead of 0x6b",
        "Slab 0xffffea000019f640 objects=25 used=13 fp=0xffff8880067d92a0 flags=0x200(slab)",
        "Object 0xffff8880067d9160 @offset=352 fp=0x0000000000000000\n",
        "Redzone  ffff8880067d9140: bb bb bb bb bb bb bb bb bb bb bb bb bb bb bb bb  ................",
        "Redzone  ffff8880067d9150: bb bb bb bb bb bb bb bb bb bb bb bb bb bb bb bb  ................",
        "Object   ffff8880067d9160: 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b 6b  kkkkkkkkkkkkkkkk",
        "Object   ffff8880067d9170: 0d 00 00 00 00 00 00 00 6b 6b 6b 6b 6b 6b 6b a5  ........kkkkkkk.",
        "Redzone  ffff8880067d9180: bb bb bb bb bb bb bb bb                          ........",
        "Padding  ffff8880067d91d4: 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a 5a              ZZZZZZZZZZZZ",
        "Call Trace:",
        "Disabling lock debugging due to kernel taint",
        "FIX kmalloc-32: Restoring Poison 0xffff8880067d9170-0xffff8880067d9177=0x6b",
    ]
    assert {level for level, text in lines if text not in ("Call Trace:", notice[0][1])} == {3}


def test_history_of_an_object() -> None:
    tracks = (Track(0x10, 0, 97, 999, (0x20, 0x30)), Track(0x40, 1, 98, 900))
    assert list(report(tracks=tracks).tracking(OBJ)) == [
        (3, "Allocated in sym10+0x1/0x2 age=1 cpu=0 pid=97"),
        (4, " sym20+0x1/0x2"),
        (4, " sym30+0x1/0x2"),
        (3, "Freed in sym40+0x1/0x2 age=100 cpu=1 pid=98"),
        (3, "object allocation/free stack trace missing"),
    ]


def test_an_object_that_was_never_freed_has_half_a_history() -> None:
    tracks = (Track(0x10, 0, 97, 999, (0x20,)), Track(0, 0, 0, 0))
    assert len(list(report(tracks=tracks).tracking(OBJ))) == 2


def test_a_cache_without_tracking_has_no_history() -> None:
    assert list(report(PLAIN, tracks=(Track(0x10, 0, 97, 999), None)).tracking(BASE)) == []


@pytest.mark.parametrize(
    ("cache", "padding", "end"),
    [
        (KMALLOC_32, 116, 128),
        (CacheGeometry("things", 160, 32, 40, 40, 32, FZPU), 112, 128),
        (CacheGeometry("poisoned", 48, 32, 32, 32, 0, SLAB_POISON), 40, 48),
        (PLAIN, 40, 40),
    ],
)
def test_where_the_padding_of_an_object_lies(cache: CacheGeometry, padding: int, end: int) -> None:
    assert (cache.padding, cache.end) == (padding, end)


def test_without_red_zones_the_bytes_before_the_object_are_shown() -> None:
    lines = texts(report(PLAIN, bytearray(range(256)) * 16).trailer(BASE + 40))
    assert lines[2:] == [
        "Bytes b4 ffff8880067d9018: 18 19 1a 1b 1c 1d 1e 1f 20 21 22 23 24 25 26 27  ........ !\"#$%&'",
        "Object   ffff8880067d9028: 28 29 2a 2b 2c 2d 2e 2f 30 31 32 33 34 35 36 37  ()*+,-./01234567",
        "Object   ffff8880067d9038: 38 39 3a 3b 3c 3d 3e 3f 40 41 42 43 44 45 46 47  89:;<=>?@ABCDEFG",
        "Object   ffff8880067d9048: 48                                               H",
        "Call Trace:",
    ]


def test_the_first_object_has_no_bytes_before_it() -> None:
    assert not any(line.startswith("Bytes b4") for line in texts(report(PLAIN).trailer(BASE)))


def test_of_a_large_object_one_page_is_shown() -> None:
    large = CacheGeometry("kmalloc-8k", 8192, 8192, 8192, 4096, 0, 0)
    made = report(large, bytearray(8192)).section("Object   ", BASE, min(large.object_size, 4096))
    assert len(list(made)) == 256
    assert sum(line.startswith("Object   ") for line in texts(report(large, bytearray(8192)).trailer(BASE))) == 256


@pytest.mark.parametrize(
    ("obj", "valid"),
    [
        (BASE + 32, True),
        (OBJ, True),
        (OBJ + 32, False),
        (BASE, False),
        (BASE + 33, False),
        (BASE + 32 + 24 * 160, True),
        (BASE + 32 + 25 * 160, False),
        (BASE - 128, False),
        (0, False),
    ],
)
def test_which_addresses_are_objects(obj: int, valid: bool) -> None:
    assert report().is_object(obj) is valid


def test_already_free() -> None:
    lines = texts(report().object_error(BASE + 32, ALREADY_FREE))
    assert lines[1].endswith("): Object already free")
    assert lines[4].startswith("Object 0xffff8880067d9020 @offset=32 fp=")
    assert report().not_freed(BASE + 32) == (3, "FIX kmalloc-32: Object at 0xffff8880067d9020 not freed")


@pytest.mark.parametrize(("obj", "shown"), [(BASE + 1, "ffff8880067d9001"), (0, "0000000000000000")])
def test_what_is_no_object_is_not_dumped(obj: int, shown: str) -> None:
    lines = texts(report().object_error(obj, "Freelist Pointer check fails"))
    assert lines[3].startswith("Slab 0x")
    assert lines[4:] == [f"Invalid pointer 0x{shown}"]


def test_a_slab_as_a_whole() -> None:
    lines = texts(report().slab_error(SLAB_DISABLED))
    assert lines[1].endswith("): Slab disabled since SLUB metadata consistency check failed")
    assert lines[3].startswith("Slab 0xffffea000019f640")
    assert lines[4:] == ["Call Trace:"]


def test_messages_about_a_slab() -> None:
    made = report()
    assert texts(made.invalid_object(BASE + 1))[1].endswith("Invalid object pointer 0xffff8880067d9001")
    assert texts(made.outside_of_slab(BASE))[1].endswith("Attempt to free object(0xffff8880067d9000) outside of slab")
    assert texts(made.no_cache(BASE)) == ["SLUB <none>: no slab for object 0xffff8880067d9000.", "Call Trace:"]
    assert texts(made.wrong_objects(9, 25))[-1] == "FIX kmalloc-32: Number of objects adjusted"
    counted = texts(made.wrong_count(13, 12))
    assert counted[1].endswith("Wrong object count. Counter is 13 but counted were 12")
    assert counted[-1] == "FIX kmalloc-32: Object count adjusted"
    assert texts(made.freechain_corrupt(BASE + 32))[-1] == "FIX kmalloc-32: Isolate corrupted freechain"


def test_a_long_message_is_cut_as_by_the_kernels_buffer() -> None:
    name = "a" * 120
    cache = CacheGeometry(name, 160, 32, 40, 40, 32, FZPU)
    line = texts(report(cache).objects_remaining([]))[1]
    assert line.endswith("): Objects remaining in " + "a" * (99 - len("Objects remaining in ")))


def test_padding_of_the_slab() -> None:
    content = memory(0x5A)
    content[4008] = 0
    lines = texts(report(content=content).padding_overwritten(BASE + 4008, BASE + 4008, BASE + 4000, 96, 0x5A))
    assert lines[1].endswith("): Padding overwritten. 0xffff8880067d9fa8-0xffff8880067d9fa8 @offset=4008")
    assert lines[5] == "Padding ffff8880067d9fa0: 5a 5a 5a 5a 5a 5a 5a 5a 00 5a 5a 5a 5a 5a 5a 5a  ZZZZZZZZ.ZZZZZZZ"
    assert lines[-1] == "FIX kmalloc-32: Restoring slab padding 0xffff8880067d9fa8-0xffff8880067d9fa8=0x5a"


def test_objects_remaining() -> None:
    made = report(tracks=(Track(0x10, 0, 97, 990, (0x20,)), None)).objects_remaining([BASE + 32, BASE + 192])
    lines = texts(made)
    assert lines[1].endswith("): Objects remaining in kmalloc-32 on __kmem_cache_shutdown()")
    assert lines[5:8] == [
        "Object 0xffff8880067d9020 @offset=32",
        "Allocated in sym10+0x1/0x2 age=10 cpu=0 pid=97",
        " sym20+0x1/0x2",
    ]
    assert lines[8] == "Object 0xffff8880067d90c0 @offset=192"


def test_messages_of_warnings() -> None:
    assert wrong_slab_cache("a", "b") == "cache_from_obj: Wrong slab cache. a but object is from b"
    assert not_a_slab_page() == "virt_to_cache: Object is not a Slab page!"
    assert (
        cache_still_used("a", "drv_exit+0x1c/0x40 [drv]")
        == "kmem_cache_destroy a: Slab cache still has objects when called from drv_exit+0x1c/0x40 [drv]"
    )


def test_a_page_allocation_that_fails() -> None:
    failure = AllocationFailure("insmod", page_allocation(11), 0xCC0, "GFP_KERNEL")
    assert list(failure.lines(DUMP, [(4, "Mem-Info:")])) == [
        (
            4,
            "insmod: page allocation failure: order:11, mode:0xcc0(GFP_KERNEL), "
            "nodemask=(null),cpuset=/,mems_allowed=0",
        ),
        (4, "Call Trace:"),
        (4, "Mem-Info:"),
    ]


def test_a_kernel_without_cpusets_says_nothing_of_them() -> None:
    failure = AllocationFailure("insmod", vmalloc_exceeds(1 << 40), 0xCC0, "GFP_KERNEL", cpuset="", mems_allowed="")
    [(_, line)] = failure.lines((), ())
    assert line == (
        "insmod: vmalloc error: size 1099511627776, exceeds total pages, mode:0xcc0(GFP_KERNEL), nodemask=(null)"
    )


def test_how_vmalloc_fails() -> None:
    assert vmalloc_no_area(8192) == "vmalloc error: size 8192, vm_struct allocation failed"
    assert vmalloc_no_area(8192, nofail=True) == "vmalloc error: size 8192, vm_struct allocation failed. Retrying."
    assert vmalloc_no_page_array(8192, 16) == "vmalloc error: size 8192, failed to allocated page array size 16"
    assert vmalloc_no_pages(8192, 0) == "vmalloc error: size 8192, page order 0, failed to allocate pages"
    assert vmalloc_not_mapped(8192) == "vmalloc error: size 8192, failed to map pages"
    assert vmap_exhausted(8192) == (
        4,
        "vmap allocation for size 8192 failed: use vmalloc=<size> to increase size",
    )


def test_flags_that_kmalloc_does_not_take() -> None:
    assert unexpected_gfp(4, "GFP_DMA32", 0xCC0, "GFP_KERNEL") == (
        4,
        "Unexpected gfp: 0x4 (GFP_DMA32). Fixing up to gfp: 0xcc0 (GFP_KERNEL). Fix your code!",
    )


def test_no_memory_for_a_slab() -> None:
    made = slab_out_of_memory(KMALLOC_32, 0xCC0, "GFP_KERNEL", -1, (1, 1, 0), [NodeCounts(0, 4, 100, 3)])
    assert texts(made) == [
        "SLUB: Unable to allocate memory on node -1, gfp=0xcc0(GFP_KERNEL)",
        "  cache: kmalloc-32, object size: 32, buffer size: 160, default order: 1, min order: 1",
        "  kmalloc-32 debugging increased min order, use slub_debug=O to disable.",
        "  node 0: slabs: 4, objs: 100, free: 3",
    ]
    assert len(texts(slab_out_of_memory(PLAIN, 0, "", 0, (0, 0, 0), []))) == 2
