"""Classes of devices (drivers/base/class.c), 6.1, and those who want to hear of their devices."""

from __future__ import annotations

from kmem.abi.gfp import __GFP_NOFAIL, __GFP_ZERO, GFP_KERNEL
from kmem.kapi import registry
from kmem.kapi.bus import class_devices, find, subsys, subsys_register, subsys_unregister
from kmem.kapi.errno import EINVAL, ENODEV, ENOMEM
from kmem.kapi.export import data, export, simplified
from kmem.kapi.fields import get, put
from kmem.kapi.host import Call, Guest, Host, s32

MASK64 = (1 << 64) - 1
_NO_SYSFS = simplified("no sysfs")


def class_data(symbol: str, name: bytes, doc: str) -> None:
    """Declare the kernel's own class *symbol*, which `kernel_class` makes when it is first asked for."""
    data(symbol, 8, doc=f"{doc}; made with the first device.", private=True)
    data(f"{symbol}.name", len(name) + 1, name + b"\0", align=1, doc=f"The name of {symbol}. The model's own.",
         private=True)  # fmt: skip


def kernel_class(k: Host, symbol: str, owner: str) -> int:
    """A class of the kernel's own, which a real kernel makes when it boots: so it is always there. It is booked on the
    export *owner*: no module has to free it.
    """
    pointer, own = k.address_of(symbol), k.address_of(owner)
    if not k.mem.u64(pointer):
        cls = k.mm.kmalloc(k.layout["class"].size, GFP_KERNEL | __GFP_ZERO | __GFP_NOFAIL, -1, own)
        put(k, "class", cls, "name", k.address_of(f"{symbol}.name"))
        subsys_register(k, "class", cls, own, __GFP_NOFAIL)
        k.mem.set_u64(pointer, cls)
    return k.mem.u64(pointer)


def interfaces(k: Host, cls: int) -> list[int]:
    """The interfaces (``struct class_interface``) of a class."""
    found = registry.things(k, "class_interface")
    return [interface for interface in found if get(k, "class_interface", interface, "class") == cls]


def _register(k: Host, cls: int) -> int:
    return 0 if subsys_register(k, "class", cls, k.caller) else -ENOMEM


def _create(k: Host, name: int, owner: int) -> int:
    cls = k.mm.kmalloc(k.layout["class"].size, GFP_KERNEL | __GFP_ZERO, -1, k.caller)
    if not cls:
        return -ENOMEM & MASK64
    put(k, "class", cls, "name", name)
    put(k, "class", cls, "class_release", k.address_of("class_create_release"))
    if "owner" in k.layout["class"].members:
        put(k, "class", cls, "owner", owner)
    if _register(k, cls):
        k.mm.kfree(cls)
        return -ENOMEM & MASK64
    return cls


@export(_NO_SYSFS, private=True)
def class_create_release(k: Host, cls: int) -> None:
    """``void class_create_release(struct class *cls)``

    drivers/base/class.c, 6.1.
    """
    k.mm.kfree(cls)


@export(_NO_SYSFS)
def __class_register(k: Host, cls: int, key: int) -> int:
    """``int __class_register(struct class *cls, struct lock_class_key *key)``

    drivers/base/class.c, 6.1.
    """
    return _register(k, cls)


@export(_NO_SYSFS)
def class_register(k: Host, cls: int) -> int:
    """``int class_register(const struct class *cls)``

    drivers/base/class.c, 6.12.
    """
    return _register(k, cls)


@export(_NO_SYSFS)
def class_unregister(k: Host, cls: int) -> Guest:
    """``void class_unregister(struct class *cls)``

    drivers/base/class.c, 6.1. Calls the release function of the class.
    """
    if subsys(k, "class", cls):
        subsys_unregister(k, "class", cls)
        release = get(k, "class", cls, "class_release")
        if release:
            yield Call(release, (cls,))
    return 0


@export(_NO_SYSFS)
def __class_create(k: Host, owner: int, name: int, key: int) -> int:
    """``struct class *__class_create(struct module *owner, const char *name, struct lock_class_key *key)``

    drivers/base/class.c, 6.1. An error pointer on failure.
    """
    return _create(k, name, owner)


@export(_NO_SYSFS)
def class_create(k: Host, name: int) -> int:
    """``struct class *class_create(const char *name)``

    drivers/base/class.c, 6.12. An error pointer on failure.
    """
    return _create(k, name, 0)


@export(_NO_SYSFS)
def class_destroy(k: Host, cls: int) -> Guest:
    """``void class_destroy(struct class *cls)``

    drivers/base/class.c, 6.1. NULL and error pointers are allowed.
    """
    return (yield from class_unregister(k, cls)) if 0 < cls < MASK64 - 4095 else 0


@export(_NO_SYSFS)
def class_for_each_device(k: Host, cls: int, start: int, data: int, fn: int) -> Guest:
    """``int class_for_each_device(struct class *class, struct device *start, void *data, void *fn)``

    drivers/base/class.c, 6.1.
    """
    if not cls or not subsys(k, "class", cls):
        return -EINVAL
    devices = class_devices(k, cls)
    for dev in devices[devices.index(start) + 1 :] if start in devices else devices:
        result = s32((yield Call(fn, (dev, data))))
        if result:
            return result
    return 0


@export(_NO_SYSFS)
def class_find_device(k: Host, cls: int, start: int, data: int, match: int) -> Guest:
    """``struct device *class_find_device(struct class *class, struct device *start, const void *data, void *match)``

    drivers/base/class.c, 6.1. With a reference.
    """
    return (yield from find(k, class_devices(k, cls), start, data, match)) if cls and subsys(k, "class", cls) else 0


@export(_NO_SYSFS)
def class_interface_register(k: Host, interface: int) -> Guest:
    """``int class_interface_register(struct class_interface *class_intf)``

    drivers/base/class.c, 6.1. Is told of the devices that are there.
    """
    cls = get(k, "class_interface", interface, "class") if interface else 0
    if not cls:
        return -ENODEV
    registry.note(k, "class_interface", interface)
    add = get(k, "class_interface", interface, "add_dev")
    for dev in class_devices(k, cls) if add else []:
        yield Call(add, (dev, interface))
    return 0


@export(_NO_SYSFS)
def class_interface_unregister(k: Host, interface: int) -> Guest:
    """``void class_interface_unregister(struct class_interface *class_intf)``

    drivers/base/class.c, 6.1.
    """
    if registry.remove(k, "class_interface", interface):
        remove = get(k, "class_interface", interface, "remove_dev")
        for dev in class_devices(k, get(k, "class_interface", interface, "class")) if remove else []:
            yield Call(remove, (dev, interface))
    return 0


@export(_NO_SYSFS)
def class_compat_register(k: Host, name: int) -> int:
    """``struct class_compat *class_compat_register(const char *name)``

    drivers/base/class.c, 6.1. NULL on failure.
    """
    return k.mm.kmalloc(8, GFP_KERNEL | __GFP_ZERO, -1, k.caller)


@export(_NO_SYSFS)
def class_compat_unregister(k: Host, cls: int) -> None:
    """``void class_compat_unregister(struct class_compat *cls)``

    drivers/base/class.c, 6.1.
    """
    k.mm.kfree(cls)
