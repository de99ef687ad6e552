"""Stock drgn on a core: types from the release's layouts, variables and symbols from the core's KMEM note.

drgn asks finders for what debug information would tell it. A struct becomes a drgn type when it is first asked for, and
its members' types when they are. The layouts have no typedefs, so a few are put back: ``.counter`` of atomics,
``char *`` of names.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kmem.abi.layout import Layout, Member, enums, layout
from kmem.errors import InputError
from kmem.machine.coredump import read_notes
from kmem.modules.vmcoreinfo import FORMAT, NOTE

if TYPE_CHECKING:
    from drgn import FindObjectFlags, Object, Program, Symbol, Type, TypeKindSet

_INTS = {
    "u8": ("unsigned char", 1, False),
    "u16": ("unsigned short", 2, False),
    "u32": ("unsigned int", 4, False),
    "u64": ("unsigned long", 8, False),
    "s8": ("char", 1, True),
    "s16": ("short", 2, True),
    "s32": ("int", 4, True),
    "s64": ("long", 8, True),
}
_TYPEDEFS = {name: name for name in _INTS} | {
    "gfp_t": "u32",
    "slab_flags_t": "u32",
    "phys_addr_t": "u64",
    "pgoff_t": "u64",
    "nodemask_t": "struct nodemask_t",
}
_ATOMICS = {"atomic_t": "s32", "atomic_long_t": "s64", "atomic64_t": "s64"}
_ATOMIC_MEMBERS = {
    "page": "_refcount _mapcount compound_mapcount compound_pincount pp_frag_count pt_frag_refcount",
    "slab": "__page_refcount",
    "folio": "_refcount _mapcount _total_mapcount _pincount",
    "zone": "managed_pages vm_stat vm_numa_event",
    "pglist_data": "vm_stat",
    "kmem_cache_node": "nr_slabs total_objects",
    "mm_struct": "mm_users mm_count pgtables_bytes pinned_vm membarrier_state tlb_flush_pending tlb_flush_batched",
}
_STRING_MEMBERS = {"kmem_cache": "name", "zone": "name", "kobject": "name", "resource": "name"}
_FUNCTIONS = ("vmemmap_populate",)
"""Functions by whose presence drgn tells configurations apart: this one means CONFIG_SPARSEMEM_VMEMMAP."""
_NODE_STATES = {
    "N_POSSIBLE": 0,
    "N_ONLINE": 1,
    "N_NORMAL_MEMORY": 2,
    "N_HIGH_MEMORY": 2,
    "N_MEMORY": 3,
    "N_CPU": 4,
    "N_GENERIC_INITIATOR": 5,
    "NR_NODE_STATES": 6,
}
"""``enum node_states`` with CONFIG_HIGHMEM off, which the extracted enums do not have."""


class DebugInfo:
    """What a program of the kernel in one core answers drgn's questions with. *described* is the core's KMEM note."""

    def __init__(self, prog: Program, described: dict[str, Any]) -> None:
        self._prog = prog
        self._layout: Layout = layout(described["release"])
        self._absent: dict[str, list[str]] = described["absent"]
        self._variables: dict[str, tuple[int, str]] = described["variables"]
        self._symbols: list[tuple[str, int, int]] = [
            *described["symbols"],
            *((name, address, 0) for name, (address, _) in described["variables"].items()),
        ]
        self._types: dict[str, Type] = {}
        self._enums = {**enums(described["release"]), "node_states": _NODE_STATES}
        self._constants = {name: tag for tag, table in self._enums.items() for name in table}
        self._constants |= dict.fromkeys(_NODE_STATES, "node_states")

    def register(self) -> None:
        """Make the program ask here."""
        self._prog.register_type_finder("kmem", self.find_type, enable_index=0)
        self._prog.register_object_finder("kmem", self.find_object, enable_index=-1)
        self._prog.register_symbol_finder("kmem", self.find_symbols, enable_index=0)

    def find_type(self, prog: Program, kinds: TypeKindSet, name: str, filename: str | None) -> Type | None:
        """The struct, enum or typedef called *name*, None if the release's layouts have none."""
        from drgn import TypeKind

        if TypeKind.STRUCT in kinds and name in self._layout.structs:
            return self.type(f"struct {name}")
        if TypeKind.ENUM in kinds and name in self._enums:
            return self._enum(name)
        if TypeKind.TYPEDEF in kinds and (name in _TYPEDEFS or name in _ATOMICS):
            return self.type(name) if name in _ATOMICS else prog.typedef_type(name, self.type(_TYPEDEFS[name]))
        return None

    def find_object(self, prog: Program, name: str, flags: FindObjectFlags, filename: str | None) -> Object | None:
        """The variable or enum constant called *name*."""
        from drgn import FindObjectFlags, Object

        if flags & FindObjectFlags.VARIABLE and name in self._variables:
            address, kind = self._variables[name]
            return Object(prog, self.type(kind), address=address)
        if flags & FindObjectFlags.CONSTANT and name in self._constants:
            tag = self._constants[name]
            return Object(prog, self._enum(tag), self._enums[tag][name])
        if flags & FindObjectFlags.FUNCTION and name in _FUNCTIONS:
            return Object(prog, prog.function_type(prog.int_type(*_INTS["s32"]), (), False))
        return None

    def find_symbols(self, prog: Program, name: str | None, address: int | None, one: bool) -> list[Symbol]:
        """The symbols called *name* or around *address*; of several the nearest when *one* is wanted."""
        from drgn import Symbol, SymbolBinding, SymbolKind

        found = [
            symbol
            for symbol in self._symbols
            if (name is None or symbol[0] == name)
            and (address is None or symbol[1] <= address < symbol[1] + max(symbol[2], 1))
        ]
        if one and found:
            found = [max(found, key=lambda symbol: symbol[1])]
        return [Symbol(s[0], s[1], s[2], SymbolBinding.GLOBAL, SymbolKind.UNKNOWN) for s in found]

    def type(self, text: str) -> Type:
        """The type that *text* spells in the grammar of the layouts, or ``atomic_t``, ``char``."""
        found = self._types.get(text)
        if found is None:
            found = self._types[text] = self._make(text)
        return found

    def _make(self, text: str) -> Type:
        from drgn import TypeMember

        prog = self._prog
        if text in _INTS:
            return prog.int_type(*_INTS[text])
        if text in _ATOMICS:
            counter = TypeMember(self.type(_ATOMICS[text]), "counter", 0)
            return prog.typedef_type(text, prog.struct_type(None, int(_ATOMICS[text][1:]) // 8, [counter]))
        if text.startswith("["):
            count, _, rest = text[1:].partition("]")
            return prog.array_type(self.type(rest), int(count))
        if text.startswith("*"):
            target = text[1:]
            if not target:
                return prog.pointer_type(prog.void_type())
            inner = target if target.startswith("*") or target in _INTS else f"struct {target}"
            return prog.pointer_type(self.type(inner))
        return self._struct(text[7:])

    def _struct(self, name: str) -> Type:
        if name not in self._layout.structs:
            return self._prog.struct_type(name)
        shape = self._layout[name]
        gone = self._absent.get(name, ())
        rows = {member.name: member for member in shape.members.values() if member.name not in gone}
        return self._members(name, name, shape.size, rows, 0)

    def _members(self, owner: str, tag: str | None, size: int, rows: dict[str, Member], base: int) -> Type:
        """A struct of *rows*; rows called ``a.b`` are the members of the unnamed struct of member ``a``."""
        members = []
        for name, row in rows.items():
            if "." not in name:
                inner = {key[len(name) + 1 :]: value for key, value in rows.items() if key.startswith(f"{name}.")}
                members.append(self._member(owner, name, row, inner, base))
        return self._prog.struct_type(tag, size, members)

    def _member(self, owner: str, name: str, row: Member, inner: dict[str, Member], base: int) -> Any:
        from drgn import Object, TypeMember

        lazy: Callable[[], Type | Object]
        if row.bit_size:
            bits, kind = row.bit_size, row.type
            bit = (row.offset - base) * 8 + row.bit_offset
            return TypeMember(lambda: Object(self._prog, self.type(kind), bit_field_size=bits), name, bit)
        if row.type == "struct":
            lazy = lambda: self._members(owner, None, row.size, inner, row.offset)  # noqa: E731
        else:
            lazy = lambda: self.type(self._spelled(owner, name, row.type))  # noqa: E731
        return TypeMember(lazy, name, (row.offset - base) * 8)

    @staticmethod
    def _spelled(owner: str, name: str, kind: str) -> str:
        if name in _ATOMIC_MEMBERS.get(owner, "").split():
            return kind.replace("s32", "atomic_t").replace("s64", "atomic_long_t")
        if name in _STRING_MEMBERS.get(owner, "").split():
            return "*s8"
        # an array of arrays of nothing known, such as `[4]struct`, keeps its size and loses its members
        return re.sub(r"^((?:\[\d*\])*)struct$", r"\1*", kind) if kind.startswith("[") else kind

    def _enum(self, tag: str) -> Type:
        found = self._types.get(f"enum {tag}")
        if found is None:
            from drgn import TypeEnumerator

            table = self._enums[tag]
            kind = self.type("s32" if min(table.values()) < 0 else "u32")
            # an unnamed enum goes by its first constant in the data
            name = None if tag in table else tag
            rows = [TypeEnumerator(constant, value) for constant, value in table.items()]
            found = self._types[f"enum {tag}"] = self._prog.enum_type(name, kind, rows)
        return found


def describe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What the KMEM note of the core at *path* says. Raises InputError if it is no core of kmem's."""
    for note in read_notes(path):
        if note.name == NOTE and note.type == FORMAT:
            try:
                found: dict[str, Any] = json.loads(note.desc)
            except ValueError:
                break
            return found
    raise InputError(
        f"{path}: a core, but none that this kmem wrote",
        remedy="A core of a real kernel opens with drgn -c and that kernel's debug symbols.",
    )


def open_core(path: str | os.PathLike[str]) -> Program:
    """A drgn program on the core at *path*, with types, variables and symbols.

    Raises InputError if drgn is not installed or the file is no core of kmem's.
    """
    described = describe(path)
    try:
        from drgn import Program
    except ImportError as error:
        raise InputError(
            "drgn is not installed",
            remedy="pip install 'kmem[drgn]', or pip install drgn (it has wheels for Linux on x86-64).",
        ) from error
    prog = Program()
    prog.set_core_dump(os.fspath(path))
    DebugInfo(prog, described).register()
    return prog
