"""What a pointer points at, in the words of ``kmem_dump_obj()`` and ``mem_dump_obj()`` (mm/slab_common.c, mm/util.c),
6.1. Each text continues a line of the log.
"""

from __future__ import annotations

from kmem.kapi.host import Host

PAGE_SIZE, ZERO_SIZE_PTR = 4096, 16
_CONTINUED = "\x01c"


def slab_object(k: Host, object: int) -> str:
    """The text for a slab object, "" for what is none."""
    info = k.mm.slab_object_info(object)
    if info is None:
        return ""
    name, start, data_offset, usersize, allocated_by = info
    words = [f" slab {name} start {start:016x}"]
    if data_offset:
        words.append(f"data offset {data_offset}")
    words.append(f"pointer offset {object - start - data_offset}")
    if usersize:
        words.append(f"size {usersize}")
    if allocated_by:
        words.append(f"allocated at {k.kallsyms.sprint(allocated_by)}")
    return f"{_CONTINUED}{' '.join(words)}\n"


def any_memory(k: Host, object: int) -> str:
    """The text for what is no slab object."""
    area = k.mm.vmalloc_area_info(object)
    if area is not None:
        pages, start, caller = area
        by = k.kallsyms.sprint(caller) if caller else "0x0"
        return f"{_CONTINUED} {pages}-page vmalloc region starting at {start:#x} allocated at {by}\n"
    if k.mm.is_vmalloc_addr(object):
        kind = "vmalloc memory"
    elif k.mm.virt_addr_valid(object):
        kind = "non-slab/vmalloc memory"
    elif object == 0:
        kind = "NULL pointer"
    elif object == ZERO_SIZE_PTR:
        kind = "zero-size pointer"
    else:
        kind = "non-paged memory"
    return f"{_CONTINUED} {kind}\n"
