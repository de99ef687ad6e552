"""Array parameters (kernel/params.c), 6.1: comma-separated values, each set through the ops of the element type."""

from __future__ import annotations

from kmem.kapi.errno import EINVAL
from kmem.kapi.export import data, export, faithful
from kmem.kapi.host import Call, Guest, Host, s32
from kmem.kapi.params import param_member, param_name
from kmem.kapi.string import text_at

data(
    "param_array_element",
    40,
    doc="struct kernel_param of the element being set or read. The model's own.",
    private=True,
)


def _array(k: Host, arr: int, name: str) -> int:
    """A 64-bit member of the ``struct kparam_array`` at *arr*."""
    return k.mem.u64(arr + k.layout["kparam_array"].offset(name))


def _array_u32(k: Host, arr: int, name: str) -> int:
    return k.mem.u32(arr + k.layout["kparam_array"].offset(name))


def _element(k: Host, kp: int, arr: int, index: int) -> int:
    """A ``struct kernel_param`` like the one at *kp*, for element *index* of its array."""
    layout, element = k.layout["kernel_param"], k.address_of("param_array_element")
    k.mem.write(element, k.mem.read(kp, layout.size))
    arg = _array(k, arr, "elem") + index * _array_u32(k, arr, "elemsize")
    k.mem.set_u64(element + layout.offset("arg"), arg)
    return element


def _function(k: Host, arr: int, name: str) -> int:
    return k.mem.u64(_array(k, arr, "ops") + k.layout["kernel_param_ops"].offset(name))


def _count(k: Host, arr: int) -> int:
    """How many elements have been set."""
    num = _array(k, arr, "num")
    return k.mem.u32(num) if num else _array_u32(k, arr, "max")


@export(faithful, private=True)
def param_array_set(k: Host, val: int, kp: int) -> Guest:
    """``int param_array_set(const char *val, const struct kernel_param *kp)``

    kernel/params.c, 6.1. Writes NULs over the commas of *val*.
    """
    arr = param_member(k, kp, "arr")
    limit, num = _array_u32(k, arr, "max"), _array(k, arr, "num")
    set_element = _function(k, arr, "set")
    values = text_at(k, val).split(b",")
    for index, value in enumerate(values):
        if num:
            k.mem.set_u32(num, index)
        if index == limit:
            k.log.printk(f"\x013{param_name(k, kp)}: can only take {limit} arguments\n")
            return -EINVAL
        k.mem.set_u8(val + len(value), 0)
        error = s32((yield Call(set_element, (val, _element(k, kp, arr, index)))))
        if error:
            return error
        val += len(value) + 1
    if num:
        k.mem.set_u32(num, len(values))
    return 0


@export(faithful, private=True)
def param_array_get(k: Host, buffer: int, kp: int) -> Guest:
    """``int param_array_get(char *buffer, const struct kernel_param *kp)``

    kernel/params.c, 6.1. The elements with commas between.
    """
    arr = param_member(k, kp, "arr")
    get_element = _function(k, arr, "get")
    offset = 0
    for index in range(_count(k, arr)):
        if index:
            k.mem.set_u8(buffer + offset - 1, ord(","))
        length = s32((yield Call(get_element, (buffer + offset, _element(k, kp, arr, index)))))
        if length < 0:
            return length
        offset += length
    k.mem.set_u8(buffer + offset, 0)
    return offset


@export(faithful, private=True)
def param_array_free(k: Host, arg: int) -> Guest:
    """``void param_array_free(void *arg)``

    kernel/params.c, 6.1.
    """
    free = _function(k, arg, "free")
    if free:
        for index in range(_count(k, arg)):
            yield Call(free, (_array(k, arg, "elem") + index * _array_u32(k, arg, "elemsize"),))
    return 0
