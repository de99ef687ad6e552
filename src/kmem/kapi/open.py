"""Opening files by name from inside the kernel (fs/open.c, namei.c, libfs.c), 6.1: there is no file to open."""

from __future__ import annotations

from kmem.kapi.errno import ENOENT, err_ptr
from kmem.kapi.export import export, simplified
from kmem.kapi.fields import get
from kmem.kapi.host import Guest, Host
from kmem.kapi.registry import answers
from kmem.kapi.vfs import dput, drop_nlink

NO_FILES = "there are no files: -ENOENT"


@export(simplified(NO_FILES))
def filp_open(k: Host, filename: int, flags: int, mode: int) -> int:
    """``struct file *filp_open(const char *filename, int flags, umode_t mode)``

    fs/open.c, 6.1. An error pointer.
    """
    k.context.might_sleep("filp_open", "include/linux/sched/mm.h", 274)
    return err_ptr(-ENOENT)


answers(
    -ENOENT,
    "fs/namei.c",
    "int kern_path(const char *name, unsigned int flags, struct path *path)",
    how=NO_FILES,
)
answers(
    -ENOENT,
    "block/bdev.c",
    "int lookup_bdev(const char *pathname, dev_t *dev)",
    how=NO_FILES,
)


@export(simplified("of a mount that a module makes for itself"))
def simple_unlink(k: Host, dir: int, dentry: int) -> Guest:
    """``int simple_unlink(struct inode *dir, struct dentry *dentry)``

    fs/libfs.c, 6.1. Drops a link and the reference that the directory has.
    """
    drop_nlink(k, get(k, "dentry", dentry, "d_inode"))
    yield from dput(k, dentry)
    return 0


@export(simplified("of a mount that a module makes for itself; it is empty, as its file system has seen to"))
def simple_rmdir(k: Host, dir: int, dentry: int) -> Guest:
    """``int simple_rmdir(struct inode *dir, struct dentry *dentry)``

    fs/libfs.c, 6.1.
    """
    drop_nlink(k, get(k, "dentry", dentry, "d_inode"))
    yield from simple_unlink(k, dir, dentry)
    drop_nlink(k, dir)
    return 0
