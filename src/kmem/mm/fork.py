"""Processes as far as memory sees them: task, address space, fork and exit (kernel/fork.c, fs/exec.c, mm/mmap.c; 6.1).

Simplified: a ``task_struct`` has pid, names, family links, credentials of root, ``mm`` and ``active_mm``; there are no
files, signals, namespaces and no kernel stack of its own: one task runs at a time, on one stack.
"""

from __future__ import annotations

from typing import Any

from kmem.abi.gfp import __GFP_ACCOUNT, __GFP_ZERO, GFP_KERNEL
from kmem.lib.jit import address, copy, entry, jit, load64, ptr, sizeof, store64
from kmem.lib.list import INIT_LIST_HEAD, list_add_tail, list_del
from kmem.mm.codes import ENOMEM
from kmem.mm.memory import (
    MM_ANONPAGES,
    MM_FILEPAGES,
    PTE_PRESENT,
    VM_ACCOUNT,
    VM_DONTCOPY,
    VM_GROWSDOWN,
    VM_LOCKED,
    VM_SHARED,
    VM_SOFTDIRTY,
    VM_WRITE,
    add_mm_counter,
    mm_at,
    no_vma,
    vm_normal_page,
)
from kmem.mm.mm_types import RLIM_NLIMITS, kmem_cache, kmem_signal, mm_struct, task_struct, vm_area_struct
from kmem.mm.mmap import TASK_SIZE, VM_DATA_FLAGS, exit_mmap, page_align
from kmem.mm.mmzone import PAGE_SIZE, kernel
from kmem.mm.pgalloc import next_present, pgd_alloc, pgd_free, user_slot
from kmem.mm.pgtable import RW
from kmem.mm.rmap import anon_vma_clone, page_anon, page_dup_rmap, signal_of, unlink_anon_vma
from kmem.mm.slub import kmem_cache_free_one, slab_alloc_node
from kmem.mm.swap import PG_ANON_EXCLUSIVE
from kmem.mm.vma import (
    RLIMIT_STACK,
    STACK_GUARD_GAP,
    link_vma,
    new_vma,
    vm_enough_memory,
    vm_stat_account,
    vm_unacct_memory,
    vma_next,
    vma_of,
    vma_prev,
)

RLIM_INFINITY = -1
STACK_LIMIT, MEMLOCK_LIMIT = 8 << 20, 8 << 20
STACK_EXPAND = 131072
SIZE_128M = 128 << 20
STACK_RND_PAGES = 0x3FFFFF
"""The stack begins up to so many pages below the top."""
PF_RANDOMIZE = 0x00400000
GFP_TASK = GFP_KERNEL | __GFP_ACCOUNT | __GFP_ZERO


@jit
def new_object(k: Any, s: Any) -> int:
    """A wiped object of a cache, or 0; no event: nobody's allocation but the kernel's."""
    return slab_alloc_node(k, s, GFP_TASK, -1, 0)


@jit
def set_default_limits(signal: Any) -> None:
    """``INIT_RLIMITS`` as far as memory goes: a stack of 8 MiB, 8 MiB locked, everything else unlimited."""
    for i in range(RLIM_NLIMITS):
        signal.rlim[i] = RLIM_INFINITY
        signal.rlim_max[i] = RLIM_INFINITY
    signal.rlim[RLIMIT_STACK] = STACK_LIMIT
    signal.rlim[8] = MEMLOCK_LIMIT
    signal.rlim_max[8] = MEMLOCK_LIMIT


@jit
def mm_init(k: Any, task: Any, signal: Any) -> Any:
    """``mm_alloc()``: an empty address space for *task*; NULL without memory."""
    made = new_object(k, k.mm_cachep)
    mm = ptr(mm_struct, made, k)
    if not made:
        return mm
    mm.mm_users = 1
    mm.mm_count = 1
    INIT_LIST_HEAD(mm.mmlist)
    mm.task_size = TASK_SIZE
    mm.owner = task
    if not pgd_alloc(k, mm):
        kmem_cache_free_one(k, k.mm_cachep, made)
        return ptr(mm_struct, 0, k)
    signal.mm = mm
    return mm


@jit
def mmap_base(rnd: int, stack_limit: int, randomize: bool) -> int:
    """``mmap_base()`` of arch/x86/mm/mmap.c: room for the stack, its random shift and its guard gap stays above."""
    pad = STACK_GUARD_GAP + (STACK_RND_PAGES << 12 if randomize else 0)
    gap = TASK_SIZE // 6 * 5 if stack_limit < 0 else min(stack_limit + pad, TASK_SIZE // 6 * 5)
    return page_align(TASK_SIZE - max(gap, SIZE_128M) - rnd)


@jit
def exec_mmap(k: Any, mm: Any, stack_top: int, heap: int, rnd: int) -> int:
    """``setup_new_exec()`` and ``setup_arg_pages()``: where things will be, and the stack's area."""
    limit: int = signal_of(k, mm).rlim[RLIMIT_STACK]
    mm.mmap_base = mmap_base(rnd, limit, mm.owner.flags & PF_RANDOMIZE != 0)
    mm.start_brk = heap
    mm.brk = heap
    mm.start_stack = stack_top
    flags = VM_DATA_FLAGS | VM_GROWSDOWN | VM_ACCOUNT | VM_SOFTDIRTY
    start = stack_top - PAGE_SIZE - STACK_EXPAND
    pages = (stack_top - start) >> 12
    if vm_enough_memory(k, mm, pages):
        return ENOMEM
    vma = new_vma(k, mm, start, stack_top, flags, 0x7FFFFFFFF - pages)
    if not vma:
        vm_unacct_memory(k, pages)
        return ENOMEM
    link_vma(k, mm, vma)
    vm_stat_account(mm, flags, pages)
    return 0


@jit
def mmput(k: Any, mm: Any) -> None:
    """``mmput()``: the last user's going unmaps everything; the last reference's frees the struct too."""
    mm.mm_users = mm.mm_users - 1
    if mm.mm_users:
        return
    exit_mmap(k, mm)
    unlink_anon_vma(k, signal_of(k, mm))
    mmdrop(k, mm)


@jit
def mmdrop(k: Any, mm: Any) -> None:
    """``mmdrop()``."""
    mm.mm_count = mm.mm_count - 1
    if mm.mm_count:
        return
    pgd_free(k, mm)
    kmem_cache_free_one(k, k.mm_cachep, address(mm))


# Fork


@jit
def copy_page_range(k: Any, dst: Any, vma: Any) -> bool:
    """``copy_page_range()``: the child maps the parent's pages; private ones become read-only for both."""
    src = vma.vm_mm
    cow = vma.vm_flags & (VM_SHARED | VM_WRITE) == VM_WRITE
    addr = next_present(k, src, vma.vm_start, vma.vm_end)
    while addr < vma.vm_end:
        from_slot = user_slot(k, src, addr, 0, False)
        entry_ = load64(k, from_slot)
        if entry_ & PTE_PRESENT:
            to_slot = user_slot(k, dst, addr, 0, True)
            if not to_slot:
                return False
            p = vm_normal_page(k, entry_)
            if cow:
                entry_ &= ~RW
                store64(k, from_slot, entry_)
            if p:
                p._refcount = p._refcount + 1
                page_dup_rmap(p)
                if page_anon(p):
                    p.flags = p.flags & ~(1 << PG_ANON_EXCLUSIVE)
                    add_mm_counter(dst, MM_ANONPAGES, 1)
                else:
                    add_mm_counter(dst, MM_FILEPAGES, 1)
            store64(k, to_slot, entry_)
        addr = next_present(k, src, addr + PAGE_SIZE, vma.vm_end)
    return True


@jit
def dup_vma(k: Any, mm: Any, old: Any) -> Any:
    """``vm_area_dup()`` into the child; NULL without memory."""
    made = slab_alloc_node(k, k.vm_area_cachep, GFP_KERNEL, -1, 0)
    if not made:
        return no_vma(k)
    copy(k, made, address(old), sizeof(vm_area_struct))
    vma = ptr(vm_area_struct, made, k)
    vma.vm_mm = mm
    vma.vm_flags = vma.vm_flags & ~VM_LOCKED
    link_vma(k, mm, vma)
    return vma


@jit
def dup_mmap(k: Any, mm: Any, oldmm: Any) -> bool:
    """``dup_mmap()``: every area that is not VM_DONTCOPY, and its pages; False without memory."""
    mm.mmap_base = oldmm.mmap_base
    mm.start_brk = oldmm.start_brk
    mm.brk = oldmm.brk
    mm.start_stack = oldmm.start_stack
    anon_vma_clone(k, signal_of(k, mm), signal_of(k, oldmm))
    last = vma_prev(k, oldmm, no_vma(k))
    link = oldmm.mmlist.next
    if not last:
        return True
    vma = vma_of(link)
    while vma:
        pages = (vma.vm_end - vma.vm_start) >> 12
        if not vma.vm_flags & VM_DONTCOPY:
            if vma.vm_flags & VM_ACCOUNT and vm_enough_memory(k, oldmm, pages):
                return False
            child = dup_vma(k, mm, vma)
            if not child:
                if vma.vm_flags & VM_ACCOUNT:
                    vm_unacct_memory(k, pages)
                return False
            vm_stat_account(mm, vma.vm_flags, pages)
            if not copy_page_range(k, mm, vma):
                return False
        vma = vma_next(k, oldmm, vma)
    return True


@jit
def free_task(k: Any, task: Any) -> None:
    """``free_task()``, with what ``task->signal`` leads to."""
    list_del(task.tasks)
    kmem_cache_free_one(k, k.signal_cachep, task.signal)
    kmem_cache_free_one(k, k.task_struct_cachep, address(task))


@jit
def new_task(k: Any) -> Any:
    """``dup_task_struct()`` and ``copy_signal()``: a task with a pid and default limits; NULL without memory."""
    made = new_object(k, k.task_struct_cachep)
    task = ptr(task_struct, made, k)
    if not made:
        return task
    signal = new_object(k, k.signal_cachep)
    if not signal:
        kmem_cache_free_one(k, k.task_struct_cachep, made)
        return ptr(task_struct, 0, k)
    task.signal = signal
    set_default_limits(ptr(kmem_signal, signal, k))
    task.usage = 1
    k.last_pid = k.last_pid + 1
    task.pid = k.last_pid
    task.tgid = k.last_pid
    task.group_leader = task
    list_add_tail(task.tasks, k.tasks)
    return task


@entry
def k_processes_init(ram: Any, mm: int, vma: int, task: int, signal: int, anon: int, zero: int, pid: int) -> int:
    """``proc_caches_init()``: the caches, by their addresses; the zero page; the pid before the first."""
    k = kernel(ram)
    k.mm_cachep = ptr(kmem_cache, mm, k)
    k.vm_area_cachep = ptr(kmem_cache, vma, k)
    k.task_struct_cachep = ptr(kmem_cache, task, k)
    k.signal_cachep = ptr(kmem_cache, signal, k)
    k.anon_vma_cachep = ptr(kmem_cache, anon, k)
    k.empty_zero_page = zero
    k.last_pid = pid
    INIT_LIST_HEAD(k.pgd_list)
    k.sysctl_overcommit_ratio = 50
    k.sysctl_max_map_count = 65530
    return 0


@entry
def k_new_task(ram: Any) -> int:
    """Entry for :func:`new_task`."""
    return address(new_task(kernel(ram)))


@entry
def k_exec(ram: Any, task: int, stack_top: int, heap: int, rnd: int, randomize: int) -> int:
    """``begin_new_exec()``: a fresh address space for a task that has none; ENOMEM."""
    k = kernel(ram)
    t = ptr(task_struct, task, k)
    if randomize:
        t.flags = t.flags | PF_RANDOMIZE
    mm = mm_init(k, t, ptr(kmem_signal, t.signal, k))
    if not mm:
        return ENOMEM
    if exec_mmap(k, mm, stack_top, heap, rnd):
        mmput(k, mm)
        return ENOMEM
    t.mm = mm
    t.active_mm = mm
    return 0


@entry
def k_fork(ram: Any, parent: int) -> int:
    """``copy_process()``: the child's task, 0 without memory."""
    k = kernel(ram)
    old = ptr(task_struct, parent, k)
    task = new_task(k)
    if not task:
        return 0
    copy(k, task.signal, old.signal, 16 * RLIM_NLIMITS)
    ptr(kmem_signal, task.signal, k).oom_score_adj = ptr(kmem_signal, old.signal, k).oom_score_adj
    for i in range(16):
        task.comm[i] = old.comm[i]
    task.real_parent = old
    if not old.mm:
        return address(task)
    mm = mm_init(k, task, ptr(kmem_signal, task.signal, k))
    if mm and not dup_mmap(k, mm, old.mm):
        mmput(k, mm)
        mm = ptr(mm_struct, 0, k)
    if not mm:
        free_task(k, task)
        return 0
    task.mm = mm
    task.active_mm = mm
    return address(task)


@entry
def k_exit(ram: Any, task: int) -> int:
    """``do_exit()`` as far as memory goes, and the parent's wait: address space, limits and task are gone."""
    k = kernel(ram)
    t = ptr(task_struct, task, k)
    if t.mm:
        mmput(k, t.mm)
    free_task(k, t)
    return 0


@entry
def k_mmput(ram: Any, mm: int) -> int:
    """Entry for :func:`mmput`."""
    k = kernel(ram)
    mmput(k, mm_at(k, mm))
    return 0


@entry
def k_mmdrop(ram: Any, mm: int) -> int:
    """Entry for :func:`mmdrop`."""
    k = kernel(ram)
    mmdrop(k, mm_at(k, mm))
    return 0
