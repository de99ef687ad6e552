"""Hand-made BTF, byte by byte as Documentation/bpf/btf.rst lays it out, for the tests of the reader."""

from __future__ import annotations

import struct


class BtfWriter:
    """Collects type records; `add` returns the id of the record."""

    def __init__(self) -> None:
        self._strings = b"\0"
        self._types = b""
        self._count = 0

    def string(self, text: str) -> int:
        """The offset of `text` in the string table."""
        if not text:
            return 0
        self._strings += text.encode() + b"\0"
        return len(self._strings) - len(text) - 1

    def add(self, kind: int, name: str, size_or_type: int, *words: int, items: int = 0, flag: int = 0) -> int:
        """A record: the common header, then `words`."""
        info = flag << 31 | kind << 24 | items
        self._types += struct.pack("<III", self.string(name), info, size_or_type)
        self._types += struct.pack(f"<{len(words)}I", *(word & 0xFFFFFFFF for word in words))
        self._count += 1
        return self._count

    def members(self, *rows: tuple[str, int, int]) -> list[int]:
        """Name, type and bit offset of each member of a struct, as words."""
        return [word for name, number, bit in rows for word in (self.string(name), number, bit)]

    def blob(self) -> bytes:
        """The finished section."""
        header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(self._types), len(self._types), len(self._strings))
        return header + self._types + self._strings
