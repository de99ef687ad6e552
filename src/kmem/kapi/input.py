"""Input devices (drivers/input/input.c), 6.1: they appear in the class ``input``; what they report, nobody hears."""

from __future__ import annotations

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.kapi.device import device_name
from kmem.kapi.devicecore import device_add, device_del, device_initialize, put_device, set_name_text
from kmem.kapi.devres import devres_add, own
from kmem.kapi.errno import EINVAL, ENOMEM
from kmem.kapi.export import data, export, simplified
from kmem.kapi.fields import at, get, put, text
from kmem.kapi.host import Guest, Host, s32
from kmem.kapi.lists import init_list_head
from kmem.kapi.registry import accepts

EV_SYN, EV_KEY, EV_REL, EV_ABS, EV_MSC, EV_SW, EV_LED, EV_SND, EV_FF, EV_PWR = 0, 1, 2, 3, 4, 5, 0x11, 0x12, 0x15, 0x16
ABS_CNT, ABSINFO_SIZE = 64, 24
UNHEARD = simplified("no handler is attached: what the device reports, nobody hears")
_BITS = {
    EV_KEY: "keybit",
    EV_REL: "relbit",
    EV_ABS: "absbit",
    EV_MSC: "mscbit",
    EV_SW: "swbit",
    EV_LED: "ledbit",
    EV_SND: "sndbit",
    EV_FF: "ffbit",
}

data("kmem_input_number", 8, doc="How many input devices there were. The model's own.", private=True)
data(
    "input_class",
    128,
    lambda k: k.address_of("kmem_input_class_name").to_bytes(8, "little"),
    doc="The class of input devices, drivers/input/input.c.",
)
data("kmem_input_class_name", 8, b"input\0", doc="What the class is called. The model's own.", private=True)


def _device(k: Host, dev: int) -> int:
    return at(k, "input_dev", dev, "dev")


def _set_bit(k: Host, dev: int, member: str, bit: int) -> None:
    where = at(k, "input_dev", dev, member) + bit // 8
    k.mem.set_u8(where, k.mem.u8(where) | 1 << bit % 8)


@export(UNHEARD, private=True)
def input_dev_release(k: Host, device: int) -> None:
    """``void input_dev_release(struct device *device)``

    drivers/input/input.c, 6.1. The last reference is gone.
    """
    dev = device - k.layout["input_dev"].offset("dev")
    for member in ("poller", "absinfo", "vals"):
        k.mm.kfree(get(k, "input_dev", dev, member))
    k.mm.kfree(dev)


@export(UNHEARD)
def input_allocate_device(k: Host) -> int:
    """``struct input_dev *input_allocate_device(void)``

    drivers/input/input.c, 6.1. NULL without memory.
    """
    dev = k.mm.kmalloc(k.layout["input_dev"].size, GFP_KERNEL | __GFP_ZERO, -1, k.caller)
    if dev:
        device = _device(k, dev)
        put(k, "device", device, "release", k.address_of("input_dev_release"))
        put(k, "device", device, "class", k.address_of("input_class"))
        device_initialize(k, device)
        init_list_head(k, at(k, "input_dev", dev, "mutex") + k.layout["mutex"].offset("wait_list"))
        for member in ("h_list", "node"):
            init_list_head(k, at(k, "input_dev", dev, member))
        counter = k.address_of("kmem_input_number")
        set_name_text(k, device, b"input%d" % k.mem.u64(counter))
        k.mem.set_u64(counter, k.mem.u64(counter) + 1)
    return dev


@export(UNHEARD, private=True)
def devm_input_device_release(k: Host, dev: int, res: int) -> Guest:
    """``void devm_input_device_release(struct device *dev, void *res)``

    drivers/input/input.c, 6.1.
    """
    input_dev = k.mem.u64(res)
    if k.mem.u8(at(k, "input_dev", input_dev, "devres_managed")) == REGISTERED:
        yield from device_del(k, _device(k, input_dev))
    yield from put_device(k, _device(k, input_dev))
    return 0


MANAGED, REGISTERED = 1, 3
"""Of ``devres_managed``, a bool to the kernel: the driver core gives it back; it is registered, too."""


@export(UNHEARD)
def devm_input_allocate_device(k: Host, dev: int) -> int:
    """``struct input_dev *devm_input_allocate_device(struct device *dev)``

    drivers/input/input.c, 6.1. Given back when the driver leaves *dev*.
    """
    node = own(k, dev, "devm_input_device_release", 8)
    made = input_allocate_device(k) if node else 0
    if not made:
        return 0
    put(k, "device", _device(k, made), "parent", dev)
    put(k, "input_dev", made, "devres_managed", MANAGED)
    k.mem.set_u64(node, made)
    devres_add(k, dev, node)
    return made


@export(UNHEARD)
def input_free_device(k: Host, dev: int) -> Guest:
    """``void input_free_device(struct input_dev *dev)``

    drivers/input/input.c, 6.1. Of one that is not registered. NULL is allowed.
    """
    if dev:
        yield from put_device(k, _device(k, dev))
    return 0


@export(UNHEARD)
def input_register_device(k: Host, dev: int) -> Guest:
    """``int input_register_device(struct input_dev *dev)``

    drivers/input/input.c, 6.1. -EINVAL for an absolute axis of which nothing is told; what the device core says.
    """
    events = k.mem.u64(at(k, "input_dev", dev, "evbit"))
    if events >> EV_ABS & 1 and not get(k, "input_dev", dev, "absinfo"):
        k.log.printk(f"\x013{_name(k, dev)}: Absolute device without dev->absinfo, refusing to register\n")
        return -EINVAL
    _set_bit(k, dev, "evbit", EV_SYN)
    keys = at(k, "input_dev", dev, "keybit")
    k.mem.set_u8(keys, k.mem.u8(keys) & ~1)
    hint = get(k, "input_dev", dev, "hint_events_per_packet") or 8
    vals = k.mm.kmalloc((hint + 2) * 8, GFP_KERNEL | __GFP_ZERO, -1, k.caller)
    if not vals:
        return -ENOMEM
    put(k, "input_dev", dev, "vals", vals)
    put(k, "input_dev", dev, "max_vals", hint + 2)
    error = s32((yield from device_add(k, _device(k, dev))))
    if error:
        put(k, "input_dev", dev, "vals", 0)
        k.mm.kfree(vals)
        return error
    k.log.printk(f"\x016input: {_name(k, dev)} as {_path(k, _device(k, dev))}\n")
    if get(k, "input_dev", dev, "devres_managed"):
        put(k, "input_dev", dev, "devres_managed", REGISTERED)
    return 0


def _path(k: Host, device: int) -> str:
    """Where a device of the class lies below /sys: below its parent, else with those that have none."""
    names = ["input"]
    parent = get(k, "device", device, "parent")
    while parent:
        names.insert(0, _device_name(k, parent))
        parent = get(k, "device", parent, "parent")
    return "/".join(["/devices", *(names if len(names) > 1 else ["virtual", "input"]), _device_name(k, device)])


def _device_name(k: Host, device: int) -> str:
    return text(k, device_name(k, device)).decode(errors="replace")


def _name(k: Host, dev: int) -> str:
    name = get(k, "input_dev", dev, "name")
    return text(k, name).decode(errors="replace") if name else "Unspecified device"


@export(UNHEARD)
def input_unregister_device(k: Host, dev: int) -> Guest:
    """``void input_unregister_device(struct input_dev *dev)``

    drivers/input/input.c, 6.1.
    """
    yield from device_del(k, _device(k, dev))
    managed = get(k, "input_dev", dev, "devres_managed")
    if managed:
        put(k, "input_dev", dev, "devres_managed", MANAGED)
    else:
        yield from put_device(k, _device(k, dev))
    return 0


@export(UNHEARD)
def input_set_capability(k: Host, dev: int, type: int, code: int) -> None:
    """``void input_set_capability(struct input_dev *dev, unsigned int type, unsigned int code)``

    drivers/input/input.c, 6.1. The device can report *code* of *type*.
    """
    if type in _BITS:
        if type == EV_ABS:
            _absinfo(k, dev)
        _set_bit(k, dev, _BITS[type], code)
    elif type != EV_PWR:
        k.log.printk(f"\x013input_set_capability: unknown type {type} (code {code})\n")
        return
    _set_bit(k, dev, "evbit", type)


def _absinfo(k: Host, dev: int) -> int:
    info = get(k, "input_dev", dev, "absinfo")
    if not info:
        info = k.mm.kmalloc(ABS_CNT * ABSINFO_SIZE, GFP_KERNEL | __GFP_ZERO, -1, k.caller)
        put(k, "input_dev", dev, "absinfo", info)
    return info


@export(UNHEARD)
def input_alloc_absinfo(k: Host, dev: int) -> None:
    """``void input_alloc_absinfo(struct input_dev *dev)``

    drivers/input/input.c, 6.1. Room for what is known of the absolute axes.
    """
    _absinfo(k, dev)


@export(UNHEARD)
def input_set_abs_params(k: Host, dev: int, axis: int, min: int, max: int, fuzz: int, flat: int) -> None:
    """``void input_set_abs_params(struct input_dev *dev, unsigned int axis, int min, int max, int fuzz, int flat)``

    drivers/input/input.c, 6.1. The range of an absolute axis.
    """
    _set_bit(k, dev, "evbit", EV_ABS)
    _set_bit(k, dev, "absbit", axis)
    info = _absinfo(k, dev)
    if info:
        for number, value in enumerate((min, max, fuzz, flat), 1):
            k.mem.set_u32(info + axis * ABSINFO_SIZE + 4 * number, value & 0xFFFFFFFF)


accepts(
    "drivers/input/input.c",
    "void input_event(struct input_dev *dev, unsigned int type, unsigned int code, int value)",
    "void input_inject_event(struct input_handle *handle, unsigned int type, unsigned int code, int value)",
    "void input_enable_softrepeat(struct input_dev *dev, int delay, int period)",
    "void input_reset_device(struct input_dev *dev)",
    how="no handler is attached: what the device reports, nobody hears",
)
