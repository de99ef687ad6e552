"""A file system that a module mounts for itself (fs/libfs.c, super.c, dcache.c, inode.c), 6.1: as configfs does.

Superblocks, dentries and inodes are the kernel's structs, with the members that file systems' code reads. Simplified:
names are not looked up, there is no page cache, nothing is written back.
"""

from __future__ import annotations

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.kapi import lists
from kmem.kapi.errno import EINVAL, ENOMEM, err_ptr
from kmem.kapi.export import data, export, simplified
from kmem.kapi.fields import at, get, put, text
from kmem.kapi.host import Call, Guest, Host, s32

_PRIVATE = simplified("of a mount that a module makes for itself; no lookup, no page cache")
MNT_ROOT, MNT_SB = 0, 8
"""In ``struct vfsmount``."""
LOCKREF_COUNT = 4

data("vfs_next_ino", 8, doc="The next inode number of get_next_ino(). The model's own.", private=True)


def _new(k: Host, struct: str, more: int = 0) -> int:
    own = k.address_of("simple_pin_fs")  # the kernel's own caches: not the module's memory
    return k.mm.kmalloc(k.layout[struct].size + more, GFP_KERNEL | __GFP_ZERO, -1, own)


@export(_PRIVATE)
def simple_pin_fs(k: Host, fs_type: int, mount: int, count: int) -> Guest:
    """``int simple_pin_fs(struct file_system_type *type, struct vfsmount **mount, int *count)``

    fs/libfs.c, 6.1. Mounts it the first time.
    """
    if not k.mem.u64(mount):
        context = _new(k, "fs_context")
        put(k, "fs_context", context, "fs_type", fs_type)
        init = get(k, "file_system_type", fs_type, "init_fs_context")
        error = s32((yield Call(init, (context,)))) if init else -EINVAL
        ops = get(k, "fs_context", context, "ops")
        if not error:
            error = s32((yield Call(get(k, "fs_context_operations", ops, "get_tree"), (context,))))
        root = get(k, "fs_context", context, "root")
        free = get(k, "fs_context_operations", ops, "free") if ops else 0
        if free:
            yield Call(free, (context,))
        k.mm.kfree(context)
        if error:
            return error
        made = _new(k, "vfsmount")
        k.mem.set_u64(made + MNT_ROOT, root)
        k.mem.set_u64(made + MNT_SB, get(k, "dentry", root, "d_sb"))
        k.mem.set_u64(mount, made)
    k.mem.set_u32(count, k.mem.u32(count) + 1)
    return 0


@export(_PRIVATE)
def simple_release_fs(k: Host, mount: int, count: int) -> Guest:
    """``void simple_release_fs(struct vfsmount **mount, int *count)``

    fs/libfs.c, 6.1. The last one unmounts it.
    """
    left = k.mem.u32(count) - 1
    k.mem.set_u32(count, left & 0xFFFFFFFF)
    if not left:
        made = k.mem.u64(mount)
        k.mem.set_u64(mount, 0)
        sb = k.mem.u64(made + MNT_SB)
        kill = get(k, "file_system_type", get(k, "super_block", sb, "s_type"), "kill_sb")
        if kill:
            yield Call(kill, (sb,))
        k.mm.kfree(made)
    return 0


def _get_tree(k: Host, context: int, fill_super: int) -> Guest:
    sb = _new(k, "super_block")
    put(k, "super_block", sb, "s_type", get(k, "fs_context", context, "fs_type"))
    put(k, "super_block", sb, "s_fs_info", get(k, "fs_context", context, "s_fs_info"))
    lists.init_list_head(k, at(k, "super_block", sb, "s_inodes"))
    error = s32((yield Call(fill_super, (sb, context))))
    if error:
        k.mm.kfree(sb)
        return error
    put(k, "fs_context", context, "root", get(k, "super_block", sb, "s_root"))
    return 0


@export(_PRIVATE)
def get_tree_single(k: Host, fc: int, fill_super: int) -> Guest:
    """``int get_tree_single(struct fs_context *fc, void *fill_super)``

    fs/super.c, 6.1.
    """
    return (yield from _get_tree(k, fc, fill_super))


@export(_PRIVATE)
def get_tree_nodev(k: Host, fc: int, fill_super: int) -> Guest:
    """``int get_tree_nodev(struct fs_context *fc, void *fill_super)``

    fs/super.c, 6.1.
    """
    return (yield from _get_tree(k, fc, fill_super))


@export(_PRIVATE)
def kill_litter_super(k: Host, sb: int) -> None:
    """``void kill_litter_super(struct super_block *sb)``

    fs/super.c, 6.1.
    """
    root = get(k, "super_block", sb, "s_root")
    if root:
        k.mm.kfree(get(k, "dentry", root, "d_inode"))
        k.mm.kfree(root)
    k.mm.kfree(sb)


@export(_PRIVATE)
def kill_anon_super(k: Host, sb: int) -> None:
    """``void kill_anon_super(struct super_block *sb)``

    fs/super.c, 6.1.
    """
    kill_litter_super(k, sb)


# inodes


@export(_PRIVATE)
def new_inode(k: Host, sb: int) -> int:
    """``struct inode *new_inode(struct super_block *sb)``

    fs/inode.c, 6.1. NULL without memory.
    """
    inode = _new(k, "inode")
    if inode:
        put(k, "inode", inode, "i_sb", sb)
        put(k, "inode", inode, "i_count", 1)
        put(k, "inode", inode, "__i_nlink" if "__i_nlink" in k.layout["inode"].members else "i_nlink", 1)
        put(k, "inode", inode, "i_mapping", at(k, "inode", inode, "i_data"))
        put(k, "inode", inode, "i_op", k.address_of("empty_inode_ops"))
        put(k, "inode", inode, "i_fop", k.address_of("empty_inode_ops"))
        lists.init_list_head(k, at(k, "inode", inode, "i_sb_list"))
        rwsem = at(k, "inode", inode, "i_rwsem")
        lists.init_list_head(k, rwsem + k.layout["rw_semaphore"].offset("wait_list"))
    return inode


data("empty_inode_ops", 512, doc="Operations of an inode that has none, fs/inode.c.", private=True)


@export(_PRIVATE)
def iput(k: Host, inode: int) -> None:
    """``void iput(struct inode *inode)``

    fs/inode.c, 6.1. NULL is allowed.
    """
    if inode:
        left = get(k, "inode", inode, "i_count") - 1
        put(k, "inode", inode, "i_count", left)
        if left <= 0:
            k.mm.kfree(inode)


@export(_PRIVATE)
def get_next_ino(k: Host) -> int:
    """``unsigned int get_next_ino(void)``

    fs/inode.c, 6.1.
    """
    counter = k.address_of("vfs_next_ino")
    k.mem.set_u32(counter, k.mem.u32(counter) + 1)
    return k.mem.u32(counter)


def _link(k: Host, inode: int, by: int) -> None:
    where = at(k, "inode", inode, "__i_nlink" if "__i_nlink" in k.layout["inode"].members else "i_nlink")
    k.mem.set_u32(where, k.mem.u32(where) + by & 0xFFFFFFFF)


@export(_PRIVATE)
def inc_nlink(k: Host, inode: int) -> None:
    """``void inc_nlink(struct inode *inode)``

    fs/inode.c, 6.1.
    """
    _link(k, inode, 1)


@export(_PRIVATE)
def drop_nlink(k: Host, inode: int) -> None:
    """``void drop_nlink(struct inode *inode)``

    fs/inode.c, 6.1.
    """
    _link(k, inode, -1)


@export(simplified("the seconds; the nanoseconds are left to chance"))
def current_time(k: Host, inode: int) -> int:
    """``s64 current_time(struct inode *inode)``

    fs/inode.c, 6.1. A ``struct timespec64``, of which the handler returns the first half.
    """
    return k.clock.ns // 10**9


# dentries


def _dentry(k: Host, parent: int, name: bytes) -> int:
    dentry = _new(k, "dentry", len(name) + 1)
    if dentry:
        own = dentry + k.layout["dentry"].size
        k.mem.write(own, name + b"\0")
        where = at(k, "dentry", dentry, "d_name")
        k.mem.set_u32(where + 4, len(name))
        k.mem.set_u64(where + 8, own)
        _count(k, dentry, 1)
        for member in ("d_subdirs", "d_child"):
            found = k.layout["dentry"].members.get(member)
            if found is not None and found.size == 16:
                lists.init_list_head(k, dentry + found.offset)
        put(k, "dentry", dentry, "d_parent", parent or dentry)
        if parent:
            _count(k, parent, 1)
            sb = get(k, "dentry", parent, "d_sb")
            put(k, "dentry", dentry, "d_sb", sb)
            put(k, "dentry", dentry, "d_op", get(k, "super_block", sb, "s_d_op"))
    return dentry


def _count(k: Host, dentry: int, by: int) -> int:
    where = at(k, "dentry", dentry, "d_lockref") + LOCKREF_COUNT
    k.mem.set_u32(where, k.mem.u32(where) + by & 0xFFFFFFFF)
    return k.mem.s32(where)


@export(_PRIVATE)
def d_make_root(k: Host, inode: int) -> int:
    """``struct dentry *d_make_root(struct inode *root_inode)``

    fs/dcache.c, 6.1. NULL without memory.
    """
    if not inode:
        return 0
    dentry = _dentry(k, 0, b"/")
    if dentry:
        put(k, "dentry", dentry, "d_sb", get(k, "inode", inode, "i_sb"))
        _set_inode(k, dentry, inode)
    return dentry


@export(_PRIVATE)
def d_alloc_name(k: Host, parent: int, name: int) -> int:
    """``struct dentry *d_alloc_name(struct dentry *parent, const char *name)``

    fs/dcache.c, 6.1. NULL without memory.
    """
    return _dentry(k, parent, text(k, name))


@export(_PRIVATE)
def d_add(k: Host, entry: int, inode: int) -> None:
    """``void d_add(struct dentry *entry, struct inode *inode)``

    fs/dcache.c, 6.1.
    """
    _set_inode(k, entry, inode)


def _set_inode(k: Host, dentry: int, inode: int) -> None:
    """``__d_set_inode_and_type()``: what kind of file it is stands in the dentry's flags, too."""
    put(k, "dentry", dentry, "d_inode", inode)
    kind = ENTRY_TYPES.get(get(k, "inode", inode, "i_mode") >> 12, SPECIAL_TYPE) if inode else 0
    flags = get(k, "dentry", dentry, "d_flags")
    put(k, "dentry", dentry, "d_flags", flags & ~ENTRY_TYPE | kind)


ENTRY_TYPE, SPECIAL_TYPE = 7 << 20, 5 << 20
ENTRY_TYPES = {0o04: 2 << 20, 0o10: 4 << 20, 0o12: 6 << 20}
"""Of a directory, a file and a symbolic link, by the first bits of the mode."""


@export(_PRIVATE)
def d_instantiate(k: Host, entry: int, inode: int) -> None:
    """``void d_instantiate(struct dentry *entry, struct inode *inode)``

    fs/dcache.c, 6.1.
    """
    _set_inode(k, entry, inode)


@export(_PRIVATE)
def d_drop(k: Host, dentry: int) -> None:
    """``void d_drop(struct dentry *dentry)``

    fs/dcache.c, 6.1.
    """


@export(_PRIVATE)
def d_delete(k: Host, dentry: int) -> None:
    """``void d_delete(struct dentry *dentry)``

    fs/dcache.c, 6.1. The name goes; its inode stays with the last reference.
    """


@export(_PRIVATE)
def dput(k: Host, dentry: int) -> Guest:
    """``void dput(struct dentry *dentry)``

    fs/dcache.c, 6.1. The last reference frees it, its inode, and its reference to the directory above.
    """
    while dentry and _count(k, dentry, -1) == 0:
        parent, inode = get(k, "dentry", dentry, "d_parent"), get(k, "dentry", dentry, "d_inode")
        ops = get(k, "dentry", dentry, "d_op")
        release = k.mem.u64(ops + D_IPUT) if ops and inode else 0
        if release:
            yield Call(release, (dentry, inode))
        elif inode:
            iput(k, inode)
        k.mm.kfree(dentry)
        dentry = parent if parent != dentry else 0
    return 0


D_IPUT = 64
"""``d_iput`` in ``struct dentry_operations``: behind revalidate, weak_revalidate, hash, compare, delete, init, release
and prune, which come first."""


@export(_PRIVATE)
def generic_delete_inode(k: Host, inode: int) -> int:
    """``int generic_delete_inode(struct inode *inode)``

    fs/inode.c, 6.1.
    """
    return 1


@export(_PRIVATE)
def lockref_get(k: Host, lockref: int) -> None:
    """``void lockref_get(struct lockref *lockref)``

    lib/lockref.c, 6.1.
    """
    k.mem.set_u32(lockref + LOCKREF_COUNT, k.mem.u32(lockref + LOCKREF_COUNT) + 1 & 0xFFFFFFFF)


@export(_PRIVATE)
def __d_drop(k: Host, dentry: int) -> None:
    """``void __d_drop(struct dentry *dentry)``

    fs/dcache.c, 6.1.
    """


@export(_PRIVATE)
def ihold(k: Host, inode: int) -> None:
    """``void ihold(struct inode *inode)``

    fs/inode.c, 6.1.
    """
    put(k, "inode", inode, "i_count", get(k, "inode", inode, "i_count") + 1)


@export(_PRIVATE)
def set_nlink(k: Host, inode: int, nlink: int) -> None:
    """``void set_nlink(struct inode *inode, unsigned int nlink)``

    fs/inode.c, 6.1.
    """
    put(k, "inode", inode, "__i_nlink" if "__i_nlink" in k.layout["inode"].members else "i_nlink", nlink)


# file systems that nobody mounts by name


@export(_PRIVATE)
def alloc_anon_inode(k: Host, s: int) -> int:
    """``struct inode *alloc_anon_inode(struct super_block *s)``

    fs/libfs.c, 6.1. An error pointer of -ENOMEM.
    """
    inode = new_inode(k, s)
    if not inode:
        return err_ptr(-ENOMEM)
    put(k, "inode", inode, "i_ino", get_next_ino(k))
    put(k, "inode", inode, "i_mode", 0o600)
    return inode


P_OPS, P_DOPS, P_MAGIC, P_SIZE = 0, 16, 24, 32
"""``struct pseudo_fs_context``."""


@export(_PRIVATE)
def init_pseudo(k: Host, fc: int, magic: int) -> int:
    """``struct pseudo_fs_context *init_pseudo(struct fs_context *fc, unsigned long magic)``

    fs/libfs.c, 6.1. NULL without memory.
    """
    made = k.mm.kmalloc(P_SIZE, GFP_KERNEL | __GFP_ZERO, -1, k.address_of("simple_pin_fs"))
    if made:
        k.mem.set_u64(made + P_MAGIC, magic)
        put(k, "fs_context", fc, "fs_private", made)
        put(k, "fs_context", fc, "ops", k.address_of("pseudo_fs_context_ops"))
    return made


def _pseudo_ops(k: Host) -> bytes:
    layout = k.layout["fs_context_operations"]
    raw = bytearray(layout.size)
    for member, name in (("free", "pseudo_fs_free"), ("get_tree", "pseudo_fs_get_tree")):
        offset = layout.offset(member)
        raw[offset : offset + 8] = k.address_of(name).to_bytes(8, "little")
    return bytes(raw)


data("pseudo_fs_context_ops", 64, _pseudo_ops, doc="What a pseudo file system does, fs/libfs.c.", private=True)


@export(_PRIVATE, private=True)
def pseudo_fs_free(k: Host, fc: int) -> None:
    """``void pseudo_fs_free(struct fs_context *fc)``

    fs/libfs.c, 6.1.
    """
    k.mm.kfree(get(k, "fs_context", fc, "fs_private"))


@export(_PRIVATE, private=True)
def pseudo_fs_get_tree(k: Host, fc: int) -> Guest:
    """``int pseudo_fs_get_tree(struct fs_context *fc)``

    fs/libfs.c, 6.1.
    """
    return (yield from _get_tree(k, fc, k.address_of("pseudo_fs_fill_super")))


@export(_PRIVATE, private=True)
def pseudo_fs_fill_super(k: Host, s: int, fc: int) -> int:
    """``int pseudo_fs_fill_super(struct super_block *s, struct fs_context *fc)``

    fs/libfs.c, 6.1. A root and nothing in it. -ENOMEM.
    """
    context = get(k, "fs_context", fc, "fs_private")
    put(k, "super_block", s, "s_magic", k.mem.u64(context + P_MAGIC))
    put(k, "super_block", s, "s_op", k.mem.u64(context + P_OPS))
    root = new_inode(k, s)
    if not root:
        return -ENOMEM
    put(k, "inode", root, "i_ino", 1)
    put(k, "inode", root, "i_mode", 0o040600)
    put(k, "super_block", s, "s_root", d_make_root(k, root))
    put(k, "super_block", s, "s_d_op", k.mem.u64(context + P_DOPS))
    return 0 if get(k, "super_block", s, "s_root") else -ENOMEM
