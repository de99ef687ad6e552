"""Devices that come and go (drivers/base/core.c), 6.1.

A device is a reference-counted object; what it owns (`kmem.kapi.devres`) is given back when it is taken out, or with
its last reference. One that is on a bus finds its driver there (`kmem.kapi.bus`). Simplified: no sysfs and no uevents.
"""

from __future__ import annotations

from collections.abc import Callable

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.kapi import klists
from kmem.kapi.bus import bus_add_device, bus_remove_device, class_devices, find, subsys
from kmem.kapi.device import device_name
from kmem.kapi.devres import release_all
from kmem.kapi.errno import EINVAL, ENODEV, ENOMEM, is_err
from kmem.kapi.export import data, export, faithful, family, simplified
from kmem.kapi.fields import at, get, put, text
from kmem.kapi.host import Call, Guest, Host, s32
from kmem.kapi.kobject import kobject_get, kobject_init, kobject_put
from kmem.kapi.lists import init_list_head
from kmem.kapi.mutex import __mutex_init
from kmem.kapi.pm_runtime import pm_init, pm_remove
from kmem.kapi.printk import FORMAT_LIMIT
from kmem.kapi.varargs import VaArgs
from kmem.kapi.vsprintf import vsnprintf

MASK64 = (1 << 64) - 1
_NO_DRIVERS = simplified("no sysfs and no uevents")


def _ktype(k: Host) -> bytes:
    layout = k.layout["kobj_type"]
    raw = bytearray(layout.size)
    at = layout.offset("release")
    raw[at : at + 8] = k.address_of("device_release").to_bytes(8, "little")
    return bytes(raw)


data("device_ktype", 64, _ktype, doc="The type of devices' kobjects, drivers/base/core.c.", private=True)


@export(simplified("the device tree is empty: nodes are not counted"))
def device_set_of_node_from_dev(k: Host, dev: int, dev2: int) -> None:
    """``void device_set_of_node_from_dev(struct device *dev, const struct device *dev2)``

    drivers/base/core.c, 6.1.
    """
    put(k, "device", dev, "of_node", get(k, "device", dev2, "of_node"))
    put(k, "device", dev, "of_node_reused", 1)


@export(faithful)
def set_primary_fwnode(k: Host, dev: int, fwnode: int) -> None:
    """``void set_primary_fwnode(struct device *dev, struct fwnode_handle *fwnode)``

    drivers/base/core.c, 6.1. The one that the device had before becomes its second, or comes back with NULL.
    """
    had = get(k, "device", dev, "fwnode")
    second = k.mem.u64(had) if had else 0
    primary = bool(second) and not is_err(second)
    if fwnode:
        before = second if primary else had
        if before:
            k.mem.set_u64(fwnode, before)
        put(k, "device", dev, "fwnode", fwnode)
        return
    parent = get(k, "device", dev, "parent")
    put(k, "device", dev, "fwnode", second if primary else 0)
    if primary and not (parent and get(k, "device", parent, "fwnode") == had):
        k.mem.set_u64(had, 0)


def _match(prototype: str, matches: Callable[[Host, int, int], bool]) -> None:
    def handler(k: Host, dev: int, wanted: int) -> int:
        return int(matches(k, dev, wanted))

    family(faithful, prototype, "drivers/base/core.c, 6.1. For the functions that look for a device.", handler)


_match(
    "int device_match_name(struct device *dev, const void *name)",
    lambda k, dev, name: text(k, device_name(k, dev)) == text(k, name),
)
_match(
    "int device_match_devt(struct device *dev, const void *pdevt)",
    lambda k, dev, at: get(k, "device", dev, "devt") == k.mem.u32(at),
)
_match("int device_match_any(struct device *dev, const void *unused)", lambda k, dev, unused: True)
_match(
    "int device_match_fwnode(struct device *dev, const void *fwnode)",
    lambda k, dev, node: bool(node) and get(k, "device", dev, "fwnode") == node,
)
_match(
    "int device_match_of_node(struct device *dev, const void *np)",
    lambda k, dev, node: bool(node) and get(k, "device", dev, "of_node") == node,
)


def _at(k: Host, dev: int, member: str) -> int:
    return dev + k.layout["device"].offset(member)


def _kobj(k: Host, dev: int) -> int:
    return _at(k, dev, "kobj")


def _named(k: Host, dev: int) -> bool:
    return bool(k.mem.u64(_kobj(k, dev) + k.layout["kobject"].offset("name")))


def set_name_text(k: Host, dev: int, name: bytes) -> int:
    """``dev_set_name()``: 0 or -ENOMEM."""
    raw = name.replace(b"/", b"!") + b"\0"
    copy = k.mm.kmalloc(len(raw), GFP_KERNEL, -1, k.caller)
    if not copy:
        return -ENOMEM
    k.mem.write(copy, raw)
    k.mem.set_u64(_kobj(k, dev) + k.layout["kobject"].offset("name"), copy)
    return 0


@export(_NO_DRIVERS, private=True)
def device_release(k: Host, kobj: int) -> Guest:
    """``void device_release(struct kobject *kobj)``

    drivers/base/core.c, 6.1. The last reference is gone: resources that are left, then the release function of the
    device, its type or its class; a device without one is complained about.
    """
    dev = kobj - k.layout["device"].offset("kobj")
    yield from release_all(k, dev)
    release = k.mem.u64(_at(k, dev, "release"))
    private = get(k, "device", dev, "p")
    for owner, struct, member in (("type", "device_type", "release"), ("class", "class", "dev_release")):
        pointer = k.mem.u64(_at(k, dev, owner))
        if not release and pointer and struct in k.layout.structs:
            release = k.mem.u64(pointer + k.layout[struct].offset(member))
    if release:
        yield Call(release, (dev,))
        k.mm.kfree(private)
        return 0
    k.mm.kfree(private)
    name = k.mem.cstr(k.mem.u64(kobj + k.layout["kobject"].offset("name"))).decode("utf-8", "backslashreplace")
    text = "does not have a release() function, it is broken and must be fixed. See Documentation/core-api/kobject.rst."
    k.warn("drivers/base/core.c", 2344, "device_release", f"Device '{name}' {text}\n")
    return 0


@export(_NO_DRIVERS)
def device_initialize(k: Host, dev: int) -> None:
    """``void device_initialize(struct device *dev)``

    drivers/base/core.c, 6.1. One reference, and nothing that it owns.
    """
    kobject_init(k, _kobj(k, dev), k.address_of("device_ktype"))
    for member in ("dma_pools", "devres_head"):
        init_list_head(k, _at(k, dev, member))
    k.mem.set_u32(_at(k, dev, "devres_lock"), 0)
    __mutex_init(k, _at(k, dev, "mutex"), 0, 0)
    pm_init(k, dev)


def _class_interfaces(k: Host, dev: int, member: str) -> Guest:
    """Tell the interfaces of the device's class (`kmem.kapi.classes`) that it comes or goes."""
    cls = get(k, "device", dev, "class")
    private = subsys(k, "class", cls) if cls else 0
    if private:
        from kmem.kapi.classes import interfaces

        for interface in interfaces(k, cls):
            callback = get(k, "class_interface", interface, member)
            if callback:
                yield Call(callback, (dev, interface))
    return 0


@export(_NO_DRIVERS)
def device_add(k: Host, dev: int) -> Guest:
    """``int device_add(struct device *dev)``

    drivers/base/core.c, 6.1. 0, or -EINVAL for a device without a name or on a bus that is not registered.
    """
    if not dev:
        return -EINVAL
    if not get(k, "device", dev, "p"):
        private = k.mm.kmalloc(k.layout["device_private"].size, GFP_KERNEL | __GFP_ZERO, -1, k.caller)
        if not private:
            return -ENOMEM
        put(k, "device_private", private, "device", dev)
        put(k, "device", dev, "p", private)
    initial = k.mem.u64(_at(k, dev, "init_name"))
    if initial:
        if set_name_text(k, dev, k.mem.cstr(initial)):
            return -ENOMEM
        k.mem.set_u64(_at(k, dev, "init_name"), 0)
    bus = get(k, "device", dev, "bus")
    prefix = k.mem.u64(bus + k.layout["bus_type"].offset("dev_name")) if bus else 0
    if (
        not _named(k, dev)
        and prefix
        and set_name_text(k, dev, k.mem.cstr(prefix) + b"%d" % get(k, "device", dev, "id"))
    ):
        return -ENOMEM
    if not _named(k, dev):
        return -EINVAL
    parent = k.mem.u64(_at(k, dev, "parent"))
    if parent:
        kobject_get(k, _kobj(k, parent))
    kobject_get(k, _kobj(k, dev))
    put(k, "kobject", _kobj(k, dev), "state_in_sysfs", 1)
    error: int = yield from bus_add_device(k, dev)
    if error:
        put(k, "kobject", _kobj(k, dev), "state_in_sysfs", 0)
        if parent:
            yield from kobject_put(k, _kobj(k, parent))
        yield from kobject_put(k, _kobj(k, dev))
        return error
    cls = get(k, "device", dev, "class")
    private = subsys(k, "class", cls) if cls else 0
    if private:
        node = at(k, "device_private", get(k, "device", dev, "p"), "knode_class")
        klists.add_tail(k, node, at(k, "subsys_private", private, "klist_devices"))
        yield from _class_interfaces(k, dev, "add_dev")
    yield from kobject_put(k, _kobj(k, dev))
    return 0


@export(_NO_DRIVERS)
def device_register(k: Host, dev: int) -> Guest:
    """``int device_register(struct device *dev)``

    drivers/base/core.c, 6.1.
    """
    device_initialize(k, dev)
    return (yield from device_add(k, dev))


@export(_NO_DRIVERS)
def device_del(k: Host, dev: int) -> Guest:
    """``void device_del(struct device *dev)``

    drivers/base/core.c, 6.1. Takes it off its bus and class, gives back what it owns, and the reference to its parent.
    """
    if get(k, "device", dev, "class"):
        yield from _class_interfaces(k, dev, "remove_dev")
        private = get(k, "device", dev, "p")
        if private:
            klists.remove(k, at(k, "device_private", private, "knode_class"))
    if get(k, "device", dev, "bus"):
        yield from bus_remove_device(k, dev)
    pm_remove(k, dev)
    yield from release_all(k, dev)
    put(k, "kobject", _kobj(k, dev), "state_in_sysfs", 0)
    parent = k.mem.u64(_at(k, dev, "parent"))
    if parent:
        yield from kobject_put(k, _kobj(k, parent))
    return 0


@export(_NO_DRIVERS)
def get_device(k: Host, dev: int) -> int:
    """``struct device *get_device(struct device *dev)``

    drivers/base/core.c, 6.1.
    """
    if dev:
        kobject_get(k, _kobj(k, dev))
    return dev


@export(_NO_DRIVERS)
def put_device(k: Host, dev: int) -> Guest:
    """``void put_device(struct device *dev)``

    drivers/base/core.c, 6.1. NULL is allowed.
    """
    if dev:
        yield from kobject_put(k, _kobj(k, dev))
    return 0


@export(_NO_DRIVERS)
def device_unregister(k: Host, dev: int) -> Guest:
    """``void device_unregister(struct device *dev)``

    drivers/base/core.c, 6.1.
    """
    yield from device_del(k, dev)
    yield from put_device(k, dev)
    return 0


@export(_NO_DRIVERS, private=True)
def root_device_release(k: Host, dev: int) -> None:
    """``void root_device_release(struct device *dev)``

    drivers/base/core.c, 6.1.
    """
    k.mm.kfree(dev)


@export(_NO_DRIVERS)
def __root_device_register(k: Host, name: int, owner: int) -> Guest:
    """``struct device *__root_device_register(const char *name, struct module *owner)``

    drivers/base/core.c, 6.1. An error pointer on failure.
    """
    # struct root_device: the device, then its owner
    dev = k.mm.kmalloc(k.layout["device"].size + 8, GFP_KERNEL | __GFP_ZERO, -1, k.caller)
    if not dev:
        return -ENOMEM & MASK64
    k.mem.set_u64(_at(k, dev, "release"), k.address_of("root_device_release"))
    if set_name_text(k, dev, k.mem.cstr(name)):
        k.mm.kfree(dev)
        return -ENOMEM & MASK64
    error = yield from device_register(k, dev)
    if error:
        yield from put_device(k, dev)
        return error & MASK64
    k.mem.set_u64(dev + k.layout["device"].size, owner)
    return dev


@export(_NO_DRIVERS)
def root_device_unregister(k: Host, dev: int) -> Guest:
    """``void root_device_unregister(struct device *dev)``

    drivers/base/core.c, 6.1.
    """
    yield from device_unregister(k, dev)
    return 0


# devices of a class


@export(_NO_DRIVERS, private=True)
def device_create_release(k: Host, dev: int) -> None:
    """``void device_create_release(struct device *dev)``

    drivers/base/core.c, 6.1.
    """
    k.mm.kfree(dev)


def create(k: Host, cls: int, parent: int, devt: int, drvdata: int, name: bytes, groups: int = 0) -> Guest:
    """``device_create_groups_vargs()``: the device, or an error pointer."""
    if not cls or cls >= MASK64 - 4095:
        return -ENODEV & MASK64
    dev = k.mm.kmalloc(k.layout["device"].size, GFP_KERNEL | __GFP_ZERO, -1, k.caller)
    if not dev:
        return -ENOMEM & MASK64
    device_initialize(k, dev)
    for member, value in (("devt", devt), ("class", cls), ("parent", parent), ("groups", groups)):
        put(k, "device", dev, member, value)
    put(k, "device", dev, "release", k.address_of("device_create_release"))
    put(k, "device", dev, "driver_data", drvdata)
    error = set_name_text(k, dev, name) or s32((yield from device_add(k, dev)))
    if error:
        yield from put_device(k, dev)
        return error & MASK64
    return dev


@export(_NO_DRIVERS)
def device_create(k: Host, cls: int, parent: int, devt: int, drvdata: int, fmt: int, args: VaArgs) -> Guest:
    """``struct device *device_create(struct class *class, struct device *parent, dev_t devt, void *drvdata,
    const char *fmt, ...)``

    drivers/base/core.c, 6.1. An error pointer on failure.
    """
    name = vsnprintf(k, k.mem.cstr(fmt, FORMAT_LIMIT), args)
    return (yield from create(k, cls, parent, devt, drvdata, name))


@export(_NO_DRIVERS)
def device_create_with_groups(
    k: Host, cls: int, parent: int, devt: int, drvdata: int, groups: int, fmt: int, args: VaArgs
) -> Guest:
    """``struct device *device_create_with_groups(struct class *class, struct device *parent, dev_t devt, void *drvdata,
    const struct attribute_group **groups, const char *fmt, ...)``

    drivers/base/core.c, 6.1. An error pointer on failure.
    """
    name = vsnprintf(k, k.mem.cstr(fmt, FORMAT_LIMIT), args)
    return (yield from create(k, cls, parent, devt, drvdata, name, groups))


@export(_NO_DRIVERS)
def device_destroy(k: Host, cls: int, devt: int) -> Guest:
    """``void device_destroy(struct class *class, dev_t devt)``

    drivers/base/core.c, 6.1.
    """
    for dev in class_devices(k, cls):
        if get(k, "device", dev, "devt") == devt:
            yield from device_unregister(k, dev)
            break
    return 0


def children(k: Host, parent: int) -> list[int]:
    """Devices on buses and in classes whose parent is *parent*."""
    from kmem.kapi import registry
    from kmem.kapi.bus import bus_devices

    found: dict[int, None] = {}
    for kind, devices in (("bus_type", bus_devices), ("class", class_devices)):
        for private in registry.things(k, kind):
            owner = get(k, "subsys_private", private, "bus" if kind == "bus_type" else "class")
            found |= {dev: None for dev in devices(k, owner) if get(k, "device", dev, "parent") == parent}
    return list(found)


@export(simplified("knows the children that are on a bus or in a class"))
def device_for_each_child(k: Host, dev: int, data: int, fn: int) -> Guest:
    """``int device_for_each_child(struct device *parent, void *data, void *fn)``

    drivers/base/core.c, 6.1.
    """
    for child in children(k, dev):
        result = s32((yield Call(fn, (child, data))))
        if result:
            return result
    return 0


@export(simplified("knows the children that are on a bus or in a class"))
def device_find_child(k: Host, parent: int, data: int, match: int) -> Guest:
    """``struct device *device_find_child(struct device *parent, void *data, void *match)``

    drivers/base/core.c, 6.1. With a reference.
    """
    return (yield from find(k, children(k, parent), 0, data, match)) if parent else 0
