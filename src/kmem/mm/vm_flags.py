"""Numbers of mm/vmalloc.c and arch/x86/mm that compiled code and its callers share (include/linux/vmalloc.h)."""

from __future__ import annotations

VM_IOREMAP, VM_ALLOC, VM_MAP, VM_USERMAP, VM_DMA_COHERENT, VM_UNINITIALIZED, VM_NO_GUARD = (1 << n for n in range(7))
VM_MAP_PUT_PAGES, VM_ALLOW_HUGE_VMAP = 0x200, 0x400
IN_INTERRUPT, IN_NMI = 0xFFFF00, 0xF00000
"""Bits of the context: soft interrupt, hard interrupt, NMI; NMI alone."""

WB, WC, UC_MINUS, UC, WT, WP = range(6)
"""``enum page_cache_mode``."""
ISA_START, ISA_END = 0xA0000, 0x100000
NOT_ALLOWED = 1 << 8
"""What ``k_ioremap`` gives with the type of caching that a mapping would have to take, and must not."""
MEMTYPE_CONFLICT, MEMTYPE_RESERVE_FAILED, MEMTYPE_FREE_INVALID = range(3)
"""What an upcall about types of caching reports."""
