"""Memory of the host, by address: buffers and tables that compiled code works on and that are no part of the machine.

A trace that is read, and the columns that it is read into, live here. Nothing is checked: who calls knows the bounds.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from kmem.lib.jit import COMPILING

if TYPE_CHECKING or not COMPILING:

    def get8(addr: int) -> int:
        """The byte at *addr*."""
        return ctypes.c_uint8.from_address(addr).value

    def get16(addr: int) -> int:
        """The unsigned 16-bit number at *addr*."""
        return ctypes.c_uint16.from_address(addr).value

    def get32(addr: int) -> int:
        """The unsigned 32-bit number at *addr*."""
        return ctypes.c_uint32.from_address(addr).value

    def get64(addr: int) -> int:
        """The 64-bit word at *addr*, signed."""
        return ctypes.c_int64.from_address(addr).value

    def put8(addr: int, value: int) -> None:
        """Write a byte."""
        ctypes.c_uint8.from_address(addr).value = value

    def put16(addr: int, value: int) -> None:
        """Write 16 bits."""
        ctypes.c_uint16.from_address(addr).value = value

    def put32(addr: int, value: int) -> None:
        """Write 32 bits."""
        ctypes.c_uint32.from_address(addr).value = value

    def put64(addr: int, value: int) -> None:
        """Write 64 bits."""
        ctypes.c_int64.from_address(addr).value = value

    def prefetch(addr: int) -> None:
        """Say that *addr* is needed soon; it may be anything."""

    def matches(addr: int, byte: int) -> int:
        """Which of the 64 bytes at *addr* are *byte*: a bit each, the first the lowest."""
        return sum(1 << i for i, c in enumerate(ctypes.string_at(addr, 64)) if c == byte)

else:
    from kmem.lib.hosttype import get8, get16, get32, get64, matches, prefetch, put8, put16, put32, put64

__all__ = ["get8", "get16", "get32", "get64", "matches", "prefetch", "put8", "put16", "put32", "put64"]
