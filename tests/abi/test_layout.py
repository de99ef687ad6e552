"""The struct layouts of each release: whole, consistent, and those that pahole reads from the real kernel's BTF."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kmem.abi import extract
from kmem.abi.data import releases
from kmem.abi.layout import Member, enums, layout
from kmem.errors import UsageError

# A member line of pahole: the declaration, then offset, bit offset of a bit field, and size.
PAHOLE_MEMBER = re.compile(r"^(?P<declaration>.*?)\s*/\*\s+(?P<offset>\d+)(?::\s*(?P<bit>\d+))?\s+(?P<size>\d+) \*/$")
PAHOLE_NAME = re.compile(r"\(\*+\s*(?P<function>\w+)\)\(|(?P<plain>\w+)(?:\[\d*\])*(?::(?P<bits>\d+))?;$")
PAHOLE_TYPES = {
    "long unsigned int": "u64",
    "long int": "s64",
    "unsigned int": "u32",
    "int": "s32",
    "short unsigned int": "u16",
    "unsigned char": "u8",
    "char": "s8",
    "bool": "u8",
    "u64": "u64",
    "atomic_t": "s32",
    "atomic_long_t": "s64",
    "spinlock_t": "u32",
    "raw_spinlock_t": "u32",
    "void *": "*",
    "struct list_head": "struct list_head",
    "struct page *": "*page",
    "struct kmem_cache *": "*kmem_cache",
    "struct task_struct *": "*task_struct",
}


def pahole_members(text: str) -> dict[str, tuple[str, int, int, int, int]]:
    """Declaration, offset, size, bit offset and bit size of each member, those of anonymous members included."""
    members = {}
    prefixes: list[str] = []
    lines = text.splitlines()
    for number, raw in enumerate(lines[1:], 1):
        line = re.sub(r"\s*__attribute__\(\(.*?\)\)\)", "", raw.strip())
        if line.endswith("{"):
            # The name of a nested struct stands behind its closing brace.
            depth = len(raw) - len(raw.lstrip("\t"))
            closing = next(row for row in lines[number:] if row.startswith("\t" * depth + "}"))
            tag = re.match(r"\s*\}\s*(\w+);", closing)
            prefixes.append(f"{tag[1]}." if tag else "")
            continue
        if line.startswith("}"):
            if not prefixes:
                break
            prefixes.pop()
            line = line.removeprefix("}").strip()
            if line.startswith(";"):
                continue
        match = PAHOLE_MEMBER.match(line)
        named = match and PAHOLE_NAME.search(match["declaration"])
        if not match or not named:
            continue
        bits = int(named["bits"] or 0)
        name = "".join(prefixes) + (named["function"] or named["plain"])
        members[name] = match["declaration"], int(match["offset"]), int(match["size"]), int(match["bit"] or 0), bits
    return members


@pytest.mark.needs_shared
def test_every_member_is_where_pahole_sees_it(shared: Path) -> None:
    structs = layout("6.1").structs
    compared = 0
    differences = []
    files = sorted((shared / "truth" / "layout").glob("*.txt"))
    for path in files:
        text = path.read_text()
        ours = structs[path.stem]
        theirs = pahole_members(text)
        size = re.search(r"/\* size: (\d+),", text)
        assert size is not None
        assert ours.size == int(size[1]), path.stem
        assert set(ours.members) == set(theirs), path.stem
        for name, (declaration, offset, wide, bit, bits) in theirs.items():
            member = ours[name]
            compared += 1
            if (member.offset, member.size, member.bit_offset, member.bit_size) != (offset, wide, bit, bits):
                differences.append((path.stem, declaration, member))
    assert not differences
    assert len(files) >= 24
    assert compared > 600


@pytest.mark.needs_shared
def test_plain_types_are_those_that_pahole_prints(shared: Path) -> None:
    compared = 0
    for path in sorted((shared / "truth" / "layout").glob("*.txt")):
        for name, (declaration, *_) in pahole_members(path.read_text()).items():
            words = declaration.rstrip(";").partition(":")[0]
            spelled = PAHOLE_TYPES.get(re.sub(rf"\s*\b{re.escape(name.rpartition('.')[2])}$", "", words))
            if spelled is not None:
                compared += 1
                assert layout("6.1")[path.stem][name].type == spelled, (path.stem, declaration)
    assert compared > 350


@pytest.mark.parametrize("release", releases())
def test_every_type_follows_the_grammar_and_has_the_size_it_says(release: str) -> None:
    structs = layout(release).structs
    scalar = re.compile(r"[us](8|16|32|64)")

    def size(spelled: str, member: Member) -> int:
        if array := re.match(r"\[(\d+)\](.+)", spelled):
            count = int(array[1])
            return count * size(array[2], Member("", 0, member.size // count if count else 0, array[2]))
        if match := scalar.fullmatch(spelled):
            return int(match[1]) // 8
        if re.fullmatch(r"\*\w*", spelled):
            return 8
        if spelled == "struct":
            return member.size
        assert spelled.startswith("struct "), spelled
        return structs[spelled.removeprefix("struct ")].size

    for struct in structs.values():
        for member in struct.members.values():
            assert size(member.type, member) == member.size, (struct.name, member)
            assert member.offset + member.size <= struct.size or member.bit_size, (struct.name, member)
            assert member.bit_offset + member.bit_size <= member.size * 8, (struct.name, member)


LACKING = {"6.1": {"kmem_cache_args", "vmap_node", "pcpu_hot", "module_memory"}, "6.12": {"module_layout"}}
"""Structs that a release does not have; the others have them."""


@pytest.mark.parametrize("release", releases())
def test_all_structs_and_enums_that_kmem_uses_are_there(release: str) -> None:
    elsewhere = {name for other in releases() for name in layout(other).structs}
    assert set(extract.STRUCTS) <= elsewhere
    assert set(extract.STRUCTS) - set(layout(release).structs) <= LACKING[release]
    assert set(extract.ENUMS) - set(enums(release)) == ({"compound_dtor_id"} if release == "6.12" else set())


def test_a_bit_field_has_its_unit_and_its_place_in_it() -> None:
    slab = layout("6.1")["slab"]
    assert slab["objects"] == Member("objects", 40, 4, "u32", 16, 15)
    assert slab.offset("frozen") == 40


def test_a_release_that_is_not_modelled_names_those_that_are() -> None:
    with pytest.raises(UsageError) as caught:
        layout("2.4")
    assert "6.1" in caught.value.remedy


def test_the_structs_are_built_once() -> None:
    assert layout("6.1")["page"] is layout("6.1")["page"]
