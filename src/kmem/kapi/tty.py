"""Drivers of terminals and serial ports (drivers/tty), 6.1: registered, with their numbers. Nothing opens one."""

from __future__ import annotations

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.kapi import registry
from kmem.kapi.chrdev import alloc_chrdev_region, register_chrdev_region, unregister_chrdev_region
from kmem.kapi.errno import EINVAL, ENOMEM, err_ptr
from kmem.kapi.export import data, export, simplified
from kmem.kapi.fields import at, get, put
from kmem.kapi.host import Host
from kmem.kapi.lists import init_list_head

UNNUMBERED_NODE, DYNAMIC_ALLOC, INSTALLED = 0x80, 0x40, 0x1
TTY_DRIVER_MAGIC = 0x5402
_UNOPENED = simplified("registered with its device numbers; no device appears and nothing opens it")

_CONTROL = bytes((3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0, 0, 0))
_FLAGS = b"".join(word.to_bytes(4, "little") for word in (0x500, 5, 0x4BF, 0x8A3B))
data(
    "tty_std_termios",
    44,
    _FLAGS + b"\0" + _CONTROL + (38400).to_bytes(4, "little") * 2,
    doc="How a terminal is set at first, drivers/tty/tty_io.c: flags, control characters, speeds.",
)


@export(_UNOPENED)
def __tty_alloc_driver(k: Host, lines: int, owner: int, flags: int) -> int:
    """``struct tty_driver *__tty_alloc_driver(unsigned int lines, struct module *owner, unsigned long flags)``

    drivers/tty/tty_io.c, 6.1. An error pointer: -EINVAL without a line, -ENOMEM.
    """
    if not lines or (flags & UNNUMBERED_NODE and lines > 1):
        return err_ptr(-EINVAL)
    driver = k.mm.kmalloc(k.layout["tty_driver"].size, GFP_KERNEL | __GFP_ZERO, -1, k.caller)
    if not driver:
        return err_ptr(-ENOMEM)
    for member, value in (("kref", 1), ("num", lines), ("owner", owner), ("flags", flags)):
        put(k, "tty_driver", driver, member, value)
    for member in ("ttys", "termios", "ports", "cdevs"):
        table = k.mm.kmalloc(8 * lines, GFP_KERNEL | __GFP_ZERO, -1, k.caller)
        if not table:
            _free(k, driver)
            return err_ptr(-ENOMEM)
        put(k, "tty_driver", driver, member, table)
    init_list_head(k, at(k, "tty_driver", driver, "tty_drivers"))
    return driver


def _free(k: Host, driver: int) -> None:
    for member in ("ttys", "termios", "ports", "cdevs"):
        k.mm.kfree(get(k, "tty_driver", driver, member))
    k.mm.kfree(driver)


@export(_UNOPENED)
def tty_driver_kref_put(k: Host, driver: int) -> None:
    """``void tty_driver_kref_put(struct tty_driver *driver)``

    drivers/tty/tty_io.c, 6.1. The last reference frees it.
    """
    left = get(k, "tty_driver", driver, "kref") - 1
    put(k, "tty_driver", driver, "kref", left)
    if not left:
        _free(k, driver)


@export(_UNOPENED)
def tty_register_driver(k: Host, driver: int) -> int:
    """``int tty_register_driver(struct tty_driver *driver)``

    drivers/tty/tty_io.c, 6.1. Takes its device numbers, chosen if it has none.
    """
    major, first = get(k, "tty_driver", driver, "major"), get(k, "tty_driver", driver, "minor_start")
    lines = get(k, "tty_driver", driver, "num")
    if major:
        error = register_chrdev_region(k, major << 20 | first, lines, get(k, "tty_driver", driver, "driver_name"))
    else:
        number = at(k, "tty_driver", driver, "minor_start")  # a word to have the number in; put right below
        error = alloc_chrdev_region(k, number, first, lines, get(k, "tty_driver", driver, "driver_name"))
        if not error:
            dev = k.mem.u32(number)
            put(k, "tty_driver", driver, "major", dev >> 20)
            put(k, "tty_driver", driver, "minor_start", dev & 0xFFFFF)
    if error:
        return error
    registry.note(k, "tty_driver", driver)
    put(k, "tty_driver", driver, "flags", get(k, "tty_driver", driver, "flags") | INSTALLED)
    return 0


@export(_UNOPENED)
def tty_unregister_driver(k: Host, driver: int) -> None:
    """``void tty_unregister_driver(struct tty_driver *driver)``

    drivers/tty/tty_io.c, 6.1.
    """
    dev = get(k, "tty_driver", driver, "major") << 20 | get(k, "tty_driver", driver, "minor_start")
    unregister_chrdev_region(k, dev, get(k, "tty_driver", driver, "num"))
    registry.remove(k, "tty_driver", driver)


@export(_UNOPENED)
def uart_register_driver(k: Host, drv: int) -> int:
    """``int uart_register_driver(struct uart_driver *drv)``

    drivers/tty/serial/serial_core.c, 6.1. With a terminal driver of its own.
    """
    lines = get(k, "uart_driver", drv, "nr")
    state = k.mm.kmalloc(lines * STATE_SIZE, GFP_KERNEL | __GFP_ZERO, -1, k.caller)
    driver = __tty_alloc_driver(k, lines, get(k, "uart_driver", drv, "owner"), 0xC)
    if not state or driver > (1 << 64) - 4096:
        k.mm.kfree(state)
        return -ENOMEM
    for member, source in (("driver_name", "driver_name"), ("name", "dev_name"), ("major", "major"),
                           ("minor_start", "minor")):  # fmt: skip
        put(k, "tty_driver", driver, member, get(k, "uart_driver", drv, source))
    put(k, "tty_driver", driver, "driver_state", drv)
    put(k, "uart_driver", drv, "state", state)
    put(k, "uart_driver", drv, "tty_driver", driver)
    error = tty_register_driver(k, driver)
    if error:
        tty_driver_kref_put(k, driver)
        k.mm.kfree(state)
    return error


STATE_SIZE = 512
"""Of ``struct uart_state``, which only the serial core looks into."""


@export(_UNOPENED)
def uart_unregister_driver(k: Host, drv: int) -> None:
    """``void uart_unregister_driver(struct uart_driver *drv)``

    drivers/tty/serial/serial_core.c, 6.1.
    """
    driver = get(k, "uart_driver", drv, "tty_driver")
    tty_unregister_driver(k, driver)
    tty_driver_kref_put(k, driver)
    k.mm.kfree(get(k, "uart_driver", drv, "state"))
    put(k, "uart_driver", drv, "state", 0)
    put(k, "uart_driver", drv, "tty_driver", 0)
