"""Kernel objects (lib/kobject.c), 6.1: names and reference counts. There is no sysfs, so nothing is ever shown
there."""

from __future__ import annotations

from kmem.abi.gfp import GFP_KERNEL
from kmem.kapi.errno import EINVAL, ENOMEM
from kmem.kapi.export import export, faithful, simplified
from kmem.kapi.host import Call, Guest, Host
from kmem.kapi.lists import add_tail, del_init, init_list_head
from kmem.kapi.printf_spec import Spec
from kmem.kapi.printk import FORMAT_LIMIT
from kmem.kapi.refcount import refcount_warn_saturate
from kmem.kapi.varargs import VaArgs
from kmem.kapi.vsprintf import vsnprintf
from kmem.kapi.vsprintf_pointer import default_pointer, string

_INITIALIZED = 1
"""state_initialized, the first of the bit fields."""

_IN_SYSFS = 2
"""state_in_sysfs: the object was added and not deleted."""

_NO_SYSFS = simplified("there is no sysfs and there are no uevents")
_ADD_NOT_ZERO_OVF, _ADD_UAF, _SUB_UAF = 0, 2, 3


def _at(k: Host, kobj: int, member: str) -> int:
    return kobj + k.layout["kobject"].offset(member)


def _describe(k: Host, kobj: int) -> str:
    """``'name' (%p)``."""
    name = string(k, k.mem.u64(_at(k, kobj, "name")), Spec()).decode("utf-8", "backslashreplace")
    return f"'{name}' ({default_pointer(k, kobj, Spec()).decode()})"


@export(faithful)
def kobject_init(k: Host, kobj: int, ktype: int) -> None:
    """``void kobject_init(struct kobject *kobj, const struct kobj_type *ktype)``

    lib/kobject.c, 6.1.
    """
    pointer = default_pointer(k, kobj, Spec()).decode()
    if not kobj or not ktype:
        error = "must have a ktype to be initialized properly!\n" if kobj else "invalid kobject pointer!"
        k.log.printk(f"\x013kobject ({pointer}): {error}\n")
        k.dump_stack()
        return
    if k.mem.u32(_at(k, kobj, "state_initialized")) & _INITIALIZED:
        what = "tried to init an initialized object, something is seriously wrong."
        k.log.printk(f"\x013kobject ({pointer}): {what}\n")
        k.dump_stack()
    k.mem.set_u32(_at(k, kobj, "kref"), 1)
    init_list_head(k, _at(k, kobj, "entry"))
    word = k.mem.u32(_at(k, kobj, "state_initialized"))
    k.mem.set_u32(_at(k, kobj, "state_initialized"), word & ~0xF | _INITIALIZED)
    k.mem.set_u64(_at(k, kobj, "ktype"), ktype)


def _check_initialized(k: Host, kobj: int, function: str, line: int) -> None:
    if not k.mem.u32(_at(k, kobj, "state_initialized")) & _INITIALIZED:
        message = f"kobject: {_describe(k, kobj)}: is not initialized, yet {function}() is being called."
        k.warn("lib/kobject.c", line, function, message)


@export(simplified("a device lies below its parent, not below its class"))
def kobject_get_path(k: Host, kobj: int, gfp_mask: int) -> int:
    """``char *kobject_get_path(const struct kobject *kobj, gfp_t gfp_mask)``

    lib/kobject.c, 6.1. The names from the top down, each behind a slash, for kfree(). NULL where one has no name.
    """
    names = []
    while kobj:
        name = k.mem.u64(_at(k, kobj, "name"))
        if not name:
            return 0
        names.append(k.mem.cstr(name))
        kobj = k.mem.u64(_at(k, kobj, "parent"))
    raw = b"".join(b"/" + name for name in reversed(names)) + b"\0"
    made = k.mm.kmalloc(len(raw), gfp_mask, -1, k.caller)
    if made:
        k.mem.write(made, raw)
    return made


@export(faithful)
def kobject_get(k: Host, kobj: int) -> int:
    """``struct kobject *kobject_get(struct kobject *kobj)``

    lib/kobject.c, 6.1.
    """
    if kobj:
        _check_initialized(k, kobj, "kobject_get", 632)
        count = k.mem.s32(_at(k, kobj, "kref"))
        k.mem.set_u32(_at(k, kobj, "kref"), count + 1 & 0xFFFFFFFF)
        if count <= 0:
            refcount_warn_saturate(k, _at(k, kobj, "kref"), _ADD_UAF if not count else 1)
    return kobj


@export(faithful)
def kobject_get_unless_zero(k: Host, kobj: int) -> int:
    """``struct kobject *kobject_get_unless_zero(struct kobject *kobj)``

    lib/kobject.c, 6.1.
    """
    if not kobj:
        return 0
    count = k.mem.s32(_at(k, kobj, "kref"))
    if not count:
        return 0
    k.mem.set_u32(_at(k, kobj, "kref"), count + 1 & 0xFFFFFFFF)
    if count < 0:
        refcount_warn_saturate(k, _at(k, kobj, "kref"), _ADD_NOT_ZERO_OVF)
    return kobj


@export(_NO_SYSFS)
def kobject_put(k: Host, kobj: int) -> Guest:
    """``void kobject_put(struct kobject *kobj)``

    lib/kobject.c, 6.1. The last reference calls the release function of the type and frees the name.
    """
    if not kobj:
        return 0
    _check_initialized(k, kobj, "kobject_put", 726)
    count = k.mem.s32(_at(k, kobj, "kref"))
    k.mem.set_u32(_at(k, kobj, "kref"), count - 1 & 0xFFFFFFFF)
    if count <= 0:
        refcount_warn_saturate(k, _at(k, kobj, "kref"), _SUB_UAF)
    if count != 1:
        return 0
    name, ktype = k.mem.u64(_at(k, kobj, "name")), k.mem.u64(_at(k, kobj, "ktype"))
    release = k.mem.u64(ktype + k.layout["kobj_type"].offset("release")) if ktype else 0
    parent = k.mem.u64(_at(k, kobj, "parent")) if _added(k, kobj) else 0
    yield from _leave(k, kobj)
    if release:
        yield Call(release, (kobj,))
    k.mm.kfree(name)
    yield from kobject_put(k, parent)
    return 0


def _added(k: Host, kobj: int) -> bool:
    return bool(k.mem.u32(_at(k, kobj, "state_initialized")) & _IN_SYSFS)


def join(k: Host, kobj: int, parent: int) -> None:
    """``kobject_add_internal()``: into its set, with a reference to its parent, or else to the set."""
    kset = k.mem.u64(_at(k, kobj, "kset"))
    kobject_get(k, parent)
    if kset:
        own = kset + k.layout["kset"].offset("kobj")
        parent = parent or kobject_get(k, own)
        kobject_get(k, own)
        add_tail(k, _at(k, kobj, "entry"), kset + k.layout["kset"].offset("list"))
    k.mem.set_u64(_at(k, kobj, "parent"), parent)
    word = _at(k, kobj, "state_initialized")
    k.mem.set_u32(word, k.mem.u32(word) | _IN_SYSFS)


def _leave(k: Host, kobj: int) -> Guest:
    """``__kobject_del()``: out of its set; the caller drops the reference to the parent."""
    if not _added(k, kobj):
        return 0
    word, kset = _at(k, kobj, "state_initialized"), k.mem.u64(_at(k, kobj, "kset"))
    k.mem.set_u32(word, k.mem.u32(word) & ~_IN_SYSFS)
    k.mem.set_u64(_at(k, kobj, "parent"), 0)
    if kset:
        del_init(k, _at(k, kobj, "entry"))
        yield from kobject_put(k, kset + k.layout["kset"].offset("kobj"))
    return 0


def set_name(k: Host, kobj: int, fmt: int, args: VaArgs) -> int:
    """``kobject_set_name_vargs()``: 0 or -ENOMEM. A slash in a name becomes an exclamation mark."""
    old = k.mem.u64(_at(k, kobj, "name"))
    if old and not fmt:
        return 0
    text = vsnprintf(k, k.mem.cstr(fmt, FORMAT_LIMIT), args).replace(b"/", b"!") + b"\0"
    name = k.mm.kmalloc(len(text), GFP_KERNEL, caller=k.caller)
    if not name:
        return -ENOMEM
    k.mem.write(name, text)
    k.mm.kfree(old)
    k.mem.set_u64(_at(k, kobj, "name"), name)
    return 0


@export(faithful)
def kobject_set_name(k: Host, kobj: int, fmt: int, args: VaArgs) -> int:
    """``int kobject_set_name(struct kobject *kobj, const char *fmt, ...)``

    lib/kobject.c, 6.1.
    """
    return set_name(k, kobj, fmt, args)


@export(faithful)
def dev_set_name(k: Host, dev: int, fmt: int, args: VaArgs) -> int:
    """``int dev_set_name(struct device *dev, const char *name, ...)``

    drivers/base/core.c, 6.1.
    """
    return set_name(k, dev + k.layout["device"].offset("kobj"), fmt, args)


@export(_NO_SYSFS)
def kobject_add(k: Host, kobj: int, parent: int, fmt: int, args: VaArgs) -> int:
    """``int kobject_add(struct kobject *kobj, struct kobject *parent, const char *fmt, ...)``

    lib/kobject.c, 6.1. Names the object and takes a reference to *parent*.
    """
    if not kobj:
        return -EINVAL
    if not k.mem.u32(_at(k, kobj, "state_initialized")) & _INITIALIZED:
        message = f"kobject {_describe(k, kobj)}: tried to add an uninitialized object, something is seriously wrong."
        k.log.printk(f"\x013{message}\n")
        k.dump_stack()
        return -EINVAL
    error = set_name(k, kobj, fmt, args)
    if not error:
        join(k, kobj, parent)
    return error


@export(_NO_SYSFS)
def kobject_del(k: Host, kobj: int) -> Guest:
    """``void kobject_del(struct kobject *kobj)``

    lib/kobject.c, 6.1. Drops the reference to the parent.
    """
    if kobj:
        parent = k.mem.u64(_at(k, kobj, "parent")) if _added(k, kobj) else 0
        yield from _leave(k, kobj)
        yield from kobject_put(k, parent)
    return 0
