"""Members of the kernel's structs in guest memory, by name: what handlers read and write through.

A member is as wide as the release's layout says; values are unsigned.
"""

from __future__ import annotations

from kmem.kapi.host import Host


def at(k: Host, struct: str, address: int, member: str) -> int:
    """``&((struct *)address)->member``."""
    return address + k.layout[struct].offset(member)


def get(k: Host, struct: str, address: int, member: str) -> int:
    """``((struct *)address)->member``."""
    found = k.layout[struct][member]
    return int.from_bytes(k.mem.read(address + found.offset, found.size), "little")


def put(k: Host, struct: str, address: int, member: str, value: int) -> None:
    """``((struct *)address)->member = value``."""
    found = k.layout[struct][member]
    k.mem.write(address + found.offset, (value & (1 << 8 * found.size) - 1).to_bytes(found.size, "little"))


def has(k: Host, struct: str, member: str) -> bool:
    """Whether the struct of this release has that member."""
    return struct in k.layout.structs and member in k.layout[struct].members


def text(k: Host, address: int) -> bytes:
    """The string at *address*; empty for NULL."""
    return k.mem.cstr(address) if address else b""
