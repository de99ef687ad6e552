"""The end of the road (kernel/panic.c, lib/string_helpers.c), 6.1. The reports themselves are made by the host."""

from __future__ import annotations

from kmem.kapi.export import data, export, faithful
from kmem.kapi.host import Host
from kmem.kapi.printk import FORMAT_LIMIT, vprintk_to
from kmem.kapi.varargs import VaArgs
from kmem.kapi.vsprintf import vsnprintf

CUT_HERE = "------------[ cut here ]------------"

data("panic_timeout", 4, align=4, doc="Seconds until reboot after a panic: never.")


@export(faithful)
def panic(k: Host, fmt: int, args: VaArgs) -> None:
    """``void panic(const char *fmt, ...)``

    kernel/panic.c, 6.1. Does not return.
    """
    text = vsnprintf(k, k.mem.cstr(fmt, FORMAT_LIMIT), args)[:1023]
    k.panic(text.decode("utf-8", "backslashreplace").removesuffix("\n"))


@export(faithful)
def __warn_printk(k: Host, fmt: int, args: VaArgs) -> None:
    """``void __warn_printk(const char *fmt, ...)``

    kernel/panic.c, 6.1. The first lines of a WARN() with a message; the report follows when the caller executes its
    ud2.
    """
    k.log.printk(f"\x014{CUT_HERE}\n")
    vprintk_to(k, fmt, args)


@export(faithful)
def __stack_chk_fail(k: Host) -> None:
    """``void __stack_chk_fail(void)``

    kernel/panic.c, 6.1. The canary of the caller's stack frame was overwritten: panic.
    """
    k.panic(f"stack-protector: Kernel stack is corrupted in: {k.kallsyms.sprint_backtrace(k.caller)}")


@export(faithful)
def fortify_panic(k: Host, name: int) -> None:
    """``void fortify_panic(const char *name)``

    lib/string_helpers.c, 6.1. A fortified string function would have overrun an object: BUG.
    """
    function = k.mem.cstr(name).decode("utf-8", "backslashreplace")
    k.log.printk(f"\x010detected buffer overflow in {function}\n")
    k.bug("lib/string_helpers.c", 1027, "fortify_panic")


@export(faithful)
def dump_stack(k: Host) -> None:
    """``void dump_stack(void)``

    lib/dump_stack.c, 6.1.
    """
    k.dump_stack()


@export(faithful)
def add_taint(k: Host, flag: int, lockdep_ok: int) -> None:
    """``void add_taint(unsigned int flag, enum lockdep_ok lockdep_ok)``

    kernel/panic.c, 6.1. There is no lockdep that a taint could make unreliable.
    """
    k.add_taint(flag)
