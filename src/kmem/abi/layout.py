"""Struct layouts of a release: sizes, and offset, size and type of every member.

The data are ``releases/<release>.structs.json``, of what the model itself uses, and ``.subsystem-structs.json``, of
what only exported functions touch; ``python -m kmem.abi.extract`` writes both. `kmem.abi.ctype` has the grammar of the
types. Reading is lazy: a struct becomes a `StructLayout` when it is first asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from kmem.abi.data import RELEASES as RELEASES
from kmem.abi.data import read


@dataclass(frozen=True, slots=True)
class Member:
    """One member. `offset` and `size` are bytes; of a bit field they describe the unit that holds it."""

    name: str
    offset: int
    size: int
    type: str
    bit_offset: int = 0
    bit_size: int = 0


@dataclass(frozen=True, eq=False)
class StructLayout:
    """One struct; `size` in bytes. Members are in declaration order, those of anonymous members included."""

    name: str
    size: int
    members: Mapping[str, Member]

    def __getitem__(self, member: str) -> Member:
        return self.members[member]

    def offset(self, member: str) -> int:
        """``offsetof(struct name, member)``."""
        return self.members[member].offset


class _Structs(Mapping[str, StructLayout]):
    """Builds each StructLayout on first use."""

    def __init__(self, raw: dict[str, dict[str, Any]], release: str) -> None:
        self._raw, self._release = raw, release
        self._all = False
        self._built: dict[str, StructLayout] = {}

    def __getitem__(self, name: str) -> StructLayout:
        built = self._built.get(name)
        if built is None:
            if name not in self._raw:
                self._read_all()
            entry = self._raw[name]
            members = {member: Member(member, *row) for member, row in entry["members"].items()}
            built = self._built[name] = StructLayout(name, entry["size"], members)
        return built

    def _read_all(self) -> None:
        """Read the subsystems' structs as well."""
        if not self._all:
            self._all = True
            self._raw = json.loads(read(self._release, "subsystem-structs.json")) | self._raw

    def __contains__(self, name: object) -> bool:
        if name not in self._raw:
            self._read_all()
        return name in self._raw

    def __iter__(self) -> Iterator[str]:
        self._read_all()
        return iter(self._raw)

    def __len__(self) -> int:
        self._read_all()
        return len(self._raw)


@dataclass(frozen=True, eq=False)
class Layout:
    """All struct layouts of `release`."""

    release: str
    structs: Mapping[str, StructLayout]

    def __getitem__(self, name: str) -> StructLayout:
        return self.structs[name]


@cache
def layout(release: str) -> Layout:
    """The layouts of `release` ("6.1"). Raises UsageError for a release that is not modelled."""
    return Layout(release, _Structs(json.loads(read(release, "structs.json")), release))


@cache
def kunit_layout(release: str) -> Layout:
    """The layouts of KUnit's own structs, which a kernel without KUnit does not have, from the headers of `release`."""
    return Layout(release, _Structs(json.loads(read(release, "kunit.json")), release))


@cache
def enums(release: str) -> Mapping[str, Mapping[str, int]]:
    """The constants of the enums of `release` by tag: ``enums("6.1")["zone_type"]["ZONE_NORMAL"]``.

    An anonymous enum goes by its first constant (HI_SOFTIRQ). Raises UsageError for a release that is not modelled.
    """
    tables: dict[str, dict[str, int]] = json.loads(read(release, "enums.json"))
    more: dict[str, dict[str, int]] = json.loads(read(release, "subsystem-enums.json"))
    return tables | more
