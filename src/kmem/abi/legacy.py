"""Names of old drivers that no modelled kernel has, and what to call instead.

Sources: the commits that removed them; the release is the first without the name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Legacy:
    """What took the place of a name, and the release that dropped it."""

    modern: str
    gone: str

    def advice(self, name: str) -> str:
        """One sentence: ``ioremap_nocache() is gone since Linux 5.6: call ioremap(), …``."""
        return f"{name} is gone since Linux {self.gone}: use {self.modern}"


FUNCTIONS: dict[str, Legacy] = {
    "ioremap_nocache": Legacy("ioremap(), which is uncached", "5.6"),
    "devm_ioremap_nocache": Legacy("devm_ioremap()", "5.6"),
    "kzfree": Legacy("kfree_sensitive()", "5.10"),
    "vmalloc_dma": Legacy("dma_alloc_coherent(), or vmalloc_32() for memory below 4 GiB", "2.5"),
    "vmalloc_exec": Legacy("vmalloc(); only the module loader makes executable memory", "5.8"),
    "vmalloc_user_node_flags": Legacy("vmalloc_user()", "5.8"),
    "__vmalloc_node_flags": Legacy("__vmalloc_node() or vmalloc_node()", "5.8"),
    "map_vm_area": Legacy("vmap()", "5.8"),
    "map_kernel_range_noflush": Legacy("vmap()", "5.13"),
    "unmap_kernel_range_noflush": Legacy("vunmap()", "5.13"),
    "kmem_cache_alloc_trace": Legacy("kmalloc() of slab.h, built for this release (kmalloc_trace)", "6.1"),
    "kmem_cache_alloc_node_trace": Legacy("kmalloc_node() of slab.h, built for this release", "6.1"),
    "kmalloc_order": Legacy("kmalloc() of slab.h, built for this release (kmalloc_large)", "6.1"),
    "kmalloc_order_trace": Legacy("kmalloc() of slab.h, built for this release (kmalloc_large)", "6.1"),
    "__kmalloc_track_caller": Legacy("kmalloc_track_caller() of slab.h, built for this release", "6.1"),
    "kmem_ptr_validate": Legacy("nothing: a pointer cannot be validated", "2.6.38"),
    "kmem_cache_name": Legacy("the name that the driver gave the cache itself", "2.6.39"),
    "alloc_pages_current": Legacy("alloc_pages()", "5.14"),
    "alloc_pages_vma": Legacy("vma_alloc_folio()", "5.18"),
    "__alloc_pages_nodemask": Legacy("__alloc_pages()", "5.13"),
    "__page_frag_alloc": Legacy("page_frag_alloc()", "4.10"),
    "__free_page_frag": Legacy("page_frag_free()", "4.10"),
    "free_hot_cold_page": Legacy("__free_page()", "4.15"),
    "kmap_atomic": Legacy("kmap_local_page()", "5.11"),
    "pci_alloc_consistent": Legacy("dma_alloc_coherent()", "5.18"),
    "pci_free_consistent": Legacy("dma_free_coherent()", "5.18"),
    "dma_alloc_writecombine": Legacy("dma_alloc_wc()", "4.7"),
    "kfree_call_rcu": Legacy("kfree_rcu(), built for this release (kvfree_call_rcu)", "5.12"),
    "__get_vm_area": Legacy("vmap() or ioremap()", "5.18"),
    "alloc_vm_area": Legacy("vmap() or vmap_pfn()", "5.10"),
    "percpu_alloc": Legacy("alloc_percpu()", "2.6.30"),
    "percpu_free": Legacy("free_percpu()", "2.6.30"),
}
"""Functions, by the name that a module imports or a C file calls."""

MACROS: dict[str, Legacy] = {
    "__GFP_WAIT": Legacy("__GFP_RECLAIM (GFP_KERNEL has it), or __GFP_DIRECT_RECLAIM for 'may sleep'", "4.4"),
    "__GFP_COLD": Legacy("nothing: drop the flag", "4.15"),
    "__GFP_REPEAT": Legacy("__GFP_RETRY_MAYFAIL", "4.13"),
    "__GFP_NOTRACK": Legacy("nothing: drop the flag", "4.15"),
    "GFP_TEMPORARY": Legacy("GFP_KERNEL", "4.14"),
    "SLAB_DESTROY_BY_RCU": Legacy("SLAB_TYPESAFE_BY_RCU", "4.12"),
    "SLAB_NOTRACK": Legacy("nothing: drop the flag", "4.15"),
    "SLAB_LEVEL_MASK": Legacy("nothing: pass GFP flags", "2.6.20"),
    "SLAB_KERNEL": Legacy("GFP_KERNEL", "2.6.20"),
    "SLAB_ATOMIC": Legacy("GFP_ATOMIC", "2.6.20"),
    "SLAB_CTOR_CONSTRUCTOR": Legacy("a constructor with one argument", "2.6.22"),
    "kmem_cache_t": Legacy("struct kmem_cache", "2.6.24"),
}
"""Flags and types, by the name in a C file."""

CALLS_THAT_CHANGED: dict[str, str] = {
    "__vmalloc": "__vmalloc() takes two arguments since Linux 5.8, size and GFP flags: drop the page protection",
    "kvrealloc": "kvrealloc() takes (p, oldsize, newsize, flags) in 6.1 and (p, size, flags) from 6.12 on",
}
"""Functions whose arguments are others than they were."""


def advice(names: Iterable[str]) -> list[str]:
    """What to do about each of *names* that is a name of the past."""
    known = {**FUNCTIONS, **MACROS}
    return [known[name].advice(name) for name in names if name in known]


def advice_in(text: str) -> list[str]:
    """What to do about the old names that a compiler complains of in *text*."""
    names = dict.fromkeys(re.findall(r"[\u2018'`](\w+)[\u2019']", text))
    found = advice(list(names))
    for name in names:
        if name in CALLS_THAT_CHANGED and re.search(rf"too (?:many|few) arguments to function .{name}\b", text):
            found.append(CALLS_THAT_CHANGED[name])
    return found
