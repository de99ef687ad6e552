"""User pages that go elsewhere: moved by compaction, or given back when the OOM killer chose their owner (mm/migrate.c,
mm/oom_kill.c; 6.1).
"""

from __future__ import annotations

from typing import Any

from kmem.lib.jit import container_of, copy, entry, jit, load64, ptr, store64
from kmem.mm.memory import PTE_PRESENT, zap_page_range
from kmem.mm.mm_types import kmem_anon_vma, kmem_signal, task_struct
from kmem.mm.mmzone import PAGE_SHIFT, PAGE_SIZE, kernel, page_to_virt, pfn_to_page
from kmem.mm.pgalloc import user_slot
from kmem.mm.pgtable import PFN_MASK
from kmem.mm.rmap import PAGE_MAPPING_ANON
from kmem.mm.swap import PG_ANON_EXCLUSIVE
from kmem.mm.vma import find_vma, vma_next

MMF_OOM_SKIP = 1 << 21
VM_PFNMAP = 0x400


@jit
def move_mappings(k: Any, mm: Any, index: int, old: int, new: int) -> int:
    """``try_to_migrate()`` and ``remove_migration_ptes()`` for one address space: its entries for *old* lead to *new*;
    how many.
    """
    moved = 0
    vma = find_vma(k, mm, 0)
    while vma:
        addr = vma.vm_start + ((index - vma.vm_pgoff) << PAGE_SHIFT)
        if vma.vm_start <= addr < vma.vm_end:
            slot = user_slot(k, mm, addr, 0, False)
            if slot:
                was = load64(k, slot)
                if was & PTE_PRESENT and (was & PFN_MASK) >> PAGE_SHIFT == old:
                    store64(k, slot, (was & ~PFN_MASK) | (new << PAGE_SHIFT))
                    moved += 1
        vma = vma_next(k, mm, vma)
    return moved


@entry
def k_migrate_anon(ram: Any, old_pfn: int, new_pfn: int) -> int:
    """``migrate_folio()`` of an anonymous page that only its mappings and the caller hold: 1 if it moved.

    The new page gets contents, mappings and their references; the old one keeps the caller's.
    """
    k = kernel(ram)
    old, new = pfn_to_page(k, old_pfn), pfn_to_page(k, new_pfn)
    mapped: int = old._mapcount + 1
    if old.mapping & 3 != PAGE_MAPPING_ANON or mapped < 1 or old._refcount != mapped + 1:
        return 0
    copy(k, page_to_virt(new), page_to_virt(old), PAGE_SIZE)
    family = ptr(kmem_anon_vma, old.mapping - PAGE_MAPPING_ANON, k)
    link = family.members.next
    moved = 0
    while link != family.members:
        signal = container_of(link, kmem_signal, "member")
        if signal.mm:
            moved += move_mappings(k, signal.mm, old.index, old_pfn, new_pfn)
        link = link.next
    if moved != mapped:
        link = family.members.next
        while link != family.members:
            signal = container_of(link, kmem_signal, "member")
            if signal.mm:
                move_mappings(k, signal.mm, old.index, new_pfn, old_pfn)
            link = link.next
        return 0
    new.mapping = old.mapping
    new.index = old.index
    new._mapcount = old._mapcount
    new._refcount = new._refcount + mapped
    new.flags = new.flags | (old.flags & (1 << PG_ANON_EXCLUSIVE))
    old.flags = old.flags & ~(1 << PG_ANON_EXCLUSIVE)
    old.mapping = 0
    old.index = 0
    old._mapcount = -1
    old._refcount = 1
    return 1


@entry
def k_oom_reap(ram: Any, task: int) -> int:
    """``__oom_reap_task_mm()``: every page that the task maps goes back; how many entries that were."""
    k = kernel(ram)
    mm = ptr(task_struct, task, k).mm
    found = 0
    if not mm:
        return 0
    mm.flags = mm.flags | MMF_OOM_SKIP
    vma = find_vma(k, mm, 0)
    while vma:
        if not vma.vm_flags & VM_PFNMAP:
            found += zap_page_range(k, mm, vma.vm_start, vma.vm_end)
        vma = vma_next(k, mm, vma)
    return found
