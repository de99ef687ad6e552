"""What the firmware says of the machine (drivers/firmware/dmi_scan.c), 6.1: of QEMU's PC, which reports name."""

from __future__ import annotations

from kmem.kapi.export import data, export, faithful, simplified
from kmem.kapi.fields import at, get
from kmem.kapi.host import Call, Guest, Host

IDENT = {
    1: b"SeaBIOS", 2: b"1.16.2-debian-1.16.2-1", 3: b"04/01/2014", 4: b"0.0",
    6: b"QEMU", 7: b"Standard PC (i440FX + PIIX, 1996)", 8: b"pc-i440fx-7.2",
    18: b"QEMU", 19: b"1", 20: b"pc-i440fx-7.2",
}  # fmt: skip
"""Strings by ``enum dmi_field``: of the BIOS from 1, of the system from 6, of the chassis from 18."""
DMI_OEM_STRING = 24
_QEMU = simplified("the strings are those of QEMU's PC")

for _field, _text in IDENT.items():
    data(f"dmi_ident.{_field}", len(_text) + 1, _text + b"\0", align=1, doc="A string of the firmware's.", private=True)


def _matches(k: Host, entry: int) -> bool:
    size, first = k.layout["dmi_strmatch"].size, at(k, "dmi_system_id", entry, "matches")
    for match in range(first, first + 4 * size, size):
        word = k.mem.u8(match)
        slot, exact, text = word & 0x7F, word >> 7, k.mem.cstr(match + 1)
        if not slot:
            break
        own = IDENT.get(slot)
        if own is None or not (own == text if exact else text in own):
            return False
    return True


def _ends(k: Host, entry: int) -> bool:
    return k.mem.u8(at(k, "dmi_system_id", entry, "matches")) & 0x7F == 0


@export(_QEMU)
def dmi_check_system(k: Host, table: int) -> Guest:
    """``int dmi_check_system(const struct dmi_system_id *list)``

    drivers/firmware/dmi_scan.c, 6.1. How many entries fit; the callback of one may end the search.
    """
    count = 0
    while not _ends(k, table):
        if _matches(k, table):
            count += 1
            callback = get(k, "dmi_system_id", table, "callback")
            if callback and (yield Call(callback, (table,))) & 0xFFFFFFFF:
                break
        table += k.layout["dmi_system_id"].size
    return count


@export(_QEMU)
def dmi_first_match(k: Host, table: int) -> int:
    """``const struct dmi_system_id *dmi_first_match(const struct dmi_system_id *list)``

    drivers/firmware/dmi_scan.c, 6.1. NULL if none fits.
    """
    while not _ends(k, table):
        if _matches(k, table):
            return table
        table += k.layout["dmi_system_id"].size
    return 0


@export(_QEMU)
def dmi_get_system_info(k: Host, field: int) -> int:
    """``const char *dmi_get_system_info(int field)``

    drivers/firmware/dmi_scan.c, 6.1. NULL for what the firmware does not say.
    """
    return k.address_of(f"dmi_ident.{field}") if field in IDENT else 0


@export(_QEMU)
def dmi_match(k: Host, field: int, text: int) -> bool:
    """``bool dmi_match(enum dmi_field f, const char *str)``

    drivers/firmware/dmi_scan.c, 6.1.
    """
    return IDENT.get(field) == k.mem.cstr(text) if text else field not in IDENT


@export(_QEMU)
def dmi_name_in_vendors(k: Host, text: int) -> int:
    """``int dmi_name_in_vendors(const char *str)``

    drivers/firmware/dmi_scan.c, 6.1.
    """
    wanted = k.mem.cstr(text)
    return int(any(wanted in IDENT.get(field, b"") for field in (1, 2, 6, 7, 8, 13, 14, 15)))


@export(simplified("the firmware lists no devices"))
def dmi_find_device(k: Host, kind: int, name: int, start: int) -> int:
    """``const struct dmi_device *dmi_find_device(int type, const char *name, const struct dmi_device *from)``

    drivers/firmware/dmi_scan.c, 6.1.
    """
    return 0


@export(simplified("the date is that of QEMU's BIOS"))
def dmi_get_bios_year(k: Host) -> int:
    """``int dmi_get_bios_year(void)``

    drivers/firmware/dmi_scan.c, 6.1.
    """
    return 2014


@export(simplified("the date is that of QEMU's BIOS"))
def dmi_get_date(k: Host, field: int, year: int, month: int, day: int) -> bool:
    """``bool dmi_get_date(int field, int *yearp, int *monthp, int *dayp)``

    drivers/firmware/dmi_scan.c, 6.1.
    """
    for where, value in ((year, 2014), (month, 4), (day, 1)):
        if where:
            k.mem.set_u32(where, value)
    return field == 3


@export(simplified("there is no table to walk"))
def dmi_walk(k: Host, decode: int, private_data: int) -> int:
    """``int dmi_walk(void *decode, void *private_data)``

    drivers/firmware/dmi_scan.c, 6.1.
    """
    return 0


@export(faithful)
def dmi_memdev_name(k: Host, handle: int, bank: int, device: int) -> None:
    """``void dmi_memdev_name(u16 handle, const char **bank, const char **device)``

    drivers/firmware/dmi_scan.c, 6.1. No memory device is known: nothing is stored.
    """
