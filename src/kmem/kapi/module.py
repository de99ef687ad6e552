"""Module reference counts (kernel/module/main.c, kernel/kmod.c), 6.1."""

from __future__ import annotations

from kmem.kapi.errno import ENOENT
from kmem.kapi.export import data, export, faithful, simplified
from kmem.kapi.host import Host
from kmem.kapi.varargs import VaArgs

MODULE_STATE_GOING = 2
MODULE_REF_BASE = 1

data("module_layout", 8, doc="Stands for the layout of struct module in the version check; never read.")


def _refcnt(k: Host, module: int) -> int:
    return module + k.layout["module"].offset("refcnt")


def _is_live(k: Host, module: int) -> bool:
    return k.mem.u32(module + k.layout["module"].offset("state")) != MODULE_STATE_GOING


@export(faithful)
def try_module_get(k: Host, module: int) -> bool:
    """``bool try_module_get(struct module *module)``

    kernel/module/main.c, 6.1. False for a module that is being unloaded; NULL is the kernel itself.
    """
    if not module:
        return True
    at = _refcnt(k, module)
    count = k.mem.u32(at)
    if not count or not _is_live(k, module):
        return False
    k.mem.set_u32(at, count + 1 & 0xFFFFFFFF)
    return True


@export(faithful)
def __module_get(k: Host, module: int) -> None:
    """``void __module_get(struct module *module)``

    kernel/module/main.c, 6.1.
    """
    if module:
        k.mem.set_u32(_refcnt(k, module), k.mem.u32(_refcnt(k, module)) + 1 & 0xFFFFFFFF)


@export(faithful)
def module_put(k: Host, module: int) -> None:
    """``void module_put(struct module *module)``

    kernel/module/main.c, 6.1. Warns when there was no reference.
    """
    if not module:
        return
    count = k.mem.s32(_refcnt(k, module)) - 1
    if count < 0:
        k.warn("kernel/module/main.c", 857, "module_put")
    else:
        k.mem.set_u32(_refcnt(k, module), count)


@export(faithful)
def module_refcount(k: Host, mod: int) -> int:
    """``int module_refcount(struct module *mod)``

    kernel/module/main.c, 6.1.
    """
    return k.mem.s32(_refcnt(k, mod)) - MODULE_REF_BASE


@export(simplified("no other module is ever loaded: not found"))
def __request_module(k: Host, wait: bool, name: int, args: VaArgs) -> int:
    """``int __request_module(bool wait, const char *name, ...)``

    kernel/kmod.c, 6.1.
    """
    if wait:
        k.context.schedule_debug()
    return -ENOENT
