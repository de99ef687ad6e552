"""Members of the kernel's structs in guest memory, by name: what handlers read and write through.

A member is as wide as the release's layout says, in bits if it is a bit field; values are unsigned.
"""

from __future__ import annotations

from kmem.kapi.host import Host


def at(k: Host, struct: str, address: int, member: str) -> int:
    """``&((struct *)address)->member``."""
    return address + k.layout[struct].offset(member)


def get(k: Host, struct: str, address: int, member: str) -> int:
    """``((struct *)address)->member``."""
    found = k.layout[struct][member]
    value = int.from_bytes(k.mem.read(address + found.offset, found.size), "little")
    return value >> found.bit_offset & (1 << found.bit_size) - 1 if found.bit_size else value


def put(k: Host, struct: str, address: int, member: str, value: int) -> None:
    """``((struct *)address)->member = value``."""
    found = k.layout[struct][member]
    if found.bit_size:
        mask = (1 << found.bit_size) - 1 << found.bit_offset
        unit = int.from_bytes(k.mem.read(address + found.offset, found.size), "little")
        value = unit & ~mask | value << found.bit_offset & mask
    k.mem.write(address + found.offset, (value & (1 << 8 * found.size) - 1).to_bytes(found.size, "little"))


def has(k: Host, struct: str, member: str) -> bool:
    """Whether the struct of this release has that member."""
    return struct in k.layout.structs and member in k.layout[struct].members


def text(k: Host, address: int) -> bytes:
    """The string at *address*; empty for NULL."""
    return k.mem.cstr(address) if address else b""
