"""What drivers put into their file operations, and call in them (fs/read_write.c, fs/open.c, fs/libfs.c), 6.1."""

from __future__ import annotations

from kmem.kapi.errno import EFAULT, EINVAL, ENXIO
from kmem.kapi.export import export, faithful, simplified
from kmem.kapi.fields import get, put
from kmem.kapi.host import Host
from kmem.kapi.uaccess import _copy_from_user, _copy_to_user
from kmem.kapi.usercopy import __check_object_size

SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA, SEEK_HOLE = range(5)
MAX_LFS_FILESIZE = (1 << 63) - 1
FMODE_READ, FMODE_WRITE, FMODE_LSEEK, FMODE_PREAD, FMODE_PWRITE = 1, 2, 4, 8, 0x10
FMODE_ATOMIC_POS, FMODE_CAN_READ, FMODE_CAN_WRITE = 1 << 15, 1 << 17, 1 << 18
FMODE_OPENED, FMODE_STREAM = 1 << 19, 1 << 21


def _s64(value: int) -> int:
    return ((value & (1 << 64) - 1) ^ 1 << 63) - (1 << 63)


def _position(k: Host, file: int) -> int:
    return _s64(get(k, "file", file, "f_pos"))


def _i_size(k: Host, file: int) -> int:
    return _s64(get(k, "inode", get(k, "file", file, "f_inode"), "i_size"))


def _setpos(k: Host, file: int, offset: int, maxsize: int) -> int:
    """``vfs_setpos()``."""
    if offset < 0 or offset > maxsize:
        return -EINVAL
    put(k, "file", file, "f_pos", offset)
    return offset


def _seek(k: Host, file: int, offset: int, whence: int, maxsize: int, eof: int) -> int:
    """``generic_file_llseek_size()``."""
    if whence == SEEK_END:
        offset += eof
    elif whence == SEEK_CUR:
        if not offset:
            return _position(k, file)
        offset += _position(k, file)
    elif whence in (SEEK_DATA, SEEK_HOLE):
        if not 0 <= offset < eof:
            return -ENXIO
        offset = offset if whence == SEEK_DATA else eof
    return _setpos(k, file, offset, maxsize)


@export(faithful)
def noop_llseek(k: Host, file: int, offset: int, whence: int) -> int:
    """``loff_t noop_llseek(struct file *file, loff_t offset, int whence)``

    fs/read_write.c, 6.1. The position stays.
    """
    return _position(k, file)


@export(faithful)
def default_llseek(k: Host, file: int, offset: int, whence: int) -> int:
    """``loff_t default_llseek(struct file *file, loff_t offset, int whence)``

    fs/read_write.c, 6.1.
    """
    offset = _s64(offset)
    if whence == SEEK_CUR and not offset:
        return _position(k, file)
    if whence == SEEK_END:
        offset += _i_size(k, file)
    elif whence == SEEK_CUR:
        offset += _position(k, file)
    elif whence in (SEEK_DATA, SEEK_HOLE):
        if offset >= _i_size(k, file):
            return -ENXIO
        offset = offset if whence == SEEK_DATA else _i_size(k, file)
    return _setpos(k, file, offset, MAX_LFS_FILESIZE)


@export(simplified("the largest file is as large as can be: there is no file system to ask"))
def generic_file_llseek(k: Host, file: int, offset: int, whence: int) -> int:
    """``loff_t generic_file_llseek(struct file *file, loff_t offset, int whence)``

    fs/read_write.c, 6.1.
    """
    return _seek(k, file, _s64(offset), whence, MAX_LFS_FILESIZE, _i_size(k, file))


@export(faithful)
def generic_file_llseek_size(k: Host, file: int, offset: int, whence: int, maxsize: int, eof: int) -> int:
    """``loff_t generic_file_llseek_size(struct file *file, loff_t offset, int whence, loff_t maxsize, loff_t eof)``

    fs/read_write.c, 6.1.
    """
    return _seek(k, file, _s64(offset), whence, _s64(maxsize), _s64(eof))


@export(faithful)
def fixed_size_llseek(k: Host, file: int, offset: int, whence: int, size: int) -> int:
    """``loff_t fixed_size_llseek(struct file *file, loff_t offset, int whence, loff_t size)``

    fs/read_write.c, 6.1. For a device of *size* bytes.
    """
    if whence not in (SEEK_SET, SEEK_CUR, SEEK_END):
        return -EINVAL
    return _seek(k, file, _s64(offset), whence, _s64(size), _s64(size))


def _no_end(k: Host, file: int, offset: int, whence: int, size: int) -> int:
    if whence not in (SEEK_SET, SEEK_CUR):
        return -EINVAL
    return _seek(k, file, _s64(offset), whence, size, 0)


@export(faithful)
def no_seek_end_llseek(k: Host, file: int, offset: int, whence: int) -> int:
    """``loff_t no_seek_end_llseek(struct file *file, loff_t offset, int whence)``

    fs/read_write.c, 6.1. For a device without an end.
    """
    return _no_end(k, file, offset, whence, MAX_LFS_FILESIZE)


@export(faithful)
def no_seek_end_llseek_size(k: Host, file: int, offset: int, whence: int, size: int) -> int:
    """``loff_t no_seek_end_llseek_size(struct file *file, loff_t offset, int whence, loff_t size)``

    fs/read_write.c, 6.1.
    """
    return _no_end(k, file, offset, whence, _s64(size))


@export(faithful)
def nonseekable_open(k: Host, inode: int, filp: int) -> int:
    """``int nonseekable_open(struct inode *inode, struct file *filp)``

    fs/open.c, 6.1.
    """
    mode = get(k, "file", filp, "f_mode")
    put(k, "file", filp, "f_mode", mode & ~(FMODE_LSEEK | FMODE_PREAD | FMODE_PWRITE))
    return 0


@export(faithful)
def stream_open(k: Host, inode: int, filp: int) -> int:
    """``int stream_open(struct inode *inode, struct file *filp)``

    fs/open.c, 6.1. The file has no position at all.
    """
    nonseekable_open(k, inode, filp)
    put(k, "file", filp, "f_mode", get(k, "file", filp, "f_mode") & ~FMODE_ATOMIC_POS | FMODE_STREAM)
    return 0


@export(faithful)
def simple_open(k: Host, inode: int, file: int) -> int:
    """``int simple_open(struct inode *inode, struct file *file)``

    fs/libfs.c, 6.1.
    """
    private = get(k, "inode", inode, "i_private")
    if private:
        put(k, "file", file, "private_data", private)
    return 0


def _buffer(k: Host, ppos: int, count: int, available: int) -> tuple[int, int]:
    """Where in the buffer a copy begins, and its length; a negative length is an errno."""
    position = _s64(k.mem.u64(ppos))
    if position < 0:
        return 0, -EINVAL
    return position, max(min(count, available - position), 0)


@export(faithful)
def simple_read_from_buffer(k: Host, to: int, count: int, ppos: int, from_: int, available: int) -> int:
    """``ssize_t simple_read_from_buffer(void *to, size_t count, loff_t *ppos, const void *from, size_t available)``

    fs/libfs.c, 6.1. The bytes copied, 0 at the end, -EFAULT if none could be.
    """
    position, count = _buffer(k, ppos, count, available)
    if count <= 0:
        return count
    __check_object_size(k, from_ + position, count, True)
    left = _copy_to_user(k, to, from_ + position, count)
    if left == count:
        return -EFAULT
    k.mem.set_u64(ppos, position + count - left)
    return count - left


@export(faithful)
def simple_write_to_buffer(k: Host, to: int, available: int, ppos: int, from_: int, count: int) -> int:
    """``ssize_t simple_write_to_buffer(void *to, size_t available, loff_t *ppos, const void *from, size_t count)``

    fs/libfs.c, 6.1. The bytes copied, 0 if there is no room, -EFAULT if none could be.
    """
    position, count = _buffer(k, ppos, count, available)
    if count <= 0:
        return count
    __check_object_size(k, to + position, count, False)
    left = _copy_from_user(k, to + position, from_, count)
    if left == count:
        return -EFAULT
    k.mem.set_u64(ppos, position + count - left)
    return count - left


@export(faithful)
def memory_read_from_buffer(k: Host, to: int, count: int, ppos: int, from_: int, available: int) -> int:
    """``ssize_t memory_read_from_buffer(void *to, size_t count, loff_t *ppos, const void *from, size_t available)``

    fs/libfs.c, 6.1. As :func:`simple_read_from_buffer`, into memory of the kernel.
    """
    position, count = _buffer(k, ppos, count, available)
    if count > 0:
        k.mem.write(to, k.mem.read(from_ + position, count))
        k.mem.set_u64(ppos, position + count)
    return count
