"""File systems (fs/filesystems.c, fs/nls/nls_base.c), 6.1: registered by name, as far as a module's init goes."""

from __future__ import annotations

from kmem.kapi import registry
from kmem.kapi.errno import EBUSY, EINVAL
from kmem.kapi.export import export, simplified
from kmem.kapi.fields import get, put, text
from kmem.kapi.host import Host

BUILT_IN = frozenset(
    b"sysfs tmpfs bdev proc cgroup cgroup2 cpuset devtmpfs debugfs tracefs securityfs sockfs bpf pipefs ramfs "
    b"hugetlbfs devpts mqueue pstore autofs efivarfs".split()
)
"""Those that the kernel itself has."""
_UNUSED = simplified("it is known by name; nothing mounts it")


@export(_UNUSED)
def register_filesystem(k: Host, fs: int) -> int:
    """``int register_filesystem(struct file_system_type *fs)``

    fs/filesystems.c, 6.1. -EBUSY for a name that is taken, or one that is registered.
    """
    name = text(k, get(k, "file_system_type", fs, "name"))
    if get(k, "file_system_type", fs, "next"):
        return -EBUSY
    taken = {text(k, get(k, "file_system_type", other, "name")) for other in registry.things(k, "filesystem")}
    if name in taken | BUILT_IN:
        return -EBUSY
    registry.note(k, "filesystem", fs)
    return 0


@export(_UNUSED)
def unregister_filesystem(k: Host, fs: int) -> int:
    """``int unregister_filesystem(struct file_system_type *fs)``

    fs/filesystems.c, 6.1. -EINVAL for one that is not registered.
    """
    put(k, "file_system_type", fs, "next", 0)
    return 0 if registry.remove(k, "filesystem", fs) else -EINVAL


# character sets: struct nls_table begins with the name and the alias


@export(simplified("it is known by name"))
def __register_nls(k: Host, nls: int, owner: int) -> int:
    """``int __register_nls(struct nls_table *nls, struct module *owner)``

    fs/nls/nls_base.c, 6.1. -EBUSY for a table that is registered.
    """
    if get(k, "nls_table", nls, "next") or registry.holds(k, "nls", nls):
        return -EBUSY
    put(k, "nls_table", nls, "owner", owner)
    registry.note(k, "nls", nls)
    return 0


@export(simplified("it is known by name"))
def unregister_nls(k: Host, nls: int) -> int:
    """``int unregister_nls(struct nls_table *nls)``

    fs/nls/nls_base.c, 6.1. -EINVAL for a table that is not registered.
    """
    return 0 if registry.remove(k, "nls", nls) else -EINVAL


@export(simplified("only tables of loaded modules are found: none is loaded on demand"))
def load_nls(k: Host, charset: int) -> int:
    """``struct nls_table *load_nls(const char *charset)``

    fs/nls/nls_base.c, 6.1. NULL if nobody has registered it.
    """
    wanted = text(k, charset)
    for nls in registry.things(k, "nls"):
        if wanted in (text(k, get(k, "nls_table", nls, "charset")), text(k, get(k, "nls_table", nls, "alias"))):
            return nls
    return 0


@export(simplified("the module's reference count is not kept"))
def unload_nls(k: Host, nls: int) -> None:
    """``void unload_nls(struct nls_table *nls)``

    fs/nls/nls_base.c, 6.1. NULL is allowed.
    """
