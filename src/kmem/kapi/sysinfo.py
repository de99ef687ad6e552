"""What modules ask of the machine as a whole (mm/show_mem.c, kernel/freezer.c, kernel/time, fs/nls, lib), 6.1."""

from __future__ import annotations

from kmem.abi.address import PAGE_SIZE
from kmem.kapi.bus import bus_devices
from kmem.kapi.errno import EINVAL, ENAMETOOLONG
from kmem.kapi.export import data, export, faithful, simplified
from kmem.kapi.host import Call, Guest, Host, s32
from kmem.kapi.registry import answers
from kmem.machine.clock import BOOT_REAL_TIME

_TOTALRAM, _FREERAM, _SHAREDRAM, _BUFFERRAM, _TOTALHIGH, _FREEHIGH, _MEM_UNIT = 32, 40, 48, 56, 88, 96, 104
"""In ``struct sysinfo``."""


@export(simplified("no buffers and nothing shared"))
def si_meminfo(k: Host, val: int) -> None:
    """``void si_meminfo(struct sysinfo *val)``

    mm/page_alloc.c, 6.1. Sizes in pages; there is no high memory.
    """
    free, total = k.mm.si_meminfo()
    k.mem.set_u64(val + _TOTALRAM, total)
    for offset in (_SHAREDRAM, _BUFFERRAM, _TOTALHIGH, _FREEHIGH):
        k.mem.set_u64(val + offset, 0)
    k.mem.set_u64(val + _FREERAM, free)
    k.mem.set_u32(val + _MEM_UNIT, PAGE_SIZE)


@export(faithful)
def getboottime64(k: Host, ts: int) -> None:
    """``void getboottime64(struct timespec64 *ts)``

    kernel/time/timekeeping.c, 6.1. The wall clock's time at boot.
    """
    k.mem.set_u64(ts, BOOT_REAL_TIME)
    k.mem.set_u64(ts + 8, 0)


answers(0, "kernel/freezer.c", "bool set_freezable(void)", how="nothing is ever frozen")
answers(0, "arch/x86/kernel/kvm.c", "bool kvm_para_available(void)", how="the machine does not say that it is virtual")
answers(
    0,
    "drivers/cpufreq/cpufreq.c",
    "const char *cpufreq_get_current_driver(void)",
    how="the CPUs have one frequency",
)
answers(
    0,
    "drivers/firmware/efi/vars.c",
    "bool efivar_supports_writes(void)",
    "bool efivar_is_available(void)",
    "struct kobject *efivars_kobject(void)",
    how="the firmware is no EFI",
)
answers(0xFF, "arch/x86/kernel/rtc.c", "unsigned char rtc_cmos_read(unsigned char addr)", how="there is no clock chip")


@export(faithful)
def check_signature(k: Host, io_addr: int, signature: int, length: int) -> int:
    """``int check_signature(const volatile void *io_addr, const unsigned char *signature, int length)``

    lib/check_signature.c, 6.1. Whether a device's memory begins with these bytes.
    """
    return int(k.mem.read(io_addr, length) == k.mem.read(signature, length))


# the character set that is always there

_ASCII = 0x80


@export(faithful, private=True)
def default_uni2char(k: Host, uni: int, out: int, boundlen: int) -> int:
    """``int default_uni2char(unsigned short uni, unsigned char *out, int boundlen)``

    fs/nls/nls_base.c, 6.1: ``uni2char`` of the default table. -ENAMETOOLONG, -EINVAL for what has no byte.
    """
    if boundlen <= 0:
        return -ENAMETOOLONG
    if not uni & 0xFFFF or uni & 0xFFFF > 0xFF:
        return -EINVAL
    k.mem.set_u8(out, uni & 0xFF)
    return 1


@export(faithful, private=True)
def default_char2uni(k: Host, rawstring: int, boundlen: int, uni: int) -> int:
    """``int default_char2uni(const unsigned char *rawstring, int boundlen, unsigned short *uni)``

    fs/nls/nls_base.c, 6.1: ``char2uni`` of the default table.
    """
    value = k.mem.u8(rawstring)
    k.mem.set_u16(uni, value)
    return 1 if value else -EINVAL


def _table(k: Host) -> bytes:
    charset = k.address_of("kmem_nls_charset")
    lower, upper = k.address_of("kmem_nls_lower"), k.address_of("kmem_nls_upper")
    functions = [k.address_of(name) for name in ("default_uni2char", "default_char2uni")]
    return b"".join(word.to_bytes(8, "little") for word in (charset, 0, *functions, lower, upper, 0, 0))


data("kmem_nls_charset", 8, b"default\0", doc="What the default table is called.", private=True)
data("kmem_nls_lower", 256, bytes(range(_ASCII)).lower() + bytes(range(_ASCII, 256)), private=True, doc="To small.")
data("kmem_nls_upper", 256, bytes(range(_ASCII)).upper() + bytes(range(_ASCII, 256)), private=True, doc="To capital.")
data("kmem_nls_default", 64, _table, doc="The default ``struct nls_table``, fs/nls/nls_base.c.", private=True)


@export(simplified("Latin-1; the kernel takes the configured one if its module is there"))
def load_nls_default(k: Host) -> int:
    """``struct nls_table *load_nls_default(void)``

    fs/nls/nls_base.c, 6.1.
    """
    return k.address_of("kmem_nls_default")


@export(simplified("looks among the modules that are loaded; none is fetched"))
def __symbol_get(k: Host, symbol: int) -> int:
    """``void *__symbol_get(const char *symbol)``

    kernel/module/main.c, 6.1. The address of an exported symbol, NULL if there is none.
    """
    return k.exported(k.mem.cstr(symbol).decode(errors="replace"))


@export(faithful)
def i2c_for_each_dev(k: Host, data_: int, fn: int) -> Guest:
    """``int i2c_for_each_dev(void *data, int (*fn)(struct device *dev, void *data))``

    drivers/i2c/i2c-core-base.c, 6.1. Calls it for each device of the bus, until it returns something.
    """
    for dev in bus_devices(k, k.address_of("i2c_bus_type")):
        result: int = s32((yield Call(fn, (dev, data_))))
        if result:
            return result
    return 0
