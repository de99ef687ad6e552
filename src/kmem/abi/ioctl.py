"""Numbers of ioctl commands (asm-generic/ioctl.h): ``IOR(ord("n"), 1, 4)`` for ``_IOR('n', 1, __u32)``."""

from __future__ import annotations

NONE, WRITE, READ = 0, 1, 2
SIZE_BITS = 14


def IOC(direction: int, type: int | str, nr: int, size: int) -> int:
    """``_IOC()``; the type may be the character itself."""
    letter = ord(type) if isinstance(type, str) else type
    return direction << 30 | (size & (1 << SIZE_BITS) - 1) << 16 | letter << 8 | nr


def IO(type: int | str, nr: int) -> int:
    """``_IO()``: a command without an argument."""
    return IOC(NONE, type, nr, 0)


def IOR(type: int | str, nr: int, size: int) -> int:
    """``_IOR()``: the program reads *size* bytes."""
    return IOC(READ, type, nr, size)


def IOW(type: int | str, nr: int, size: int) -> int:
    """``_IOW()``: the program hands *size* bytes over."""
    return IOC(WRITE, type, nr, size)


def IOWR(type: int | str, nr: int, size: int) -> int:
    """``_IOWR()``: both."""
    return IOC(READ | WRITE, type, nr, size)
