"""Numbers in option strings (lib/cmdline.c), 6.1."""

from __future__ import annotations

from kmem.kapi.export import export, faithful
from kmem.kapi.host import Host, s32
from kmem.kapi.kstrtox import STRING_LIMIT, simple_strntoll, simple_strntoull

NONE, LAST, MORE, RANGE = range(4)
"""What `_option` found: no number, a number, one with a comma behind it, one with a hyphen behind it."""


def _number(k: Host, at: int) -> tuple[int, int]:
    """``simple_strtoull()`` in base 0, and where it stopped."""
    value, used = simple_strntoull(k.mem.cstr(at, STRING_LIMIT), 0)
    return value, at + used


def _option(k: Host, at: int) -> tuple[int, int, int]:
    """One number of the text at *at*: what was found, its value, where to go on."""
    if not at or not k.mem.u8(at):
        return NONE, 0, at
    start = at + (k.mem.u8(at) == ord("-"))
    value, end = _number(k, start)
    value = -value if start != at else value
    if end == start:
        return NONE, value, end
    following = k.mem.u8(end)
    if following == ord(","):
        return MORE, value, end + 1
    return (RANGE if following == ord("-") else LAST), value, end


@export(faithful)
def get_option(k: Host, str_: int, pint: int) -> int:
    """``int get_option(char **str, int *pint)``

    lib/cmdline.c, 6.1. 0 no number, 1 a number, 2 one and a comma, which is skipped, 3 one and a hyphen.
    """
    at = k.mem.u64(str_)
    found, value, end = _option(k, at)
    if at and k.mem.u8(at):
        k.mem.set_u64(str_, end)
        if pint:
            k.mem.set_u32(pint, value & 0xFFFFFFFF)
    return found


@export(faithful)
def get_options(k: Host, str_: int, nints: int, ints: int) -> int:
    """``char *get_options(const char *str, int nints, int *ints)``

    lib/cmdline.c, 6.1. The numbers of a comma-separated list go behind ``ints[0]``, their number into it; a range
    M-N gives every number in it. Without room for any, they are only counted. Returns where it stopped.
    """
    validate = nints == 0
    count = 1
    while count < nints or validate:
        slot = ints if validate else ints + 4 * count
        at = str_
        found, value, str_ = _option(k, at)
        if at and k.mem.u8(at):
            k.mem.set_u32(slot, value & 0xFFFFFFFF)
        if found == NONE:
            break
        if found == RANGE:
            str_ += 1
            upper, _ = simple_strntoll(k.mem.cstr(str_, STRING_LIMIT), 0)
            upper, first = s32(upper), k.mem.s32(slot)
            for number in range(0 if validate else min(upper - first, nints - count)):
                k.mem.set_u32(slot + 4 * number, first + number & 0xFFFFFFFF)
            if upper < first:
                break
            count += upper - first - 1
        count += 1
        if found == LAST:
            break
    k.mem.set_u32(ints, count - 1 & 0xFFFFFFFF)
    return str_
