"""Ports of terminals (drivers/tty/tty_port.c, tty_buffer.c), 6.1: what a driver of a serial line has for each of them.

What comes in is kept in the port's buffers until somebody reads (`kmem.kapi.tty_io`). Simplified: there is no line
discipline between a port and its reader, and opening does not wait for a carrier.
"""

from __future__ import annotations

from kmem.abi.gfp import __GFP_NOWARN, GFP_ATOMIC
from kmem.kapi.export import export, faithful, simplified
from kmem.kapi.fields import at, get, put
from kmem.kapi.host import Call, Guest, Host, s32
from kmem.kapi.mutex import __mutex_init
from kmem.kapi.sched import TASK_INTERRUPTIBLE
from kmem.kapi.timekeeping import HZ
from kmem.kapi.tty import entry, tty_register_device, tty_register_device_attr
from kmem.kapi.wait import __init_waitqueue_head, __wake_up
from kmem.kapi.workqueue import cancel_work_sync, init_work, queue_work_on

INITIALIZED, ACTIVE = 1 << 0, 1 << 2
IO_ERROR, HUPPED, HUPPING = 1 << 1, 1 << 18, 1 << 19
"""In the flags of a terminal."""
TTYB_NORMAL, MEM_LIMIT, PAGE_OF_BUFFER = 1, 640 * 1024, 3952
HUPCL = 0x400
_NO_LDISC = simplified("no line discipline: bytes are kept until somebody reads them")
_NO_CARRIER = simplified("does not wait for a carrier, for a drain or for a delay")


def flag(k: Host, tty: int, mask: int, on: bool) -> None:
    """Set or clear bits of ``tty->flags``."""
    flags = get(k, "tty_struct", tty, "flags")
    put(k, "tty_struct", tty, "flags", flags | mask if on else flags & ~mask)


def _state(k: Host, port: int, mask: int, on: bool) -> None:
    flags = get(k, "tty_port", port, "iflags")
    put(k, "tty_port", port, "iflags", flags | mask if on else flags & ~mask)


def _operation(k: Host, port: int, name: str) -> int:
    ops = get(k, "tty_port", port, "ops")
    return get(k, "tty_port_operations", ops, name) if ops else 0


def wake(k: Host, queue: int) -> Guest:
    """``wake_up_interruptible()``."""
    return (yield from __wake_up(k, queue, TASK_INTERRUPTIBLE, 1, 0))


# buffers


def _buffers(k: Host, port: int) -> int:
    return at(k, "tty_port", port, "buf")


def _reset(k: Host, buffer: int, size: int) -> None:
    k.mem.fill(buffer, 0, k.layout["tty_buffer"].size)
    put(k, "tty_buffer", buffer, "size", size)


def _empty(k: Host, head: int) -> None:
    sentinel = at(k, "tty_bufhead", head, "sentinel")
    _reset(k, sentinel, 0)
    put(k, "tty_bufhead", head, "head", sentinel)
    put(k, "tty_bufhead", head, "tail", sentinel)
    put(k, "tty_bufhead", head, "mem_used", 0)


def _new_buffer(k: Host, head: int, size: int) -> int:
    """``tty_buffer_alloc()``: behind the last one; 0 without memory or above the port's limit."""
    size = size + 255 & ~255
    used = s32(get(k, "tty_bufhead", head, "mem_used"))
    if used > s32(get(k, "tty_bufhead", head, "mem_limit")):
        return 0
    own = k.address_of("tty_flip_buffer_push")  # the kernel's own: the port gives it back
    made = k.mm.kmalloc(k.layout["tty_buffer"].size + 2 * size, GFP_ATOMIC | __GFP_NOWARN, -1, own)
    if made:
        _reset(k, made, size)
        put(k, "tty_bufhead", head, "mem_used", used + size)
        put(k, "tty_buffer", get(k, "tty_bufhead", head, "tail"), "next", made)
        put(k, "tty_bufhead", head, "tail", made)
    return made


def _insert(k: Host, port: int, chars: bytes, kind: int) -> int:
    """Put characters behind what has come in, each with the flag *kind*; how many there was room for."""
    head, done = _buffers(k, port), 0
    while done < len(chars):
        goal, tail = min(len(chars) - done, PAGE_OF_BUFFER), get(k, "tty_bufhead", head, "tail")
        room = get(k, "tty_buffer", tail, "size") - get(k, "tty_buffer", tail, "used")
        if room < goal:
            tail, room = _new_buffer(k, head, goal) or tail, room
            room = get(k, "tty_buffer", tail, "size") - get(k, "tty_buffer", tail, "used")
        goal = min(goal, room)
        if not goal:
            break
        data, used = at(k, "tty_buffer", tail, "data"), get(k, "tty_buffer", tail, "used")
        k.mem.write(data + used, chars[done : done + goal])
        k.mem.fill(data + get(k, "tty_buffer", tail, "size") + used, kind, goal)
        put(k, "tty_buffer", tail, "used", used + goal)
        put(k, "tty_buffer", tail, "commit", used + goal)
        done += goal
    return done


def take(k: Host, port: int, limit: int) -> bytes:
    """Take out at most *limit* of the characters that have come in."""
    head, out = _buffers(k, port), b""
    while len(out) < limit:
        buffer = get(k, "tty_bufhead", head, "head")
        start, used = get(k, "tty_buffer", buffer, "read"), get(k, "tty_buffer", buffer, "used")
        got = k.mem.read(at(k, "tty_buffer", buffer, "data") + start, min(used - start, limit - len(out)))
        out += got
        put(k, "tty_buffer", buffer, "read", start + len(got))
        following = get(k, "tty_buffer", buffer, "next")
        if start + len(got) < used or not following:
            break
        put(k, "tty_bufhead", head, "head", following)
        _free(k, head, buffer)
    return out


def _free(k: Host, head: int, buffer: int) -> None:
    size = get(k, "tty_buffer", buffer, "size")
    if size:
        put(k, "tty_bufhead", head, "mem_used", get(k, "tty_bufhead", head, "mem_used") - size)
        k.mm.kfree(buffer)


@export(_NO_LDISC)
def tty_insert_flip_string_fixed_flag(k: Host, port: int, chars: int, flag: int, size: int) -> int:
    """``int tty_insert_flip_string_fixed_flag(struct tty_port *port, const unsigned char *chars, char flag,
    size_t size)``

    drivers/tty/tty_buffer.c, 6.1. How many characters there was room for.
    """
    return _insert(k, port, k.mem.read(chars, size), flag & 0xFF)


@export(_NO_LDISC)
def __tty_insert_flip_char(k: Host, port: int, ch: int, flag: int) -> int:
    """``int __tty_insert_flip_char(struct tty_port *port, unsigned char ch, char flag)``

    drivers/tty/tty_buffer.c, 6.1. 1, or 0 without room.
    """
    return _insert(k, port, bytes([ch & 0xFF]), flag & 0xFF)


@export(_NO_LDISC)
def tty_buffer_request_room(k: Host, port: int, size: int) -> int:
    """``int tty_buffer_request_room(struct tty_port *port, size_t size)``

    drivers/tty/tty_buffer.c, 6.1. How many characters there is room for.
    """
    tail = get(k, "tty_bufhead", _buffers(k, port), "tail")
    if get(k, "tty_buffer", tail, "size") - get(k, "tty_buffer", tail, "used") < size:
        tail = _new_buffer(k, _buffers(k, port), size) or tail
    return min(size, get(k, "tty_buffer", tail, "size") - get(k, "tty_buffer", tail, "used"))


@export(faithful)
def tty_buffer_set_limit(k: Host, port: int, limit: int) -> int:
    """``int tty_buffer_set_limit(struct tty_port *port, int limit)``

    drivers/tty/tty_buffer.c, 6.1. -EINVAL below 256.
    """
    if limit < 256:
        return -22
    put(k, "tty_bufhead", _buffers(k, port), "mem_limit", limit)
    return 0


@export(_NO_LDISC)
def tty_flip_buffer_push(k: Host, port: int) -> None:
    """``void tty_flip_buffer_push(struct tty_port *port)``

    drivers/tty/tty_buffer.c, 6.1. Tells readers, from a work.
    """
    work = at(k, "tty_bufhead", _buffers(k, port), "work")
    queue_work_on(k, 0, k.mem.u64(k.address_of("system_unbound_wq")), work)


@export(_NO_LDISC, private=True)
def flush_to_ldisc(k: Host, work: int) -> Guest:
    """``void flush_to_ldisc(struct work_struct *work)``

    drivers/tty/tty_buffer.c, 6.1. The port's own receiver, or whoever reads the terminal.
    """
    port = work - k.layout["tty_bufhead"].offset("work") - k.layout["tty_port"].offset("buf")
    tty = get(k, "tty_port", port, "itty")
    if tty:
        yield from wake(k, at(k, "tty_struct", tty, "read_wait"))
    return 0


# ports


@export(faithful)
def tty_port_init(k: Host, port: int) -> None:
    """``void tty_port_init(struct tty_port *port)``

    drivers/tty/tty_port.c, 6.1.
    """
    k.mem.fill(port, 0, k.layout["tty_port"].size)
    head = _buffers(k, port)
    __mutex_init(k, at(k, "tty_bufhead", head, "lock"), 0, 0)
    _empty(k, head)
    init_work(k, at(k, "tty_bufhead", head, "work"), k.address_of("flush_to_ldisc"))
    put(k, "tty_bufhead", head, "mem_limit", MEM_LIMIT)
    for member in ("open_wait", "delta_msr_wait"):
        __init_waitqueue_head(k, at(k, "tty_port", port, member), 0, 0)
    for member in ("mutex", "buf_mutex"):
        __mutex_init(k, at(k, "tty_port", port, member), 0, 0)
    for member, value in (("close_delay", HZ // 2), ("closing_wait", 30 * HZ), ("kref", 1)):
        put(k, "tty_port", port, member, value)


@export(faithful)
def tty_port_destroy(k: Host, port: int) -> Guest:
    """``void tty_port_destroy(struct tty_port *port)``

    drivers/tty/tty_port.c, 6.1. Frees what has come in.
    """
    head = _buffers(k, port)
    yield from cancel_work_sync(k, at(k, "tty_bufhead", head, "work"))
    buffer = get(k, "tty_bufhead", head, "head")
    while buffer:
        buffer, done = get(k, "tty_buffer", buffer, "next"), buffer
        _free(k, head, done)
    _empty(k, head)
    return 0


@export(faithful)
def tty_port_put(k: Host, port: int) -> Guest:
    """``void tty_port_put(struct tty_port *port)``

    drivers/tty/tty_port.c, 6.1. The last reference destroys it. NULL is allowed.
    """
    if not port:
        return 0
    left = get(k, "tty_port", port, "kref") - 1
    put(k, "tty_port", port, "kref", left)
    if left:
        return 0
    if get(k, "tty_port", port, "itty"):
        k.warn("drivers/tty/tty_port.c", 285, "tty_port_destructor")
        return 0
    k.mm.free_pages_addr(get(k, "tty_port", port, "xmit_buf"), 0)
    yield from tty_port_destroy(k, port)
    destruct = _operation(k, port, "destruct")
    if destruct:
        yield Call(destruct, (port,))
    else:
        k.mm.kfree(port)
    return 0


@export(faithful)
def tty_port_link_device(k: Host, port: int, driver: int, index: int) -> None:
    """``void tty_port_link_device(struct tty_port *port, struct tty_driver *driver, unsigned int index)``

    drivers/tty/tty_port.c, 6.1.
    """
    k.mem.set_u64(entry(k, driver, "ports", index), port)


@export(faithful)
def tty_port_register_device(k: Host, port: int, driver: int, index: int, device: int) -> Guest:
    """``struct device *tty_port_register_device(struct tty_port *port, struct tty_driver *driver, unsigned int index,
    struct device *device)``

    drivers/tty/tty_port.c, 6.1.
    """
    tty_port_link_device(k, port, driver, index)
    return (yield from tty_register_device(k, driver, index, device))


@export(faithful)
def tty_port_register_device_attr(
    k: Host, port: int, driver: int, index: int, device: int, drvdata: int, attr_grp: int
) -> Guest:
    """``struct device *tty_port_register_device_attr(struct tty_port *port, struct tty_driver *driver,
    unsigned int index, struct device *device, void *drvdata, const struct attribute_group **attr_grp)``

    drivers/tty/tty_port.c, 6.1.
    """
    tty_port_link_device(k, port, driver, index)
    return (yield from tty_register_device_attr(k, driver, index, device, drvdata, attr_grp))


@export(faithful)
def tty_port_tty_get(k: Host, port: int) -> int:
    """``struct tty_struct *tty_port_tty_get(struct tty_port *port)``

    drivers/tty/tty_port.c, 6.1. With a reference; NULL if nobody has it open.
    """
    tty = get(k, "tty_port", port, "tty")
    if tty:
        put(k, "tty_struct", tty, "kref", get(k, "tty_struct", tty, "kref") + 1)
    return tty


@export(faithful)
def tty_port_tty_set(k: Host, port: int, tty: int) -> Guest:
    """``void tty_port_tty_set(struct tty_port *port, struct tty_struct *tty)``

    drivers/tty/tty_port.c, 6.1. With a reference; the one that it had is put.
    """
    from kmem.kapi.tty_io import tty_kref_put

    before = get(k, "tty_port", port, "tty")
    put(k, "tty_port", port, "tty", tty)
    if tty:
        put(k, "tty_struct", tty, "kref", get(k, "tty_struct", tty, "kref") + 1)
    return (yield from tty_kref_put(k, before))


@export(faithful)
def tty_port_tty_wakeup(k: Host, port: int) -> Guest:
    """``void tty_port_tty_wakeup(struct tty_port *port)``

    drivers/tty/tty_port.c, 6.1. Those who wait for room to write.
    """
    tty = get(k, "tty_port", port, "tty")
    if tty:
        yield from wake(k, at(k, "tty_struct", tty, "write_wait"))
    return 0


@export(faithful)
def tty_port_tty_hangup(k: Host, port: int, check_clocal: int) -> None:
    """``void tty_port_tty_hangup(struct tty_port *port, bool check_clocal)``

    drivers/tty/tty_port.c, 6.1. With *check_clocal* only a terminal that minds its carrier.
    """
    tty = get(k, "tty_port", port, "tty")
    cflag = at(k, "tty_struct", tty, "termios") + k.layout["ktermios"].offset("c_cflag")
    if tty and not (check_clocal and k.mem.u32(cflag) & 0x800):
        hangup_work = at(k, "tty_struct", tty, "hangup_work")
        queue_work_on(k, k.cpu, k.mem.u64(k.address_of("system_wq")), hangup_work)


def _control(k: Host, port: int, on: int) -> Guest:
    """``tty_port_raise_dtr_rts()`` and ``tty_port_lower_dtr_rts()``."""
    dtr_rts = _operation(k, port, "dtr_rts")
    if dtr_rts:
        yield Call(dtr_rts, (port, on))
    return 0


def _shut_down(k: Host, port: int, tty: int) -> Guest:
    """``tty_port_shutdown()``."""
    if get(k, "tty_port", port, "iflags") & INITIALIZED:
        _state(k, port, INITIALIZED, False)
        cflag = at(k, "tty_struct", tty, "termios") + k.layout["ktermios"].offset("c_cflag")
        if tty and k.mem.u32(cflag) & HUPCL:
            yield from _control(k, port, 0)
        shutdown = _operation(k, port, "shutdown")
        if shutdown:
            yield Call(shutdown, (port,))
    return 0


@export(_NO_CARRIER)
def tty_port_open(k: Host, port: int, tty: int, filp: int) -> Guest:
    """``int tty_port_open(struct tty_port *port, struct tty_struct *tty, struct file *filp)``

    drivers/tty/tty_port.c, 6.1. The port's ``activate`` the first time; its errno.
    """
    put(k, "tty_port", port, "count", get(k, "tty_port", port, "count") + 1)
    yield from tty_port_tty_set(k, port, tty)
    if not get(k, "tty_port", port, "iflags") & INITIALIZED:
        flag(k, tty, IO_ERROR, False)
        activate = _operation(k, port, "activate")
        error = s32((yield Call(activate, (port, tty)))) if activate else 0
        if error:
            return error
        _state(k, port, INITIALIZED, True)
    yield from _control(k, port, 1)
    _state(k, port, ACTIVE, True)
    return 0


@export(_NO_CARRIER)
def tty_port_close_start(k: Host, port: int, tty: int, filp: int) -> int:
    """``int tty_port_close_start(struct tty_port *port, struct tty_struct *tty, struct file *filp)``

    drivers/tty/tty_port.c, 6.1. 1 for the last one to close it, 0 for others and after a hangup.
    """
    if get(k, "tty_struct", tty, "flags") & HUPPED:
        return 0
    count = s32(get(k, "tty_port", port, "count")) - 1
    put(k, "tty_port", port, "count", max(count, 0))
    if count > 0:
        return 0
    put(k, "tty_struct", tty, "closing", 1)
    return 1


@export(_NO_CARRIER)
def tty_port_close_end(k: Host, port: int, tty: int) -> Guest:
    """``void tty_port_close_end(struct tty_port *port, struct tty_struct *tty)``

    drivers/tty/tty_port.c, 6.1.
    """
    put(k, "tty_struct", tty, "closing", 0)
    if s32(get(k, "tty_port", port, "blocked_open")):
        yield from wake(k, at(k, "tty_port", port, "open_wait"))
    _state(k, port, ACTIVE, False)
    return 0


@export(_NO_CARRIER)
def tty_port_close(k: Host, port: int, tty: int, filp: int) -> Guest:
    """``void tty_port_close(struct tty_port *port, struct tty_struct *tty, struct file *filp)``

    drivers/tty/tty_port.c, 6.1. The port's ``shutdown`` when the last one closes it.
    """
    if tty_port_close_start(k, port, tty, filp):
        yield from _shut_down(k, port, tty)
        flag(k, tty, IO_ERROR, True)
        yield from tty_port_close_end(k, port, tty)
        yield from tty_port_tty_set(k, port, 0)
    return 0


@export(faithful)
def tty_port_hangup(k: Host, port: int) -> Guest:
    """``void tty_port_hangup(struct tty_port *port)``

    drivers/tty/tty_port.c, 6.1. Nobody has it open any more.
    """
    from kmem.kapi.tty_io import tty_kref_put

    tty = get(k, "tty_port", port, "tty")
    put(k, "tty_port", port, "count", 0)
    if tty:
        flag(k, tty, IO_ERROR, True)
    put(k, "tty_port", port, "tty", 0)
    _state(k, port, ACTIVE, False)
    yield from _shut_down(k, port, tty)
    yield from tty_kref_put(k, tty)
    for member in ("open_wait", "delta_msr_wait"):
        yield from wake(k, at(k, "tty_port", port, member))
    return 0
