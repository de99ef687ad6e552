"""The printf family into guest buffers (lib/vsprintf.c, lib/kasprintf.c, fs/sysfs/file.c), 6.1.

The output is built before the first byte is stored. A call that prints its own destination buffer therefore prints
what was in it.
"""

from __future__ import annotations

from kmem.kapi import vsprintf_pointer
from kmem.kapi.export import export, faithful, simplified
from kmem.kapi.host import Host
from kmem.kapi.printf_spec import Spec
from kmem.kapi.varargs import VaArgs
from kmem.kapi.vsprintf import FILE, vsnprintf

INT_MAX = (1 << 31) - 1
PAGE_SIZE = 4096
FORMAT_LIMIT = 1 << 20
"""No format string is longer; a longer one is a pointer into something else."""

_OVERLAP = "output is built before it is stored: printing the destination buffer into itself shows its old content"


def _format(k: Host, fmt: int, args: VaArgs) -> bytes:
    return vsnprintf(k, k.mem.cstr(fmt, FORMAT_LIMIT), args)


def _store(k: Host, buf: int, size: int, text: bytes) -> int:
    """Writes as much of *text* as fits, and a NUL; returns the length of all of it."""
    if size:
        k.mem.write(buf, text[: size - 1] + b"\0")
    return len(text)


def _vsnprintf(k: Host, buf: int, size: int, fmt: int, args: VaArgs) -> int:
    if size > INT_MAX:
        k.warn(FILE, 2743, "vsnprintf", once=True)
        return 0
    return _store(k, buf, size, _format(k, fmt, args))


def _vscnprintf(k: Host, buf: int, size: int, fmt: int, args: VaArgs) -> int:
    if not size:
        return 0
    length = _vsnprintf(k, buf, size, fmt, args)
    return length if length < size else size - 1


@export(simplified(_OVERLAP), name="vsnprintf")
def do_vsnprintf(k: Host, buf: int, size: int, fmt: int, args: VaArgs) -> int:
    """``int vsnprintf(char *buf, size_t size, const char *fmt, va_list args)``

    lib/vsprintf.c, 6.1. Returns the length that an unbounded buffer would have got.
    """
    return _vsnprintf(k, buf, size, fmt, args)


@export(simplified(_OVERLAP))
def snprintf(k: Host, buf: int, size: int, fmt: int, args: VaArgs) -> int:
    """``int snprintf(char *buf, size_t size, const char *fmt, ...)``

    lib/vsprintf.c, 6.1.
    """
    return _vsnprintf(k, buf, size, fmt, args)


@export(simplified(_OVERLAP))
def vscnprintf(k: Host, buf: int, size: int, fmt: int, args: VaArgs) -> int:
    """``int vscnprintf(char *buf, size_t size, const char *fmt, va_list args)``

    lib/vsprintf.c, 6.1. Returns what was stored, without the NUL.
    """
    return _vscnprintf(k, buf, size, fmt, args)


@export(simplified(_OVERLAP))
def scnprintf(k: Host, buf: int, size: int, fmt: int, args: VaArgs) -> int:
    """``int scnprintf(char *buf, size_t size, const char *fmt, ...)``

    lib/vsprintf.c, 6.1. Returns what was stored, without the NUL.
    """
    return _vscnprintf(k, buf, size, fmt, args)


@export(simplified(_OVERLAP))
def vsprintf(k: Host, buf: int, fmt: int, args: VaArgs) -> int:
    """``int vsprintf(char *buf, const char *fmt, va_list args)``

    lib/vsprintf.c, 6.1.
    """
    return _vsnprintf(k, buf, INT_MAX, fmt, args)


@export(simplified(_OVERLAP))
def sprintf(k: Host, buf: int, fmt: int, args: VaArgs) -> int:
    """``int sprintf(char *buf, const char *fmt, ...)``

    lib/vsprintf.c, 6.1.
    """
    return _vsnprintf(k, buf, INT_MAX, fmt, args)


def _duplicate(k: Host, gfp: int, text: bytes) -> int:
    p = k.mm.kmalloc(len(text) + 1, gfp, caller=k.caller)
    if p:
        k.mem.write(p, text + b"\0")
    return p


@export(faithful)
def kvasprintf(k: Host, gfp: int, fmt: int, args: VaArgs) -> int:
    """``char *kvasprintf(gfp_t gfp, const char *fmt, va_list ap)``

    lib/kasprintf.c, 6.1. The output in a new kmalloc object, or NULL.
    """
    return _duplicate(k, gfp, _format(k, fmt, args))


@export(faithful)
def kasprintf(k: Host, gfp: int, fmt: int, args: VaArgs) -> int:
    """``char *kasprintf(gfp_t gfp, const char *fmt, ...)``

    lib/kasprintf.c, 6.1.
    """
    return _duplicate(k, gfp, _format(k, fmt, args))


@export(simplified("a string in the kernel's own read-only data is duplicated like any other"))
def kvasprintf_const(k: Host, gfp: int, fmt: int, args: VaArgs) -> int:
    """``const char *kvasprintf_const(gfp_t gfp, const char *fmt, va_list ap)``

    lib/kasprintf.c, 6.1. The result is to be freed with kfree_const().
    """
    return _duplicate(k, gfp, _format(k, fmt, args))


@export(simplified(_OVERLAP))
def sysfs_emit(k: Host, buf: int, fmt: int, args: VaArgs) -> int:
    """``int sysfs_emit(char *buf, const char *fmt, ...)``

    fs/sysfs/file.c, 6.1. *buf* is the start of a page; anything else warns and returns 0.
    """
    if not buf or buf % PAGE_SIZE:
        k.warn("fs/sysfs/file.c", 740, "sysfs_emit", f"invalid sysfs_emit: buf:{_hashed(k, buf)}")
        return 0
    return _vscnprintf(k, buf, PAGE_SIZE, fmt, args)


@export(simplified(_OVERLAP))
def sysfs_emit_at(k: Host, buf: int, at: int, fmt: int, args: VaArgs) -> int:
    """``int sysfs_emit_at(char *buf, int at, const char *fmt, ...)``

    fs/sysfs/file.c, 6.1. Prints at offset *at* of the page *buf*.
    """
    if not buf or buf % PAGE_SIZE or not 0 <= at < PAGE_SIZE:
        k.warn("fs/sysfs/file.c", 768, "sysfs_emit_at", f"invalid sysfs_emit_at: buf:{_hashed(k, buf)} at:{at}")
        return 0
    return _vscnprintf(k, buf + at, PAGE_SIZE - at, fmt, args)


@export(faithful)
def sprint_symbol(k: Host, buffer: int, address: int) -> int:
    """``int sprint_symbol(char *buffer, unsigned long address)``

    kernel/kallsyms.c, 6.1. ``name+0x1c/0x40 [module]``.
    """
    return _store(k, buffer, INT_MAX, k.kallsyms.sprint(address).encode())


@export(faithful)
def sprint_symbol_no_offset(k: Host, buffer: int, address: int) -> int:
    """``int sprint_symbol_no_offset(char *buffer, unsigned long address)``

    kernel/kallsyms.c, 6.1. ``name [module]``.
    """
    return _store(k, buffer, INT_MAX, k.kallsyms.sprint_name(address).encode())


def _hashed(k: Host, ptr: int) -> str:
    return vsprintf_pointer.default_pointer(k, ptr, Spec()).decode()
