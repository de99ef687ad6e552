"""Devices that come and go (drivers/base/core.c, drivers/base/platform.c), 6.1: enough to own resources.

A device is a reference-counted object; what it owns (`kmem.kapi.devres`) is given back when it is taken out, or with
its last reference. Simplified: there are no drivers to bind, no sysfs and no uevents.
"""

from __future__ import annotations

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.kapi.devres import release_all
from kmem.kapi.errno import EINVAL, ENOMEM
from kmem.kapi.export import data, export, simplified
from kmem.kapi.host import Call, Guest, Host
from kmem.kapi.kobject import kobject_get, kobject_init, kobject_put
from kmem.kapi.lists import init_list_head

MASK64 = (1 << 64) - 1
DMA32_MASK = (1 << 32) - 1
PLATFORM_DEVID_NONE, PLATFORM_DEVID_AUTO = -1, -2
_NO_DRIVERS = simplified("no driver is bound to the device, and there is no sysfs")


def _ktype(k: Host) -> bytes:
    layout = k.layout["kobj_type"]
    raw = bytearray(layout.size)
    at = layout.offset("release")
    raw[at : at + 8] = k.address_of("device_release").to_bytes(8, "little")
    return bytes(raw)


data("device_ktype", 64, _ktype, doc="The type of devices' kobjects, drivers/base/core.c.", private=True)
data(
    "platform_device_id",
    4,
    align=4,
    doc="The next automatic number of platform devices. The model's own.",
    private=True,
)


def _at(k: Host, dev: int, member: str) -> int:
    return dev + k.layout["device"].offset(member)


def _kobj(k: Host, dev: int) -> int:
    return _at(k, dev, "kobj")


def _named(k: Host, dev: int) -> bool:
    return bool(k.mem.u64(_kobj(k, dev) + k.layout["kobject"].offset("name")))


def _set_name(k: Host, dev: int, name: bytes) -> int:
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
    for owner, struct, member in (("type", "device_type", "release"), ("class", "class", "dev_release")):
        pointer = k.mem.u64(_at(k, dev, owner))
        if not release and pointer and struct in k.layout.structs:
            release = k.mem.u64(pointer + k.layout[struct].offset(member))
    if release:
        yield Call(release, (dev,))
        return 0
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


@export(_NO_DRIVERS)
def device_add(k: Host, dev: int) -> int:
    """``int device_add(struct device *dev)``

    drivers/base/core.c, 6.1. 0, or -EINVAL for a device without a name.
    """
    if not dev:
        return -EINVAL
    initial = k.mem.u64(_at(k, dev, "init_name"))
    if initial:
        if _set_name(k, dev, k.mem.cstr(initial)):
            return -ENOMEM
        k.mem.set_u64(_at(k, dev, "init_name"), 0)
    if not _named(k, dev):
        return -EINVAL
    parent = k.mem.u64(_at(k, dev, "parent"))
    if parent:
        kobject_get(k, _kobj(k, parent))
    return 0


@export(_NO_DRIVERS)
def device_register(k: Host, dev: int) -> int:
    """``int device_register(struct device *dev)``

    drivers/base/core.c, 6.1.
    """
    device_initialize(k, dev)
    return device_add(k, dev)


@export(_NO_DRIVERS)
def device_del(k: Host, dev: int) -> Guest:
    """``void device_del(struct device *dev)``

    drivers/base/core.c, 6.1. Gives back what the device owns, and the reference to its parent.
    """
    yield from release_all(k, dev)
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
    if _set_name(k, dev, k.mem.cstr(name)):
        k.mm.kfree(dev)
        return -ENOMEM & MASK64
    error = device_register(k, dev)
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


# platform devices


def _dev(k: Host, pdev: int) -> int:
    return pdev + k.layout["platform_device"].offset("dev")


def _field(k: Host, pdev: int, member: str) -> int:
    return pdev + k.layout["platform_device"].offset(member)


def _setup_dma(k: Host, pdev: int) -> None:
    """``setup_pdev_dma_masks()``."""
    dev = _dev(k, pdev)
    if not k.mem.u64(_at(k, dev, "coherent_dma_mask")):
        k.mem.set_u64(_at(k, dev, "coherent_dma_mask"), DMA32_MASK)
    if not k.mem.u64(_at(k, dev, "dma_mask")):
        k.mem.set_u64(_field(k, pdev, "platform_dma_mask"), DMA32_MASK)
        k.mem.set_u64(_at(k, dev, "dma_mask"), _field(k, pdev, "platform_dma_mask"))


@export(_NO_DRIVERS, private=True)
def platform_device_release(k: Host, dev: int) -> None:
    """``void platform_device_release(struct device *dev)``

    drivers/base/platform.c, 6.1. Frees what platform_device_alloc() made.
    """
    pdev = dev - k.layout["platform_device"].offset("dev")
    k.mm.kfree(k.mem.u64(_at(k, dev, "platform_data")))
    k.mm.kfree(k.mem.u64(_field(k, pdev, "resource")))
    k.mm.kfree(pdev)


@export(_NO_DRIVERS)
def platform_device_alloc(k: Host, name: int, id: int) -> int:
    """``struct platform_device *platform_device_alloc(const char *name, int id)``

    drivers/base/platform.c, 6.1.
    """
    text = k.mem.cstr(name) + b"\0"
    size = k.layout["platform_device"].size
    pdev = k.mm.kmalloc(size + len(text), GFP_KERNEL | __GFP_ZERO, -1, k.caller)
    if pdev:
        k.mem.write(pdev + size, text)
        k.mem.set_u64(_field(k, pdev, "name"), pdev + size)
        k.mem.set_u32(_field(k, pdev, "id"), id & 0xFFFFFFFF)
        device_initialize(k, _dev(k, pdev))
        k.mem.set_u64(_at(k, _dev(k, pdev), "release"), k.address_of("platform_device_release"))
        _setup_dma(k, pdev)
    return pdev


@export(_NO_DRIVERS)
def platform_device_add(k: Host, pdev: int) -> int:
    """``int platform_device_add(struct platform_device *pdev)``

    drivers/base/platform.c, 6.1. Named ``name``, ``name.id`` or ``name.N.auto``.
    """
    if not pdev:
        return -EINVAL
    name, number = k.mem.cstr(k.mem.u64(_field(k, pdev, "name"))), k.mem.s32(_field(k, pdev, "id"))
    if number == PLATFORM_DEVID_AUTO:
        counter = k.address_of("platform_device_id")
        number = k.mem.u32(counter)
        k.mem.set_u32(counter, number + 1)
        k.mem.set_u32(_field(k, pdev, "id"), number)
        k.mem.set_u8(_field(k, pdev, "id_auto"), 1)
        name += b".%d.auto" % number
    elif number != PLATFORM_DEVID_NONE:
        name += b".%d" % number
    return _set_name(k, _dev(k, pdev), name) or device_add(k, _dev(k, pdev))


@export(_NO_DRIVERS)
def platform_device_register(k: Host, pdev: int) -> int:
    """``int platform_device_register(struct platform_device *pdev)``

    drivers/base/platform.c, 6.1.
    """
    device_initialize(k, _dev(k, pdev))
    _setup_dma(k, pdev)
    return platform_device_add(k, pdev)


@export(_NO_DRIVERS)
def platform_device_del(k: Host, pdev: int) -> Guest:
    """``void platform_device_del(struct platform_device *pdev)``

    drivers/base/platform.c, 6.1.
    """
    if pdev:
        yield from device_del(k, _dev(k, pdev))
    return 0


@export(_NO_DRIVERS)
def platform_device_put(k: Host, pdev: int) -> Guest:
    """``void platform_device_put(struct platform_device *pdev)``

    drivers/base/platform.c, 6.1.
    """
    if pdev:
        yield from put_device(k, _dev(k, pdev))
    return 0


@export(_NO_DRIVERS)
def platform_device_unregister(k: Host, pdev: int) -> Guest:
    """``void platform_device_unregister(struct platform_device *pdev)``

    drivers/base/platform.c, 6.1.
    """
    yield from platform_device_del(k, pdev)
    yield from platform_device_put(k, pdev)
    return 0
