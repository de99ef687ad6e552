"""Drivers of terminals and serial ports and their devices (drivers/tty/tty_io.c), 6.1; `kmem.kapi.tty_io` opens one."""

from __future__ import annotations

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.kapi import registry
from kmem.kapi.chrdev import (
    alloc_chrdev_region,
    cdev_add,
    cdev_alloc,
    cdev_del,
    register_chrdev_region,
    unregister_chrdev_region,
)
from kmem.kapi.classes import class_data, kernel_class
from kmem.kapi.devicecore import create, device_destroy, device_unregister
from kmem.kapi.errno import EINVAL, ENODEV, ENOMEM, err_ptr, is_err
from kmem.kapi.export import data, export, simplified
from kmem.kapi.fields import at, get, put, text
from kmem.kapi.host import Guest, Host, s32
from kmem.kapi.lists import init_list_head

INSTALLED, DYNAMIC_DEV, DYNAMIC_ALLOC, UNNUMBERED_NODE = 0x1, 0x8, 0x40, 0x80
_NO_SYSFS = simplified("no sysfs, no uevents, no /proc/tty")
_UNOPENED = simplified("registered with its device numbers; nothing opens a port of the serial core")

class_data("tty_class", b"tty", "The class of terminals, drivers/tty/tty_io.c")

_CONTROL = bytes((3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0, 0, 0))
_FLAGS = b"".join(word.to_bytes(4, "little") for word in (0x500, 5, 0x4BF, 0x8A3B))
data(
    "tty_std_termios",
    44,
    _FLAGS + b"\0" + _CONTROL + (38400).to_bytes(4, "little") * 2,
    doc="How a terminal is set at first, drivers/tty/tty_io.c: flags, control characters, speeds.",
)


@export(_NO_SYSFS)
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


def entry(k: Host, driver: int, table: str, index: int) -> int:
    """Address of line *index* in one of the driver's tables: ttys, ports, cdevs."""
    return get(k, "tty_driver", driver, table) + 8 * index


def line_name(k: Host, driver: int, index: int) -> bytes:
    """``tty_line_name()``."""
    name = text(k, get(k, "tty_driver", driver, "name"))
    if get(k, "tty_driver", driver, "flags") & UNNUMBERED_NODE:
        return name
    return name + b"%d" % (index + get(k, "tty_driver", driver, "name_base"))


def devt_of(k: Host, driver: int, index: int = 0) -> int:
    """The device number of a line."""
    return (get(k, "tty_driver", driver, "major") << 20) + get(k, "tty_driver", driver, "minor_start") + index


@export(_NO_SYSFS)
def tty_driver_kref_put(k: Host, driver: int) -> Guest:
    """``void tty_driver_kref_put(struct tty_driver *driver)``

    drivers/tty/tty_io.c, 6.1. The last reference frees it, with the devices that came with it.
    """
    left = get(k, "tty_driver", driver, "kref") - 1
    put(k, "tty_driver", driver, "kref", left)
    if left:
        return 0
    flags = get(k, "tty_driver", driver, "flags")
    if flags & INSTALLED:
        if not flags & DYNAMIC_DEV:
            for index in range(get(k, "tty_driver", driver, "num")):
                yield from tty_unregister_device(k, driver, index)
        if flags & DYNAMIC_ALLOC:
            yield from cdev_del(k, k.mem.u64(entry(k, driver, "cdevs", 0)))
    _free(k, driver)
    return 0


def _add_cdev(k: Host, driver: int, index: int, count: int) -> int:
    """``tty_cdev_add()``."""
    cdev = cdev_alloc(k)
    if not cdev:
        return -ENOMEM
    k.mem.set_u64(entry(k, driver, "cdevs", index), cdev)
    put(k, "cdev", cdev, "ops", k.address_of("tty_fops"))
    put(k, "cdev", cdev, "owner", get(k, "tty_driver", driver, "owner"))
    return cdev_add(k, cdev, devt_of(k, driver, index), count)


@export(_NO_SYSFS)
def tty_register_driver(k: Host, driver: int) -> Guest:
    """``int tty_register_driver(struct tty_driver *driver)``

    drivers/tty/tty_io.c, 6.1. Takes its device numbers, chosen if it has none; with all of its devices, unless they
    come later one by one.
    """
    lines, name = get(k, "tty_driver", driver, "num"), get(k, "tty_driver", driver, "name")
    if get(k, "tty_driver", driver, "major"):
        error = register_chrdev_region(k, devt_of(k, driver), lines, name)
    else:
        number = at(k, "tty_driver", driver, "minor_start")  # a word to have the number in; put right below
        error = alloc_chrdev_region(k, number, get(k, "tty_driver", driver, "minor_start"), lines, name)
        if not error:
            dev = k.mem.u32(number)
            put(k, "tty_driver", driver, "major", dev >> 20)
            put(k, "tty_driver", driver, "minor_start", dev & 0xFFFFF)
    if error:
        return error
    flags = get(k, "tty_driver", driver, "flags")
    if flags & DYNAMIC_ALLOC:
        error = _add_cdev(k, driver, 0, lines)
        if error:
            unregister_chrdev_region(k, devt_of(k, driver), lines)
            return error
    registry.note(k, "tty_driver", driver)
    for index in range(0 if flags & DYNAMIC_DEV else lines):
        made = yield from tty_register_device(k, driver, index, 0)
        if is_err(made):
            for before in reversed(range(index)):
                yield from tty_unregister_device(k, driver, before)
            tty_unregister_driver(k, driver)
            return s32(made)
    put(k, "tty_driver", driver, "flags", flags | INSTALLED)
    return 0


@export(_NO_SYSFS)
def tty_unregister_driver(k: Host, driver: int) -> None:
    """``void tty_unregister_driver(struct tty_driver *driver)``

    drivers/tty/tty_io.c, 6.1.
    """
    unregister_chrdev_region(k, devt_of(k, driver), get(k, "tty_driver", driver, "num"))
    registry.remove(k, "tty_driver", driver)


@export(_NO_SYSFS)
def tty_register_device_attr(k: Host, driver: int, index: int, device: int, drvdata: int, attr_grp: int) -> Guest:
    """``struct device *tty_register_device_attr(struct tty_driver *driver, unsigned int index, struct device *device,
    void *drvdata, const struct attribute_group **attr_grp)``

    drivers/tty/tty_io.c, 6.1. An error pointer: -EINVAL for a line that the driver does not have.
    """
    name = text(k, get(k, "tty_driver", driver, "name"))
    if index >= get(k, "tty_driver", driver, "num"):
        shown = name.decode("utf-8", "backslashreplace")
        k.log.printk(f"\x013{shown}: Attempt to register invalid tty line number ({index})\n")
        return err_ptr(-EINVAL)
    devt, cls = devt_of(k, driver, index), kernel_class(k, "tty_class", "tty_register_device_attr")
    dev: int = yield from create(k, cls, device, devt, drvdata, line_name(k, driver, index), attr_grp)
    if is_err(dev) or get(k, "tty_driver", driver, "flags") & DYNAMIC_ALLOC:
        return dev
    error = _add_cdev(k, driver, index, 1)
    if error:
        yield from device_unregister(k, dev)
        return err_ptr(error)
    return dev


@export(_NO_SYSFS)
def tty_register_device(k: Host, driver: int, index: int, device: int) -> Guest:
    """``struct device *tty_register_device(struct tty_driver *driver, unsigned int index, struct device *device)``

    drivers/tty/tty_io.c, 6.1.
    """
    return (yield from tty_register_device_attr(k, driver, index, device, 0, 0))


@export(_NO_SYSFS)
def tty_unregister_device(k: Host, driver: int, index: int) -> Guest:
    """``void tty_unregister_device(struct tty_driver *driver, unsigned int index)``

    drivers/tty/tty_io.c, 6.1.
    """
    cls = kernel_class(k, "tty_class", "tty_register_device_attr")
    yield from device_destroy(k, cls, devt_of(k, driver, index))
    if not get(k, "tty_driver", driver, "flags") & DYNAMIC_ALLOC:
        cdev = entry(k, driver, "cdevs", index)
        if k.mem.u64(cdev):
            yield from cdev_del(k, k.mem.u64(cdev))
        k.mem.set_u64(cdev, 0)
    return 0


@export(_UNOPENED)
def uart_register_driver(k: Host, drv: int) -> Guest:
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
    error: int = yield from tty_register_driver(k, driver)
    if error:
        yield from tty_driver_kref_put(k, driver)
        k.mm.kfree(state)
    return error


STATE_SIZE = 512
"""Of ``struct uart_state``, which only the serial core looks into."""


@export(_UNOPENED)
def uart_unregister_driver(k: Host, drv: int) -> Guest:
    """``void uart_unregister_driver(struct uart_driver *drv)``

    drivers/tty/serial/serial_core.c, 6.1.
    """
    driver = get(k, "uart_driver", drv, "tty_driver")
    tty_unregister_driver(k, driver)
    yield from tty_driver_kref_put(k, driver)
    k.mm.kfree(get(k, "uart_driver", drv, "state"))
    put(k, "uart_driver", drv, "state", 0)
    put(k, "uart_driver", drv, "tty_driver", 0)
    return 0


@export(simplified("of the drivers that modules have registered: the machine has no terminal of its own"))
def tty_dev_name_to_number(k: Host, name: int, number: int) -> int:
    """``int tty_dev_name_to_number(const char *name, dev_t *number)``

    drivers/tty/tty_io.c, 6.1. -EINVAL for a name without a number, -ENODEV for one of no driver.
    """
    prefix = text(k, name).rstrip(b"0123456789")
    digits = text(k, name)[len(prefix) :]
    if not digits or any(byte in b"0123456789" for byte in prefix):
        return -EINVAL
    for driver in registry.things(k, "tty_driver"):
        same = text(k, get(k, "tty_driver", driver, "name")) == prefix
        if same and int(digits) < get(k, "tty_driver", driver, "num"):
            dev = get(k, "tty_driver", driver, "major") << 20 | get(k, "tty_driver", driver, "minor_start")
            k.mem.set_u32(number, dev + int(digits))
            return 0
    return -ENODEV
