"""mmap, munmap, brk, mprotect, mlock: what a process asks of its address space (mm/mmap.c, mm/mprotect.c; 6.1).

::

    0      64 KiB …              heap (brk, upwards)  …      mmap_base      stack (downwards)    TASK_SIZE
                                                 ←── mmap, from the top down

Simplified: locked pages are brought in and counted, and stay on the LRU list of the others; no keys, no userfaultfd.
"""

from __future__ import annotations

from typing import Any

from kmem.abi.address import TASK_SIZE_MAX
from kmem.lib.jit import address, entry, jit
from kmem.mm.codes import ACCESS_EXEC, ACCESS_READ, ACCESS_WRITE, EBUS, EDRIVER, EFAULT, EINVAL, ENOMEM
from kmem.mm.memory import (
    FAULT_DRIVER,
    FAULT_OK,
    FAULT_OOM,
    MM_ANONPAGES,
    MM_FILEPAGES,
    VM_ACCESS_FLAGS,
    VM_ACCOUNT,
    VM_GROWSDOWN,
    VM_LOCKED,
    VM_MAYEXEC,
    VM_MAYREAD,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_NORESERVE,
    VM_READ,
    VM_SHARED,
    VM_SOFTDIRTY,
    VM_SPECIAL,
    VM_WRITE,
    access_error,
    change_protection,
    get_mm_counter,
    handle_mm_fault,
    mm_at,
    no_vma,
    user_phys,
    vm_get_page_prot,
    zap_page_range,
)
from kmem.mm.mmzone import PAGE_SHIFT, PAGE_SIZE, count_vm_events, kernel
from kmem.mm.pgalloc import free_pgd_range
from kmem.mm.vm_events import EV_TLB_FLUSH
from kmem.mm.vma import (
    OVERCOMMIT_NEVER,
    RLIMIT_DATA,
    RLIMIT_STACK,
    STACK_GUARD_GAP,
    absorb,
    accessible,
    accountable_mapping,
    anon_alike,
    can_merge,
    find_vma,
    link_vma,
    may_expand_vm,
    merge_around,
    new_vma,
    remove_vma,
    rlimit,
    split_vma,
    vm_enough_memory,
    vm_start_gap,
    vm_stat_account,
    vm_unacct_memory,
    vma_next,
    vma_prev,
)

TASK_SIZE = TASK_SIZE_MAX
TASK_UNMAPPED_BASE = (TASK_SIZE // 3 + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1)
MMAP_MIN_ADDR = 65536
MAP_SHARED, MAP_PRIVATE, MAP_TYPE, MAP_FIXED, MAP_ANONYMOUS = 0x01, 0x02, 0x0F, 0x10, 0x20
MAP_GROWSDOWN, MAP_LOCKED, MAP_NORESERVE = 0x0100, 0x2000, 0x4000
MAP_POPULATE, MAP_NONBLOCK, MAP_FIXED_NOREPLACE = 0x8000, 0x10000, 0x100000
EACCES, EAGAIN, EEXIST, EOVERFLOW = -13, -11, -17, -75
VM_DATA_FLAGS = VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC


@jit
def page_align(n: int) -> int:
    """``PAGE_ALIGN()``; negative or 0 if that overflows."""
    return (n + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1)


# Where


@jit
def unmapped_area_topdown(k: Any, mm: Any, length: int) -> int:
    """``unmapped_area_topdown()``: the highest gap below ``mmap_base`` that is large enough; ENOMEM."""
    end = mm.mmap_base
    vma = vma_prev(k, mm, no_vma(k))
    while vma and vma.vm_start >= end:
        vma = vma_prev(k, mm, vma)
    above = vma_next(k, mm, vma) if vma else find_vma(k, mm, 0)
    if above:
        end = min(end, vm_start_gap(above))
    while True:
        start = vma.vm_end if vma else PAGE_SIZE
        if end - max(start, PAGE_SIZE) >= length:
            return end - length
        if not vma:
            return ENOMEM
        end = min(end, vm_start_gap(vma))
        vma = vma_prev(k, mm, vma)


@jit
def unmapped_area(k: Any, mm: Any, length: int) -> int:
    """``unmapped_area()``: the lowest gap above TASK_UNMAPPED_BASE; ENOMEM."""
    start = TASK_UNMAPPED_BASE
    vma = find_vma(k, mm, start)
    while vma:
        if vm_start_gap(vma) - start >= length:
            return start
        start = max(start, vma.vm_end)
        vma = vma_next(k, mm, vma)
    return start if TASK_SIZE - start >= length else ENOMEM


@jit
def get_unmapped_area(k: Any, mm: Any, addr: int, length: int, flags: int) -> int:
    """``get_unmapped_area()`` and ``arch_get_unmapped_area_topdown()``: where the mapping goes, or an error."""
    if length > TASK_SIZE:
        return ENOMEM
    if flags & MAP_FIXED:
        if addr < 0 or addr > TASK_SIZE - length:
            return ENOMEM
        return EINVAL if addr & (PAGE_SIZE - 1) else addr
    if addr > 0 and addr <= TASK_SIZE - length:
        hint = addr & ~(PAGE_SIZE - 1)
        vma = find_vma(k, mm, hint)
        if not vma or hint + length <= vm_start_gap(vma):
            return hint
    found = unmapped_area_topdown(k, mm, length)
    return unmapped_area(k, mm, length) if found < 0 else found


# Unmapping


@jit
def unmap_region(k: Any, mm: Any, start: int, end: int, floor: int, ceiling: int) -> None:
    """``unmap_region()``: pages, then the tables that nobody needs any more."""
    update_hiwater(mm)
    if zap_page_range(k, mm, start, end):
        count_vm_events(k, EV_TLB_FLUSH, 1)
    free_pgd_range(k, mm, start, end, floor, ceiling)


@jit
def update_hiwater(mm: Any) -> None:
    """``update_hiwater_rss()`` and ``update_hiwater_vm()``: remember the most, before it gets less."""
    mm.hiwater_rss = max(mm.hiwater_rss, get_mm_counter(mm, MM_FILEPAGES) + get_mm_counter(mm, MM_ANONPAGES))
    mm.hiwater_vm = max(mm.hiwater_vm, mm.total_vm)


@jit
def forget_vma(k: Any, mm: Any, vma: Any) -> None:
    """``remove_mt()`` for one area: accounts and struct."""
    pages = (vma.vm_end - vma.vm_start) >> PAGE_SHIFT
    if vma.vm_flags & VM_LOCKED:
        mm.locked_vm = mm.locked_vm - pages
    vm_stat_account(mm, vma.vm_flags, -pages)
    if vma.vm_flags & VM_ACCOUNT:
        vm_unacct_memory(k, pages)
    remove_vma(k, mm, vma)


@jit
def do_munmap(k: Any, mm: Any, start: int, length: int) -> int:
    """``do_mas_munmap()``: nothing is mapped in the range any more; areas that reach over its ends are split."""
    if start & (PAGE_SIZE - 1) or start < 0 or start > TASK_SIZE or length < 0 or length > TASK_SIZE - start:
        return EINVAL
    end = start + page_align(length)
    if end == start:
        return EINVAL
    vma = find_vma(k, mm, start)
    if not vma or vma.vm_start >= end:
        return 0
    if start > vma.vm_start:
        if end < vma.vm_end and mm.map_count >= k.sysctl_max_map_count:
            return ENOMEM
        if not split_vma(k, mm, vma, start):
            return ENOMEM
        vma = vma_next(k, mm, vma)
    prev = vma_prev(k, mm, vma)
    last = vma
    while True:
        if end < last.vm_end:
            if not split_vma(k, mm, last, end):
                return ENOMEM
            break
        after = vma_next(k, mm, last)
        if not after or after.vm_start >= end:
            break
        last = after
    after = vma_next(k, mm, last)
    unmap_region(k, mm, start, end, prev.vm_end if prev else 0, after.vm_start if after else 0)
    while vma and vma.vm_start < end:
        nxt = vma_next(k, mm, vma)
        forget_vma(k, mm, vma)
        vma = nxt
    return 0


@jit
def exit_mmap(k: Any, mm: Any) -> None:
    """``exit_mmap()``: every area, page and table below the top."""
    if zap_page_range(k, mm, 0, TASK_SIZE):
        count_vm_events(k, EV_TLB_FLUSH, 1)
    free_pgd_range(k, mm, 0, TASK_SIZE, 0, 0)
    vma = find_vma(k, mm, 0)
    while vma:
        nxt = vma_next(k, mm, vma)
        forget_vma(k, mm, vma)
        vma = nxt


# Mapping


@jit
def mapped_pages(k: Any, mm: Any, start: int, end: int) -> int:
    """``count_vma_pages_range()``: the pages of the range that areas cover."""
    n = 0
    vma = find_vma(k, mm, start)
    while vma and vma.vm_start < end:
        n += (min(end, vma.vm_end) - max(start, vma.vm_start)) >> PAGE_SHIFT
        vma = vma_next(k, mm, vma)
    return n


@jit
def mmap_region(k: Any, mm: Any, addr: int, length: int, flags: int, pgoff: int, file: int) -> int:
    """``mmap_region()``: the area, joined with its neighbours if they are like it; its address or an error.

    With *file* not 0 an area of its own is made, for a driver's mmap handler to fill in.
    """
    pages = length >> PAGE_SHIFT
    end = addr + length
    if not may_expand_vm(k, mm, flags, pages) and not may_expand_vm(
        k, mm, flags, pages - mapped_pages(k, mm, addr, end)
    ):
        return ENOMEM
    if do_munmap(k, mm, addr, length):
        return ENOMEM
    if not file and accountable_mapping(flags):
        if vm_enough_memory(k, mm, pages):
            return ENOMEM
        flags |= VM_ACCOUNT
    after = find_vma(k, mm, addr)
    prev = vma_prev(k, mm, after)
    if not file and prev and prev.vm_end == addr and anon_alike(prev, flags) and flat(prev, addr, pgoff):
        prev.vm_end = end
        if after and can_merge(prev, after):
            absorb(k, mm, prev, after)
        vma = prev
    elif not file and after and after.vm_start == end and anon_alike(after, flags) and flat(after, addr, pgoff):
        after.vm_start = addr
        after.vm_pgoff = pgoff
        vma = after
    else:
        vma = new_vma(k, mm, addr, end, flags, pgoff)
        if not vma:
            if flags & VM_ACCOUNT:
                vm_unacct_memory(k, pages)
            return ENOMEM
        vma.vm_file = file
        link_vma(k, mm, vma)
    vm_stat_account(mm, flags, pages)
    if flags & VM_LOCKED:
        if vma.vm_flags & VM_SPECIAL:
            vma.vm_flags = vma.vm_flags & ~VM_LOCKED
        else:
            mm.locked_vm = mm.locked_vm + pages
    vma.vm_flags = vma.vm_flags | VM_SOFTDIRTY
    return addr


@jit
def flat(vma: Any, addr: int, pgoff: int) -> bool:
    """Whether page *pgoff* at *addr* goes on where the area's pages end, or begin."""
    return vma.vm_pgoff + ((addr - vma.vm_start) >> PAGE_SHIFT) == pgoff


@jit
def do_mmap(k: Any, mm: Any, addr: int, length: int, prot: int, flags: int, pgoff: int, file: int) -> int:
    """``do_mmap()``: the address of the mapping, or an error. *prot* and *flags* are those of ``mmap(2)``."""
    if length == 0:
        return EINVAL
    if flags & MAP_FIXED_NOREPLACE:
        flags |= MAP_FIXED
    if not flags & MAP_FIXED and addr > 0 and addr < MMAP_MIN_ADDR:
        addr = MMAP_MIN_ADDR
    length = page_align(length)
    if length <= 0:
        return ENOMEM
    if mm.map_count > k.sysctl_max_map_count:
        return ENOMEM
    addr = get_unmapped_area(k, mm, addr, length, flags)
    if addr < 0:
        return addr
    if flags & MAP_FIXED_NOREPLACE:
        there = find_vma(k, mm, addr)
        if there and there.vm_start < addr + length:
            return EEXIST
    vm_flags = (prot & VM_ACCESS_FLAGS) | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC | mm.def_flags
    if flags & MAP_GROWSDOWN:
        vm_flags |= VM_GROWSDOWN
    if flags & MAP_LOCKED:
        vm_flags |= VM_LOCKED
    if flags & MAP_TYPE == MAP_SHARED:
        if vm_flags & VM_GROWSDOWN:
            return EINVAL
        vm_flags |= VM_SHARED | VM_MAYSHARE
        if not file:
            pgoff = 0
    elif flags & MAP_TYPE == MAP_PRIVATE:
        if not file:
            pgoff = addr >> PAGE_SHIFT
    else:
        return EINVAL
    if flags & MAP_NORESERVE and k.sysctl_overcommit_memory != OVERCOMMIT_NEVER:
        vm_flags |= VM_NORESERVE
    return mmap_region(k, mm, addr, length, vm_flags, pgoff, file)


@jit
def do_brk(k: Any, mm: Any, brk: int) -> int:
    """``brk(2)``: the end of the heap afterwards, which is the old one if it could not be moved."""
    if brk < mm.start_brk:
        return mm.brk
    limit = rlimit(k, mm, RLIMIT_DATA)
    if brk - mm.start_brk + (mm.end_data - mm.start_data) > limit:
        return mm.brk
    newbrk, oldbrk = page_align(brk), page_align(mm.brk)
    if newbrk < 0 or newbrk > TASK_SIZE:
        return mm.brk
    if oldbrk == newbrk:
        mm.brk = brk
    elif brk <= mm.brk:
        if do_munmap(k, mm, newbrk, oldbrk - newbrk) == 0:
            mm.brk = brk
    else:
        after = find_vma(k, mm, oldbrk)
        if after and newbrk + PAGE_SIZE > vm_start_gap(after):
            return mm.brk
        if do_brk_flags(k, mm, oldbrk, newbrk - oldbrk) == 0:
            mm.brk = brk
    return mm.brk


@jit
def do_brk_flags(k: Any, mm: Any, addr: int, length: int) -> int:
    """``do_brk_flags()``: more heap, in the area that ends there if it is one."""
    flags = VM_DATA_FLAGS | VM_ACCOUNT | mm.def_flags
    pages = length >> PAGE_SHIFT
    if not may_expand_vm(k, mm, flags, pages) or mm.map_count > k.sysctl_max_map_count:
        return ENOMEM
    if vm_enough_memory(k, mm, pages):
        return ENOMEM
    prev = vma_prev(k, mm, find_vma(k, mm, addr))
    if prev and prev.vm_end == addr and anon_alike(prev, flags) and flat(prev, addr, addr >> PAGE_SHIFT):
        prev.vm_end = addr + length
        vma = prev
    else:
        vma = new_vma(k, mm, addr, addr + length, flags, addr >> PAGE_SHIFT)
        if not vma:
            vm_unacct_memory(k, pages)
            return ENOMEM
        link_vma(k, mm, vma)
    mm.total_vm = mm.total_vm + pages
    mm.data_vm = mm.data_vm + pages
    if flags & VM_LOCKED:
        mm.locked_vm = mm.locked_vm + pages
    vma.vm_flags = vma.vm_flags | VM_SOFTDIRTY
    return 0


@jit
def cut_out(k: Any, mm: Any, vma: Any, start: int, end: int) -> Any:
    """Split *vma* so that one area is exactly the part of it in the range; that area, NULL without memory."""
    if start > vma.vm_start:
        if not split_vma(k, mm, vma, start):
            return no_vma(k)
        vma = vma_next(k, mm, vma)
    if end < vma.vm_end and not split_vma(k, mm, vma, end):
        return no_vma(k)
    return vma


@jit
def mprotect_fixup(k: Any, mm: Any, vma: Any, start: int, end: int, flags: int) -> int:
    """``mprotect_fixup()``: the part of one area in the range gets *flags*."""
    old = vma.vm_flags
    if flags == old:
        return 0
    pages = (end - start) >> PAGE_SHIFT
    charged = False
    if flags & VM_WRITE:
        if not may_expand_vm(k, mm, flags, pages) and may_expand_vm(k, mm, old, pages):
            return ENOMEM
        if not old & (VM_ACCOUNT | VM_WRITE | VM_SHARED | VM_NORESERVE):
            if vm_enough_memory(k, mm, pages):
                return ENOMEM
            charged = True
            flags |= VM_ACCOUNT
    part = cut_out(k, mm, vma, start, end)
    if not part:
        if charged:
            vm_unacct_memory(k, pages)
        return ENOMEM
    part.vm_flags = flags
    part.vm_page_prot.pgprot = vm_get_page_prot(flags)
    if change_protection(k, mm, part, start, end):
        count_vm_events(k, EV_TLB_FLUSH, 1)
    vm_stat_account(mm, old, -pages)
    vm_stat_account(mm, flags, pages)
    merge_around(k, mm, part)
    return 0


@jit
def do_mprotect(k: Any, mm: Any, start: int, length: int, prot: int) -> int:
    """``do_mprotect_pkey()``: areas without a hole; what was done before a hole or an error stays done."""
    if start & (PAGE_SIZE - 1):
        return EINVAL
    if length == 0:
        return 0
    end = start + page_align(length)
    if end <= start:
        return ENOMEM
    at = start
    while at < end:
        vma = find_vma(k, mm, at)
        if not vma or vma.vm_start > at:
            return ENOMEM
        flags = (vma.vm_flags & ~VM_ACCESS_FLAGS) | (prot & VM_ACCESS_FLAGS)
        if flags & ~(flags >> 4) & VM_ACCESS_FLAGS:
            return EACCES
        upto = min(end, vma.vm_end)
        error = mprotect_fixup(k, mm, vma, at, upto, flags)
        if error:
            return error
        at = upto
    return 0


@jit
def apply_vma_lock_flags(k: Any, mm: Any, start: int, length: int, lock: bool) -> int:
    """``apply_vma_lock_flags()``: mlock and munlock; ENOMEM at a hole. Bringing the pages in is the caller's."""
    end = page_align(start + length)
    at = start & ~(PAGE_SIZE - 1)
    while at < end:
        vma = find_vma(k, mm, at)
        if not vma or vma.vm_start > at:
            return ENOMEM
        upto = min(end, vma.vm_end)
        flags = vma.vm_flags | VM_LOCKED if lock else vma.vm_flags & ~VM_LOCKED
        if flags != vma.vm_flags and not vma.vm_flags & VM_SPECIAL:
            part = cut_out(k, mm, vma, at, upto)
            if not part:
                return ENOMEM
            part.vm_flags = flags
            pages = (upto - at) >> PAGE_SHIFT
            mm.locked_vm = mm.locked_vm + (pages if lock else -pages)
            merge_around(k, mm, part)
        at = upto
    return 0


# Faults


@jit
def expand_stack(k: Any, mm: Any, vma: Any, addr: int) -> int:
    """``expand_downwards()``: a stack grows to the page of *addr*."""
    addr &= ~(PAGE_SIZE - 1)
    if addr < MMAP_MIN_ADDR:
        return ENOMEM
    prev = vma_prev(k, mm, vma)
    if prev and not prev.vm_flags & VM_GROWSDOWN and accessible(prev) and addr - prev.vm_end < STACK_GUARD_GAP:
        return ENOMEM
    grow = (vma.vm_start - addr) >> PAGE_SHIFT
    if not may_expand_vm(k, mm, vma.vm_flags, grow) or vma.vm_end - addr > rlimit(k, mm, RLIMIT_STACK):
        return ENOMEM
    if vm_enough_memory(k, mm, grow):
        return ENOMEM
    vma.vm_start = addr
    vma.vm_pgoff = vma.vm_pgoff - grow
    vm_stat_account(mm, vma.vm_flags, grow)
    return 0


@jit
def user_access(k: Any, mm: Any, addr: int, access: int) -> int:
    """``do_user_addr_fault()`` until the access works: the physical address behind a user address, or an error.

    EFAULT: no area, or one that forbids it; ENOMEM; EBUS; EDRIVER: a driver's fault handler must be asked.
    """
    if addr < 0 or addr >= TASK_SIZE:
        return EFAULT
    for _ in range(3):
        phys = user_phys(k, mm, addr, access)
        if phys >= 0:
            return phys
        vma = find_vma(k, mm, addr)
        if not vma:
            return EFAULT
        if vma.vm_start > addr and (not vma.vm_flags & VM_GROWSDOWN or expand_stack(k, mm, vma, addr)):
            return EFAULT
        if access_error(vma, access):
            return EFAULT
        result = handle_mm_fault(k, mm, vma, addr, access)
        if result == FAULT_DRIVER:
            return EDRIVER
        if result != FAULT_OK:
            return ENOMEM if result == FAULT_OOM else EBUS
    return EFAULT


@jit
def populate_range(k: Any, mm: Any, start: int, end: int) -> int:
    """``__mm_populate()``: bring the pages in as their areas allow; the first error, after what came before it."""
    addr = start
    while addr < end:
        vma = find_vma(k, mm, addr)
        if not vma or vma.vm_start >= end:
            return 0
        addr = max(addr, vma.vm_start)
        flags = vma.vm_flags
        if flags & VM_ACCESS_FLAGS and not flags & VM_SPECIAL:
            write = flags & (VM_WRITE | VM_SHARED) == VM_WRITE
            access = ACCESS_WRITE if write else ACCESS_READ if flags & VM_READ else ACCESS_EXEC
            while addr < min(end, vma.vm_end):
                got = user_access(k, mm, addr, access)
                if got < 0:
                    return got
                addr += PAGE_SIZE
        addr = max(addr, vma.vm_end)
    return 0


# Entries


@entry
def k_do_mmap(ram: Any, mm: int, addr: int, length: int, prot: int, flags: int, pgoff: int, file: int) -> int:
    """Entry for :func:`do_mmap`, and the populating that MAP_POPULATE and MAP_LOCKED ask for."""
    k = kernel(ram)
    m = mm_at(k, mm)
    got = do_mmap(k, m, addr, length, prot, flags, pgoff, file)
    if got >= 0 and (flags & MAP_LOCKED or flags & (MAP_POPULATE | MAP_NONBLOCK) == MAP_POPULATE):
        populate_range(k, m, got, got + page_align(length))
    return got


@entry
def k_do_munmap(ram: Any, mm: int, start: int, length: int) -> int:
    """Entry for :func:`do_munmap`."""
    k = kernel(ram)
    return do_munmap(k, mm_at(k, mm), start, length)


@entry
def k_brk(ram: Any, mm: int, brk: int) -> int:
    """Entry for :func:`do_brk`."""
    k = kernel(ram)
    return do_brk(k, mm_at(k, mm), brk)


@entry
def k_mprotect(ram: Any, mm: int, start: int, length: int, prot: int) -> int:
    """Entry for :func:`do_mprotect`."""
    k = kernel(ram)
    return do_mprotect(k, mm_at(k, mm), start, length, prot)


@entry
def k_mlock(ram: Any, mm: int, start: int, length: int, lock: int) -> int:
    """``mlock(2)`` and ``munlock(2)``."""
    k = kernel(ram)
    m = mm_at(k, mm)
    error = apply_vma_lock_flags(k, m, start, length, lock != 0)
    if error == 0 and lock:
        error = populate_range(k, m, start & ~(PAGE_SIZE - 1), page_align(start + length))
    return error


@entry
def k_find_vma(ram: Any, mm: int, addr: int) -> int:
    """Entry for :func:`find_vma`; the address of the area, 0."""
    k = kernel(ram)
    return address(find_vma(k, mm_at(k, mm), addr))


@entry
def k_user_access(ram: Any, mm: int, addr: int, access: int) -> int:
    """Entry for :func:`user_access`."""
    k = kernel(ram)
    return user_access(k, mm_at(k, mm), addr, access)


@entry
def k_user_phys(ram: Any, mm: int, addr: int, access: int) -> int:
    """Entry for :func:`user_phys`."""
    k = kernel(ram)
    return user_phys(k, mm_at(k, mm), addr, access)
