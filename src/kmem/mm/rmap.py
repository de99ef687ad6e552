"""From a page to its mappings (mm/rmap.c, 6.1).

An anonymous page's ``mapping`` leads to the ``kmem_anon_vma`` of the family of address spaces that may map it, with
the lowest bit set; ``index`` is the number of the page that it is at, as its area counts (``vm_pgoff``).

Private layout: a family has one ``struct kmem_anon_vma`` for all its areas, which lists its members; the kernel has an
``anon_vma`` for neighbouring areas, with a tree of them.
"""

from __future__ import annotations

from typing import Any

from kmem.lib.jit import address, jit, ptr
from kmem.lib.list import INIT_LIST_HEAD, list_add_tail, list_del, list_empty
from kmem.mm.mm_inline import PG_SWAPBACKED
from kmem.mm.mm_types import kmem_anon_vma, kmem_signal
from kmem.mm.mmzone import mod_node_page_state, page_pgdat
from kmem.mm.slub import kmem_cache_free_one, slab_alloc_node
from kmem.mm.swap import NR_ANON_MAPPED, NR_FILE_MAPPED, PG_ANON_EXCLUSIVE

GFP_KERNEL = 0xCC0
PAGE_MAPPING_ANON = 1


@jit
def signal_of(k: Any, mm: Any) -> Any:
    """``mm->owner->signal``, which is the model's own record."""
    return ptr(kmem_signal, mm.owner.signal, k)


@jit
def anon_vma_prepare(k: Any, mm: Any, vma: Any) -> bool:
    """``anon_vma_prepare()``: the area gets what its anonymous pages will lead to; False if memory is short."""
    if vma.anon_vma:
        return True
    signal = signal_of(k, mm)
    if not signal.anon_vma:
        made = slab_alloc_node(k, k.anon_vma_cachep, GFP_KERNEL, -1, 0)
        if not made:
            return False
        family = ptr(kmem_anon_vma, made, k)
        family.refcount = 1
        INIT_LIST_HEAD(family.members)
        list_add_tail(signal.member, family.members)
        signal.anon_vma = family
    vma.anon_vma = address(signal.anon_vma)
    return True


@jit
def anon_vma_clone(k: Any, child: Any, parent: Any) -> None:
    """``anon_vma_fork()``: the address space of *child* (a ``kmem_signal``) joins the family of *parent*."""
    family = parent.anon_vma
    if family:
        child.anon_vma = family
        family.refcount = family.refcount + 1
        list_add_tail(child.member, family.members)


@jit
def unlink_anon_vma(k: Any, signal: Any) -> None:
    """``unlink_anon_vmas()``: the address space leaves its family, which goes with the last one."""
    family = signal.anon_vma
    if not family:
        return
    list_del(signal.member)
    signal.anon_vma = ptr(kmem_anon_vma, 0, k)
    family.refcount = family.refcount - 1
    if list_empty(family.members):
        kmem_cache_free_one(k, k.anon_vma_cachep, address(family))


@jit
def page_anon(p: Any) -> bool:
    """``PageAnon(page)``."""
    return p.mapping & PAGE_MAPPING_ANON != 0


@jit
def linear_page_index(vma: Any, addr: int) -> int:
    """``linear_page_index()``."""
    return ((addr - vma.vm_start) >> 12) + vma.vm_pgoff


@jit
def page_add_new_anon_rmap(k: Any, p: Any, vma: Any, addr: int) -> None:
    """``page_add_new_anon_rmap()``: the first mapping of a new page."""
    p.flags = p.flags | (1 << PG_SWAPBACKED) | (1 << PG_ANON_EXCLUSIVE)
    p._mapcount = 0
    p.mapping = vma.anon_vma | PAGE_MAPPING_ANON
    p.index = linear_page_index(vma, addr)
    mod_node_page_state(k, page_pgdat(k, p), NR_ANON_MAPPED, 1)


@jit
def page_dup_rmap(p: Any) -> None:
    """``page_dup_file_rmap()`` and its anonymous form: one mapping more."""
    p._mapcount = p._mapcount + 1


@jit
def page_add_file_rmap(k: Any, p: Any) -> None:
    """``page_add_file_rmap()``."""
    p._mapcount = p._mapcount + 1
    if p._mapcount == 0:
        mod_node_page_state(k, page_pgdat(k, p), NR_FILE_MAPPED, 1)


@jit
def page_remove_rmap(k: Any, p: Any) -> None:
    """``page_remove_rmap()``: one mapping less."""
    p._mapcount = p._mapcount - 1
    if p._mapcount < 0:
        mod_node_page_state(k, page_pgdat(k, p), NR_ANON_MAPPED if page_anon(p) else NR_FILE_MAPPED, -1)
