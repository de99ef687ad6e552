"""Module parameters (kernel/params.c), 6.1: the exported ``param_ops_*`` and `set_param`, which the loader calls for
each argument.

Values are parsed in Python. The ``struct kernel_param_ops`` are data in guest memory whose function pointers are the
exported functions, so a module can use them as the kernel's.
"""

from __future__ import annotations

from collections.abc import Callable

from kmem.abi.gfp import GFP_KERNEL
from kmem.kapi.errno import EINVAL, ENOMEM, ENOSPC, EROFS
from kmem.kapi.export import data, export, faithful, family
from kmem.kapi.host import Call, Guest, Host, s32
from kmem.kapi.kstrtox import parse_bool, parse_int
from kmem.kapi.lists import add, del_init, entries, init_list_head
from kmem.kapi.printf_spec import SMALL, SPECIAL, ZEROPAD, Spec, number
from kmem.kapi.string import text_at
from kmem.kapi.vsprintf_pointer import string as string_conversion

PAGE_SIZE = 4096
FL_NOARG = 1
"""KERNEL_PARAM_OPS_FL_NOARG: the parameter may be given without a value."""

_OPS_SIZE = 32
_MAX_STRING = 1024


def param_member(k: Host, kp: int, name: str) -> int:
    """A 64-bit member of the ``struct kernel_param`` at *kp*."""
    return k.mem.u64(kp + k.layout["kernel_param"].offset(name))


def param_name(k: Host, kp: int) -> str:
    """The name of the parameter at *kp*."""
    return k.mem.cstr(param_member(k, kp, "name")).decode("utf-8", "backslashreplace")


def _declare_ops(name: str, setter: str, getter: str, free: str = "", flags: int = 0) -> None:
    def initial(k: Host) -> bytes:
        functions = (k.address_of(function) if function else 0 for function in (setter, getter, free))
        return flags.to_bytes(8, "little") + b"".join(address.to_bytes(8, "little") for address in functions)

    data(name, _OPS_SIZE, initial, doc="struct kernel_param_ops, kernel/params.c.")


def _text(k: Host, val: int) -> bytes | None:
    """The value that a setter got: None for an argument without ``=``."""
    return text_at(k, val) if val else None


Setter = Callable[[Host, "bytes | None", int], int]
Getter = Callable[[Host, int], bytes]


def _declare(kind: str, set_value: Setter, get_value: Getter | None, get: str = "", flags: int = 0) -> None:
    """Declares ``param_set_KIND``, ``param_get_KIND`` and ``param_ops_KIND``; both functions get the address of the
    value."""

    def setter(k: Host, val: int, kp: int) -> int:
        return set_value(k, _text(k, val), param_member(k, kp, "arg"))

    prototype = f"int param_set_{kind}(const char *val, const struct kernel_param *kp)"
    family(faithful, prototype, "kernel/params.c, 6.1. 0 or a negative error.", setter)
    if get_value is not None:
        get = kind

        def getter(k: Host, buffer: int, kp: int) -> int:
            text = get_value(k, param_member(k, kp, "arg"))[: PAGE_SIZE - 1]
            k.mem.write(buffer, text + b"\0")
            return len(text)

        prototype = f"int param_get_{kind}(char *buffer, const struct kernel_param *kp)"
        family(faithful, prototype, "kernel/params.c, 6.1. The value as text with a newline; its length.", getter)
    _declare_ops(f"param_ops_{kind}", f"param_set_{kind}", f"param_get_{get}", flags=flags)


def _integer(bits: int, signed: bool) -> Setter:
    def set_value(k: Host, text: bytes | None, arg: int) -> int:
        error, value = parse_int(text or b"", 0, bits, signed)
        if not error:
            k.mem.write(arg, (value & ((1 << bits) - 1)).to_bytes(bits // 8, "little"))
        return error

    return set_value


def _decimal(bits: int, signed: bool) -> Getter:
    def get_value(k: Host, arg: int) -> bytes:
        return b"%d\n" % int.from_bytes(k.mem.read(arg, bits // 8), "little", signed=signed)

    return get_value


def _hexadecimal(k: Host, arg: int) -> bytes:
    return number(k.mem.u32(arg), Spec(width=8, flags=SPECIAL | SMALL | ZEROPAD, base=16)) + b"\n"


for _kind, _bits, _signed in (
    ("byte", 8, False),
    ("short", 16, True),
    ("ushort", 16, False),
    ("int", 32, True),
    ("uint", 32, False),
    ("long", 64, True),
    ("ulong", 64, False),
    ("ullong", 64, False),
):
    _declare(_kind, _integer(_bits, _signed), _decimal(_bits, _signed))
_declare("hexint", _integer(32, False), _hexadecimal)


def _boolean(size: int, invert: bool = False) -> Setter:
    def set_value(k: Host, text: bytes | None, arg: int) -> int:
        value = parse_bool(b"1" if text is None else text)
        if value is None:
            return -EINVAL
        k.mem.write(arg, (value ^ invert).to_bytes(size, "little"))
        return 0

    return set_value


def _letter(invert: bool) -> Getter:
    def get_value(k: Host, arg: int) -> bytes:
        return b"Y\n" if bool(k.mem.u8(arg)) ^ invert else b"N\n"

    return get_value


def _enable_only(k: Host, text: bytes | None, arg: int) -> int:
    value = parse_bool(b"1" if text is None else text)
    if value is None:
        return -EINVAL
    if k.mem.u8(arg) and not value:
        return -EROFS
    if value:
        k.mem.set_u8(arg, 1)
    return 0


_declare("bool", _boolean(1), _letter(False), flags=FL_NOARG)
_declare("invbool", _boolean(1, invert=True), _letter(True))
_declare("bint", _boolean(4), None, get="int", flags=FL_NOARG)
_declare("bool_enable_only", _enable_only, None, get="bool", flags=FL_NOARG)


@export(faithful)
def param_set_uint_minmax(k: Host, val: int, kp: int, min: int, max: int) -> int:
    """``int param_set_uint_minmax(const char *val, const struct kernel_param *kp, unsigned int min, unsigned int max)``

    kernel/params.c, 6.1.
    """
    error, value = parse_int(_text(k, val) or b"", 0, 32, False)
    if error or not min <= value <= max:
        return error or -EINVAL
    k.mem.set_u32(param_member(k, kp, "arg"), value)
    return 0


@export(faithful)
def param_set_charp(k: Host, val: int, kp: int) -> int:
    """``int param_set_charp(const char *val, const struct kernel_param *kp)``

    kernel/params.c, 6.1. Keeps a kmalloc copy; the one before is freed if it was such a copy.
    """
    text = text_at(k, val, _MAX_STRING + 1)
    if len(text) > _MAX_STRING:
        k.log.printk(f"\x013{param_name(k, kp)}: string parameter too long\n")
        return -ENOSPC
    copy = k.mm.kmalloc(_CHARP_HEAD + len(text) + 1, GFP_KERNEL, caller=k.caller)
    if not copy:
        return -ENOMEM
    arg = param_member(k, kp, "arg")
    add(k, copy, _copies(k))
    k.mem.write(copy + _CHARP_HEAD, text + b"\0")
    _free_copy(k, k.mem.u64(arg))
    k.mem.set_u64(arg, copy + _CHARP_HEAD)
    return 0


@export(faithful)
def param_get_charp(k: Host, buffer: int, kp: int) -> int:
    """``int param_get_charp(char *buffer, const struct kernel_param *kp)``

    kernel/params.c, 6.1.
    """
    return _print_string(k, buffer, k.mem.u64(param_member(k, kp, "arg")))


@export(faithful)
def param_free_charp(k: Host, arg: int) -> None:
    """``void param_free_charp(void *arg)``

    kernel/params.c, 6.1.
    """
    _free_copy(k, k.mem.u64(arg))


_declare_ops("param_ops_charp", "param_set_charp", "param_get_charp", "param_free_charp")

# struct kmalloced_param { struct list_head list; char val[]; }: the kernel links its copies to know them again.
_CHARP_HEAD = 16
data(
    "kmalloced_params",
    16,
    doc="List of the copies made by param_set_charp(), kernel/params.c. Not exported by the kernel.",
    private=True,
)


def _copies(k: Host) -> int:
    """The head of the list of copies."""
    head = k.address_of("kmalloced_params")
    if not k.mem.u64(head):
        init_list_head(k, head)
    return head


def _free_copy(k: Host, value: int) -> None:
    """``maybe_kfree_parameter()``: frees *value* if param_set_charp() has allocated it."""
    for copy in entries(k, _copies(k)):
        if copy + _CHARP_HEAD == value:
            del_init(k, copy)
            k.mm.kfree(copy)
            return


def _print_string(k: Host, buffer: int, string: int) -> int:
    text = (string_conversion(k, string, Spec()) + b"\n")[: PAGE_SIZE - 1]
    k.mem.write(buffer, text + b"\0")
    return len(text)


@export(faithful)
def param_set_copystring(k: Host, val: int, kp: int) -> int:
    """``int param_set_copystring(const char *val, const struct kernel_param *kp)``

    kernel/params.c, 6.1. Into the array of a ``struct kparam_string``.
    """
    kps, layout = param_member(k, kp, "str"), k.layout["kparam_string"]
    maxlen = k.mem.u32(kps + layout.offset("maxlen"))
    text = text_at(k, val, maxlen)
    if len(text) == maxlen:
        k.log.printk(f"\x013{param_name(k, kp)}: string doesn't fit in {(maxlen - 1) & 0xFFFFFFFF} chars.\n")
        return -ENOSPC
    k.mem.write(k.mem.u64(kps + layout.offset("string")), text + b"\0")
    return 0


@export(faithful)
def param_get_string(k: Host, buffer: int, kp: int) -> int:
    """``int param_get_string(char *buffer, const struct kernel_param *kp)``

    kernel/params.c, 6.1.
    """
    kps = param_member(k, kp, "str")
    return _print_string(k, buffer, k.mem.u64(kps + k.layout["kparam_string"].offset("string")))


_declare_ops("param_ops_string", "param_set_copystring", "param_get_string")
# The functions are in kmem.kapi.param_array.
_declare_ops("param_array_ops", "param_array_set", "param_array_get", "param_array_free")


_VALUE_SIZE = 8192
data("param_value", _VALUE_SIZE, doc="The argument that is being set, as text. The model's own.", private=True)


def set_param(k: Host, kp: int, value: str | None) -> Guest:
    """Sets the ``struct kernel_param`` at *kp* to *value* (None: given without ``=``); 0 or a negative error
    (``parse_one()``)."""
    ops, layout = param_member(k, kp, "ops"), k.layout["kernel_param_ops"]
    if value is None and not k.mem.u32(ops + layout.offset("flags")) & FL_NOARG:
        return -EINVAL
    text = 0
    if value is not None:
        content = value.encode() + b"\0"
        if len(content) > _VALUE_SIZE:
            return -ENOSPC
        text = k.address_of("param_value")
        k.mem.write(text, content)
    result = yield Call(k.mem.u64(ops + layout.offset("set")), (text, kp))
    return s32(result)


def free_params(k: Host, kp: int, count: int) -> Guest:
    """Frees what the setters of *count* parameters from *kp* on have allocated (``destroy_params()``)."""
    free = k.layout["kernel_param_ops"].offset("free")
    for _ in range(count):
        function = k.mem.u64(param_member(k, kp, "ops") + free)
        if function:
            yield Call(function, (param_member(k, kp, "arg"),))
        kp += k.layout["kernel_param"].size
    return 0
