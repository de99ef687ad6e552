"""Registering a driver with a bus of the kernel's: I2C, SPI, serio, PNP, ACPI and their like, 6.1.

Each puts its bus into the ``struct device_driver`` in it and registers that. Simplified: no device of these buses is
there, so no probe is called, unless a module brings devices itself.
"""

from __future__ import annotations

from kmem.kapi.bus import driver_register, driver_unregister
from kmem.kapi.bustype import bus_data
from kmem.kapi.export import export, family, simplified
from kmem.kapi.fields import at, get, has, put
from kmem.kapi.host import Guest, Host

_NO_DEVICES = simplified("no sysfs, no uevents; no device of this bus is there unless a module brings it")


@export(_NO_DEVICES, private=True)
def kmem_matches_nothing(k: Host, dev: int, drv: int) -> int:
    """``int kmem_matches_nothing(struct device *dev, struct device_driver *drv)``

    The model's own, of 6.1 and 6.12: the match of a bus whose devices are not modelled.
    """
    return 0


NOTHING = "kmem_matches_nothing"
bus_data("i2c_bus_type", b"i2c", NOTHING)
bus_data("spi_bus_type", b"spi", NOTHING)
bus_data("serio_bus", b"serio", NOTHING)
bus_data("pnp_bus_type", b"pnp", NOTHING, private=True)
bus_data("acpi_bus_type", b"acpi", NOTHING, private=True)
bus_data("auxiliary_bus_type", b"auxiliary", NOTHING, private=True)
bus_data("serdev_bus_type", b"serial", NOTHING, private=True)
bus_data("coreboot_bus_type", b"coreboot", NOTHING, private=True)
bus_data("dax_bus_type", b"dax", NOTHING, private=True)
bus_data("cxl_bus_type", b"cxl", NOTHING)
bus_data("pcie_port_bus_type", b"pci_express", NOTHING)


def _inner(k: Host, struct: str, address: int, path: str) -> int:
    """``&((struct *)address)->path``, where the members of *path* but the last are structs of their own."""
    first, _, rest = path.partition(".")
    inside = at(k, struct, address, first)
    return _inner(k, k.layout[struct][first].type.removeprefix("struct "), inside, rest) if rest else inside


def bus_driver(file: str, bus: str, struct: str, member: str, register: str, undo: str = "", *, drv: int = 0) -> None:
    """Declare the registration of a driver and the way back; *drv* is the number of the parameter with the driver,
    *member* the ``struct device_driver`` in it. A parameter called owner or module is the driver's module.
    """
    parameters = [word.strip().split(" ")[-1].lstrip("*") for word in register[register.index("(") + 1 : -1].split(",")]
    owner = next((number for number, name in enumerate(parameters) if name in ("owner", "module")), None)

    def handler(k: Host, *args: int) -> Guest:
        driver = _inner(k, struct, args[drv], member)
        put(k, "device_driver", driver, "bus", k.address_of(bus))
        if not get(k, "device_driver", driver, "name") and has(k, struct, "name"):
            array = k.layout[struct]["name"].type.startswith("[")
            put(k, "device_driver", driver, "name", (at if array else get)(k, struct, args[drv], "name"))
        if owner is not None:
            put(k, "device_driver", driver, "owner", args[owner])
        return (yield from driver_register(k, driver))

    def back(k: Host, driver: int) -> Guest:
        return (yield from driver_unregister(k, _inner(k, struct, driver, member)))

    family(_NO_DEVICES, register, f"{file}, 6.1.", handler)
    if undo:
        family(_NO_DEVICES, undo, f"{file}, 6.1.", back)


bus_driver(
    "drivers/i2c/i2c-core-base.c", "i2c_bus_type", "i2c_driver", "driver",
    "int i2c_register_driver(struct module *owner, struct i2c_driver *driver)",
    "void i2c_del_driver(struct i2c_driver *driver)", drv=1,
)  # fmt: skip
bus_driver(
    "drivers/spi/spi.c", "spi_bus_type", "spi_driver", "driver",
    "int __spi_register_driver(struct module *owner, struct spi_driver *sdrv)", drv=1,
)  # fmt: skip
bus_driver(
    "drivers/spi/spi-mem.c", "spi_bus_type", "spi_mem_driver", "spidrv.driver",
    "int spi_mem_driver_register_with_owner(struct spi_mem_driver *memdrv, struct module *owner)",
    "void spi_mem_driver_unregister(struct spi_mem_driver *memdrv)",
)  # fmt: skip
bus_driver(
    "drivers/input/serio/serio.c", "serio_bus", "serio_driver", "driver",
    "int __serio_register_driver(struct serio_driver *drv, struct module *owner, const char *mod_name)",
    "void serio_unregister_driver(struct serio_driver *drv)",
)  # fmt: skip
bus_driver(
    "drivers/pnp/driver.c", "pnp_bus_type", "pnp_driver", "driver",
    "int pnp_register_driver(struct pnp_driver *drv)",
    "void pnp_unregister_driver(struct pnp_driver *drv)",
)  # fmt: skip
bus_driver(
    "drivers/pnp/card.c", "pnp_bus_type", "pnp_card_driver", "link.driver",
    "int pnp_register_card_driver(struct pnp_card_driver *drv)",
    "void pnp_unregister_card_driver(struct pnp_card_driver *drv)",
)  # fmt: skip
bus_driver(
    "drivers/acpi/bus.c", "acpi_bus_type", "acpi_driver", "drv",
    "int acpi_bus_register_driver(struct acpi_driver *driver)",
    "void acpi_bus_unregister_driver(struct acpi_driver *driver)",
)  # fmt: skip
bus_driver(
    "drivers/base/auxiliary.c", "auxiliary_bus_type", "auxiliary_driver", "driver",
    "int __auxiliary_driver_register(struct auxiliary_driver *auxdrv, struct module *owner, const char *modname)",
    "void auxiliary_driver_unregister(struct auxiliary_driver *auxdrv)",
)  # fmt: skip
bus_driver(
    "drivers/tty/serdev/core.c", "serdev_bus_type", "serdev_device_driver", "driver",
    "int __serdev_device_driver_register(struct serdev_device_driver *sdrv, struct module *owner)",
)  # fmt: skip
bus_driver(
    "drivers/firmware/google/coreboot_table.c", "coreboot_bus_type", "coreboot_driver", "drv",
    "int coreboot_driver_register(struct coreboot_driver *driver)",
    "void coreboot_driver_unregister(struct coreboot_driver *driver)",
)  # fmt: skip
bus_driver(
    "drivers/dax/bus.c", "dax_bus_type", "dax_device_driver", "drv",
    "int __dax_driver_register(struct dax_device_driver *dax_drv, struct module *module, const char *mod_name)",
    "void dax_driver_unregister(struct dax_device_driver *dax_drv)",
)  # fmt: skip
bus_driver(
    "drivers/cxl/core/port.c", "cxl_bus_type", "cxl_driver", "drv",
    "int __cxl_driver_register(struct cxl_driver *cxl_drv, struct module *owner, const char *modname)",
    "void cxl_driver_unregister(struct cxl_driver *cxl_drv)",
)  # fmt: skip
