"""debugfs (fs/debugfs), 6.1: the tree that modules make, as dentries in memory. Nothing reads or writes its files.

A dentry is a ``struct dentry`` of the kernel's own, with an inode, and stays until it or a directory above it is
removed.
"""

from __future__ import annotations

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.kapi import registry
from kmem.kapi.errno import ENOENT, ENOMEM, err_ptr, is_err
from kmem.kapi.export import export, family, simplified
from kmem.kapi.fields import at, get, put, text
from kmem.kapi.host import Host

_KIND = "debugfs"
_UNREAD = simplified("the file is there by name; nothing reads or writes it")
S_IFREG, S_IFDIR = 0o100000, 0o040000


def make(k: Host, name: int, parent: int, mode: int, private: int) -> int:
    """A new dentry below *parent* (0: the top), or an error pointer."""
    if is_err(parent):
        return parent
    own = k.address_of("debugfs_create_dir")  # the kernel's own call: the tree is not the module's memory
    label = text(k, name) + b"\0"
    size = k.layout["dentry"].size + k.layout["inode"].size
    dentry = k.mm.kmalloc(size + len(label), GFP_KERNEL | __GFP_ZERO, -1, own)
    if not dentry or not registry.add(k, _KIND, dentry):
        return err_ptr(-ENOMEM)
    inode = dentry + k.layout["dentry"].size
    k.mem.write(dentry + size, label)
    put(k, "dentry", dentry, "d_parent", parent or dentry)
    put(k, "dentry", dentry, "d_inode", inode)
    k.mem.set_u64(at(k, "dentry", dentry, "d_name") + 8, dentry + size)  # struct qstr: hash and length, then the name
    put(k, "inode", inode, "i_mode", mode)
    put(k, "inode", inode, "i_private", private)
    return dentry


def _name(k: Host, dentry: int) -> bytes:
    return text(k, k.mem.u64(at(k, "dentry", dentry, "d_name") + 8))


def entries(k: Host, parent: int = 0) -> dict[str, int]:
    """Dentries below *parent* by name."""
    found = {}
    for dentry in registry.things(k, _KIND):
        above = get(k, "dentry", dentry, "d_parent")
        if above == (parent or dentry):
            found[_name(k, dentry).decode("utf-8", "backslashreplace")] = dentry
    return found


@export(_UNREAD)
def debugfs_create_dir(k: Host, name: int, parent: int) -> int:
    """``struct dentry *debugfs_create_dir(const char *name, struct dentry *parent)``

    fs/debugfs/inode.c, 6.1. An error pointer without memory.
    """
    return make(k, name, parent, S_IFDIR | 0o755, 0)


@export(_UNREAD)
def debugfs_create_automount(k: Host, name: int, parent: int, f: int, data: int) -> int:
    """``struct dentry *debugfs_create_automount(const char *name, struct dentry *parent, void *f, void *data)``

    fs/debugfs/inode.c, 6.1.
    """
    return make(k, name, parent, S_IFDIR | 0o755, data)


@export(_UNREAD)
def debugfs_create_symlink(k: Host, name: int, parent: int, target: int) -> int:
    """``struct dentry *debugfs_create_symlink(const char *name, struct dentry *parent, const char *target)``

    fs/debugfs/inode.c, 6.1.
    """
    return make(k, name, parent, 0o120777, 0)


@export(_UNREAD)
def debugfs_create_file(k: Host, name: int, mode: int, parent: int, data: int, fops: int) -> int:
    """``struct dentry *debugfs_create_file(const char *name, umode_t mode, struct dentry *parent, void *data,
    const struct file_operations *fops)``

    fs/debugfs/inode.c, 6.1.
    """
    return make(k, name, parent, S_IFREG | mode, data)


@export(_UNREAD)
def debugfs_create_file_unsafe(k: Host, name: int, mode: int, parent: int, data: int, fops: int) -> int:
    """``struct dentry *debugfs_create_file_unsafe(const char *name, umode_t mode, struct dentry *parent, void *data,
    const struct file_operations *fops)``

    fs/debugfs/inode.c, 6.1.
    """
    return make(k, name, parent, S_IFREG | mode, data)


@export(_UNREAD)
def debugfs_create_file_size(k: Host, name: int, mode: int, parent: int, data: int, fops: int, size: int) -> None:
    """``void debugfs_create_file_size(const char *name, umode_t mode, struct dentry *parent, void *data,
    const struct file_operations *fops, loff_t file_size)``

    fs/debugfs/inode.c, 6.1.
    """
    dentry = make(k, name, parent, S_IFREG | mode, data)
    if not is_err(dentry):
        put(k, "inode", get(k, "dentry", dentry, "d_inode"), "i_size", size)


def _values() -> None:
    def create(k: Host, name: int, mode: int, parent: int, value: int) -> int:
        return make(k, name, parent, S_IFREG | mode, value)

    types = {"u8": "u8", "u16": "u16", "u32": "u32", "u64": "u64", "ulong": "unsigned long", "x8": "u8", "x16": "u16",
             "x32": "u32", "x64": "u64", "size_t": "size_t", "atomic_t": "atomic_t", "bool": "bool",
             "str": "char *", "u32_array": "struct debugfs_u32_array", "blob": "struct debugfs_blob_wrapper",
             "regset32": "struct debugfs_regset32"}  # fmt: skip
    for kind, ctype in types.items():
        result = "struct dentry *" if kind == "blob" else "void "
        prototype = (
            f"{result}debugfs_create_{kind}(const char *name, umode_t mode, struct dentry *parent, {ctype} *value)"
        )
        family(_UNREAD, prototype, "fs/debugfs/file.c, 6.1.", create)


_values()


@export(_UNREAD)
def debugfs_create_devm_seqfile(k: Host, dev: int, name: int, parent: int, read_fn: int) -> None:
    """``void debugfs_create_devm_seqfile(struct device *dev, const char *name, struct dentry *parent, void *read_fn)``

    fs/debugfs/file.c, 6.1.
    """
    make(k, name, parent, S_IFREG | 0o444, 0)


@export(_UNREAD)
def debugfs_remove(k: Host, dentry: int) -> None:
    """``void debugfs_remove(struct dentry *dentry)``

    fs/debugfs/inode.c, 6.1. With everything below it. NULL and error pointers are allowed.
    """
    if not dentry or is_err(dentry) or not registry.holds(k, _KIND, dentry):
        return
    for child in registry.things(k, _KIND):
        if child != dentry and get(k, "dentry", child, "d_parent") == dentry:
            debugfs_remove(k, child)
    registry.remove(k, _KIND, dentry)
    k.mm.kfree(dentry)


@export(_UNREAD)
def debugfs_lookup(k: Host, name: int, parent: int) -> int:
    """``struct dentry *debugfs_lookup(const char *name, struct dentry *parent)``

    fs/debugfs/inode.c, 6.1. NULL if there is none.
    """
    return entries(k, parent).get(text(k, name).decode("utf-8", "backslashreplace"), 0)


@export(_UNREAD)
def debugfs_lookup_and_remove(k: Host, name: int, parent: int) -> None:
    """``void debugfs_lookup_and_remove(const char *name, struct dentry *parent)``

    fs/debugfs/inode.c, 6.1.
    """
    debugfs_remove(k, debugfs_lookup(k, name, parent))


@export(_UNREAD)
def debugfs_rename(k: Host, old_dir: int, old: int, new_dir: int, new: int) -> int:
    """``struct dentry *debugfs_rename(struct dentry *old_dir, struct dentry *old_dentry, struct dentry *new_dir,
    const char *new_name)``

    fs/debugfs/inode.c, 6.1. The name that it shows stays.
    """
    return old or err_ptr(-ENOENT)


@export(_UNREAD)
def debugfs_initialized(k: Host) -> bool:
    """``bool debugfs_initialized(void)``

    fs/debugfs/inode.c, 6.1.
    """
    return True
