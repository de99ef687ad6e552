"""Areas of an address space: finding, splitting, joining, counting (mm/mmap.c, mm/util.c; 6.1).

Private layout: the areas of an address space are a list through ``vm_area_struct.anon_vma_chain``, sorted by address,
whose head is ``mm_struct.mmlist``; ``mm_mt``, the kernel's maple tree of them, stays empty.
"""

from __future__ import annotations

from typing import Any

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.lib.jit import address, container_of, copy, jit, ptr, sizeof
from kmem.lib.list import list_add, list_del
from kmem.mm.codes import ENOMEM
from kmem.mm.memory import (
    VM_ACCESS_FLAGS,
    VM_EXEC,
    VM_GROWSDOWN,
    VM_NORESERVE,
    VM_SHARED,
    VM_SOFTDIRTY,
    VM_SPECIAL,
    VM_WRITE,
    no_vma,
    vm_get_page_prot,
)
from kmem.mm.mm_types import vm_area_struct
from kmem.mm.mmzone import PAGE_SHIFT
from kmem.mm.rmap import signal_of
from kmem.mm.slub import kmem_cache_free_one, slab_alloc_node

RLIMIT_DATA, RLIMIT_STACK, RLIMIT_AS = 2, 3, 9
OVERCOMMIT_GUESS, OVERCOMMIT_ALWAYS, OVERCOMMIT_NEVER = 0, 1, 2
STACK_GUARD_GAP = 256 << PAGE_SHIFT
USER_RESERVE_PAGES = 131072 >> 2
"""vm.user_reserve_kbytes at its largest, in pages."""


@jit
def vma_of(link: Any) -> Any:
    """The area whose list link this is."""
    return container_of(link, vm_area_struct, "anon_vma_chain")


@jit
def vma_next(k: Any, mm: Any, vma: Any) -> Any:
    """The area above *vma*, or NULL."""
    link = vma.anon_vma_chain.next
    if link == mm.mmlist:
        return no_vma(k)
    return vma_of(link)


@jit
def vma_prev(k: Any, mm: Any, vma: Any) -> Any:
    """The area below *vma*, or NULL; of NULL the highest of all."""
    link = vma.anon_vma_chain.prev if vma else mm.mmlist.prev
    if link == mm.mmlist:
        return no_vma(k)
    return vma_of(link)


@jit
def find_vma(k: Any, mm: Any, addr: int) -> Any:
    """``find_vma()``: the first area that ends above *addr*, or NULL."""
    link = mm.mmlist.next
    while link != mm.mmlist:
        vma = vma_of(link)
        if addr < vma.vm_end:
            return vma
        link = link.next
    return no_vma(k)


@jit
def vm_start_gap(vma: Any) -> int:
    """``vm_start_gap()``: where others must end, a guard gap below a stack."""
    if vma.vm_flags & VM_GROWSDOWN:
        return max(vma.vm_start - STACK_GUARD_GAP, 0)
    start: int = vma.vm_start
    return start


@jit
def link_vma(k: Any, mm: Any, vma: Any) -> None:
    """``vma_mas_store()``: into its place."""
    after = find_vma(k, mm, vma.vm_start)
    prev = vma_prev(k, mm, after)
    list_add(vma.anon_vma_chain, prev.anon_vma_chain if prev else mm.mmlist)
    mm.map_count = mm.map_count + 1


@jit
def new_vma(k: Any, mm: Any, start: int, end: int, flags: int, pgoff: int) -> Any:
    """``vm_area_alloc()`` and what every caller sets; NULL without memory."""
    made = slab_alloc_node(k, k.vm_area_cachep, GFP_KERNEL | __GFP_ZERO, -1, 0)
    vma = ptr(vm_area_struct, made, k)
    if made:
        vma.vm_mm = mm
        vma.vm_start = start
        vma.vm_end = end
        vma.vm_flags = flags
        vma.vm_pgoff = pgoff
        vma.vm_page_prot.pgprot = vm_get_page_prot(flags)
    return vma


@jit
def remove_vma(k: Any, mm: Any, vma: Any) -> None:
    """``remove_vma()``: off the list and freed."""
    list_del(vma.anon_vma_chain)
    mm.map_count = mm.map_count - 1
    kmem_cache_free_one(k, k.vm_area_cachep, address(vma))


@jit
def split_vma(k: Any, mm: Any, vma: Any, addr: int) -> bool:
    """``__split_vma()``: *vma* keeps what lies below *addr*, a new area gets the rest; False without memory."""
    made = slab_alloc_node(k, k.vm_area_cachep, GFP_KERNEL, -1, 0)
    if not made:
        return False
    copy(k, made, address(vma), sizeof(vm_area_struct))
    above = ptr(vm_area_struct, made, k)
    above.vm_start = addr
    above.vm_pgoff = vma.vm_pgoff + ((addr - vma.vm_start) >> PAGE_SHIFT)
    vma.vm_end = addr
    list_add(above.anon_vma_chain, vma.anon_vma_chain)
    mm.map_count = mm.map_count + 1
    return True


@jit
def anon_alike(vma: Any, flags: int) -> bool:
    """``is_mergeable_vma()`` for memory of no file: the same but for soft-dirty, and plain."""
    return (vma.vm_flags ^ flags) & ~VM_SOFTDIRTY == 0 and not flags & VM_SPECIAL and not vma.vm_file and not vma.vm_ops


@jit
def can_merge(low: Any, high: Any) -> bool:
    """Whether two areas that touch could be one."""
    if low.vm_end != high.vm_start or not anon_alike(low, high.vm_flags) or high.vm_file or high.vm_ops:
        return False
    if low.anon_vma and high.anon_vma and low.anon_vma != high.anon_vma:
        return False
    pages = (low.vm_end - low.vm_start) >> PAGE_SHIFT
    return low.vm_pgoff + pages == high.vm_pgoff


@jit
def absorb(k: Any, mm: Any, low: Any, high: Any) -> None:
    """``vma_expand()`` over the next area: *low* takes *high*'s range, *high* is freed."""
    low.vm_end = high.vm_end
    if not low.anon_vma:
        low.anon_vma = high.anon_vma
    remove_vma(k, mm, high)


@jit
def merge_around(k: Any, mm: Any, vma: Any) -> Any:
    """``vma_merge()``: join *vma* with the neighbours that are like it; the area that has its range now."""
    after = vma_next(k, mm, vma)
    if after and can_merge(vma, after):
        absorb(k, mm, vma, after)
    prev = vma_prev(k, mm, vma)
    if prev and can_merge(prev, vma):
        absorb(k, mm, prev, vma)
        return prev
    return vma


# Limits and accounts


@jit
def is_data_mapping(flags: int) -> bool:
    """``is_data_mapping()``: private and writable, no stack."""
    return flags & (VM_WRITE | VM_SHARED | VM_GROWSDOWN) == VM_WRITE


@jit
def rlimit(k: Any, mm: Any, which: int) -> int:
    """``rlimit()``, in bytes; no limit is the largest signed number."""
    value: int = signal_of(k, mm).rlim[which]
    return (1 << 63) - 1 if value < 0 else value


@jit
def may_expand_vm(k: Any, mm: Any, flags: int, npages: int) -> bool:
    """``may_expand_vm()``: RLIMIT_AS and RLIMIT_DATA."""
    if mm.total_vm + npages > rlimit(k, mm, RLIMIT_AS) >> PAGE_SHIFT:
        return False
    return not is_data_mapping(flags) or mm.data_vm + npages <= rlimit(k, mm, RLIMIT_DATA) >> PAGE_SHIFT


@jit
def vm_stat_account(mm: Any, flags: int, npages: int) -> None:
    """``vm_stat_account()``."""
    mm.total_vm = mm.total_vm + npages
    if flags & (VM_EXEC | VM_WRITE | VM_GROWSDOWN) == VM_EXEC:
        mm.exec_vm = mm.exec_vm + npages
    elif flags & VM_GROWSDOWN:
        mm.stack_vm = mm.stack_vm + npages
    elif is_data_mapping(flags):
        mm.data_vm = mm.data_vm + npages


@jit
def vm_commit_limit(k: Any) -> int:
    """``vm_commit_limit()``, without swap and huge pages."""
    return k.totalram_pages * k.sysctl_overcommit_ratio // 100


@jit
def vm_enough_memory(k: Any, mm: Any, pages: int) -> int:
    """``__vm_enough_memory()``: charge *pages*, or ENOMEM. Everybody is root here."""
    k.vm_committed_as = k.vm_committed_as + pages
    if k.sysctl_overcommit_memory == OVERCOMMIT_ALWAYS:
        return 0
    if k.sysctl_overcommit_memory == OVERCOMMIT_GUESS:
        if pages <= k.totalram_pages:
            return 0
    else:
        allowed = vm_commit_limit(k) - min(mm.total_vm // 32, USER_RESERVE_PAGES)
        if k.vm_committed_as < allowed:
            return 0
    k.vm_committed_as = k.vm_committed_as - pages
    return ENOMEM


@jit
def vm_unacct_memory(k: Any, pages: int) -> None:
    """``vm_unacct_memory()``."""
    k.vm_committed_as = k.vm_committed_as - pages


@jit
def accountable_mapping(flags: int) -> bool:
    """``accountable_mapping()``: private, writable and not MAP_NORESERVE."""
    return flags & (VM_NORESERVE | VM_SHARED | VM_WRITE) == VM_WRITE


@jit
def accessible(vma: Any) -> bool:
    """``vma_is_accessible()``."""
    return vma.vm_flags & VM_ACCESS_FLAGS != 0
