"""PCI drivers and devices (drivers/pci), 6.1: the devices that a test has plugged in, and drivers that find them.

`plug` makes a ``struct pci_dev`` in memory, on bus 0 of domain 0, with its configuration space behind it, and offers it
to the drivers. Nothing is plugged in at boot.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.kapi.bus import bus_devices, driver_register, driver_unregister
from kmem.kapi.bustype import bus_data
from kmem.kapi.devicecore import device_add, device_initialize, device_unregister, get_device, put_device, set_name_text
from kmem.kapi.errno import EBUSY, ENODEV
from kmem.kapi.export import data, export, faithful, family, simplified
from kmem.kapi.fields import at, get, has, put
from kmem.kapi.host import Call, Guest, Host, s32
from kmem.kapi.lists import init_list_head

PCI_ANY_ID = 0xFFFFFFFF
CONFIG_SIZE = 256
COMMAND, STATUS, REVISION, CLASS, BAR0, SUBSYSTEM, IRQ_LINE = 0x04, 0x06, 0x08, 0x09, 0x10, 0x2C, 0x3C
COMMAND_IO, COMMAND_MEMORY, COMMAND_MASTER = 1, 2, 4
IORESOURCE_IO, IORESOURCE_MEM, IORESOURCE_PREFETCH = 0x100, 0x200, 0x2000
SUCCESSFUL, DEVICE_NOT_FOUND, BAD_REGISTER = 0, 0x86, 0x87
_PLUGGED = simplified("the devices are those that were plugged in; no sysfs, no power management")

bus_data("pci_bus_type", b"pci", "pci_bus_match", "pci_device_probe", "pci_device_remove")
data("pci_root_bus", 8, doc="The ``struct pci_bus`` of domain 0, bus 0; made with the first device.", private=True)
data("pci_next_slot", 8, doc="Number of the next slot. The model's own.", private=True)


def _dev(k: Host, pdev: int) -> int:
    return at(k, "pci_dev", pdev, "dev")


def _pdev(k: Host, dev: int) -> int:
    return dev - k.layout["pci_dev"].offset("dev")


def devices(k: Host) -> list[int]:
    """Every ``struct pci_dev``."""
    return [_pdev(k, dev) for dev in bus_devices(k, k.address_of("pci_bus_type"))]


def config(k: Host, pdev: int) -> int:
    """Address of the configuration space, which lies behind the device."""
    return pdev + k.layout["pci_dev"].size


def _bus(k: Host) -> int:
    pointer = k.address_of("pci_root_bus")
    if not k.mem.u64(pointer):
        own = k.address_of("pci_get_device")
        bus = k.mm.kmalloc(k.layout["pci_bus"].size, GFP_KERNEL | __GFP_ZERO, -1, own)
        for member in ("node", "children", "devices", "slots", "resources"):
            if has(k, "pci_bus", member) and k.layout["pci_bus"][member].size == 16:
                init_list_head(k, at(k, "pci_bus", bus, member))
        device_initialize(k, at(k, "pci_bus", bus, "dev"))
        k.mem.set_u64(pointer, bus)
    return k.mem.u64(pointer)


def plug(
    k: Host,
    vendor: int,
    device: int,
    bars: Sequence[tuple[int, int]],
    *,
    cls: int,
    subsystem: tuple[int, int],
    irq: int,
) -> Guest:
    """Put a device into the next slot; *bars* are (address, bytes) in physical memory. The ``struct pci_dev``."""
    counter = k.address_of("pci_next_slot")
    slot = k.mem.u64(counter) + 3
    k.mem.set_u64(counter, slot - 2)
    size, own = k.layout["pci_dev"].size, k.address_of("pci_get_device")
    pdev = k.mm.kmalloc(size + CONFIG_SIZE, GFP_KERNEL | __GFP_ZERO, -1, own)
    if not pdev:
        return 0
    space = bytearray(CONFIG_SIZE)
    struct.pack_into("<HHHHI", space, 0, vendor, device, 0, 0x10, cls << 8)
    struct.pack_into("<HH", space, SUBSYSTEM, *subsystem)
    struct.pack_into("<BB", space, IRQ_LINE, irq, 1)
    values = {
        "vendor": vendor, "device": device, "class": cls, "subsystem_vendor": subsystem[0],
        "subsystem_device": subsystem[1], "devfn": slot << 3, "irq": irq, "bus": _bus(k), "dma_mask": 0xFFFFFFFF,
        "cfg_size": CONFIG_SIZE, "error_state": 1,
    }  # fmt: skip
    for member, value in values.items():
        put(k, "pci_dev", pdev, member, value)
    init_list_head(k, at(k, "pci_dev", pdev, "bus_list"))
    name = b"0000:00:%02x.0" % slot
    for number, (address, length) in enumerate(bars):
        resource = at(k, "pci_dev", pdev, "resource") + number * k.layout["resource"].size
        put(k, "resource", resource, "start", address)
        put(k, "resource", resource, "end", address + length - 1)
        put(k, "resource", resource, "flags", IORESOURCE_MEM | 0x40000)
        struct.pack_into("<I", space, BAR0 + 4 * number, address & 0xFFFFFFFF)
    k.mem.write(config(k, pdev), bytes(space))
    dev = _dev(k, pdev)
    device_initialize(k, dev)
    put(k, "device", dev, "bus", k.address_of("pci_bus_type"))
    put(k, "device", dev, "release", k.address_of("pci_release_dev"))
    put(k, "device", dev, "coherent_dma_mask", 0xFFFFFFFF)
    put(k, "device", dev, "dma_mask", at(k, "pci_dev", pdev, "dma_mask"))
    set_name_text(k, dev, name)
    for number in range(len(bars)):
        resource = at(k, "pci_dev", pdev, "resource") + number * k.layout["resource"].size
        put(k, "resource", resource, "name", k.mem.u64(at(k, "device", dev, "kobj")))
    yield from device_add(k, dev)
    return pdev


def unplug(k: Host, pdev: int) -> Guest:
    """Take a device out: its driver lets go of it."""
    return (yield from device_unregister(k, _dev(k, pdev)))


@export(_PLUGGED, private=True)
def pci_release_dev(k: Host, dev: int) -> None:
    """``void pci_release_dev(struct device *dev)``

    drivers/pci/probe.c, 6.1.
    """
    k.mm.kfree(_pdev(k, dev))


# drivers


def _matches_id(k: Host, entry: int, pdev: int) -> bool:
    for member in ("vendor", "device"):
        if get(k, "pci_device_id", entry, member) not in (PCI_ANY_ID, get(k, "pci_dev", pdev, member)):
            return False
    for member, own in (("subvendor", "subsystem_vendor"), ("subdevice", "subsystem_device")):
        if get(k, "pci_device_id", entry, member) not in (PCI_ANY_ID, get(k, "pci_dev", pdev, own)):
            return False
    difference = get(k, "pci_device_id", entry, "class") ^ get(k, "pci_dev", pdev, "class")
    return not difference & get(k, "pci_device_id", entry, "class_mask")


@export(faithful)
def pci_match_id(k: Host, ids: int, dev: int) -> int:
    """``const struct pci_device_id *pci_match_id(const struct pci_device_id *ids, struct pci_dev *dev)``

    drivers/pci/pci-driver.c, 6.1. The entry that fits, NULL if none does.
    """
    size = k.layout["pci_device_id"].size
    while ids and any(get(k, "pci_device_id", ids, member) for member in ("vendor", "subvendor", "class_mask")):
        if _matches_id(k, ids, dev):
            return ids
        ids += size
    return 0


def _driver(k: Host, driver: int) -> int:
    return driver - k.layout["pci_driver"].offset("driver")


@export(_PLUGGED, private=True)
def pci_bus_match(k: Host, dev: int, driver: int) -> int:
    """``int pci_bus_match(struct device *dev, struct device_driver *drv)``

    drivers/pci/pci-driver.c, 6.1.
    """
    return int(bool(pci_match_id(k, get(k, "pci_driver", _driver(k, driver), "id_table"), _pdev(k, dev))))


@export(_PLUGGED, private=True)
def pci_device_probe(k: Host, dev: int) -> Guest:
    """``int pci_device_probe(struct device *dev)``

    drivers/pci/pci-driver.c, 6.1.
    """
    driver, pdev = _driver(k, get(k, "device", dev, "driver")), _pdev(k, dev)
    entry, probe = (
        pci_match_id(k, get(k, "pci_driver", driver, "id_table"), pdev),
        get(k, "pci_driver", driver, "probe"),
    )
    if not entry or not probe:
        return -ENODEV if not entry else 0
    put(k, "pci_dev", pdev, "driver", driver)
    error = s32((yield Call(probe, (pdev, entry))))
    if error > 0:
        error = 0
    if error:
        put(k, "pci_dev", pdev, "driver", 0)
    return error


@export(_PLUGGED, private=True)
def pci_device_remove(k: Host, dev: int) -> Guest:
    """``void pci_device_remove(struct device *dev)``

    drivers/pci/pci-driver.c, 6.1.
    """
    pdev = _pdev(k, dev)
    driver = get(k, "pci_dev", pdev, "driver")
    remove = get(k, "pci_driver", driver, "remove") if driver else 0
    if remove:
        yield Call(remove, (pdev,))
    put(k, "pci_dev", pdev, "driver", 0)
    return 0


@export(_PLUGGED)
def __pci_register_driver(k: Host, drv: int, owner: int, mod_name: int) -> Guest:
    """``int __pci_register_driver(struct pci_driver *drv, struct module *owner, const char *mod_name)``

    drivers/pci/pci-driver.c, 6.1.
    """
    driver = at(k, "pci_driver", drv, "driver")
    values = {"name": get(k, "pci_driver", drv, "name"), "bus": k.address_of("pci_bus_type"), "owner": owner,
              "mod_name": mod_name, "groups": get(k, "pci_driver", drv, "groups"),
              "dev_groups": get(k, "pci_driver", drv, "dev_groups")}  # fmt: skip
    for member, value in values.items():
        put(k, "device_driver", driver, member, value)
    init_list_head(k, at(k, "pci_driver", drv, "dynids") + k.layout["pci_dynids"].offset("list"))
    return (yield from driver_register(k, driver))


@export(_PLUGGED)
def pci_unregister_driver(k: Host, drv: int) -> Guest:
    """``void pci_unregister_driver(struct pci_driver *drv)``

    drivers/pci/pci-driver.c, 6.1.
    """
    return (yield from driver_unregister(k, at(k, "pci_driver", drv, "driver")))


# looking for devices


def _next(k: Host, start: int, fits: dict[str, int]) -> Guest:
    """The first device behind *start* whose members are so (or any: PCI_ANY_ID), with a reference; drops *start*'s."""
    found, known = 0, devices(k)
    for pdev in known[known.index(start) + 1 :] if start in known else known:
        if all(want in (PCI_ANY_ID, get(k, "pci_dev", pdev, member)) for member, want in fits.items()):
            found = pdev
            get_device(k, _dev(k, pdev))
            break
    yield from pci_dev_put(k, start)
    return found


@export(_PLUGGED)
def pci_get_device(k: Host, vendor: int, device: int, start: int) -> Guest:
    """``struct pci_dev *pci_get_device(unsigned int vendor, unsigned int device, struct pci_dev *from)``

    drivers/pci/search.c, 6.1. With a reference.
    """
    return (yield from _next(k, start, {"vendor": vendor, "device": device}))


@export(_PLUGGED)
def pci_get_subsys(k: Host, vendor: int, device: int, ss_vendor: int, ss_device: int, start: int) -> Guest:
    """``struct pci_dev *pci_get_subsys(unsigned int vendor, unsigned int device, unsigned int ss_vendor,
    unsigned int ss_device, struct pci_dev *from)``

    drivers/pci/search.c, 6.1. With a reference.
    """
    fits = {"vendor": vendor, "device": device, "subsystem_vendor": ss_vendor, "subsystem_device": ss_device}
    return (yield from _next(k, start, fits))


@export(_PLUGGED)
def pci_get_class(k: Host, cls: int, start: int) -> Guest:
    """``struct pci_dev *pci_get_class(unsigned int class, struct pci_dev *from)``

    drivers/pci/search.c, 6.1. With a reference.
    """
    return (yield from _next(k, start, {"class": cls}))


@export(_PLUGGED)
def pci_get_domain_bus_and_slot(k: Host, domain: int, bus: int, devfn: int) -> Guest:
    """``struct pci_dev *pci_get_domain_bus_and_slot(int domain, unsigned int bus, unsigned int devfn)``

    drivers/pci/search.c, 6.1. With a reference.
    """
    return (yield from _next(k, 0, {"devfn": devfn})) if not domain and not bus else 0


@export(_PLUGGED)
def pci_get_slot(k: Host, bus: int, devfn: int) -> Guest:
    """``struct pci_dev *pci_get_slot(struct pci_bus *bus, unsigned int devfn)``

    drivers/pci/search.c, 6.1. With a reference.
    """
    return (yield from _next(k, 0, {"devfn": devfn, "bus": bus}))


@export(_PLUGGED)
def pci_dev_present(k: Host, ids: int) -> int:
    """``int pci_dev_present(const struct pci_device_id *ids)``

    drivers/pci/search.c, 6.1. Whether a device fits an entry.
    """
    return int(any(pci_match_id(k, ids, pdev) for pdev in devices(k)))


@export(_PLUGGED)
def pci_dev_get(k: Host, dev: int) -> int:
    """``struct pci_dev *pci_dev_get(struct pci_dev *dev)``

    drivers/pci/pci-driver.c, 6.1.
    """
    if dev:
        get_device(k, _dev(k, dev))
    return dev


@export(_PLUGGED)
def pci_dev_put(k: Host, dev: int) -> Guest:
    """``void pci_dev_put(struct pci_dev *dev)``

    drivers/pci/pci-driver.c, 6.1. NULL is allowed.
    """
    return (yield from put_device(k, _dev(k, dev))) if dev else 0


@export(simplified("there is bus 0 of domain 0, once a device is plugged in"))
def pci_find_bus(k: Host, domain: int, busnr: int) -> int:
    """``struct pci_bus *pci_find_bus(int domain, int busnr)``

    drivers/pci/search.c, 6.1.
    """
    return 0 if domain or busnr else k.mem.u64(k.address_of("pci_root_bus"))


@export(simplified("there is bus 0 of domain 0, once a device is plugged in"))
def pci_find_next_bus(k: Host, start: int) -> int:
    """``struct pci_bus *pci_find_next_bus(const struct pci_bus *from)``

    drivers/pci/search.c, 6.1.
    """
    return 0 if start else k.mem.u64(k.address_of("pci_root_bus"))


# configuration space


def _config() -> None:
    def declare(width: int, ctype: str, word: str) -> None:
        def read(k: Host, dev: int, where: int, value: int) -> int:
            if where % width:
                return BAD_REGISTER
            raw = k.mem.read(config(k, dev) + where, width) if where + width <= CONFIG_SIZE else b"\xff" * width
            k.mem.write(value, raw)
            return SUCCESSFUL

        def write(k: Host, dev: int, where: int, value: int) -> int:
            if where % width:
                return BAD_REGISTER
            if COMMAND <= where < STATUS or IRQ_LINE <= where < CONFIG_SIZE:
                k.mem.write(config(k, dev) + where, value.to_bytes(width, "little"))
            return SUCCESSFUL

        text = "drivers/pci/access.c, 6.1."
        how = simplified("a read gives what plugging in and writes left; base addresses stay")
        head = f"pci_{{}}_config_{word}(const struct pci_dev *dev, int where, {ctype} {{}}val)"
        family(how, "int " + head.format("read", "*"), text, read)
        family(how, "int " + head.format("write", ""), text, write)

    for width, ctype, word in ((1, "u8", "byte"), (2, "u16", "word"), (4, "u32", "dword")):
        declare(width, ctype, word)


_config()


def _command(k: Host, pdev: int, set_bits: int = 0, clear: int = 0) -> None:
    where = config(k, pdev) + COMMAND
    k.mem.set_u16(where, k.mem.u16(where) & ~clear | set_bits)


def _enable(k: Host, dev: int) -> int:
    count = at(k, "pci_dev", dev, "enable_cnt")
    k.mem.set_u32(count, k.mem.u32(count) + 1)
    _command(k, dev, COMMAND_IO | COMMAND_MEMORY)
    return 0


for _name in ("pci_enable_device", "pci_enable_device_mem", "pci_reenable_device"):
    family(
        _PLUGGED,
        f"int {_name}(struct pci_dev *dev)",
        "drivers/pci/pci.c, 6.1.",
        lambda k, dev: _enable(k, dev),
    )


@export(_PLUGGED)
def pci_disable_device(k: Host, dev: int) -> None:
    """``void pci_disable_device(struct pci_dev *dev)``

    drivers/pci/pci.c, 6.1.
    """
    count = at(k, "pci_dev", dev, "enable_cnt")
    k.mem.set_u32(count, max(k.mem.u32(count), 1) - 1)
    _command(k, dev, clear=COMMAND_MASTER)


@export(_PLUGGED)
def pci_set_master(k: Host, dev: int) -> None:
    """``void pci_set_master(struct pci_dev *dev)``

    drivers/pci/pci.c, 6.1.
    """
    _command(k, dev, COMMAND_MASTER)
    put(k, "pci_dev", dev, "is_busmaster", 1)


@export(_PLUGGED)
def pci_clear_master(k: Host, dev: int) -> None:
    """``void pci_clear_master(struct pci_dev *dev)``

    drivers/pci/pci.c, 6.1.
    """
    _command(k, dev, clear=COMMAND_MASTER)
    put(k, "pci_dev", dev, "is_busmaster", 0)


@export(simplified("the device has no capability"))
def pci_find_capability(k: Host, dev: int, cap: int) -> int:
    """``u8 pci_find_capability(struct pci_dev *dev, int cap)``

    drivers/pci/pci.c, 6.1.
    """
    return 0


@export(simplified("the device has no capability"))
def pci_find_ext_capability(k: Host, dev: int, cap: int) -> int:
    """``u16 pci_find_ext_capability(struct pci_dev *dev, int cap)``

    drivers/pci/pci.c, 6.1.
    """
    return 0


# the regions behind the base address registers


def _resource(k: Host, pdev: int, bar: int) -> tuple[int, int]:
    resource = at(k, "pci_dev", pdev, "resource") + bar * k.layout["resource"].size
    start, end = get(k, "resource", resource, "start"), get(k, "resource", resource, "end")
    return start, end - start + 1 if end else 0


def _request(k: Host, pdev: int, bar: int, name: int) -> int:
    start, size = _resource(k, pdev, bar)
    if not size:
        return 0
    return 0 if k.mm.request_region(k.address_of("iomem_resource"), start, size, name) else -EBUSY


def _release(k: Host, pdev: int, bar: int) -> None:
    start, size = _resource(k, pdev, bar)
    if size:
        k.mm.release_region(k.address_of("iomem_resource"), start, size)


@export(_PLUGGED)
def pci_request_region(k: Host, pdev: int, bar: int, name: int) -> int:
    """``int pci_request_region(struct pci_dev *pdev, int bar, const char *res_name)``

    drivers/pci/pci.c, 6.1. -EBUSY for a region that is claimed.
    """
    return _request(k, pdev, bar, name)


@export(_PLUGGED)
def pci_release_region(k: Host, pdev: int, bar: int) -> None:
    """``void pci_release_region(struct pci_dev *pdev, int bar)``

    drivers/pci/pci.c, 6.1.
    """
    _release(k, pdev, bar)


@export(_PLUGGED)
def pci_request_selected_regions(k: Host, pdev: int, bars: int, name: int) -> int:
    """``int pci_request_selected_regions(struct pci_dev *pdev, int bars, const char *res_name)``

    drivers/pci/pci.c, 6.1. All of them, or none.
    """
    for bar in range(6):
        if bars >> bar & 1 and _request(k, pdev, bar, name):
            pci_release_selected_regions(k, pdev, bars & (1 << bar) - 1)
            return -EBUSY
    return 0


@export(_PLUGGED)
def pci_release_selected_regions(k: Host, pdev: int, bars: int) -> None:
    """``void pci_release_selected_regions(struct pci_dev *pdev, int bars)``

    drivers/pci/pci.c, 6.1.
    """
    for bar in range(6):
        if bars >> bar & 1:
            _release(k, pdev, bar)


@export(_PLUGGED)
def pci_request_regions(k: Host, pdev: int, name: int) -> int:
    """``int pci_request_regions(struct pci_dev *pdev, const char *res_name)``

    drivers/pci/pci.c, 6.1.
    """
    return pci_request_selected_regions(k, pdev, 0x3F, name)


@export(_PLUGGED)
def pci_release_regions(k: Host, pdev: int) -> None:
    """``void pci_release_regions(struct pci_dev *pdev)``

    drivers/pci/pci.c, 6.1.
    """
    pci_release_selected_regions(k, pdev, 0x3F)


@export(_PLUGGED)
def pci_select_bars(k: Host, dev: int, flags: int) -> int:
    """``int pci_select_bars(struct pci_dev *dev, unsigned long flags)``

    drivers/pci/pci.c, 6.1. A bit for each region of that kind.
    """
    first, size = at(k, "pci_dev", dev, "resource"), k.layout["resource"].size
    return sum(1 << bar for bar in range(6) if get(k, "resource", first + bar * size, "flags") & flags)


@export(simplified("memory only: no base address is one of ports"))
def pci_iomap(k: Host, dev: int, bar: int, maxlen: int) -> int:
    """``void *pci_iomap(struct pci_dev *dev, int bar, unsigned long maxlen)``

    lib/pci_iomap.c, 6.1. NULL for a region that is not there.
    """
    start, size = _resource(k, dev, bar)
    return k.mm.ioremap(start, min(size, maxlen) if maxlen else size) if size else 0


@export(_PLUGGED)
def pci_ioremap_bar(k: Host, pdev: int, bar: int) -> int:
    """``void *pci_ioremap_bar(struct pci_dev *pdev, int bar)``

    drivers/pci/pci.c, 6.1.
    """
    return pci_iomap(k, pdev, bar, 0)


@export(_PLUGGED)
def pci_iounmap(k: Host, dev: int, addr: int) -> None:
    """``void pci_iounmap(struct pci_dev *dev, void *addr)``

    lib/pci_iomap.c, 6.1.
    """
    k.mm.iounmap(addr)
