"""slub_debug: red zones, poison, owner tracks and consistency checks (mm/slub.c, CONFIG_SLUB_DEBUG, 6.1).

What is wrong is told to Python by an upcall (:data:`UP_SLAB_REPORT`) before it is repaired, so that the report shows
it. The arguments are: which report (the constants below), the cache, the slab and the object; details are in
``kdata.report``.
"""

from __future__ import annotations

from typing import Any

from kmem.abi.slab_flags import (
    DEBUG_DEFAULT_FLAGS,
    OBJECT_POISON,
    SLAB_CONSISTENCY_CHECKS,
    SLAB_KMALLOC,
    SLAB_POISON,
    SLAB_RED_ZONE,
    SLAB_STORE_USER,
    SLAB_TRACE,
)
from kmem.lib.jit import address, fill, jit, load8, load32, ptr, sizeof, store32, store64
from kmem.mm.codes import (
    FIX_ALL_USED,
    FIX_CLEARED,
    FIX_COUNT,
    FIX_NOT_FREED,
    FIX_RESTORE,
    REPORT_ALIGNMENT,
    REPORT_ALREADY_FREE,
    REPORT_DISABLED,
    REPORT_END_POISON,
    REPORT_FREECHAIN,
    REPORT_FREELIST_CHECK,
    REPORT_FREEPOINTER,
    REPORT_INUSE,
    REPORT_INVALID_POINTER,
    REPORT_KMALLOC_REDZONE,
    REPORT_LEFT_REDZONE,
    REPORT_NOT_SLAB,
    REPORT_OBJECT_PADDING,
    REPORT_OBJECTS,
    REPORT_POISON,
    REPORT_RIGHT_REDZONE,
    REPORT_SLAB_PADDING,
    REPORT_WRONG_COUNT,
    UP_SLAB_FIX,
    UP_SLAB_REPORT,
    UP_SLAB_TRACK,
)
from kmem.mm.features import SLUB_ORIG_SIZE_LONG
from kmem.mm.mm_types import track
from kmem.mm.mmzone import page_slab, priv
from kmem.mm.slub_freelist import (
    check_valid_pointer,
    get_freepointer,
    page_of_slab,
    set_freepointer,
    slab_address,
    slab_order,
)
from kmem.mm.upcalls import tell

SLUB_RED_INACTIVE, SLUB_RED_ACTIVE = 0xBB, 0xCC
POISON_INUSE, POISON_FREE, POISON_END = 0x5A, 0x6B, 0xA5
TRACK_ALLOC, TRACK_FREE = 0, 1
ORIG_SIZE_BYTES = 8 if SLUB_ORIG_SIZE_LONG else 4
SLAB_DEBUG_FLAGS = SLAB_RED_ZONE | SLAB_POISON | SLAB_STORE_USER | SLAB_TRACE | SLAB_CONSISTENCY_CHECKS


@jit
def kmem_cache_debug(s: Any) -> bool:
    """``kmem_cache_debug()``: any check is on for the cache."""
    return s.flags & SLAB_DEBUG_FLAGS != 0


@jit
def report(k: Any, what: int, s: Any, sl: Any, obj: int) -> None:
    """Tell about object *obj* (0: the slab as a whole)."""
    tell(k, UP_SLAB_REPORT, what, address(s), address(sl), obj)


@jit
def slab_fix(k: Any, what: int, s: Any, obj: int, last: int) -> None:
    """``slab_fix()``: tell what is done about it."""
    tell(k, UP_SLAB_FIX, what, address(s), obj, last)


@jit
def freeptr_outside_object(s: Any) -> bool:
    """``freeptr_outside_object()``."""
    return s.offset >= s.inuse


@jit
def get_info_end(s: Any) -> int:
    """``get_info_end()``: where the tracks begin, from the object."""
    return s.inuse + 8 if freeptr_outside_object(s) else s.inuse


@jit
def get_track(s: Any, obj: int, which: int) -> Any:
    """``get_track()``."""
    return ptr(track, obj + get_info_end(s) + which * sizeof(track), s)


@jit
def slub_debug_orig_size(s: Any) -> bool:
    """``slub_debug_orig_size()``: whether objects of the cache know how many bytes kmalloc was asked for."""
    return s.flags & SLAB_STORE_USER != 0 and s.flags & SLAB_KMALLOC != 0


@jit
def init_object(k: Any, s: Any, obj: int, val: int) -> None:
    """``init_object()``: red zones and, for a free object, poison."""
    size = s.object_size
    if s.flags & SLAB_RED_ZONE:
        fill(k, obj - s.red_left_pad, val, s.red_left_pad)
        if SLUB_ORIG_SIZE_LONG and val == SLUB_RED_ACTIVE and slub_debug_orig_size(s):
            size = get_orig_size(k, s, obj)
    if s.flags & OBJECT_POISON:
        fill(k, obj, POISON_FREE, size - 1)
        fill(k, obj + size - 1, POISON_END, 1)
    if s.flags & SLAB_RED_ZONE:
        fill(k, obj + size, val, s.inuse - size)


@jit
def setup_object_debug(k: Any, s: Any, obj: int) -> None:
    """``setup_object_debug()``: a new object is free and has no owner."""
    if s.flags & (SLAB_STORE_USER | SLAB_RED_ZONE | OBJECT_POISON):
        init_object(k, s, obj, SLUB_RED_INACTIVE)
        if s.flags & SLAB_STORE_USER:
            fill(k, obj + get_info_end(s), 0, 2 * sizeof(track))


@jit
def set_track(k: Any, s: Any, obj: int, which: int) -> None:
    """``set_track()``: the call site, its stack (a handle that Python keeps), CPU, task and time (jiffies of 4 ms)."""
    v = priv(k)
    t = get_track(s, obj, which)
    t.addr = v.call_site
    t.handle = tell(k, UP_SLAB_TRACK, obj, which, 0, 0)
    t.cpu = v.cpu
    t.pid = v.task
    t.when = 4294892296 + v.time // 4000000


@jit
def set_orig_size(k: Any, s: Any, obj: int, size: int) -> None:
    """``set_orig_size()``: how many bytes kmalloc was asked for, behind the tracks."""
    if slub_debug_orig_size(s):
        at = obj + get_info_end(s) + 2 * sizeof(track)
        if SLUB_ORIG_SIZE_LONG:
            store64(k, at, size)
        else:
            store32(k, at, size)


@jit
def get_orig_size(k: Any, s: Any, obj: int) -> int:
    """``get_orig_size()``: what kmalloc was asked for, where slub_debug keeps it; else the object size."""
    if not slub_debug_orig_size(s):
        return s.object_size
    return load32(k, obj + get_info_end(s) + 2 * sizeof(track))


@jit
def check_bytes_and_report(k: Any, what: int, s: Any, sl: Any, obj: int, start: int, value: int, n: int) -> bool:
    """``check_bytes_and_report()``: are all *n* bytes *value*? If not: tell, and put them right."""
    first = 0
    while first < n and load8(k, start + first) == value:
        first += 1
    if first >= n:
        return True
    end = n
    while end > first and load8(k, start + end - 1) == value:
        end -= 1
    k.report[0] = start + first
    k.report[1] = start + end - 1
    k.report[2] = load8(k, start + first)
    k.report[3] = value
    report(k, what, s, sl, obj)
    slab_fix(k, FIX_RESTORE + (what << 8), s, start + first, start + end - 1)
    fill(k, start + first, value, end - first)
    return False


@jit
def check_pad_bytes(k: Any, s: Any, sl: Any, obj: int) -> bool:
    """``check_pad_bytes()``: what is left between the tracks and the next object."""
    off = get_info_end(s)
    if s.flags & SLAB_STORE_USER:
        off += 2 * sizeof(track)
        if s.flags & SLAB_KMALLOC:
            off += ORIG_SIZE_BYTES
    end = s.size - s.red_left_pad if s.flags & SLAB_RED_ZONE else s.size
    if end == off:
        return True
    return check_bytes_and_report(k, REPORT_OBJECT_PADDING, s, sl, obj, obj + off, POISON_INUSE, end - off)


@jit
def check_object(k: Any, s: Any, sl: Any, obj: int, val: int) -> bool:
    """``check_object()``: red zones, poison, padding and free pointer of one object."""
    if s.flags & SLAB_RED_ZONE:
        if not check_bytes_and_report(k, REPORT_LEFT_REDZONE, s, sl, obj, obj - s.red_left_pad, val, s.red_left_pad):
            return False
        end = obj + s.object_size
        if not check_bytes_and_report(k, REPORT_RIGHT_REDZONE, s, sl, obj, end, val, s.inuse - s.object_size):
            return False
        if SLUB_ORIG_SIZE_LONG and val == SLUB_RED_ACTIVE and slub_debug_orig_size(s):
            size = get_orig_size(k, s, obj)
            n = s.object_size - size
            if n > 0 and not check_bytes_and_report(k, REPORT_KMALLOC_REDZONE, s, sl, obj, obj + size, val, n):
                return False
    elif s.flags & SLAB_POISON and s.object_size < s.inuse:
        n = s.inuse - s.object_size
        check_bytes_and_report(k, REPORT_ALIGNMENT, s, sl, obj, obj + s.object_size, POISON_INUSE, n)
    if s.flags & SLAB_POISON:
        if val != SLUB_RED_ACTIVE and s.flags & OBJECT_POISON:
            if not check_bytes_and_report(k, REPORT_POISON, s, sl, obj, obj, POISON_FREE, s.object_size - 1):
                return False
            if not check_bytes_and_report(k, REPORT_END_POISON, s, sl, obj, obj + s.object_size - 1, POISON_END, 1):
                return False
        check_pad_bytes(k, s, sl, obj)
    if not freeptr_outside_object(s) and val == SLUB_RED_ACTIVE:
        return True
    if not check_valid_pointer(s, sl, get_freepointer(k, s, obj)):
        report(k, REPORT_FREEPOINTER, s, sl, obj)
        set_freepointer(k, s, obj, 0)
        return False
    return True


@jit
def check_slab(k: Any, s: Any, sl: Any) -> bool:
    """``check_slab()``: is this a slab whose counts make sense?"""
    if not page_slab(page_of_slab(sl)):
        report(k, REPORT_NOT_SLAB, s, sl, 0)
        return False
    if sl.objects > (4096 << slab_order(sl)) // s.size:
        report(k, REPORT_OBJECTS, s, sl, 0)
        return False
    if sl.inuse > sl.objects:
        report(k, REPORT_INUSE, s, sl, 0)
        return False
    if sl.frozen:
        report(k, REPORT_DISABLED, s, sl, 0)
        return False
    slab_pad_check(k, s, sl)
    return True


@jit
def slab_pad_check(k: Any, s: Any, sl: Any) -> None:
    """``slab_pad_check()``: the bytes behind the last object."""
    if s.flags & SLAB_POISON:
        length = 4096 << slab_order(sl)
        rest = length % s.size
        if rest:
            pad = slab_address(sl) + length - rest
            check_bytes_and_report(k, REPORT_SLAB_PADDING, s, sl, pad, pad, POISON_INUSE, rest)


@jit
def on_freelist(k: Any, s: Any, sl: Any, search: int) -> bool:
    """``on_freelist()``: is *search* free already? Repairs a chain that leads out of the slab."""
    nr = 0
    obj = 0
    fp = sl.freelist
    while fp and nr <= sl.objects:
        if fp == search:
            return True
        if not check_valid_pointer(s, sl, fp):
            if obj:
                report(k, REPORT_FREECHAIN, s, sl, obj)
                set_freepointer(k, s, obj, 0)
                break
            report(k, REPORT_FREEPOINTER, s, sl, 0)
            sl.freelist = 0
            sl.inuse = sl.objects
            slab_fix(k, FIX_CLEARED, s, 0, 0)
            return False
        obj = fp
        fp = get_freepointer(k, s, obj)
        nr += 1
    if sl.inuse != sl.objects - nr:
        k.report[0] = sl.inuse
        k.report[1] = sl.objects - nr
        report(k, REPORT_WRONG_COUNT, s, sl, 0)
        sl.inuse = sl.objects - nr
        slab_fix(k, FIX_COUNT, s, 0, 0)
    return search == 0


@jit
def alloc_debug_processing(k: Any, s: Any, sl: Any, obj: int, orig_size: int) -> bool:
    """``alloc_debug_processing()``: check the object that is about to be handed out, and mark it in use."""
    if s.flags & SLAB_CONSISTENCY_CHECKS:
        good = check_slab(k, s, sl)
        if good and not check_valid_pointer(s, sl, obj):
            report(k, REPORT_FREELIST_CHECK, s, sl, obj)
            good = False
        if not good or not check_object(k, s, sl, obj, SLUB_RED_INACTIVE):
            if page_slab(page_of_slab(sl)):
                slab_fix(k, FIX_ALL_USED, s, 0, 0)
                sl.inuse = sl.objects
                sl.freelist = 0
                sl.frozen = 1
            return False
    set_orig_size(k, s, obj, orig_size)
    init_object(k, s, obj, SLUB_RED_ACTIVE)
    return True


@jit
def free_consistency_checks(k: Any, s: Any, sl: Any, obj: int) -> bool:
    """``free_consistency_checks()``: may *obj* be freed to *s*?"""
    if not check_valid_pointer(s, sl, obj):
        report(k, REPORT_INVALID_POINTER, s, sl, obj)
        return False
    if on_freelist(k, s, sl, obj):
        report(k, REPORT_ALREADY_FREE, s, sl, obj)
        return False
    return check_object(k, s, sl, obj, SLUB_RED_ACTIVE)


@jit
def free_debug_processing(k: Any, s: Any, sl: Any, head: int, tail: int, count: int) -> bool:
    """``free_debug_processing()``: check and mark free the objects from *head* to *tail*."""
    obj = head
    if not s.flags & SLAB_CONSISTENCY_CHECKS or check_slab(k, s, sl):
        for _ in range(count):
            if s.flags & SLAB_CONSISTENCY_CHECKS and not free_consistency_checks(k, s, sl, obj):
                break
            if s.flags & SLAB_STORE_USER:
                set_track(k, s, obj, TRACK_FREE)
            following = get_freepointer(k, s, obj) if obj != tail else 0
            init_object(k, s, obj, SLUB_RED_INACTIVE)
            if obj == tail:
                return True
            obj = following
    slab_fix(k, FIX_NOT_FREED, s, obj, 0)
    return False


DEFAULT_FLAGS = DEBUG_DEFAULT_FLAGS
"""What ``slub_debug`` without letters, and the configuration ``debug``, switch on (FZPU)."""
