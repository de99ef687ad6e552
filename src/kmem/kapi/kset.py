"""Kernel objects that are made in one step, and sets of them (lib/kobject.c), 6.1."""

from __future__ import annotations

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.kapi.errno import EINVAL, ENOMEM
from kmem.kapi.export import data, export, simplified
from kmem.kapi.fields import at, get, put, text
from kmem.kapi.host import Guest, Host
from kmem.kapi.kobject import join, kobject_del, kobject_get, kobject_init, kobject_put, set_name
from kmem.kapi.lists import entries, init_list_head
from kmem.kapi.varargs import VaArgs

_NO_SYSFS = simplified("no sysfs and no uevents")


def _ktype(release: str) -> None:
    """Declare the ``struct kobj_type`` whose release function is the export *release*."""

    def init(k: Host) -> bytes:
        layout = k.layout["kobj_type"]
        raw = bytearray(layout.size)
        start = layout.offset("release")
        raw[start : start + 8] = k.address_of(release).to_bytes(8, "little")
        return bytes(raw)

    data(f"{release}.ktype", 64, init, doc=f"The type whose objects {release}() frees. The model's own.", private=True)


_ktype("dynamic_kobj_release")
_ktype("kset_release")


def _root(symbol: str, name: bytes) -> None:
    """Declare a directory at the top of sysfs: *symbol* points to its kobject, which is never freed."""

    def init(k: Host) -> bytes:
        kobj = k.mm.kmalloc(
            k.layout["kobject"].size, GFP_KERNEL | __GFP_ZERO, -1, k.address_of("kobject_create_and_add")
        )
        kobject_init(k, kobj, k.address_of("dynamic_kobj_release.ktype"))
        put(k, "kobject", kobj, "name", k.address_of(f"{symbol}.name"))
        return kobj.to_bytes(8, "little")

    data(f"{symbol}.name", len(name) + 1, name + b"\0", align=1, doc=f"The name of {symbol}.", private=True)
    data(symbol, 8, init, doc=f"/sys/{name.decode()}.", fidelity=_NO_SYSFS)


for _symbol, _name in (
    ("kernel_kobj", b"kernel"), ("mm_kobj", b"mm"), ("hypervisor_kobj", b"hypervisor"),
    ("firmware_kobj", b"firmware"), ("fs_kobj", b"fs"),
):  # fmt: skip
    _root(_symbol, _name)


@export(_NO_SYSFS, private=True)
def dynamic_kobj_release(k: Host, kobj: int) -> None:
    """``void dynamic_kobj_release(struct kobject *kobj)``

    lib/kobject.c, 6.1.
    """
    k.mm.kfree(kobj)


@export(_NO_SYSFS, private=True)
def kset_release(k: Host, kobj: int) -> None:
    """``void kset_release(struct kobject *kobj)``

    lib/kobject.c, 6.1.
    """
    k.mm.kfree(kobj - k.layout["kset"].offset("kobj"))


@export(_NO_SYSFS)
def kobject_init_and_add(k: Host, kobj: int, ktype: int, parent: int, fmt: int, args: VaArgs) -> int:
    """``int kobject_init_and_add(struct kobject *kobj, const struct kobj_type *ktype, struct kobject *parent,
    const char *fmt, ...)``

    lib/kobject.c, 6.1.
    """
    kobject_init(k, kobj, ktype)
    error = set_name(k, kobj, fmt, args)
    if not error:
        join(k, kobj, parent)
    return error


def _named(k: Host, kobj: int, name: bytes) -> int:
    copy = k.mm.kmalloc(len(name) + 1, GFP_KERNEL, -1, k.caller)
    if not copy:
        return -ENOMEM
    k.mem.write(copy, name.replace(b"/", b"!") + b"\0")
    put(k, "kobject", kobj, "name", copy)
    return 0


@export(_NO_SYSFS)
def kobject_create_and_add(k: Host, name: int, parent: int) -> int:
    """``struct kobject *kobject_create_and_add(const char *name, struct kobject *parent)``

    lib/kobject.c, 6.1. NULL without memory.
    """
    kobj = k.mm.kmalloc(k.layout["kobject"].size, GFP_KERNEL | __GFP_ZERO, -1, k.caller)
    if not kobj:
        return 0
    kobject_init(k, kobj, k.address_of("dynamic_kobj_release.ktype"))
    if _named(k, kobj, text(k, name)):
        k.mm.kfree(kobj)
        return 0
    join(k, kobj, parent)
    return kobj


def _init(k: Host, kset: int) -> None:
    """``kset_init()``."""
    kobj = at(k, "kset", kset, "kobj")
    put(k, "kobject", kobj, "kref", 1)
    init_list_head(k, at(k, "kobject", kobj, "entry"))
    for member in ("state_in_sysfs", "state_add_uevent_sent", "state_remove_uevent_sent"):
        put(k, "kobject", kobj, member, 0)
    put(k, "kobject", kobj, "state_initialized", 1)
    init_list_head(k, at(k, "kset", kset, "list"))
    put(k, "kset", kset, "list_lock", 0)


@export(_NO_SYSFS)
def kset_register(k: Host, kset: int) -> int:
    """``int kset_register(struct kset *k)``

    lib/kobject.c, 6.1. -EINVAL for NULL.
    """
    if not kset:
        return -EINVAL
    _init(k, kset)
    kobj = at(k, "kset", kset, "kobj")
    join(k, kobj, get(k, "kobject", kobj, "parent"))
    return 0


@export(_NO_SYSFS)
def kset_unregister(k: Host, kset: int) -> Guest:
    """``void kset_unregister(struct kset *k)``

    lib/kobject.c, 6.1.
    """
    if kset:
        kobj = at(k, "kset", kset, "kobj")
        yield from kobject_del(k, kobj)
        yield from kobject_put(k, kobj)
    return 0


@export(_NO_SYSFS)
def kset_create_and_add(k: Host, name: int, uevent_ops: int, parent: int) -> int:
    """``struct kset *kset_create_and_add(const char *name, const struct kset_uevent_ops *uevent_ops,
    struct kobject *parent_kobj)``

    lib/kobject.c, 6.1. NULL without memory.
    """
    kset = k.mm.kmalloc(k.layout["kset"].size, GFP_KERNEL | __GFP_ZERO, -1, k.caller)
    if not kset:
        return 0
    kobj = at(k, "kset", kset, "kobj")
    if _named(k, kobj, text(k, name)):
        k.mm.kfree(kset)
        return 0
    put(k, "kset", kset, "uevent_ops", uevent_ops)
    put(k, "kobject", kobj, "ktype", k.address_of("kset_release.ktype"))
    put(k, "kobject", kobj, "parent", parent)
    kset_register(k, kset)
    return kset


@export(_NO_SYSFS)
def kset_find_obj(k: Host, kset: int, name: int) -> int:
    """``struct kobject *kset_find_obj(struct kset *kset, const char *name)``

    lib/kobject.c, 6.1. With a reference.
    """
    wanted, offset = text(k, name), k.layout["kobject"].offset("entry")
    for entry in entries(k, at(k, "kset", kset, "list")):
        if text(k, get(k, "kobject", entry - offset, "name")) == wanted:
            return kobject_get(k, entry - offset)
    return 0
