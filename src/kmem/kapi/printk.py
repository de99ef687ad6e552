"""printk (kernel/printk/printk.c, lib/dynamic_debug.c), 6.1. `LogBuf` is in `kmem.kapi.logbuf`."""

from __future__ import annotations

from kmem.kapi.export import data, export, faithful, simplified
from kmem.kapi.host import Host
from kmem.kapi.logbuf import LogBuf, Record
from kmem.kapi.varargs import VaArgs
from kmem.kapi.vsprintf import vsnprintf

__all__ = ["LogBuf", "Record", "dynamic_prefix", "vprintk_to"]

FORMAT_LIMIT = 1 << 20

data("console_printk", 16, bytes((7, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 7)), align=4, doc="Console log levels: 7 4 1 7.")
data("oops_in_progress", 4, align=4, doc="Nonzero while a report is printed.")
data("no_hash_pointers", 1, lambda k: bytes([k.format.no_hash_pointers]), align=1, doc="Boot parameter of that name.")

# struct _ddebug: modname, function, filename, format; a word of lineno:18 class_id:6 flags:8
_DDEBUG_FUNCTION, _DDEBUG_WORD = 8, 32
_INCL_MODNAME, _INCL_FUNCNAME, _INCL_LINENO, _INCL_TID = 2, 4, 8, 16


def vprintk_to(
    k: Host, fmt: int, args: VaArgs, level: int | None = None, prefix: bytes = b"", *, whole: bool = False
) -> int:
    """Formats and logs one message. *prefix* stands before the text; *whole* makes it complete without a newline."""
    text = prefix + vsnprintf(k, k.mem.cstr(fmt, FORMAT_LIMIT), args)
    return k.log.printk(text, level, whole=whole)


@export(faithful)
def _printk(k: Host, fmt: int, args: VaArgs) -> int:
    """``int _printk(const char *fmt, ...)``

    kernel/printk/printk.c, 6.1. Returns the number of characters logged.
    """
    return vprintk_to(k, fmt, args)


@export(faithful)
def vprintk(k: Host, fmt: int, args: VaArgs) -> int:
    """``int vprintk(const char *fmt, va_list args)``

    kernel/printk/printk_safe.c, 6.1.
    """
    return vprintk_to(k, fmt, args)


@export(faithful)
def vprintk_default(k: Host, fmt: int, args: VaArgs) -> int:
    """``int vprintk_default(const char *fmt, va_list args)``

    kernel/printk/printk.c, 6.1.
    """
    return vprintk_to(k, fmt, args)


@export(simplified("the facility and the device of a record are not kept"))
def vprintk_emit(k: Host, facility: int, level: int, dev_info: int, fmt: int, args: VaArgs) -> int:
    """``int vprintk_emit(int facility, int level, const struct dev_printk_info *dev_info, const char *fmt, va_list
    args)``

    kernel/printk/printk.c, 6.1. *level* -1 takes the level from the text.
    """
    return vprintk_to(k, fmt, args, None if level < 0 else level & 7, whole=dev_info != 0)


def dynamic_prefix(k: Host, descriptor: int) -> bytes:
    """What the flags of a ``struct _ddebug`` put before the message."""
    word = k.mem.u32(descriptor + _DDEBUG_WORD)
    flags, line = word >> 24, word & 0x3FFFF
    task = b""
    if flags & _INCL_TID:
        pid = k.mem.s32(k.current + k.layout["task_struct"].offset("pid"))
        task = b"<intr> " if k.context.in_interrupt() else b"[%d] " % pid
    place = b""
    if flags & _INCL_MODNAME:
        place += k.mem.cstr(k.mem.u64(descriptor)) + b":"
    if flags & _INCL_FUNCNAME:
        place += k.mem.cstr(k.mem.u64(descriptor + _DDEBUG_FUNCTION)) + b":"
    if flags & _INCL_LINENO:
        place += b"%d:" % line
    return (task + (place + b" " if place else b""))[:63]


@export(faithful)
def __dynamic_pr_debug(k: Host, descriptor: int, fmt: int, args: VaArgs) -> None:
    """``void __dynamic_pr_debug(struct _ddebug *descriptor, const char *fmt, ...)``

    lib/dynamic_debug.c, 6.1. Debug messages are off: a module gets here only if it turned its own on.
    """
    vprintk_to(k, fmt, args, prefix=b"\x017" + dynamic_prefix(k, descriptor))
