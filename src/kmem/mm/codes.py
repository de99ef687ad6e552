"""Numbers that compiled code and Python agree on: upcalls, slub_debug reports, reasons of failures."""

from __future__ import annotations

(
    UP_EVENTS_FULL,
    UP_BAD_PAGE,
    UP_WARN,
    UP_BUG,
    UP_ALLOC_FAILED,
    UP_OUT_OF_MEMORY,
    UP_CTOR,
    UP_SLAB_REPORT,
    UP_SLAB_FIX,
    UP_SLAB_TRACK,
    UP_VMALLOC_FAILED,
    UP_CACHE_FLAGS,
    UP_WRONG_CACHE,
    UP_TLB_FLUSH,
    UP_MEMTYPE,
    UP_SHRINK_SLAB,
    UP_MIGRATE_PAGE,
    UP_STUCK,
    UP_SLAB_OOM,
    UP_CACHE_FAILED,
    UP_CACHE_BUSY,
    UP_FIX_FLAGS,
    UP_RCU_SLAB,
    UP_RCU_CACHE,
    UP_CONTIG_IN_USE,
) = range(1, 26)
"""Codes. What the four arguments mean is said where the upcall is made."""

(
    REPORT_LEFT_REDZONE,
    REPORT_RIGHT_REDZONE,
    REPORT_ALIGNMENT,
    REPORT_POISON,
    REPORT_END_POISON,
    REPORT_OBJECT_PADDING,
    REPORT_SLAB_PADDING,
    REPORT_KMALLOC_REDZONE,
    REPORT_FREEPOINTER,
    REPORT_FREECHAIN,
    REPORT_NOT_SLAB,
    REPORT_OBJECTS,
    REPORT_INUSE,
    REPORT_DISABLED,
    REPORT_FREELIST_CHECK,
    REPORT_INVALID_POINTER,
    REPORT_ALREADY_FREE,
    REPORT_WRONG_COUNT,
    REPORT_WRONG_CACHE,
    REPORT_REMAINING,
) = range(20)
"""Reports; the first eight are ranges of overwritten bytes, for which ``a`` … ``d`` of the report are first, last,
found, expected.
"""

FIX_RESTORE, FIX_ALL_USED, FIX_NOT_FREED, FIX_CLEARED, FIX_COUNT, FIX_CHAIN = range(6)

ACCESS_READ, ACCESS_WRITE, ACCESS_EXEC = 0, 1, 2
EFAULT, ENOMEM, EBUS, EDRIVER, EBUSY, EINVAL = -14, -12, -7, -515, -16, -22
"""What an access to user memory comes to: errors as in the kernel; EBUS is SIGBUS, EDRIVER asks for the driver's fault
handler.
"""

HUGE, EXCEEDS, NO_AREA, NO_PAGES, NO_SPACE, NO_AREA_RETRYING = range(1, 7)
"""Why a vmalloc failed, for the report."""
