"""The BTF reader on hand-encoded bytes."""

from __future__ import annotations

import pytest

from kmem.abi import btf
from kmem.abi.btf import Btf
from kmem.abi.ctype import Struct, flatten
from kmem.errors import InputError
from tests.abi.btf_writer import BtfWriter

SIGNED, CHAR, BOOL = 1 << 24, 2 << 24, 4 << 24


def flat(blob: bytes, name: str) -> dict[str, list[int | str]]:
    """The only definition of struct `name`, flattened."""
    (found,) = Btf(blob).find_all(name)
    return flatten(found)


def test_integers_get_their_width_and_sign() -> None:
    w = BtfWriter()
    types = [
        w.add(btf.INT, "unsigned long", 8, 64),
        w.add(btf.INT, "int", 4, SIGNED | 32),
        w.add(btf.INT, "char", 1, CHAR | 8),
        w.add(btf.INT, "_Bool", 1, BOOL | 8),
        w.add(btf.INT, "short unsigned int", 2, 16),
    ]
    rows = [(f"m{i}", number, 64 * i) for i, number in enumerate(types)]
    w.add(btf.STRUCT, "s", 40, *w.members(*rows), items=5)
    assert flat(w.blob(), "s") == {
        "m0": [0, 8, "u64"],
        "m1": [8, 4, "s32"],
        "m2": [16, 1, "s8"],
        "m3": [24, 1, "u8"],
        "m4": [32, 2, "u16"],
    }


def test_pointers_name_the_struct_behind_qualifiers_and_typedefs() -> None:
    w = BtfWriter()
    void_pointer = w.add(btf.PTR, "", 0)
    page = w.add(btf.FWD, "page", 0)
    const_page = w.add(btf.CONST, "", page)
    page_pointer = w.add(btf.PTR, "", const_page)
    pgtable_t = w.add(btf.TYPEDEF, "pgtable_t", page_pointer)
    function = w.add(btf.FUNC_PROTO, "", 0, 0, void_pointer, items=1)
    function_pointer = w.add(btf.PTR, "", function)
    anonymous = w.add(btf.STRUCT, "", 8, *w.members(("pgd", void_pointer, 0)), items=1)
    pgd_t = w.add(btf.TYPEDEF, "pgd_t", anonymous)
    pgd_pointer = w.add(btf.PTR, "", pgd_t)
    pointer_pointer = w.add(btf.PTR, "", page_pointer)
    rows = [
        ("data", void_pointer, 0),
        ("pte", pgtable_t, 64),
        ("ctor", function_pointer, 128),
        ("pgd", pgd_pointer, 192),
        ("pages", pointer_pointer, 256),
        ("first", pgd_t, 320),
    ]
    w.add(btf.STRUCT, "s", 48, *w.members(*rows), items=6)
    assert {name: row[2] for name, row in flat(w.blob(), "s").items()} == {
        "data": "*",
        "pte": "*page",
        "ctor": "*",
        "pgd": "*pgd_t",
        "pages": "*",
        "first": "struct pgd_t",
    }


def test_anonymous_members_are_flattened_into_their_parent() -> None:
    w = BtfWriter()
    u32 = w.add(btf.INT, "unsigned int", 4, 32)
    u64 = w.add(btf.INT, "unsigned long", 8, 64)
    inner = w.add(btf.STRUCT, "", 8, *w.members(("a", u32, 0), ("b", u32, 32)), items=2)
    union = w.add(btf.UNION, "", 8, *w.members(("whole", u64, 0), ("", inner, 0)), items=2)
    w.add(btf.STRUCT, "s", 16, *w.members(("head", u64, 0), ("", union, 64)), items=2)
    assert flat(w.blob(), "s") == {
        "head": [0, 8, "u64"],
        "whole": [8, 8, "u64"],
        "a": [8, 4, "u32"],
        "b": [12, 4, "u32"],
    }


def test_a_member_with_an_anonymous_type_is_followed_by_its_own_members() -> None:
    w = BtfWriter()
    u64 = w.add(btf.INT, "unsigned long", 8, 64)
    inner = w.add(btf.STRUCT, "", 16, *w.members(("first", u64, 0), ("last", u64, 64)), items=2)
    w.add(btf.STRUCT, "s", 24, *w.members(("head", u64, 0), ("shared", inner, 64)), items=2)
    assert flat(w.blob(), "s")["shared"] == [8, 16, "struct"]
    assert flat(w.blob(), "s")["shared.last"] == [16, 8, "u64"]


def test_bit_fields_stand_in_an_aligned_unit_of_their_type() -> None:
    w = BtfWriter()
    u32 = w.add(btf.INT, "unsigned int", 4, 32)
    rows = [("inuse", u32, 16 << 24 | 320), ("objects", u32, 15 << 24 | 336), ("frozen", u32, 1 << 24 | 351)]
    w.add(btf.STRUCT, "slab", 64, *w.members(*rows), items=3, flag=1)
    assert flat(w.blob(), "slab") == {
        "inuse": [40, 4, "u32", 0, 16],
        "objects": [40, 4, "u32", 16, 15],
        "frozen": [40, 4, "u32", 31, 1],
    }


def test_arrays_of_arrays_keep_their_dimensions() -> None:
    w = BtfWriter()
    u16 = w.add(btf.INT, "short unsigned int", 2, 16)
    row = w.add(btf.ARRAY, "", 0, u16, u16, 3)
    table = w.add(btf.ARRAY, "", 0, row, u16, 2)
    flexible = w.add(btf.ARRAY, "", 0, u16, u16, 0)
    w.add(btf.STRUCT, "s", 12, *w.members(("table", table, 0), ("tail", flexible, 96)), items=2)
    assert flat(w.blob(), "s") == {"table": [0, 12, "[2][3]u16"], "tail": [12, 0, "[0]u16"]}


def test_atomics_and_locks_are_plain_words() -> None:
    w = BtfWriter()
    s32 = w.add(btf.INT, "int", 4, SIGNED | 32)
    counter = w.add(btf.STRUCT, "", 4, *w.members(("counter", s32, 0)), items=1)
    atomic = w.add(btf.TYPEDEF, "atomic_t", counter)
    raw = w.add(btf.STRUCT, "raw_spinlock", 4, *w.members(("val", atomic, 0)), items=1)
    spinlock = w.add(btf.STRUCT, "spinlock", 4, *w.members(("rlock", raw, 0)), items=1)
    spinlock_t = w.add(btf.TYPEDEF, "spinlock_t", spinlock)
    w.add(btf.STRUCT, "s", 8, *w.members(("count", atomic, 0), ("lock", spinlock_t, 32)), items=2)
    assert flat(w.blob(), "s") == {"count": [0, 4, "s32"], "lock": [4, 4, "u32"]}


def test_an_enum_is_signed_only_with_a_negative_constant() -> None:
    w = BtfWriter()
    plain = w.add(btf.ENUM, "zone_type", 4, w.string("ZONE_DMA"), 0, w.string("ZONE_NORMAL"), 2, items=2)
    signed = w.add(btf.ENUM, "e", 4, w.string("BAD"), -1, items=1)
    w.add(btf.STRUCT, "s", 8, *w.members(("zone", plain, 0), ("state", signed, 32)), items=2)
    blob = w.blob()
    assert flat(blob, "s") == {"zone": [0, 4, "u32"], "state": [4, 4, "s32"]}
    assert Btf(blob).enum("zone_type") == {"ZONE_DMA": 0, "ZONE_NORMAL": 2}
    assert Btf(blob).enum("e") == {"BAD": -1}


def test_an_anonymous_enum_goes_by_its_first_constant() -> None:
    w = BtfWriter()
    w.add(btf.ENUM, "", 4, w.string("HI_SOFTIRQ"), 0, w.string("TIMER_SOFTIRQ"), 1, items=2)
    assert Btf(w.blob()).enum("HI_SOFTIRQ") == {"HI_SOFTIRQ": 0, "TIMER_SOFTIRQ": 1}
    assert Btf(w.blob()).enum("TIMER_SOFTIRQ") == {}


def test_all_definitions_of_a_name_are_found_and_declarations_are_not() -> None:
    w = BtfWriter()
    w.add(btf.FWD, "s", 0)
    w.add(btf.STRUCT, "s", 8)
    w.add(btf.STRUCT, "s", 16)
    assert [found.size for found in Btf(w.blob()).find_all("s")] == [8, 16]


def test_records_that_describe_no_data_are_passed_over() -> None:
    w = BtfWriter()
    u32 = w.add(btf.INT, "unsigned int", 4, 32)
    prototype = w.add(btf.FUNC_PROTO, "", u32, w.string("x"), u32, items=1)
    w.add(btf.FUNC, "f", prototype)
    variable = w.add(btf.VAR, "v", u32, 1)
    w.add(btf.DATASEC, ".data", 4, variable, 0, 4, items=1)
    w.add(btf.DECL_TAG, "tag", u32, 0)
    w.add(btf.FLOAT, "double", 8)
    w.add(btf.ENUM64, "big", 8, w.string("BIG"), 0, 1, items=1)
    w.add(btf.STRUCT, "last", 4, *w.members(("x", u32, 0)), items=1)
    assert flat(w.blob(), "last") == {"x": [0, 4, "u32"]}


@pytest.mark.parametrize("cut", [3, 23, 30, 60])
def test_truncated_data_is_an_input_error(cut: int) -> None:
    w = BtfWriter()
    u32 = w.add(btf.INT, "unsigned int", 4, 32)
    w.add(btf.STRUCT, "s", 4, *w.members(("x", u32, 0)), items=1)
    with pytest.raises(InputError):
        Btf(w.blob()[:cut])


def test_a_reference_to_a_type_that_is_not_there_is_an_input_error() -> None:
    w = BtfWriter()
    w.add(btf.STRUCT, "s", 4, *w.members(("x", 99, 0)), items=1)
    (found,) = Btf(w.blob()).find_all("s")
    assert isinstance(found, Struct)
    with pytest.raises(InputError, match="99"):
        flatten(found)


def test_an_unknown_kind_is_an_input_error() -> None:
    w = BtfWriter()
    w.add(25, "s", 4)
    with pytest.raises(InputError, match="kind 25"):
        Btf(w.blob())
