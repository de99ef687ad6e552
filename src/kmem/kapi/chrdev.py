"""Character device numbers and devices (fs/char_dev.c), 6.1, and misc devices (drivers/char/misc.c).

What is registered is a list of ``struct char_device_struct`` in the model's own layout:
{major, first minor, count, cdev, name}.
"""

from __future__ import annotations

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.kapi import lists, registry
from kmem.kapi.classes import class_data, kernel_class
from kmem.kapi.devicecore import create, device_add, device_del, device_destroy
from kmem.kapi.errno import EBUSY, EINVAL, ENOMEM, is_err
from kmem.kapi.export import data, export, faithful, simplified
from kmem.kapi.fields import at, get, put, text
from kmem.kapi.host import Guest, Host, s32
from kmem.kapi.kobject import kobject_get, kobject_init, kobject_put

MINORBITS = 20
MINORMASK = (1 << MINORBITS) - 1
MAJOR_MAX, DYN_END, DYN_EXT_START, DYN_EXT_END, HASHED = 512, 234, 511, 384, 255
TAKEN = frozenset((1, 4, 5, 7, 10, 13, 29, 128, 136, 254))
"""Majors that the kernel itself has."""
MISC_MAJOR, MISC_DYNAMIC_MINOR, DYNAMIC_MINORS = 10, 255, 128
_REGION = "chrdev_region"
NAME_AT, NAME_SIZE, REGION_SIZE = 24, 64, 104
"""Of a region: its name, and its size, which is that of the kernel's struct."""
_NO_FS = simplified("no device node appears; `Kernel.open` opens it by its name")


def _regions(k: Host) -> list[tuple[int, int, int, int]]:
    """(address, major, first minor, count) of every region."""
    found = registry.things(k, _REGION)
    return [(where, k.mem.u32(where), k.mem.u32(where + 4), k.mem.u32(where + 8)) for where in found]


def _free_major(k: Host) -> int:
    used = {region[1] for region in _regions(k)} | TAKEN
    order = [*range(HASHED - 1, DYN_END - 1, -1), *range(DYN_EXT_START, DYN_EXT_END - 1, -1)]
    return next((major for major in order if major not in used), -EBUSY)


def region_named(k: Host, name: bytes) -> int:
    """The first device number of the region that was registered under *name*, as /proc/devices lists it; or -1."""
    for region, major, minor, _ in _regions(k):
        if k.mem.cstr(region + NAME_AT, NAME_SIZE) == name:
            return major << MINORBITS | minor
    return -1


def _register(k: Host, major: int, minor: int, count: int, name: int) -> tuple[int, int]:
    """``__register_chrdev_region()``: the region (0 on failure), and its major or a negative errno."""
    if major >= MAJOR_MAX or count > MINORMASK + 1 - minor:
        return 0, -EINVAL
    major = major or _free_major(k)
    if major < 0:
        return 0, major
    for _, other, first, length in _regions(k):
        if other == major and first < minor + count and minor < first + length:
            return 0, -EBUSY
    region = k.mm.kmalloc(REGION_SIZE, GFP_KERNEL | __GFP_ZERO, -1, k.address_of("register_chrdev_region"))
    if not region or not registry.add(k, _REGION, region):
        return 0, -ENOMEM
    for number, value in enumerate((major, minor, count)):
        k.mem.set_u32(region + 4 * number, value)
    k.mem.write(region + NAME_AT, text(k, name)[: NAME_SIZE - 1])
    return region, major


def _unregister(k: Host, major: int, minor: int, count: int) -> int:
    """The ``struct cdev`` of the region that is taken out, 0 if it has none or is not there."""
    for region, *found in _regions(k):
        if found == [major, minor, count]:
            registry.remove(k, _REGION, region)
            cdev = k.mem.u64(region + 16)
            k.mm.kfree(region)
            return cdev
    return 0


@export(faithful)
def register_chrdev_region(k: Host, first: int, count: int, name: int) -> int:
    """``int register_chrdev_region(dev_t from, unsigned int count, const char *name)``

    fs/char_dev.c, 6.1. -EBUSY for numbers that are taken.
    """
    return min(_register(k, first >> MINORBITS, first & MINORMASK, count, name)[1], 0)


@export(faithful)
def alloc_chrdev_region(k: Host, dev: int, baseminor: int, count: int, name: int) -> int:
    """``int alloc_chrdev_region(dev_t *dev, unsigned int baseminor, unsigned int count, const char *name)``

    fs/char_dev.c, 6.1. The highest major that is free.
    """
    major = _register(k, 0, baseminor, count, name)[1]
    if major < 0:
        return major
    k.mem.set_u32(dev, major << MINORBITS | baseminor)
    return 0


@export(faithful)
def unregister_chrdev_region(k: Host, first: int, count: int) -> None:
    """``void unregister_chrdev_region(dev_t from, unsigned int count)``

    fs/char_dev.c, 6.1.
    """
    _unregister(k, first >> MINORBITS, first & MINORMASK, count)


@export(_NO_FS)
def __register_chrdev(k: Host, major: int, baseminor: int, count: int, name: int, fops: int) -> int:
    """``int __register_chrdev(unsigned int major, unsigned int baseminor, unsigned int count, const char *name,
    const struct file_operations *fops)``

    fs/char_dev.c, 6.1. The major, if it was to be chosen.
    """
    region, got = _register(k, major, baseminor, count, name)
    if got < 0:
        return got
    cdev = cdev_alloc(k)
    if not cdev:
        _unregister(k, got, baseminor, count)
        return -ENOMEM
    put(k, "cdev", cdev, "owner", get(k, "file_operations", fops, "owner"))
    put(k, "cdev", cdev, "ops", fops)
    cdev_add(k, cdev, got << MINORBITS | baseminor, count)
    k.mem.set_u64(region + 16, cdev)
    return 0 if major else got


@export(_NO_FS)
def __unregister_chrdev(k: Host, major: int, baseminor: int, count: int, name: int) -> Guest:
    """``void __unregister_chrdev(unsigned int major, unsigned int baseminor, unsigned int count, const char *name)``

    fs/char_dev.c, 6.1.
    """
    cdev = _unregister(k, major, baseminor, count)
    return (yield from cdev_del(k, cdev)) if cdev else 0


# struct cdev


def _ktype(name: str, release: str) -> None:
    def init(k: Host) -> bytes:
        raw, start = bytearray(64), k.layout["kobj_type"].offset("release")
        raw[start : start + 8] = k.address_of(release).to_bytes(8, "little")
        return bytes(raw)

    data(name, 64, init, doc="A type of cdevs' kobjects, fs/char_dev.c.", private=True)


_ktype("ktype_cdev_default", "cdev_default_release")
_ktype("ktype_cdev_dynamic", "cdev_dynamic_release")


@export(faithful, private=True)
def cdev_default_release(k: Host, kobj: int) -> None:
    """``void cdev_default_release(struct kobject *kobj)``

    fs/char_dev.c, 6.1.
    """


@export(faithful, private=True)
def cdev_dynamic_release(k: Host, kobj: int) -> None:
    """``void cdev_dynamic_release(struct kobject *kobj)``

    fs/char_dev.c, 6.1.
    """
    k.mm.kfree(kobj - k.layout["cdev"].offset("kobj"))


@export(faithful)
def cdev_init(k: Host, cdev: int, fops: int) -> None:
    """``void cdev_init(struct cdev *cdev, const struct file_operations *fops)``

    fs/char_dev.c, 6.1.
    """
    k.mem.fill(cdev, 0, k.layout["cdev"].size)
    lists.init_list_head(k, at(k, "cdev", cdev, "list"))
    kobject_init(k, at(k, "cdev", cdev, "kobj"), k.address_of("ktype_cdev_default"))
    put(k, "cdev", cdev, "ops", fops)


@export(faithful)
def cdev_alloc(k: Host) -> int:
    """``struct cdev *cdev_alloc(void)``

    fs/char_dev.c, 6.1. NULL without memory.
    """
    cdev = k.mm.kmalloc(k.layout["cdev"].size, GFP_KERNEL | __GFP_ZERO, -1, k.caller)
    if cdev:
        lists.init_list_head(k, at(k, "cdev", cdev, "list"))
        kobject_init(k, at(k, "cdev", cdev, "kobj"), k.address_of("ktype_cdev_dynamic"))
    return cdev


@export(_NO_FS)
def cdev_add(k: Host, cdev: int, dev: int, count: int) -> int:
    """``int cdev_add(struct cdev *p, dev_t dev, unsigned int count)``

    fs/char_dev.c, 6.1. -EBUSY for the number that means none.
    """
    if dev == 0xFFFFFFFF:
        return -EBUSY
    put(k, "cdev", cdev, "dev", dev)
    put(k, "cdev", cdev, "count", count)
    if not registry.add(k, "cdev", cdev):
        return -ENOMEM
    kobject_get(k, k.mem.u64(at(k, "cdev", cdev, "kobj") + k.layout["kobject"].offset("parent")))
    return 0


@export(_NO_FS)
def cdev_del(k: Host, cdev: int) -> Guest:
    """``void cdev_del(struct cdev *p)``

    fs/char_dev.c, 6.1.
    """
    kobj = at(k, "cdev", cdev, "kobj")
    parent = k.mem.u64(kobj + k.layout["kobject"].offset("parent"))
    if registry.remove(k, "cdev", cdev):
        yield from kobject_put(k, parent)
    yield from kobject_put(k, kobj)
    return 0


@export(faithful)
def cdev_set_parent(k: Host, cdev: int, kobj: int) -> None:
    """``void cdev_set_parent(struct cdev *p, struct kobject *kobj)``

    fs/char_dev.c, 6.1.
    """
    k.mem.set_u64(at(k, "cdev", cdev, "kobj") + k.layout["kobject"].offset("parent"), kobj)


@export(_NO_FS)
def cdev_device_add(k: Host, cdev: int, dev: int) -> Guest:
    """``int cdev_device_add(struct cdev *cdev, struct device *dev)``

    fs/char_dev.c, 6.1.
    """
    devt = get(k, "device", dev, "devt")
    if devt:
        cdev_set_parent(k, cdev, at(k, "device", dev, "kobj"))
        error = cdev_add(k, cdev, devt, 1)
        if error:
            return error
    error = s32((yield from device_add(k, dev)))
    if error and devt:
        yield from cdev_del(k, cdev)
    return error


@export(_NO_FS)
def cdev_device_del(k: Host, cdev: int, dev: int) -> Guest:
    """``void cdev_device_del(struct cdev *cdev, struct device *dev)``

    fs/char_dev.c, 6.1.
    """
    yield from device_del(k, dev)
    if get(k, "device", dev, "devt"):
        yield from cdev_del(k, cdev)
    return 0


# misc devices

class_data("misc_class", b"misc", "The class of misc devices, drivers/char/misc.c")


def _misc_class(k: Host) -> int:
    return kernel_class(k, "misc_class", "misc_register")


def misc_devices(k: Host) -> list[int]:
    """Every ``struct miscdevice`` that is registered, oldest first."""
    return registry.things(k, "misc")


@export(_NO_FS)
def misc_register(k: Host, misc: int) -> Guest:
    """``int misc_register(struct miscdevice *misc)``

    drivers/char/misc.c, 6.1. -EBUSY for a minor that is taken.
    """
    lists.init_list_head(k, at(k, "miscdevice", misc, "list"))
    minor = get(k, "miscdevice", misc, "minor")
    dynamic = minor == MISC_DYNAMIC_MINOR
    used = {get(k, "miscdevice", other, "minor") for other in misc_devices(k)}
    if dynamic:
        minor = next((number for number in range(DYNAMIC_MINORS - 1, -1, -1) if number not in used), -1)
        if minor < 0:
            return -EBUSY
        put(k, "miscdevice", misc, "minor", minor)
    elif minor in used:
        return -EBUSY
    name = k.mem.cstr(get(k, "miscdevice", misc, "name"))
    parent, groups = get(k, "miscdevice", misc, "parent"), get(k, "miscdevice", misc, "groups")
    made: int = yield from create(k, _misc_class(k), parent, MISC_MAJOR << MINORBITS | minor, misc, name, groups)
    put(k, "miscdevice", misc, "this_device", made)
    if is_err(made):
        if dynamic:
            put(k, "miscdevice", misc, "minor", MISC_DYNAMIC_MINOR)
        return s32(made)
    registry.note(k, "misc", misc)
    return 0


@export(_NO_FS)
def misc_deregister(k: Host, misc: int) -> Guest:
    """``void misc_deregister(struct miscdevice *misc)``

    drivers/char/misc.c, 6.1.
    """
    if registry.remove(k, "misc", misc):
        minor = get(k, "miscdevice", misc, "minor")
        yield from device_destroy(k, _misc_class(k), MISC_MAJOR << MINORBITS | minor)
        if minor < DYNAMIC_MINORS:
            put(k, "miscdevice", misc, "minor", MISC_DYNAMIC_MINOR)
    return 0
