"""Forgetting translations (arch/x86/mm/tlb.c). The CPU is not the mm's: whoever runs it is told."""

from __future__ import annotations

from typing import Any

from kmem.lib.jit import jit
from kmem.mm.codes import UP_TLB_FLUSH
from kmem.mm.mmzone import count_vm_events
from kmem.mm.upcalls import tell
from kmem.mm.vm_events import EV_TLB_FLUSH


@jit
def flush_tlb_kernel_range(k: Any, start: int, end: int) -> None:
    """``void flush_tlb_kernel_range(unsigned long start, unsigned long end)``: no CPU knows an old translation any
    more. Differs: the whole TLB is flushed, whatever the range.
    """
    count_vm_events(k, EV_TLB_FLUSH, 1)
    tell(k, UP_TLB_FLUSH, start, end, 0, 0)
