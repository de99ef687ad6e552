"""A character device from the program's side: open, read, write, ioctl, lseek, poll, mmap, close (fs/open.c,
fs/read_write.c, fs/ioctl.c, fs/char_dev.c, 6.1).

    with kernel.open("/dev/notes") as f:
        f.write(b"hello"); f.seek(0); f.read(5); f.ioctl(NOTES_CLEAR)

The buffers are memory of a process, and end where the next page may not be touched: a driver that copies more than it
was asked for fails as it would at the end of the program's memory. Simplified: no file system lies behind the name; no
``read_iter`` and ``write_iter``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.errors import UnsupportedSymbol, UsageError
from kmem.kapi import fileops as mode
from kmem.kapi import registry
from kmem.kapi.bus import class_devices
from kmem.kapi.chrdev import MINORBITS, MINORMASK, MISC_MAJOR, misc_devices, region_named
from kmem.kapi.errno import EINVAL, ENODEV, ENOENT, ENOMEM, ENOTTY, ENXIO
from kmem.kapi.fields import get, put, text
from kmem.kapi.module import module_put, try_module_get
from kmem.kapi.process import PAGE, PROT_NONE, Process, SystemCallFailed

if TYPE_CHECKING:
    from types import TracebackType

O_RDONLY, O_WRONLY, O_RDWR, O_NONBLOCK = 0, 1, 2, 0o4000
O_ACCMODE = 3
EBADF, ESPIPE, ENOIOCTLCMD = 9, 29, 515
S_IFCHR = 0o020000
CLEARED = GFP_KERNEL | __GFP_ZERO
MAX_RW_COUNT = 0x7FFFF000


def node(k: Any, path: str) -> int:
    """``st_rdev`` of a node in /dev: of the device of that name, or else of the driver's region of numbers."""
    name = path.removeprefix("/dev/").replace("/", "!").encode()
    for private in registry.things(k, "class"):
        for dev in class_devices(k, get(k, "subsys_private", private, "class")):
            devt = get(k, "device", dev, "devt")
            if devt and text(k, k.mem.u64(dev + k.layout["device"].offset("kobj"))) == name:
                return int(devt)
    devt = region_named(k, name)
    if devt < 0:
        raise SystemCallFailed("open", -ENOENT)
    return devt


def _driver(k: Any, devt: int) -> tuple[int, int, int]:
    """``struct cdev`` (0 for a misc device), ``file_operations``, and ``private_data`` of what serves a number."""
    if devt >> MINORBITS == MISC_MAJOR:
        for misc in misc_devices(k):
            if get(k, "miscdevice", misc, "minor") == devt & MINORMASK:
                return 0, get(k, "miscdevice", misc, "fops"), misc
        raise SystemCallFailed("open", -ENODEV)
    for cdev in reversed(registry.things(k, "cdev")):
        first = get(k, "cdev", cdev, "dev")
        if first <= devt < first + get(k, "cdev", cdev, "count"):
            return cdev, get(k, "cdev", cdev, "ops"), 0
    raise SystemCallFailed("open", -ENXIO)


class OpenFile:
    """An open file of a character device; errors of the driver are SystemCallFailed, an OSError with its errno."""

    def __init__(self, k: Any, path: str | tuple[int, int], flags: int, process: Process | None) -> None:
        self.k, self.path, self.flags = k, path, flags
        if process is None:
            k.loader.exec_insmod()
            process = Process(k, k.current)
        self.process = process
        devt = node(k, path) if isinstance(path, str) else path[0] << MINORBITS | path[1]
        cdev, self._fops, private = _driver(k, devt)
        self._misc = not cdev
        self._owner = get(k, "file_operations", self._fops, "owner")
        if not try_module_get(k, self._owner):
            raise SystemCallFailed("open", -ENXIO)
        own = k.address_of("simple_open")  # the kernel's own call: not the module's memory
        self._ppos = k.layout["file"].size  # behind the struct, for want of a stack
        sizes = self._ppos + 8, k.layout["inode"].size
        self.file, self.inode = (k.mm.kmalloc(size, CLEARED, -1, own) for size in sizes)
        if not self.file or not self.inode:
            self._drop()
            raise SystemCallFailed("open", -ENOMEM)
        inode = {"i_mode": S_IFCHR | 0o600, "i_rdev": devt, "i_cdev": cdev, "i_count": 1}
        file = {"f_inode": self.inode, "f_op": self._fops, "f_count": 1, "private_data": private}
        file |= {"f_flags": flags, "f_mode": self._modes()}
        for struct, thing, values in (("inode", self.inode, inode), ("file", self.file, file)):
            for member, value in values.items():
                put(k, struct, thing, member, value)
        error = _s32(self._run("open", self.inode, self.file)) if self._operation("open") else 0
        if error:
            self._drop()
            raise SystemCallFailed("open", error)
        k.open_files.append(self)

    def _modes(self) -> int:
        modes = self.flags + 1 & O_ACCMODE | mode.FMODE_OPENED | mode.FMODE_PREAD | mode.FMODE_PWRITE
        for name, bit in (("read", mode.FMODE_CAN_READ), ("write", mode.FMODE_CAN_WRITE), ("llseek", mode.FMODE_LSEEK)):
            if self._operation(name):
                modes |= bit
        return modes

    def _operation(self, name: str) -> int:
        return int(get(self.k, "file_operations", self._fops, name))

    def _needed(self, call: str, name: str, bit: int, can: int) -> None:
        """Refuse a call that the file is not open for, or whose operation the driver does not have."""
        self._open()
        modes = get(self.k, "file", self.file, "f_mode")
        if not modes & bit:
            raise SystemCallFailed(call, -EBADF)
        found = self._operation(name)
        if not found and self._operation(f"{name}_iter"):
            raise UnsupportedSymbol(
                f"the driver reads and writes by {name}_iter, which kmem does not call yet",
                remedy=f"give its file_operations a {name}, or call what {name}_iter calls",
            )
        if not modes & can or not found:
            raise SystemCallFailed(call, -EINVAL)

    def _open(self) -> None:
        if not self.file:
            raise UsageError(f"{self.path} is closed", remedy="open it again with Kernel.open()")

    def _inside(self, name: str) -> AbstractContextManager[None]:
        """The system call that calls the operation *name*."""
        entry = "@misc-open" if self._misc and name == "open" else f"@file-{name}"
        if self.k.symbols.placed("tty_fops") and self._fops == self.k.address_of("tty_fops"):
            entry = f"@tty-{name}"
        inside: AbstractContextManager[None] = self.k.site.inside(entry)
        return inside

    def _run(self, name: str, *args: int) -> int:
        """Call an operation of the driver's that it has."""
        with self.k.run_as(self.process), self._inside(name):
            return int(self.k.loader.run(self._operation(name), *args))

    @contextmanager
    def _memory(self, n: int, content: bytes = b"") -> Iterator[int]:
        """*n* bytes of the process, behind which nothing may be touched."""
        room = -(-n // PAGE) * PAGE
        base = self.process.mmap(room + PAGE)
        try:
            self.process.mprotect(base + room, PAGE, PROT_NONE)
            if content:
                self.process.write(base + room - n, content)
            yield base + room - n
        finally:
            self.process.munmap(base, room + PAGE)

    @contextmanager
    def _position(self, offset: int | None) -> Iterator[int]:
        """``loff_t *``: a copy of the file's position, kept if the call succeeds; or *offset*."""
        k = self.k
        if offset is None and get(k, "file", self.file, "f_mode") & mode.FMODE_STREAM:
            yield 0
            return
        at = self.file + self._ppos
        k.mem.set_u64(at, get(k, "file", self.file, "f_pos") if offset is None else offset)
        yield at
        if offset is None:
            put(k, "file", self.file, "f_pos", k.mem.u64(at))

    # system calls

    def read(self, n: int, offset: int | None = None) -> bytes:
        """``read(2)``: at most *n* bytes; with an *offset* ``pread(2)``."""
        self._needed("read", "read", mode.FMODE_READ, mode.FMODE_CAN_READ)
        n = min(n, MAX_RW_COUNT)
        with self._memory(n) as buffer, self._position(offset) as ppos:
            got = _done("read", self._run("read", self.file, buffer, n, ppos))
            return self.process.read(buffer, min(got, n))

    def write(self, data: bytes, offset: int | None = None) -> int:
        """``write(2)``: how many bytes were taken; with an *offset* ``pwrite(2)``."""
        self._needed("write", "write", mode.FMODE_WRITE, mode.FMODE_CAN_WRITE)
        with self._memory(len(data), data) as buffer, self._position(offset) as ppos:
            return _done("write", self._run("write", self.file, buffer, len(data), ppos))

    def ioctl(self, command: int, argument: int | bytes | bytearray = 0) -> Any:
        """``ioctl(2)``, as Python's `fcntl.ioctl`: a number is handed on; of ``bytes`` the driver gets a copy in user
        memory, and what it made of it is returned; a ``bytearray`` is changed in place. Otherwise the result.
        """
        self._open()
        if not self._operation("unlocked_ioctl"):
            raise SystemCallFailed("ioctl", -ENOTTY)
        if isinstance(argument, int):
            return self._ioctl(command, argument)
        with self._memory(len(argument), bytes(argument)) as buffer:
            result = self._ioctl(command, buffer)
            after = self.process.read(buffer, len(argument))
        if isinstance(argument, bytes):
            return after
        argument[:] = after
        return result

    def _ioctl(self, command: int, argument: int) -> int:
        result = _s64(self._run("unlocked_ioctl", self.file, command & 0xFFFFFFFF, argument & (1 << 64) - 1))
        return _done("ioctl", -ENOTTY if result == -ENOIOCTLCMD else result)

    def seek(self, offset: int, whence: int = mode.SEEK_SET) -> int:
        """``lseek(2)``: the new position."""
        self._open()
        if not self._operation("llseek") or not get(self.k, "file", self.file, "f_mode") & mode.FMODE_LSEEK:
            raise SystemCallFailed("lseek", -ESPIPE)
        return _done("lseek", self._run("llseek", self.file, offset & (1 << 64) - 1, whence))

    def poll(self) -> int:
        """``poll(2)`` without waiting: the events; all that always can be, for a driver without ``poll``."""
        self._open()
        return self._run("poll", self.file, 0) & 0xFFFFFFFF if self._operation("poll") else 0x145

    def mmap(self, length: int, offset: int = 0, **more: int) -> int:
        """``mmap(2)`` of the device: the address in the process (`Process.mmap` takes *more*)."""
        self._open()
        handler = self._operation("mmap")
        if not handler:
            raise SystemCallFailed("mmap", -ENODEV)
        with self._inside("mmap"):
            return self.process.mmap(length, file=self.file, handler=handler, offset=offset, **{"flags": 1, **more})

    def fsync(self) -> None:
        """``fsync(2)``."""
        self._open()
        if not self._operation("fsync"):
            raise SystemCallFailed("fsync", -EINVAL)
        _done("fsync", _s32(self._run("fsync", self.file, 0, (1 << 63) - 1, 0)))

    def close(self) -> None:
        """``close(2)``: ``flush``, then ``release`` of the driver. Twice does nothing."""
        if not self.file:
            return
        error = _s32(self._run("flush", self.file, 0)) if self._operation("flush") else 0
        if self._operation("release"):
            self._run("release", self.inode, self.file)
        self._drop()
        if error:
            raise SystemCallFailed("close", error)

    def _drop(self) -> None:
        for thing in (self.file, self.inode):
            if thing:
                self.k.mm.kfree(thing)
        self.file = 0
        if self in self.k.open_files:
            self.k.open_files.remove(self)
        module_put(self.k, self._owner)
        self.k.drain()

    def __enter__(self) -> OpenFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or issubclass(kind, Exception):
            self.close()


def _s32(value: int) -> int:
    return ((value & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000


def _s64(value: int) -> int:
    return ((value & (1 << 64) - 1) ^ 1 << 63) - (1 << 63)


def _done(call: str, result: int) -> int:
    result = _s64(result)
    if -4095 <= result < 0:
        raise SystemCallFailed(call, result)
    return result
