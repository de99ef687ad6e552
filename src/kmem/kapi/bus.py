"""Buses, their drivers and their devices (drivers/base/bus.c, driver.c, dd.c), 6.1.

Drivers and devices of a bus find each other as they do in the kernel: whenever one of the two is added, the bus's
``match`` and then its ``probe``, or the driver's, are called. Simplified: no sysfs, no uevents, no deferred or
asynchronous probing, no runtime power management.
"""

from __future__ import annotations

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.kapi import klists, registry
from kmem.kapi.bustype import is_kernels
from kmem.kapi.device import device_name
from kmem.kapi.devres import release_all
from kmem.kapi.errno import EBUSY, EINVAL, ENODEV, ENOMEM, ENXIO
from kmem.kapi.export import export, simplified
from kmem.kapi.fields import at, get, has, put, text
from kmem.kapi.host import Call, Guest, Host, s32
from kmem.kapi.notifier import BLOCKING, call_chain, chain_register, chain_unregister

EPROBE_DEFER = 517
NOTIFY_ADD_DEVICE, NOTIFY_DEL_DEVICE, NOTIFY_REMOVED_DEVICE = 1, 2, 3
NOTIFY_BIND_DRIVER, NOTIFY_BOUND_DRIVER, NOTIFY_UNBIND_DRIVER, NOTIFY_UNBOUND_DRIVER = 4, 5, 6, 7
_NO_SYSFS = simplified("no sysfs, no uevents, no deferred or asynchronous probing")


def subsys(k: Host, kind: str, owner: int) -> int:
    """The ``struct subsys_private`` of a bus or class, 0 if it is not registered."""
    found = get(k, kind, owner, "p") if has(k, kind, "p") else _registered(k, kind, owner)
    if not found and kind == "bus_type" and is_kernels(k, owner):
        found = subsys_register(k, kind, owner, k.address_of("bus_register"))
    return found


def _registered(k: Host, kind: str, owner: int) -> int:
    """Since "driver core: bus: remove `p` from struct bus_type" and its like for classes: looked for by its owner."""
    for private in registry.things(k, kind):
        if get(k, "subsys_private", private, "bus" if kind == "bus_type" else "class") == owner:
            return private
    return 0


def subsys_register(k: Host, kind: str, owner: int, caller: int, more: int = 0) -> int:
    """Make the ``struct subsys_private`` of a bus or class, with *more* GFP flags; 0 without memory."""
    private = k.mm.kmalloc(k.layout["subsys_private"].size, GFP_KERNEL | __GFP_ZERO | more, -1, caller)
    if not private:
        return 0
    put(k, "subsys_private", private, "bus" if kind == "bus_type" else "class", owner)
    put(k, "subsys_private", private, "drivers_autoprobe", 1)
    for member in ("klist_devices", "klist_drivers"):
        klists.init(k, at(k, "subsys_private", private, member))
    registry.note(k, kind, private)
    if has(k, kind, "p"):
        put(k, kind, owner, "p", private)
    return private


def subsys_unregister(k: Host, kind: str, owner: int) -> None:
    """Free the ``struct subsys_private`` of a bus or class."""
    private = subsys(k, kind, owner)
    if private:
        registry.remove(k, kind, private)
        k.mm.kfree(private)
        if has(k, kind, "p"):
            put(k, kind, owner, "p", 0)


def bus_devices(k: Host, bus: int) -> list[int]:
    """The devices of a bus, in the order in which they were added."""
    private = subsys(k, "bus_type", bus)
    return _devices(k, at(k, "subsys_private", private, "klist_devices"), "knode_bus") if private else []


def _devices(k: Host, klist: int, knode: str) -> list[int]:
    offset = k.layout["device_private"].offset(knode)
    return [get(k, "device_private", node - offset, "device") for node in klists.nodes(k, klist)]


def class_devices(k: Host, cls: int) -> list[int]:
    """The devices of a class."""
    private = subsys(k, "class", cls)
    return _devices(k, at(k, "subsys_private", private, "klist_devices"), "knode_class") if private else []


def bus_drivers(k: Host, bus: int) -> list[int]:
    """The drivers of a bus."""
    private = subsys(k, "bus_type", bus)
    if not private:
        return []
    offset = k.layout["driver_private"].offset("knode_bus")
    found = klists.nodes(k, at(k, "subsys_private", private, "klist_drivers"))
    return [get(k, "driver_private", node - offset, "driver") for node in found]


def driver_devices(k: Host, drv: int) -> list[int]:
    """The devices that are bound to a driver."""
    private = get(k, "device_driver", drv, "p")
    return _devices(k, at(k, "driver_private", private, "klist_devices"), "knode_driver") if private else []


def _notify(k: Host, dev: int, action: int) -> Guest:
    bus = get(k, "device", dev, "bus")
    private = subsys(k, "bus_type", bus) if bus else 0
    if private:
        head = at(k, "subsys_private", private, "bus_notifier")
        yield from call_chain(k, head + k.layout[BLOCKING].offset("head"), action, dev)
    return 0


# buses


@export(_NO_SYSFS)
def bus_register(k: Host, bus: int) -> int:
    """``int bus_register(struct bus_type *bus)``

    drivers/base/bus.c, 6.1. 0 or -ENOMEM.
    """
    return 0 if subsys_register(k, "bus_type", bus, k.caller) else -ENOMEM


@export(_NO_SYSFS)
def bus_unregister(k: Host, bus: int) -> None:
    """``void bus_unregister(struct bus_type *bus)``

    drivers/base/bus.c, 6.1.
    """
    subsys_unregister(k, "bus_type", bus)


def _for_each(k: Host, things: list[int], start: int, data: int, fn: int) -> Guest:
    """Call ``fn(thing, data)`` for those behind *start* until one returns something else than 0."""
    behind = things[things.index(start) + 1 :] if start in things else things
    for thing in behind:
        result = s32((yield Call(fn, (thing, data))))
        if result:
            return result
    return 0


def find(k: Host, things: list[int], start: int, data: int, match: int) -> Guest:
    """The first behind *start* for which ``match(thing, data)`` is not 0, with a reference; 0 if none is."""
    behind = things[things.index(start) + 1 :] if start in things else things
    for thing in behind:
        if s32((yield Call(match, (thing, data)))):
            from kmem.kapi.devicecore import get_device

            return get_device(k, thing)
    return 0


@export(_NO_SYSFS)
def bus_for_each_dev(k: Host, bus: int, start: int, data: int, fn: int) -> Guest:
    """``int bus_for_each_dev(struct bus_type *bus, struct device *start, void *data, void *fn)``

    drivers/base/bus.c, 6.1. -EINVAL for a bus that is not registered.
    """
    if not bus or not subsys(k, "bus_type", bus):
        return -EINVAL
    return (yield from _for_each(k, bus_devices(k, bus), start, data, fn))


@export(_NO_SYSFS)
def bus_for_each_drv(k: Host, bus: int, start: int, data: int, fn: int) -> Guest:
    """``int bus_for_each_drv(struct bus_type *bus, struct device_driver *start, void *data, void *fn)``

    drivers/base/bus.c, 6.1.
    """
    if not bus or not subsys(k, "bus_type", bus):
        return -EINVAL
    return (yield from _for_each(k, bus_drivers(k, bus), start, data, fn))


@export(_NO_SYSFS)
def bus_find_device(k: Host, bus: int, start: int, data: int, match: int) -> Guest:
    """``struct device *bus_find_device(struct bus_type *bus, struct device *start, const void *data, void *match)``

    drivers/base/bus.c, 6.1. With a reference.
    """
    return (yield from find(k, bus_devices(k, bus), start, data, match))


@export(_NO_SYSFS)
def bus_rescan_devices(k: Host, bus: int) -> Guest:
    """``int bus_rescan_devices(struct bus_type *bus)``

    drivers/base/bus.c, 6.1. Looks for drivers for the devices that have none.
    """
    for dev in bus_devices(k, bus):
        if not get(k, "device", dev, "driver"):
            yield from attach_device(k, dev)
    return 0


@export(_NO_SYSFS)
def bus_register_notifier(k: Host, bus: int, nb: int) -> int:
    """``int bus_register_notifier(struct bus_type *bus, struct notifier_block *nb)``

    drivers/base/bus.c, 6.1.
    """
    private = subsys(k, "bus_type", bus)
    if not private:
        return -EINVAL
    head = at(k, "subsys_private", private, "bus_notifier")
    return chain_register(k, head + k.layout[BLOCKING].offset("head"), nb)


@export(_NO_SYSFS)
def bus_unregister_notifier(k: Host, bus: int, nb: int) -> int:
    """``int bus_unregister_notifier(struct bus_type *bus, struct notifier_block *nb)``

    drivers/base/bus.c, 6.1.
    """
    private = subsys(k, "bus_type", bus)
    if not private:
        return -EINVAL
    head = at(k, "subsys_private", private, "bus_notifier")
    return chain_unregister(k, head + k.layout[BLOCKING].offset("head"), nb)


# binding


def _matches(k: Host, drv: int, dev: int) -> Guest:
    """``driver_match_device()``."""
    match = get(k, "bus_type", get(k, "device_driver", drv, "bus"), "match")
    return s32((yield Call(match, (dev, drv)))) if match else 1


def probe(k: Host, drv: int, dev: int) -> Guest:
    """``really_probe()``: 0 when the driver has the device now, else the errno."""
    bus = get(k, "device", dev, "bus")
    put(k, "device", dev, "driver", drv)
    yield from _notify(k, dev, NOTIFY_BIND_DRIVER)
    callback = (get(k, "bus_type", bus, "probe") if bus else 0) or get(k, "device_driver", drv, "probe")
    error = s32((yield Call(callback, (dev,)))) if callback else 0
    if error:
        yield from release_all(k, dev)
        put(k, "device", dev, "driver", 0)
        put(k, "device", dev, "driver_data", 0)
        if error not in (-ENODEV, -ENXIO, -EPROBE_DEFER):
            name, device = text(k, get(k, "device_driver", drv, "name")), text(k, device_name(k, dev))
            k.log.printk(b"\x014%s: probe of %s failed with error %d\n" % (name, device, error))
        return error
    _bound(k, drv, dev)
    yield from _notify(k, dev, NOTIFY_BOUND_DRIVER)
    return 0


def _bound(k: Host, drv: int, dev: int) -> None:
    """``driver_bound()``."""
    private, node = (
        get(k, "device_driver", drv, "p"),
        at(k, "device_private", get(k, "device", dev, "p"), "knode_driver"),
    )
    if private and not klists.attached(k, node):
        klists.add_tail(k, node, at(k, "driver_private", private, "klist_devices"))


def attach_device(k: Host, dev: int) -> Guest:
    """``device_attach()``: 1 when a driver of the bus has the device, else 0."""
    if get(k, "device", dev, "driver"):
        return 1
    for drv in bus_drivers(k, get(k, "device", dev, "bus")):
        matched = yield from _matches(k, drv, dev)
        if matched > 0 and not (yield from probe(k, drv, dev)):
            return 1
    return 0


def attach_driver(k: Host, drv: int) -> Guest:
    """``driver_attach()``."""
    for dev in bus_devices(k, get(k, "device_driver", drv, "bus")):
        if not get(k, "device", dev, "driver") and (yield from _matches(k, drv, dev)) > 0:
            yield from probe(k, drv, dev)
    return 0


def detach(k: Host, dev: int) -> Guest:
    """``device_release_driver()``."""
    drv = get(k, "device", dev, "driver")
    if not drv:
        return 0
    yield from _notify(k, dev, NOTIFY_UNBIND_DRIVER)
    bus = get(k, "device", dev, "bus")
    remove = (get(k, "bus_type", bus, "remove") if bus else 0) or get(k, "device_driver", drv, "remove")
    if remove:
        yield Call(remove, (dev,))
    yield from release_all(k, dev)
    put(k, "device", dev, "driver", 0)
    put(k, "device", dev, "driver_data", 0)
    klists.remove(k, at(k, "device_private", get(k, "device", dev, "p"), "knode_driver"))
    yield from _notify(k, dev, NOTIFY_UNBOUND_DRIVER)
    return 0


def bus_add_device(k: Host, dev: int) -> Guest:
    """``bus_add_device()`` and ``bus_probe_device()``: 0, or -EINVAL for a bus that is not registered."""
    bus = get(k, "device", dev, "bus")
    if not bus:
        return 0
    private = subsys(k, "bus_type", bus)
    if not private:
        return -EINVAL
    node = at(k, "device_private", get(k, "device", dev, "p"), "knode_bus")
    klists.add_tail(k, node, at(k, "subsys_private", private, "klist_devices"))
    yield from _notify(k, dev, NOTIFY_ADD_DEVICE)
    if get(k, "subsys_private", private, "drivers_autoprobe") & 1:
        yield from attach_device(k, dev)
    return 0


def bus_remove_device(k: Host, dev: int) -> Guest:
    """``bus_remove_device()``."""
    yield from _notify(k, dev, NOTIFY_DEL_DEVICE)
    private = get(k, "device", dev, "p")
    if private:
        klists.remove(k, at(k, "device_private", private, "knode_bus"))
    yield from detach(k, dev)
    yield from _notify(k, dev, NOTIFY_REMOVED_DEVICE)
    return 0


@export(_NO_SYSFS)
def driver_attach(k: Host, drv: int) -> Guest:
    """``int driver_attach(struct device_driver *drv)``

    drivers/base/dd.c, 6.1. Offers every device of the bus that has no driver to this one.
    """
    return (yield from attach_driver(k, drv))


@export(_NO_SYSFS)
def device_attach(k: Host, dev: int) -> Guest:
    """``int device_attach(struct device *dev)``

    drivers/base/dd.c, 6.1. 1 when the device has a driver afterwards.
    """
    if get(k, "device", dev, "driver"):
        _bound(k, get(k, "device", dev, "driver"), dev)
        return 1
    return (yield from attach_device(k, dev))


@export(_NO_SYSFS)
def device_bind_driver(k: Host, dev: int) -> Guest:
    """``int device_bind_driver(struct device *dev)``

    drivers/base/dd.c, 6.1. Binds the device to the driver in ``dev->driver`` without probing.
    """
    _bound(k, get(k, "device", dev, "driver"), dev)
    yield from _notify(k, dev, NOTIFY_BOUND_DRIVER)
    return 0


@export(_NO_SYSFS)
def device_driver_attach(k: Host, drv: int, dev: int) -> Guest:
    """``int device_driver_attach(struct device_driver *drv, struct device *dev)``

    drivers/base/dd.c, 6.1. -EBUSY for a device that has a driver.
    """
    return -EBUSY if get(k, "device", dev, "driver") else (yield from probe(k, drv, dev))


@export(_NO_SYSFS)
def device_release_driver(k: Host, dev: int) -> Guest:
    """``void device_release_driver(struct device *dev)``

    drivers/base/dd.c, 6.1. Calls remove and gives back what the driver took for the device.
    """
    return (yield from detach(k, dev))


@export(_NO_SYSFS)
def device_reprobe(k: Host, dev: int) -> Guest:
    """``int device_reprobe(struct device *dev)``

    drivers/base/bus.c, 6.1.
    """
    yield from detach(k, dev)
    yield from attach_device(k, dev)
    return 0


# drivers


def find_driver(k: Host, name: bytes, bus: int) -> int:
    """``driver_find()``."""
    return next((drv for drv in bus_drivers(k, bus) if text(k, get(k, "device_driver", drv, "name")) == name), 0)


@export(_NO_SYSFS)
def driver_register(k: Host, drv: int) -> Guest:
    """``int driver_register(struct device_driver *drv)``

    drivers/base/driver.c, 6.1. -EINVAL for a bus that is not registered, -EBUSY for a name that the bus knows.
    """
    bus, name = get(k, "device_driver", drv, "bus"), text(k, get(k, "device_driver", drv, "name"))
    shown = name.decode("utf-8", "backslashreplace")
    private = subsys(k, "bus_type", bus)
    if not private:
        of = text(k, get(k, "bus_type", bus, "name")).decode("utf-8", "backslashreplace")
        k.log.printk(
            f"\x013Driver '{shown}' was unable to register with bus_type '{of}' because the bus was not initialized.\n"
        )
        return -EINVAL
    if find_driver(k, name, bus):
        k.log.printk(f"\x013Error: Driver '{shown}' is already registered, aborting...\n")
        return -EBUSY
    own = k.mm.kmalloc(k.layout["driver_private"].size, GFP_KERNEL | __GFP_ZERO, -1, k.caller)
    if not own:
        return -ENOMEM
    klists.init(k, at(k, "driver_private", own, "klist_devices"))
    put(k, "driver_private", own, "driver", drv)
    put(k, "device_driver", drv, "p", own)
    node = at(k, "driver_private", own, "knode_bus")
    klists.add_tail(k, node, at(k, "subsys_private", private, "klist_drivers"))
    if get(k, "subsys_private", private, "drivers_autoprobe") & 1:
        yield from attach_driver(k, drv)
    return 0


@export(_NO_SYSFS)
def driver_unregister(k: Host, drv: int) -> Guest:
    """``void driver_unregister(struct device_driver *drv)``

    drivers/base/driver.c, 6.1. Takes the driver from its devices. Warns about one that is not registered.
    """
    own = get(k, "device_driver", drv, "p") if drv else 0
    if not own:
        k.warn("drivers/base/driver.c", 269, "driver_unregister", "Unexpected driver unregister!\n")
        return 0
    for dev in reversed(driver_devices(k, drv)):
        yield from detach(k, dev)
    klists.remove(k, at(k, "driver_private", own, "knode_bus"))
    k.mm.kfree(own)
    put(k, "device_driver", drv, "p", 0)
    return 0


@export(_NO_SYSFS)
def driver_find(k: Host, name: int, bus: int) -> int:
    """``struct device_driver *driver_find(const char *name, struct bus_type *bus)``

    drivers/base/driver.c, 6.1.
    """
    return find_driver(k, text(k, name), bus)


@export(_NO_SYSFS)
def driver_for_each_device(k: Host, drv: int, start: int, data: int, fn: int) -> Guest:
    """``int driver_for_each_device(struct device_driver *drv, struct device *start, void *data, void *fn)``

    drivers/base/driver.c, 6.1.
    """
    return (yield from _for_each(k, driver_devices(k, drv), start, data, fn)) if drv else -EINVAL


@export(_NO_SYSFS)
def driver_find_device(k: Host, drv: int, start: int, data: int, match: int) -> Guest:
    """``struct device *driver_find_device(struct device_driver *drv, struct device *start, const void *data,
    void *match)``

    drivers/base/driver.c, 6.1. With a reference.
    """
    return (yield from find(k, driver_devices(k, drv), start, data, match)) if drv else 0
