"""C structs: the type grammar, layouts of our own, and pointers with fields."""

from __future__ import annotations

import pytest

from kmem.abi.address import PAGE_OFFSET, VMEMMAP_START
from kmem.lib.cstruct import ANY, DIRECT, PRIVATE, VMEMMAP, CoreFault, Field, Ptr, Struct, parse_type, private_struct
from kmem.machine.ram import Ram
from kmem.mm.mm_types import kmem_cache, page, slab, zone

MIB = 1 << 20


@pytest.fixture
def ram() -> Ram:
    ram = Ram(4 * MIB)
    ram.place_mem_map(1 * MIB, 64 << 10)
    return ram


@pytest.mark.parametrize(
    ("text", "size", "field"),
    [
        ("u8", 1, Field(8, "int", 1)),
        ("s32", 4, Field(8, "int", 4, signed=True)),
        ("*page", 8, Field(8, "ptr", 8, target="page")),
        ("*", 8, Field(8, "ptr", 8)),
        ("struct list_head", 16, Field(8, "struct", 16, target="list_head")),
        ("[4]u16", 8, Field(8, "array", 8, length=4, element=Field(0, "int", 2))),
        (
            "[2][3]u8",
            6,
            Field(8, "array", 6, length=2, element=Field(0, "array", 3, length=3, element=Field(0, "int", 1))),
        ),
        ("[0]*page", 0, Field(8, "array", 0, length=0, element=Field(0, "ptr", 8, target="page"))),
    ],
)
def test_the_type_grammar(text: str, size: int, field: Field) -> None:
    assert parse_type(text, 8, size) == field


def test_a_type_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="float"):
        parse_type("float", 0, 4)


def test_a_struct_of_our_own_is_laid_out_as_a_compiler_would() -> None:
    made = private_struct("test_own", [("a", "u8"), ("b", "u64"), ("c", "u16"), ("d", "[3]u16"), ("e", "u8")], DIRECT)
    assert {name: made.field(name).offset for name in made.names()} == {"a": 0, "b": 8, "c": 16, "d": 18, "e": 24}
    assert made.size == 32


def test_members_of_the_release_are_known_by_name() -> None:
    assert kmem_cache.has("cpu_partial_slabs")
    assert "object_size" in kmem_cache
    assert not kmem_cache.has("nonsense")
    with pytest.raises(AttributeError, match="struct kmem_cache has no member 'nonsense'"):
        kmem_cache.field("nonsense")


def test_bit_fields_share_a_word_with_the_whole(ram: Ram) -> None:
    sl = Ptr(ram, slab, VMEMMAP_START + 640)
    sl.counters = 0
    sl.inuse, sl.objects, sl.frozen = 21, 0x7FFF, 1
    assert sl.counters == 21 | 0x7FFF << 16 | 1 << 31
    sl.objects = 3
    assert (sl.inuse, sl.objects, sl.frozen) == (21, 3, 1)
    sl.inuse = 0x1_0002
    assert (sl.inuse, sl.objects, sl.frozen) == (2, 3, 1)


def test_narrow_fields_are_truncated_and_extended(ram: Ram) -> None:
    p = Ptr(ram, page, VMEMMAP_START)
    p._refcount = 0x1_FFFF_FFFF
    assert p._refcount == -1
    p.page_type = -1
    assert p.page_type == 0xFFFFFFFF
    p.flags = 1 << 63
    assert p.flags == -(1 << 63)


def test_a_pointer_member_gives_a_typed_pointer(ram: Ram) -> None:
    sl = Ptr(ram, slab, VMEMMAP_START)
    sl.slab_cache = Ptr(ram, kmem_cache, PAGE_OFFSET + 0x1000)
    assert repr(sl.slab_cache) == "(struct kmem_cache *)0xffff888000001000"
    sl.slab_cache.object_size = 64
    assert int.from_bytes(ram.mem[0x1000 + 28 : 0x1000 + 32], "little") == 64
    sl.slab_cache = 0
    assert not sl.slab_cache


def test_embedded_structs_and_arrays_are_places(ram: Ram) -> None:
    z = Ptr(ram, zone, PAGE_OFFSET)
    z.free_area[3].nr_free = 7
    assert z.free_area[3].nr_free == 7
    assert z.free_area[2].nr_free == 0
    assert len(z.free_area) == 11
    z._watermark[1] = 99
    assert [z._watermark[i] for i in range(3)] == [0, 99, 0]
    with pytest.raises(TypeError, match="as a whole"):
        z.free_area = 1


def test_arithmetic_compares_and_steps_by_the_size(ram: Ram) -> None:
    p = Ptr(ram, page, VMEMMAP_START)
    assert (p + 3)._addr - p._addr == 192
    assert (p + 3) - p == 3
    assert p[2] == p + 2
    assert p - 1 == p + -1
    assert p + 1 != p
    assert hash(p + 1) == hash(p[1])
    assert p != PAGE_OFFSET
    assert not Ptr(ram, page, 0)


def test_a_wild_pointer_faults(ram: Ram) -> None:
    with pytest.raises(CoreFault, match="read of 8 bytes at 0x0000000000000000"):
        _ = Ptr(ram, page, 0).flags
    with pytest.raises(CoreFault, match="write of 4 bytes"):
        Ptr(ram, page, VMEMMAP_START + (64 << 10))._refcount = 1
    with pytest.raises(CoreFault):
        _ = Ptr(ram, kmem_cache, VMEMMAP_START).name


def test_an_object_must_begin_in_memory_and_may_end_behind_it(ram: Ram) -> None:
    last = Ptr(ram, Struct.registry["list_head"], PAGE_OFFSET + 4 * MIB - 4)
    last.prev = 5
    assert int(last.prev._addr) == 5
    with pytest.raises(CoreFault, match=f"read of 8 bytes at {PAGE_OFFSET + 4 * MIB + 8:#018x}"):
        _ = Ptr(ram, Struct.registry["list_head"], PAGE_OFFSET + 4 * MIB).prev


def test_what_lies_behind_memory_is_no_memory(ram: Ram) -> None:
    before = ram.hash()
    Ptr(ram, Struct.registry["list_head"], PAGE_OFFSET + 4 * MIB - 4).prev = 5
    assert ram.hash() == before
    assert all(last <= ram.size for _, last in ram.populated())


def test_an_array_has_no_element_behind_its_last(ram: Ram) -> None:
    nodes = Ptr(ram, kmem_cache, PAGE_OFFSET).node
    assert not nodes[len(nodes) - 1]
    for index in (-1, len(nodes)):
        with pytest.raises(CoreFault):
            _ = nodes[index]


def test_list_heads_are_looked_for_in_every_window(ram: Ram) -> None:
    lru = Ptr(ram, page, VMEMMAP_START).lru
    lru.next = Ptr(ram, kmem_cache, PAGE_OFFSET + 0x3000).list
    assert lru.next._window == ANY
    lru.next.prev = lru
    assert int.from_bytes(ram.mem[0x3000 + 112 : 0x3000 + 120], "little") == VMEMMAP_START + 8


def test_windows_have_names() -> None:
    assert (page.window, kmem_cache.window, Struct.registry["list_head"].window) == (VMEMMAP, DIRECT, ANY)
    assert PRIVATE != DIRECT
