"""/proc entries of modules (fs/proc/generic.c), 6.1: the tree that they make. Nothing reads or writes its files.

``struct proc_dir_entry`` is private to the kernel: this layout is the model's own: {parent, mode, operations, data,
size, children} and the name behind it.
"""

from __future__ import annotations

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.kapi import registry
from kmem.kapi.errno import ENOENT
from kmem.kapi.export import Handler, export, family, simplified
from kmem.kapi.fields import text
from kmem.kapi.host import Host

_KIND = "proc"
_UNREAD = simplified("the file is there by name; nothing reads or writes it")
PARENT, MODE, OPS, DATA, SIZE, NAME = 0, 8, 16, 24, 32, 48
S_IFREG, S_IFDIR, S_IFLNK = 0o100000, 0o040000, 0o120000


def make(k: Host, path: int, parent: int, mode: int, ops: int = 0, data: int = 0) -> int:
    """A new entry; *path* may lead through directories. 0 when one of those is not there."""
    *directories, name = text(k, path).split(b"/")
    for directory in directories:
        parent = find(k, directory, parent) or parent
    own = k.address_of("proc_mkdir")  # the kernel's own call: the tree is not the module's memory
    entry = k.mm.kmalloc(NAME + len(name) + 1, GFP_KERNEL | __GFP_ZERO, -1, own)
    if not entry or not registry.add(k, _KIND, entry):
        return 0
    for offset, value in ((PARENT, parent), (MODE, mode), (OPS, ops), (DATA, data)):
        k.mem.set_u64(entry + offset, value)
    k.mem.write(entry + NAME, name + b"\0")
    return entry


def find(k: Host, name: bytes, parent: int) -> int:
    """The entry called *name* below *parent* (0: the top), 0 if there is none."""
    for entry in registry.things(k, _KIND):
        if k.mem.u64(entry + PARENT) == parent and k.mem.cstr(entry + NAME) == name:
            return entry
    return 0


def remove(k: Host, entry: int) -> None:
    """Take out an entry and everything below it."""
    for child in registry.things(k, _KIND):
        if k.mem.u64(child + PARENT) == entry:
            remove(k, child)
    if registry.remove(k, _KIND, entry):
        k.mm.kfree(entry)


def _directories() -> None:
    where = "fs/proc/generic.c, 6.1. NULL without memory."
    family(
        _UNREAD,
        "struct proc_dir_entry *proc_mkdir(const char *name, struct proc_dir_entry *parent)",
        where,
        lambda k, name, parent: make(k, name, parent, S_IFDIR | 0o555),
    )
    family(
        _UNREAD,
        "struct proc_dir_entry *proc_mkdir_mode(const char *name, umode_t mode, struct proc_dir_entry *parent)",
        where,
        lambda k, name, mode, parent: make(k, name, parent, S_IFDIR | mode),
    )
    family(
        _UNREAD,
        "struct proc_dir_entry *proc_mkdir_data(const char *name, umode_t mode, struct proc_dir_entry *parent, "
        "void *data)",
        where,
        lambda k, name, mode, parent, data: make(k, name, parent, S_IFDIR | mode, 0, data),
    )
    family(
        _UNREAD,
        "struct proc_dir_entry *_proc_mkdir(const char *name, umode_t mode, struct proc_dir_entry *parent, void *data, "
        "bool force_lookup)",
        where,
        lambda k, name, mode, parent, data, force: make(k, name, parent, S_IFDIR | mode, 0, data),
    )
    family(
        _UNREAD,
        "struct proc_dir_entry *proc_create_mount_point(const char *name)",
        where,
        lambda k, name: make(k, name, 0, S_IFDIR),
    )
    family(
        _UNREAD,
        "struct proc_dir_entry *proc_symlink(const char *name, struct proc_dir_entry *parent, const char *dest)",
        where,
        lambda k, name, parent, dest: make(k, name, parent, S_IFLNK | 0o777),
    )


def _files() -> None:
    where = "fs/proc/generic.c, 6.1. NULL without memory."
    head = "const char *name, umode_t mode, struct proc_dir_entry *parent"
    families: dict[str, Handler] = {
        f"proc_create({head}, const struct proc_ops *proc_ops)": lambda k, name, mode, parent, ops: make(
            k, name, parent, S_IFREG | mode, ops
        ),
        f"proc_create_data({head}, const struct proc_ops *proc_ops, void *data)": (
            lambda k, name, mode, parent, ops, data: make(k, name, parent, S_IFREG | mode, ops, data)
        ),
        f"proc_create_seq_private({head}, const struct seq_operations *ops, unsigned int state_size, void *data)": (
            lambda k, name, mode, parent, ops, size, data: make(k, name, parent, S_IFREG | mode, ops, data)
        ),
        f"proc_create_single_data({head}, void *show, void *data)": (
            lambda k, name, mode, parent, show, data: make(k, name, parent, S_IFREG | mode, show, data)
        ),
        f"proc_create_net_data({head}, const struct seq_operations *ops, unsigned int state_size, void *data)": (
            lambda k, name, mode, parent, ops, size, data: make(k, name, parent, S_IFREG | mode, ops, data)
        ),
        f"proc_create_net_data_write({head}, const struct seq_operations *ops, void *write, unsigned int state_size, "
        "void *data)": (
            lambda k, name, mode, parent, ops, write, size, data: make(k, name, parent, S_IFREG | mode, ops, data)
        ),
        f"proc_create_net_single({head}, void *show, void *data)": (
            lambda k, name, mode, parent, show, data: make(k, name, parent, S_IFREG | mode, show, data)
        ),
        f"proc_create_net_single_write({head}, void *show, void *write, void *data)": (
            lambda k, name, mode, parent, show, write, data: make(k, name, parent, S_IFREG | mode, show, data)
        ),
    }
    for prototype, handler in families.items():
        family(_UNREAD, f"struct proc_dir_entry *{prototype}", where, handler)


_directories()
_files()


@export(_UNREAD)
def proc_set_size(k: Host, de: int, size: int) -> None:
    """``void proc_set_size(struct proc_dir_entry *de, loff_t size)``

    fs/proc/generic.c, 6.1.
    """
    k.mem.set_u64(de + SIZE, size & (1 << 64) - 1)


@export(_UNREAD)
def proc_set_user(k: Host, de: int, uid: int, gid: int) -> None:
    """``void proc_set_user(struct proc_dir_entry *de, kuid_t uid, kgid_t gid)``

    fs/proc/generic.c, 6.1. The owner is not kept.
    """


@export(_UNREAD)
def proc_remove(k: Host, de: int) -> None:
    """``void proc_remove(struct proc_dir_entry *de)``

    fs/proc/generic.c, 6.1. With everything below it; NULL is allowed.
    """
    if de:
        remove(k, de)


@export(_UNREAD)
def remove_proc_entry(k: Host, name: int, parent: int) -> None:
    """``void remove_proc_entry(const char *name, struct proc_dir_entry *parent)``

    fs/proc/generic.c, 6.1. Warns about one that is not there.
    """
    remove_proc_subtree(k, name, parent)


@export(_UNREAD)
def remove_proc_subtree(k: Host, name: int, parent: int) -> int:
    """``int remove_proc_subtree(const char *name, struct proc_dir_entry *parent)``

    fs/proc/generic.c, 6.1. -ENOENT for one that is not there, with a warning.
    """
    *directories, last = text(k, name).split(b"/")
    for directory in directories:
        parent = find(k, directory, parent) or parent
    entry = find(k, last, parent)
    if not entry:
        k.warn("fs/proc/generic.c", 712, "remove_proc_entry", f"name '{text(k, name).decode('utf-8', 'replace')}'\n")
        return -ENOENT
    remove(k, entry)
    return 0
