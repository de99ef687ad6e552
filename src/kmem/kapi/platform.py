"""Platform devices and their drivers (drivers/base/platform.c), 6.1."""

from __future__ import annotations

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.kapi.bus import driver_devices, driver_register, driver_unregister
from kmem.kapi.bustype import bus_data
from kmem.kapi.devicecore import device_add, device_del, device_initialize, put_device, set_name_text
from kmem.kapi.errno import EINVAL, ENODEV, ENOMEM, ENXIO
from kmem.kapi.export import data, export, simplified
from kmem.kapi.fields import at, get, put, text
from kmem.kapi.host import Call, Guest, Host, s32

MASK64 = (1 << 64) - 1
DMA32_MASK = (1 << 32) - 1
IORESOURCE_IRQ = 0x400
PLATFORM_DEVID_NONE, PLATFORM_DEVID_AUTO = -1, -2
_NO_DRIVERS = simplified("no sysfs, no uevents, no device tree")

bus_data("platform_bus_type", b"platform", "platform_match", "platform_probe", "platform_remove")
data(
    "platform_device_id",
    4,
    align=4,
    doc="The next automatic number of platform devices. The model's own.",
    private=True,
)


def _dev_at(k: Host, dev: int, member: str) -> int:
    return dev + k.layout["device"].offset(member)


def _dev(k: Host, pdev: int) -> int:
    return pdev + k.layout["platform_device"].offset("dev")


def _field(k: Host, pdev: int, member: str) -> int:
    return pdev + k.layout["platform_device"].offset(member)


def _setup_dma(k: Host, pdev: int) -> None:
    """``setup_pdev_dma_masks()``."""
    dev = _dev(k, pdev)
    if not k.mem.u64(_dev_at(k, dev, "coherent_dma_mask")):
        k.mem.set_u64(_dev_at(k, dev, "coherent_dma_mask"), DMA32_MASK)
    if not k.mem.u64(_dev_at(k, dev, "dma_mask")):
        k.mem.set_u64(_field(k, pdev, "platform_dma_mask"), DMA32_MASK)
        k.mem.set_u64(_dev_at(k, dev, "dma_mask"), _field(k, pdev, "platform_dma_mask"))


@export(_NO_DRIVERS, private=True)
def platform_device_release(k: Host, dev: int) -> None:
    """``void platform_device_release(struct device *dev)``

    drivers/base/platform.c, 6.1. Frees what platform_device_alloc() made.
    """
    pdev = dev - k.layout["platform_device"].offset("dev")
    k.mm.kfree(k.mem.u64(_dev_at(k, dev, "platform_data")))
    k.mm.kfree(k.mem.u64(_field(k, pdev, "resource")))
    k.mm.kfree(pdev)


@export(_NO_DRIVERS)
def platform_device_alloc(k: Host, name: int, id: int) -> int:
    """``struct platform_device *platform_device_alloc(const char *name, int id)``

    drivers/base/platform.c, 6.1.
    """
    label = k.mem.cstr(name) + b"\0"
    size = k.layout["platform_device"].size
    pdev = k.mm.kmalloc(size + len(label), GFP_KERNEL | __GFP_ZERO, -1, k.caller)
    if pdev:
        k.mem.write(pdev + size, label)
        k.mem.set_u64(_field(k, pdev, "name"), pdev + size)
        k.mem.set_u32(_field(k, pdev, "id"), id & 0xFFFFFFFF)
        device_initialize(k, _dev(k, pdev))
        k.mem.set_u64(_dev_at(k, _dev(k, pdev), "release"), k.address_of("platform_device_release"))
        _setup_dma(k, pdev)
    return pdev


@export(_NO_DRIVERS)
def platform_device_add(k: Host, pdev: int) -> Guest:
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
    put(k, "device", _dev(k, pdev), "bus", k.address_of("platform_bus_type"))
    return set_name_text(k, _dev(k, pdev), name) or (yield from device_add(k, _dev(k, pdev)))


@export(_NO_DRIVERS)
def platform_device_register(k: Host, pdev: int) -> Guest:
    """``int platform_device_register(struct platform_device *pdev)``

    drivers/base/platform.c, 6.1.
    """
    device_initialize(k, _dev(k, pdev))
    _setup_dma(k, pdev)
    return (yield from platform_device_add(k, pdev))


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


@export(_NO_DRIVERS)
def platform_device_add_data(k: Host, pdev: int, source: int, size: int) -> int:
    """``int platform_device_add_data(struct platform_device *pdev, const void *data, size_t size)``

    drivers/base/platform.c, 6.1. A copy, which goes with the device.
    """
    return _copy(k, pdev, _dev_at(k, _dev(k, pdev), "platform_data"), source, size)


@export(_NO_DRIVERS)
def platform_device_add_resources(k: Host, pdev: int, res: int, num: int) -> int:
    """``int platform_device_add_resources(struct platform_device *pdev, const struct resource *res, unsigned int num)``

    drivers/base/platform.c, 6.1. A copy, which goes with the device.
    """
    put(k, "platform_device", pdev, "num_resources", num)
    return _copy(k, pdev, _field(k, pdev, "resource"), res, num * k.layout["resource"].size)


def _copy(k: Host, pdev: int, pointer: int, source: int, size: int) -> int:
    made = 0
    if source:
        made = k.mm.kmalloc(size, GFP_KERNEL, -1, k.caller)
        if not made:
            return -ENOMEM
        k.mem.write(made, k.mem.read(source, size))
    k.mm.kfree(k.mem.u64(pointer))
    k.mem.set_u64(pointer, made)
    return 0


@export(simplified("properties of the device are not kept"))
def platform_device_register_full(k: Host, pdevinfo: int) -> Guest:
    """``struct platform_device *platform_device_register_full(const struct platform_device_info *pdevinfo)``

    drivers/base/platform.c, 6.1. An error pointer on failure.
    """

    def info(member: str) -> int:
        return get(k, "platform_device_info", pdevinfo, member)

    pdev = platform_device_alloc(k, info("name"), s32(info("id")))
    if not pdev:
        return -ENOMEM & MASK64
    dev = _dev(k, pdev)
    put(k, "device", dev, "parent", info("parent"))
    put(k, "device", dev, "fwnode", info("fwnode"))
    if info("dma_mask"):
        put(k, "platform_device", pdev, "platform_dma_mask", info("dma_mask"))
        put(k, "device", dev, "coherent_dma_mask", info("dma_mask"))
    error = platform_device_add_resources(k, pdev, info("res"), info("num_res"))
    error = error or platform_device_add_data(k, pdev, info("data"), info("size_data"))
    error = error or s32((yield from platform_device_add(k, pdev)))
    if error:
        yield from put_device(k, dev)
        return error & MASK64
    return pdev


@export(simplified("a device without resources or with those that it was given"))
def platform_add_devices(k: Host, devs: int, num: int) -> Guest:
    """``int platform_add_devices(struct platform_device **devs, int num)``

    drivers/base/platform.c, 6.1. All of them, or none.
    """
    for index in range(num):
        error = s32((yield from platform_device_register(k, k.mem.u64(devs + 8 * index))))
        if error:
            for before in reversed(range(index)):
                yield from platform_device_unregister(k, k.mem.u64(devs + 8 * before))
            return error
    return 0


# what a driver asks of its device


def resources(k: Host, pdev: int, kind: int) -> list[int]:
    """The resources of a device that are of a kind (``IORESOURCE_MEM`` ...)."""
    first, size = get(k, "platform_device", pdev, "resource"), k.layout["resource"].size
    count = get(k, "platform_device", pdev, "num_resources")
    found = [first + index * size for index in range(count)]
    return [res for res in found if get(k, "resource", res, "flags") & 0x1F00 == kind]


@export(_NO_DRIVERS)
def platform_get_resource(k: Host, pdev: int, kind: int, num: int) -> int:
    """``struct resource *platform_get_resource(struct platform_device *dev, unsigned int type, unsigned int num)``

    drivers/base/platform.c, 6.1. NULL if there are not so many.
    """
    found = resources(k, pdev, kind)
    return found[num] if num < len(found) else 0


@export(_NO_DRIVERS)
def platform_get_resource_byname(k: Host, pdev: int, kind: int, name: int) -> int:
    """``struct resource *platform_get_resource_byname(struct platform_device *dev, unsigned int type,
    const char *name)``

    drivers/base/platform.c, 6.1.
    """
    wanted = text(k, name)
    return next((res for res in resources(k, pdev, kind) if text(k, get(k, "resource", res, "name")) == wanted), 0)


@export(simplified("the interrupt is that of the device's resources; there is no firmware to ask"))
def platform_get_irq(k: Host, pdev: int, num: int) -> int:
    """``int platform_get_irq(struct platform_device *dev, unsigned int num)``

    drivers/base/platform.c, 6.1. -ENXIO without one.
    """
    return platform_get_irq_optional(k, pdev, num)


@export(simplified("the interrupt is that of the device's resources; there is no firmware to ask"))
def platform_get_irq_optional(k: Host, pdev: int, num: int) -> int:
    """``int platform_get_irq_optional(struct platform_device *dev, unsigned int num)``

    drivers/base/platform.c, 6.1. -ENXIO without one.
    """
    found = resources(k, pdev, IORESOURCE_IRQ)
    return get(k, "resource", found[num], "start") if num < len(found) else -ENXIO


# the bus


def _match_id(k: Host, pdev: int, drv: int) -> int:
    """``platform_match_id()``: the entry of the driver's table with the device's name, 0 if there is none."""
    entry = get(k, "platform_driver", drv, "id_table")
    wanted = text(k, get(k, "platform_device", pdev, "name"))
    while entry and k.mem.u8(entry):
        if k.mem.cstr(entry) == wanted:
            return entry
        entry += k.layout["platform_device_id"].size
    return 0


@export(_NO_DRIVERS, private=True)
def platform_match(k: Host, dev: int, driver: int) -> int:
    """``int platform_match(struct device *dev, struct device_driver *drv)``

    drivers/base/platform.c, 6.1. By the driver's table of names if it has one, else by its own name.
    """
    pdev, drv = _pdev(k, dev), driver - k.layout["platform_driver"].offset("driver")
    override = get(k, "platform_device", pdev, "driver_override")
    name = text(k, get(k, "device_driver", driver, "name"))
    if override:
        return int(text(k, override) == name)
    if get(k, "platform_driver", drv, "id_table"):
        entry = _match_id(k, pdev, drv)
        if entry:
            put(k, "platform_device", pdev, "id_entry", entry)
        return int(bool(entry))
    return int(text(k, get(k, "platform_device", pdev, "name")) == name)


def _pdev(k: Host, dev: int) -> int:
    return dev - k.layout["platform_device"].offset("dev")


def _driver_of(k: Host, dev: int) -> int:
    return get(k, "device", dev, "driver") - k.layout["platform_driver"].offset("driver")


@export(_NO_DRIVERS, private=True)
def platform_probe(k: Host, dev: int) -> Guest:
    """``int platform_probe(struct device *dev)``

    drivers/base/platform.c, 6.1.
    """
    probe = get(k, "platform_driver", _driver_of(k, dev), "probe")
    return s32((yield Call(probe, (_pdev(k, dev),)))) if probe else 0


@export(_NO_DRIVERS, private=True)
def platform_remove(k: Host, dev: int) -> Guest:
    """``void platform_remove(struct device *dev)``

    drivers/base/platform.c, 6.1.
    """
    drv = _driver_of(k, dev)
    for member in ("remove_new", "remove"):
        remove = get(k, "platform_driver", drv, member) if member in k.layout["platform_driver"].members else 0
        if remove:
            yield Call(remove, (_pdev(k, dev),))
            break
    return 0


@export(_NO_DRIVERS)
def __platform_driver_register(k: Host, drv: int, owner: int) -> Guest:
    """``int __platform_driver_register(struct platform_driver *drv, struct module *owner)``

    drivers/base/platform.c, 6.1.
    """
    driver = at(k, "platform_driver", drv, "driver")
    put(k, "device_driver", driver, "owner", owner)
    put(k, "device_driver", driver, "bus", k.address_of("platform_bus_type"))
    return (yield from driver_register(k, driver))


@export(_NO_DRIVERS)
def platform_driver_unregister(k: Host, drv: int) -> Guest:
    """``void platform_driver_unregister(struct platform_driver *drv)``

    drivers/base/platform.c, 6.1.
    """
    return (yield from driver_unregister(k, at(k, "platform_driver", drv, "driver")))


@export(_NO_DRIVERS)
def __platform_driver_probe(k: Host, drv: int, probe: int, module: int) -> Guest:
    """``int __platform_driver_probe(struct platform_driver *drv, void *probe, struct module *module)``

    drivers/base/platform.c, 6.1. For devices that are there now: -ENODEV, and not registered, if there is none.
    """
    driver = at(k, "platform_driver", drv, "driver")
    put(k, "platform_driver", drv, "probe", probe)
    error = s32((yield from __platform_driver_register(k, drv, module)))
    if error:
        return error
    found = bool(driver_devices(k, driver))
    put(k, "platform_driver", drv, "probe", 0)
    put(k, "device_driver", driver, "suppress_bind_attrs", 1)
    if not found:
        yield from platform_driver_unregister(k, drv)
        return -ENODEV
    return 0


@export(_NO_DRIVERS)
def __platform_create_bundle(
    k: Host, driver: int, probe: int, res: int, n_res: int, source: int, size: int, module: int
) -> Guest:
    """``struct platform_device *__platform_create_bundle(struct platform_driver *driver, void *probe,
    struct resource *res, unsigned int n_res, const void *data, size_t size, struct module *module)``

    drivers/base/platform.c, 6.1. A device and its driver; an error pointer when it does not take the device.
    """
    name = get(k, "device_driver", at(k, "platform_driver", driver, "driver"), "name")
    pdev = platform_device_alloc(k, name, PLATFORM_DEVID_NONE)
    if not pdev:
        return -ENOMEM & MASK64
    error = platform_device_add_resources(k, pdev, res, n_res)
    error = error or platform_device_add_data(k, pdev, source, size)
    added = False
    if not error:
        error = s32((yield from platform_device_add(k, pdev)))
        added = not error
    if added:
        error = s32((yield from __platform_driver_probe(k, driver, probe, module)))
    if error:
        if added:
            yield from platform_device_del(k, pdev)
        yield from put_device(k, _dev(k, pdev))
        return error & MASK64
    return pdev


@export(_NO_DRIVERS)
def __platform_register_drivers(k: Host, drivers: int, count: int, owner: int) -> Guest:
    """``int __platform_register_drivers(struct platform_driver *const *drivers, unsigned int count,
    struct module *owner)``

    drivers/base/platform.c, 6.1. All of them, or none.
    """
    for index in range(count):
        error = s32((yield from __platform_driver_register(k, k.mem.u64(drivers + 8 * index), owner)))
        if error:
            yield from platform_unregister_drivers(k, drivers, index)
            return error
    return 0


@export(_NO_DRIVERS)
def platform_unregister_drivers(k: Host, drivers: int, count: int) -> Guest:
    """``void platform_unregister_drivers(struct platform_driver *const *drivers, unsigned int count)``

    drivers/base/platform.c, 6.1. The last one first.
    """
    for index in reversed(range(count)):
        yield from platform_driver_unregister(k, k.mem.u64(drivers + 8 * index))
    return 0
