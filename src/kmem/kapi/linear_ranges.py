"""Ranges of values that selectors stand for (lib/linear_ranges.c), 6.1.

``struct linear_range`` is four 32-bit numbers: the first value, the first and the last selector, and the step.
"""

from __future__ import annotations

from kmem.kapi.errno import EINVAL
from kmem.kapi.export import export, faithful
from kmem.kapi.host import Host

_SIZE = 16


class _Range:
    """The ``struct linear_range`` at *at*."""

    def __init__(self, k: Host, at: int) -> None:
        self.min, self.min_sel, self.max_sel, self.step = (k.mem.u32(at + 4 * n) for n in range(4))

    @property
    def max(self) -> int:
        return self.min + (self.max_sel - self.min_sel) * self.step & 0xFFFFFFFF

    def value(self, selector: int) -> int:
        return self.min + (selector - self.min_sel) * self.step & 0xFFFFFFFF

    def has(self, selector: int) -> bool:
        return self.min_sel <= selector <= self.max_sel


def _ranges(k: Host, at: int, count: int) -> list[_Range]:
    return [_Range(k, at + _SIZE * n) for n in range(max(count, 0))]


@export(faithful)
def linear_range_values_in_range(k: Host, r: int) -> int:
    """``unsigned int linear_range_values_in_range(const struct linear_range *r)``

    lib/linear_ranges.c, 6.1.
    """
    if not r:
        return 0
    it = _Range(k, r)
    return it.max_sel - it.min_sel + 1 & 0xFFFFFFFF


@export(faithful)
def linear_range_values_in_range_array(k: Host, r: int, ranges: int) -> int:
    """``unsigned int linear_range_values_in_range_array(const struct linear_range *r, int ranges)``

    lib/linear_ranges.c, 6.1.
    """
    if not r:
        return 0
    return sum(it.max_sel - it.min_sel + 1 for it in _ranges(k, r, ranges)) & 0xFFFFFFFF


@export(faithful)
def linear_range_get_max_value(k: Host, r: int) -> int:
    """``unsigned int linear_range_get_max_value(const struct linear_range *r)``

    lib/linear_ranges.c, 6.1.
    """
    return _Range(k, r).max


@export(faithful)
def linear_range_get_value(k: Host, r: int, selector: int, val: int) -> int:
    """``int linear_range_get_value(const struct linear_range *r, unsigned int selector, unsigned int *val)``

    lib/linear_ranges.c, 6.1. -EINVAL for a selector outside.
    """
    it = _Range(k, r)
    if not it.has(selector):
        return -EINVAL
    k.mem.set_u32(val, it.value(selector))
    return 0


@export(faithful)
def linear_range_get_value_array(k: Host, r: int, ranges: int, selector: int, val: int) -> int:
    """``int linear_range_get_value_array(const struct linear_range *r, int ranges, unsigned int selector, unsigned int
    *val)``

    lib/linear_ranges.c, 6.1.
    """
    for it in _ranges(k, r, ranges):
        if it.has(selector):
            k.mem.set_u32(val, it.value(selector))
            return 0
    return -EINVAL


@export(faithful)
def linear_range_get_selector_low(k: Host, r: int, val: int, selector: int, found: int) -> int:
    """``int linear_range_get_selector_low(const struct linear_range *r, unsigned int val, unsigned int *selector, bool
    *found)``

    lib/linear_ranges.c, 6.1. The largest value that is not above *val*.
    """
    return _low(k, _Range(k, r), val, selector, found)


def _low(k: Host, it: _Range, val: int, selector: int, found: int) -> int:
    k.mem.set_u8(found, 0)
    if it.min > val:
        return -EINVAL
    if it.max < val:
        k.mem.set_u32(selector, it.max_sel)
        return 0
    k.mem.set_u8(found, 1)
    k.mem.set_u32(selector, (val - it.min) // it.step + it.min_sel if it.step else it.min_sel)
    return 0


@export(faithful)
def linear_range_get_selector_low_array(k: Host, r: int, ranges: int, val: int, selector: int, found: int) -> int:
    """``int linear_range_get_selector_low_array(const struct linear_range *r, int ranges, unsigned int val, unsigned
    int *selector, bool *found)``

    lib/linear_ranges.c, 6.1.
    """
    result = -EINVAL
    for it in _ranges(k, r, ranges):
        if not _low(k, it, val, selector, found):
            result = 0
        if k.mem.u8(found):
            break
    return result


@export(faithful)
def linear_range_get_selector_high(k: Host, r: int, val: int, selector: int, found: int) -> int:
    """``int linear_range_get_selector_high(const struct linear_range *r, unsigned int val, unsigned int *selector, bool
    *found)``

    lib/linear_ranges.c, 6.1. The smallest value that is not below *val*.
    """
    it = _Range(k, r)
    k.mem.set_u8(found, 0)
    if it.max < val:
        return -EINVAL
    if it.min > val:
        k.mem.set_u32(selector, it.min_sel)
        return 0
    k.mem.set_u8(found, 1)
    k.mem.set_u32(selector, -(-(val - it.min) // it.step) + it.min_sel if it.step else it.max_sel)
    return 0


@export(faithful)
def linear_range_get_selector_within(k: Host, r: int, val: int, selector: int) -> None:
    """``void linear_range_get_selector_within(const struct linear_range *r, unsigned int val, unsigned int
    *selector)``

    lib/linear_ranges.c, 6.1. The nearest below, or the first or last of the range.
    """
    it = _Range(k, r)
    if it.min > val:
        k.mem.set_u32(selector, it.min_sel)
    elif it.max < val:
        k.mem.set_u32(selector, it.max_sel)
    else:
        k.mem.set_u32(selector, (val - it.min) // it.step + it.min_sel if it.step else it.min_sel)
