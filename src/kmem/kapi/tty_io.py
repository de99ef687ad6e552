"""Open terminals (drivers/tty/tty_io.c), 6.1: a program's open, read, write, ioctl and close, and hanging up.

`Kernel.open("/dev/ttyGS0")` comes here. Simplified: bytes go through as they are, without a line discipline; reading
and writing do not wait; there is no controlling terminal.
"""

from __future__ import annotations

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.kapi import registry
from kmem.kapi.errno import EAGAIN, EFAULT, EINVAL, EIO, ENODEV, ENOMEM, ENXIO, err_ptr, is_err
from kmem.kapi.export import data, export, faithful, simplified
from kmem.kapi.fields import at, get, put
from kmem.kapi.host import Call, Guest, Host, s32
from kmem.kapi.lists import add_tail, del_init, init_list_head
from kmem.kapi.module import module_put, try_module_get
from kmem.kapi.mutex import __mutex_init
from kmem.kapi.tty import devt_of, entry, line_name, tty_driver_kref_put
from kmem.kapi.tty_port import HUPPED, HUPPING, flag, take, wake
from kmem.kapi.uaccess import _copy_from_user, _copy_to_user
from kmem.kapi.wait import __init_waitqueue_head
from kmem.kapi.workqueue import cancel_work_sync, init_work, queue_work_on

WRITE_CHUNK = 2048
NO_COMMAND = 515
"""ENOIOCTLCMD."""
_RAW = simplified("no line discipline, no waiting, no controlling terminal")


def _file_operations(k: Host) -> bytes:
    layout = k.layout["file_operations"]
    raw = bytearray(layout.size)
    handlers = {"open": "tty_open", "release": "tty_release", "read": "tty_read", "write": "tty_write",
                "unlocked_ioctl": "tty_ioctl"}  # fmt: skip
    for member, handler in handlers.items():
        start = layout.offset(member)
        raw[start : start + 8] = k.address_of(handler).to_bytes(8, "little")
    return bytes(raw)


data("tty_fops", 288, _file_operations, doc="What a terminal's file can do, drivers/tty/tty_io.c.", private=True)


def _call(k: Host, tty: int, name: str, *args: int, default: int = 0) -> Guest:
    """Call an operation of the terminal's driver; *default* if it has none."""
    function = get(k, "tty_operations", get(k, "tty_struct", tty, "ops"), name)
    return s32((yield Call(function, (tty, *args)))) if function else default


def _tty(k: Host, file: int) -> int:
    """``file_tty()``."""
    private = get(k, "file", file, "private_data")
    return get(k, "tty_file_private", private, "tty") if private else 0


# making and unmaking


@export(faithful)
def tty_init_termios(k: Host, tty: int) -> None:
    """``void tty_init_termios(struct tty_struct *tty)``

    drivers/tty/tty_io.c, 6.1. As the driver wants it at first.
    """
    source = at(k, "tty_driver", get(k, "tty_struct", tty, "driver"), "init_termios")
    k.mem.write(at(k, "tty_struct", tty, "termios"), k.mem.read(source, k.layout["ktermios"].size))


@export(faithful)
def tty_standard_install(k: Host, driver: int, tty: int) -> int:
    """``int tty_standard_install(struct tty_driver *driver, struct tty_struct *tty)``

    drivers/tty/tty_io.c, 6.1.
    """
    tty_init_termios(k, tty)
    put(k, "tty_driver", driver, "kref", get(k, "tty_driver", driver, "kref") + 1)
    put(k, "tty_struct", tty, "count", get(k, "tty_struct", tty, "count") + 1)
    k.mem.set_u64(entry(k, driver, "ttys", get(k, "tty_struct", tty, "index")), tty)
    return 0


def _alloc(k: Host, driver: int, index: int) -> int:
    """``alloc_tty_struct()``; 0 without memory."""
    tty = k.mm.kmalloc(k.layout["tty_struct"].size, GFP_KERNEL | __GFP_ZERO, -1, k.address_of("tty_open"))
    if not tty:
        return 0
    for member in ("legacy_mutex", "throttle_mutex", "winsize_mutex", "atomic_write_lock"):
        __mutex_init(k, at(k, "tty_struct", tty, member), 0, 0)
    for member in ("write_wait", "read_wait", "break_wait"):
        __init_waitqueue_head(k, at(k, "tty_struct", tty, member), 0, 0)
    init_work(k, at(k, "tty_struct", tty, "hangup_work"), k.address_of("do_tty_hangup"))
    init_list_head(k, at(k, "tty_struct", tty, "tty_files"))
    ops = get(k, "tty_driver", driver, "ops")
    for name, value in (("kref", 1), ("driver", driver), ("ops", ops), ("index", index)):
        put(k, "tty_struct", tty, name, value)
    k.mem.write(at(k, "tty_struct", tty, "name"), line_name(k, driver, index)[:63] + b"\0")
    return tty


def _make(k: Host, driver: int, index: int) -> Guest:
    """``tty_init_dev()``: a terminal for a line that nobody has open, or an error pointer."""
    owner = get(k, "tty_driver", driver, "owner")
    if not try_module_get(k, owner):
        return err_ptr(-ENODEV)
    tty = _alloc(k, driver, index)
    if not tty:
        module_put(k, owner)
        return err_ptr(-ENOMEM)
    install = get(k, "tty_operations", get(k, "tty_struct", tty, "ops"), "install")
    error = s32((yield Call(install, (driver, tty)))) if install else tty_standard_install(k, driver, tty)
    if error < 0:
        k.mm.kfree(tty)
        module_put(k, owner)
        return err_ptr(error)
    port = get(k, "tty_struct", tty, "port") or k.mem.u64(entry(k, driver, "ports", index))
    put(k, "tty_struct", tty, "port", port)
    if not port:
        name = line_name(k, driver, index).decode("utf-8", "backslashreplace")
        text = f"tty_init_dev: {name} driver does not set tty->port. This would crash the kernel. Fix the driver!\n"
        k.warn("drivers/tty/tty_io.c", 1424, "tty_init_dev", text)
        yield from _unmake(k, tty)
        return err_ptr(-EINVAL)
    put(k, "tty_port", port, "itty", tty)
    return tty


def _unmake(k: Host, tty: int) -> Guest:
    """``release_tty()``."""
    yield from cancel_work_sync(k, at(k, "tty_struct", tty, "hangup_work"))
    yield from _call(k, tty, "shutdown")
    driver, index = get(k, "tty_struct", tty, "driver"), get(k, "tty_struct", tty, "index")
    remove = get(k, "tty_operations", get(k, "tty_struct", tty, "ops"), "remove")
    if remove:
        yield Call(remove, (driver, tty))
    else:
        k.mem.set_u64(entry(k, driver, "ttys", index), 0)
    port = get(k, "tty_struct", tty, "port")
    if port:
        put(k, "tty_port", port, "itty", 0)
    return (yield from tty_kref_put(k, tty))


@export(simplified("the last reference frees it at once, not from a work"))
def tty_kref_put(k: Host, tty: int) -> Guest:
    """``void tty_kref_put(struct tty_struct *tty)``

    drivers/tty/tty_io.c, 6.1. NULL is allowed.
    """
    if not tty:
        return 0
    left = get(k, "tty_struct", tty, "kref") - 1
    put(k, "tty_struct", tty, "kref", left)
    if not left:
        yield from _call(k, tty, "cleanup")
        driver = get(k, "tty_struct", tty, "driver")
        owner = get(k, "tty_driver", driver, "owner")
        yield from tty_driver_kref_put(k, driver)
        k.mm.kfree(tty)
        module_put(k, owner)
    return 0


# what a program does


def _line(k: Host, devt: int) -> tuple[int, int]:
    """The driver and the index of a device number; the driver is 0 for one that is nobody's."""
    for driver in registry.things(k, "tty_driver"):
        index = devt - devt_of(k, driver)
        if 0 <= index < get(k, "tty_driver", driver, "num"):
            return driver, index
    return 0, 0


def _join(k: Host, file: int, tty: int) -> bool:
    """``tty_alloc_file()`` and ``tty_add_file()``; False without memory."""
    size = k.layout["tty_file_private"].size
    private = k.mm.kmalloc(size, GFP_KERNEL, -1, k.address_of("tty_open"))
    if private:
        put(k, "tty_file_private", private, "tty", tty)
        put(k, "tty_file_private", private, "file", file)
        add_tail(k, at(k, "tty_file_private", private, "list"), at(k, "tty_struct", tty, "tty_files"))
        put(k, "file", file, "private_data", private)
    return bool(private)


@export(_RAW, private=True)
def tty_open(k: Host, inode: int, filp: int) -> Guest:
    """``int tty_open(struct inode *inode, struct file *filp)``

    drivers/tty/tty_io.c, 6.1. The driver's ``open``; -ENXIO for a number without a driver.
    """
    driver, index = _line(k, get(k, "inode", inode, "i_rdev"))
    if not driver:
        return -ENXIO
    tty = k.mem.u64(entry(k, driver, "ttys", index))
    if tty:
        put(k, "tty_struct", tty, "count", get(k, "tty_struct", tty, "count") + 1)
    else:
        tty = yield from _make(k, driver, index)
        if is_err(tty):
            return s32(tty)
    if not _join(k, filp, tty):
        yield from _leave(k, tty)
        return -ENOMEM
    error: int = yield from _call(k, tty, "open", filp, default=-ENODEV)
    if error:
        yield from tty_release(k, inode, filp)
        return error
    flag(k, tty, HUPPED, False)
    return 0


def _leave(k: Host, tty: int) -> Guest:
    """One file less has the terminal open; the last one takes it away."""
    left = s32(get(k, "tty_struct", tty, "count")) - 1
    put(k, "tty_struct", tty, "count", left)
    return (yield from _unmake(k, tty)) if left <= 0 else 0


@export(_RAW, private=True)
def tty_release(k: Host, inode: int, filp: int) -> Guest:
    """``int tty_release(struct inode *inode, struct file *filp)``

    drivers/tty/tty_io.c, 6.1. The driver's ``close``; after the last one the terminal is gone.
    """
    private, tty = get(k, "file", filp, "private_data"), _tty(k, filp)
    yield from _call(k, tty, "close", filp)
    del_init(k, at(k, "tty_file_private", private, "list"))
    k.mm.kfree(private)
    put(k, "file", filp, "private_data", 0)
    yield from _leave(k, tty)
    return 0


@export(_RAW, private=True)
def tty_read(k: Host, file: int, buf: int, count: int, ppos: int) -> int:
    """``ssize_t tty_read(struct file *file, char *buf, size_t count, loff_t *ppos)``

    drivers/tty/tty_io.c, 6.1. What has come in; -EAGAIN if nothing has, 0 after a hangup.
    """
    tty = _tty(k, file)
    if get(k, "tty_struct", tty, "flags") & HUPPED:
        return 0
    got = take(k, get(k, "tty_struct", tty, "port"), min(count, 4096))
    if not got:
        return -EAGAIN
    page = k.mm.kmalloc(len(got), GFP_KERNEL, -1, k.address_of("tty_open"))
    if not page:
        return -ENOMEM
    k.mem.write(page, got)
    left = _copy_to_user(k, buf, page, len(got))
    k.mm.kfree(page)
    return len(got) - left or -EFAULT


@export(_RAW, private=True)
def tty_write(k: Host, file: int, buf: int, count: int, ppos: int) -> Guest:
    """``ssize_t tty_write(struct file *file, const char *buf, size_t count, loff_t *ppos)``

    drivers/tty/tty_io.c, 6.1. How much the driver took, in pieces of 2048; -EAGAIN for nothing, -EIO after a hangup.
    """
    tty, done, error = _tty(k, file), 0, 0
    chunk = k.mm.kmalloc(min(count, WRITE_CHUNK), GFP_KERNEL, -1, k.address_of("tty_open"))
    if not chunk:
        return -ENOMEM
    while done < count and not error:
        size = min(count - done, WRITE_CHUNK)
        if get(k, "tty_struct", tty, "flags") & HUPPED:
            error = -EIO
        elif _copy_from_user(k, chunk, buf + done, size):
            error = -EFAULT
        else:
            took = yield from _call(k, tty, "write", chunk, size, default=-EIO)
            error = took if took < 0 else 0 if took == size else -EAGAIN
            done += max(took, 0)
    k.mm.kfree(chunk)
    return done or error


@export(_RAW, private=True)
def tty_ioctl(k: Host, file: int, cmd: int, arg: int) -> Guest:
    """``long tty_ioctl(struct file *file, unsigned int cmd, unsigned long arg)``

    drivers/tty/tty_io.c, 6.1. The driver's own commands.
    """
    return (yield from _call(k, _tty(k, file), "ioctl", cmd, arg, default=-NO_COMMAND))


# hanging up


def _hang_up(k: Host, tty: int) -> Guest:
    """``__tty_hangup()``: from now on readers get nothing and writers an error."""
    if not tty or get(k, "tty_struct", tty, "flags") & HUPPED:
        return 0
    flag(k, tty, HUPPING, True)
    yield from _call(k, tty, "hangup")
    flag(k, tty, HUPPED, True)
    flag(k, tty, HUPPING, False)
    for member in ("read_wait", "write_wait", "break_wait"):
        yield from wake(k, at(k, "tty_struct", tty, member))
    return 0


@export(_RAW, private=True)
def do_tty_hangup(k: Host, work: int) -> Guest:
    """``void do_tty_hangup(struct work_struct *work)``

    drivers/tty/tty_io.c, 6.1.
    """
    return (yield from _hang_up(k, work - k.layout["tty_struct"].offset("hangup_work")))


@export(_RAW)
def tty_hangup(k: Host, tty: int) -> None:
    """``void tty_hangup(struct tty_struct *tty)``

    drivers/tty/tty_io.c, 6.1. From a work.
    """
    queue_work_on(k, k.cpu, k.mem.u64(k.address_of("system_wq")), at(k, "tty_struct", tty, "hangup_work"))


@export(_RAW)
def tty_vhangup(k: Host, tty: int) -> Guest:
    """``void tty_vhangup(struct tty_struct *tty)``

    drivers/tty/tty_io.c, 6.1.
    """
    return (yield from _hang_up(k, tty))


@export(_RAW)
def tty_port_tty_vhangup(k: Host, port: int) -> Guest:
    """``void tty_port_tty_vhangup(struct tty_port *port)``

    drivers/tty/tty_port.c, 6.1.
    """
    return (yield from _hang_up(k, get(k, "tty_port", port, "tty")))


@export(faithful)
def tty_hung_up_p(k: Host, filp: int) -> int:
    """``int tty_hung_up_p(struct file *filp)``

    drivers/tty/tty_io.c, 6.1.
    """
    tty = _tty(k, filp) if filp else 0
    return int(bool(tty and get(k, "tty_struct", tty, "flags") & HUPPED))


@export(faithful)
def tty_wakeup(k: Host, tty: int) -> Guest:
    """``void tty_wakeup(struct tty_struct *tty)``

    drivers/tty/tty_io.c, 6.1. Those who wait for room to write.
    """
    return (yield from wake(k, at(k, "tty_struct", tty, "write_wait")))


# what a terminal is set to

CSIZE, CSTOPB, PARENB, ADDRB, CBAUD, BOTHER, CBAUDEX = 0x30, 0x40, 0x100, 0x20000000, 0x100F, 0x1000, 0x1000
SPEEDS = (
    *(0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400),
    *(460800, 500000, 576000, 921600, 1000000, 1152000, 1500000, 2000000, 2500000, 3000000, 3500000, 4000000),
)


@export(faithful)
def tty_get_char_size(k: Host, cflag: int) -> int:
    """``unsigned char tty_get_char_size(unsigned int cflag)``

    drivers/tty/tty_ioctl.c, 6.1. Bits of a character.
    """
    return 5 + ((cflag & CSIZE) >> 4)


@export(faithful)
def tty_get_frame_size(k: Host, cflag: int) -> int:
    """``unsigned char tty_get_frame_size(unsigned int cflag)``

    drivers/tty/tty_ioctl.c, 6.1. Bits of a character with start, stop, parity and address.
    """
    return tty_get_char_size(k, cflag) + 2 + sum(bool(cflag & bit) for bit in (CSTOPB, PARENB, ADDRB))


@export(faithful)
def tty_termios_baud_rate(k: Host, termios: int) -> int:
    """``unsigned int tty_termios_baud_rate(const struct ktermios *termios)``

    drivers/tty/tty_baudrate.c, 6.1.
    """
    code = get(k, "ktermios", termios, "c_cflag") & CBAUD
    if code == BOTHER:
        return get(k, "ktermios", termios, "c_ospeed")
    number = (code & ~CBAUDEX) + 15 if code & CBAUDEX else code
    return SPEEDS[number] if number < len(SPEEDS) else 0


@export(faithful)
def tty_termios_copy_hw(k: Host, new: int, old: int) -> None:
    """``void tty_termios_copy_hw(struct ktermios *new, const struct ktermios *old)``

    drivers/tty/tty_ioctl.c, 6.1. What a device without settings keeps: speeds, and of the control flags all but
    HUPCL, CREAD and CLOCAL.
    """
    kept = 0x400 | 0x80 | 0x800
    flags = get(k, "ktermios", new, "c_cflag") & kept | get(k, "ktermios", old, "c_cflag") & ~kept
    for member, value in (("c_cflag", flags), ("c_ispeed", get(k, "ktermios", old, "c_ispeed")),
                          ("c_ospeed", get(k, "ktermios", old, "c_ospeed"))):  # fmt: skip
        put(k, "ktermios", new, member, value)
