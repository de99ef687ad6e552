"""Messages of devices (drivers/base/core.c, lib/dynamic_debug.c), 6.1."""

from __future__ import annotations

from kmem.kapi.errno import ENOMEM, err_ptr
from kmem.kapi.export import export, faithful, family, simplified
from kmem.kapi.host import Host
from kmem.kapi.logbuf import ALERT, CRIT, DEBUG, EMERG, ERR, INFO, NOTICE, WARNING
from kmem.kapi.printf_spec import Spec
from kmem.kapi.printk import FORMAT_LIMIT, dynamic_prefix
from kmem.kapi.varargs import VaArgs
from kmem.kapi.vsprintf import vsnprintf
from kmem.kapi.vsprintf_pointer import pointer, string

EPROBE_DEFER = 517


def _driver_name(k: Host, dev: int) -> int:
    """Address of the name of the driver, else of the bus, else of the class; 0 when the device has none of them."""
    device = k.layout["device"]
    for member, struct in (("driver", "device_driver"), ("bus", "bus_type"), ("class", "class")):
        owner = k.mem.u64(dev + device.offset(member))
        if owner:
            return k.mem.u64(owner + k.layout[struct].offset("name"))
    return 0


def device_name(k: Host, dev: int) -> int:
    """``dev_name()``: the initial name until the kobject has one."""
    device = k.layout["device"]
    initial = k.mem.u64(dev + device.offset("init_name"))
    return initial or k.mem.u64(dev + device.offset("kobj") + k.layout["kobject"].offset("name"))


def _head(k: Host, dev: int) -> bytes:
    driver = _driver_name(k, dev)
    return (string(k, driver, Spec()) if driver else b"") + b" " + string(k, device_name(k, dev), Spec()) + b": "


def describe(k: Host, dev: int) -> str:
    """What ``dev_WARN()`` puts before its text: ``driver name: ``."""
    return _head(k, dev).decode("utf-8", "backslashreplace")


def dev_print(k: Host, level: int, dev: int, text: bytes, prefix: bytes = b"") -> int:
    """Logs *text* as a message of the ``struct device`` at *dev*: ``driver name: text``."""
    if not dev:
        return k.log.printk(b"\x01%d(NULL device *): " % level + text)
    return k.log.printk(prefix + _head(k, dev) + text, level, whole=True)


def format_message(k: Host, fmt: int, args: VaArgs) -> bytes:
    """What a format and its arguments say."""
    return vsnprintf(k, k.mem.cstr(fmt, FORMAT_LIMIT), args)


def _declare(name: str, level: int) -> None:
    def message(k: Host, dev: int, fmt: int, args: VaArgs) -> None:
        dev_print(k, level, dev, format_message(k, fmt, args))

    prototype = f"void {name}(const struct device *dev, const char *fmt, ...)"
    family(faithful, prototype, "drivers/base/core.c, 6.1. The message after the names of driver and device.", message)


LEVELS = {
    "emerg": EMERG,
    "alert": ALERT,
    "crit": CRIT,
    "err": ERR,
    "warn": WARNING,
    "notice": NOTICE,
    "info": INFO,
}
"""Levels as the names of functions that print have them."""
for _name, _level in LEVELS.items():
    _declare(f"_dev_{_name}", _level)


@export(faithful)
def _dev_printk(k: Host, level: int, dev: int, fmt: int, args: VaArgs) -> None:
    """``void _dev_printk(const char *level, const struct device *dev, const char *fmt, ...)``

    drivers/base/core.c, 6.1. *level* is a string, KERN_SOH and a digit.
    """
    dev_print(k, k.mem.u8(level + 1) - ord("0") & 7, dev, format_message(k, fmt, args))


@export(faithful)
def dev_printk_emit(k: Host, level: int, dev: int, fmt: int, args: VaArgs) -> int:
    """``int dev_printk_emit(int level, const struct device *dev, const char *fmt, ...)``

    drivers/base/core.c, 6.1. The text alone, without the names.
    """
    return k.log.printk(format_message(k, fmt, args), level & 7, whole=True)


@export(faithful)
def __dynamic_dev_dbg(k: Host, descriptor: int, dev: int, fmt: int, args: VaArgs) -> None:
    """``void __dynamic_dev_dbg(struct _ddebug *descriptor, const struct device *dev, const char *fmt, ...)``

    lib/dynamic_debug.c, 6.1. Debug messages are off: a module gets here only if it turned its own on.
    """
    dev_print(k, DEBUG, dev, format_message(k, fmt, args), dynamic_prefix(k, descriptor) if dev else b"")


@export(faithful)
def dev_driver_string(k: Host, dev: int) -> int:
    """``const char *dev_driver_string(const struct device *dev)``

    drivers/base/core.c, 6.1. The name of the driver, of the bus or of the class; an empty string without any.
    """
    return _driver_name(k, dev) or k.address_of("hex_asc") + 16


def _probe_failed(k: Host, dev: int, err: int, level: int, fmt: int, args: VaArgs) -> int:
    if err not in (-EPROBE_DEFER, -ENOMEM):
        dev_print(
            k, level, dev, b"error " + pointer(k, b"e", err_ptr(err), Spec()) + b": " + format_message(k, fmt, args)
        )
    return err


@export(simplified("the reason of a deferred probe is not kept"))
def dev_err_probe(k: Host, dev: int, err: int, fmt: int, args: VaArgs) -> int:
    """``int dev_err_probe(const struct device *dev, int err, const char *fmt, ...)``

    drivers/base/core.c, 6.1. Silent for -EPROBE_DEFER and -ENOMEM; returns *err*.
    """
    return _probe_failed(k, dev, err, ERR, fmt, args)


@export(simplified("the reason of a deferred probe is not kept"))
def dev_warn_probe(k: Host, dev: int, err: int, fmt: int, args: VaArgs) -> int:
    """``int dev_warn_probe(const struct device *dev, int err, const char *fmt, ...)``

    drivers/base/core.c, 6.1.
    """
    return _probe_failed(k, dev, err, WARNING, fmt, args)
