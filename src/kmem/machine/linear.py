"""Words of the direct map, read and written without a walk of the page tables: for what is asked at every call."""

from __future__ import annotations

from struct import Struct

from kmem.abi.address import PAGE_OFFSET
from kmem.machine.ram import Ram

_U32, _S32 = Struct("<I"), Struct("<i")


class DirectMap:
    """The direct map of *ram*. Addresses that it does not map are an error of the caller (struct.error)."""

    def __init__(self, ram: Ram) -> None:
        self._mem = ram.mem

    def u32(self, addr: int) -> int:
        """The unsigned 32-bit number at *addr*."""
        value: int = _U32.unpack_from(self._mem, addr - PAGE_OFFSET)[0]
        return value

    def s32(self, addr: int) -> int:
        """The signed 32-bit number at *addr*."""
        value: int = _S32.unpack_from(self._mem, addr - PAGE_OFFSET)[0]
        return value

    def set_u32(self, addr: int, value: int) -> None:
        """Store the low 32 bits of *value* at *addr*."""
        _U32.pack_into(self._mem, addr - PAGE_OFFSET, value & 0xFFFFFFFF)
