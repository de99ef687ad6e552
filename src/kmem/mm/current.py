"""The running task as the allocator sees it: what it promised, whether it is dying (include/linux/sched/mm.h, 6.1).

A task says in ``flags`` of its ``task_struct``, in RAM, what its allocations may not do. Code that runs under
``memalloc_noio_save()`` and its kin sets these bits itself, inline. The current task is found as compiled modules find
it, through the per-cpu variable ``current_task``.

Simplified: a machine that has no tasks yet (early boot) keeps the flags in the private area.
"""

from __future__ import annotations

from typing import Any

from kmem.abi.gfp import __GFP_FS, __GFP_IO, __GFP_MOVABLE
from kmem.lib.jit import jit, load32, load64, offsetof, store32
from kmem.mm.mm_types import task_struct
from kmem.mm.mmzone import priv

PF_EXITING, PF_DUMPCORE, PF_MEMALLOC = 0x4, 0x200, 0x800
PF_KSWAPD, PF_MEMALLOC_NOFS, PF_MEMALLOC_NOIO = 0x20000, 0x40000, 0x80000
PF_KTHREAD, PF_MEMALLOC_PIN = 0x200000, 0x10000000
TIF_SIGPENDING, TIF_MEMDIE = 2, 20
SIGKILL = 9

_SOFTIRQ, _IN_INTERRUPT, _NOT_IN_TASK = 0x100, 0xFFFF00, 0xFF0100
"""Bits of the preempt count: a softirq is being served; any interrupt or bh-disabled section; interrupts and softirqs
only.
"""


@jit
def current(k: Any) -> int:
    """``current``: address of the running task's ``struct task_struct``, 0 if there are no tasks."""
    if k.current_task == 0:
        return 0
    return load64(k, k.__per_cpu_offset[priv(k).cpu] + k.current_task)


@jit
def current_flags(k: Any) -> int:
    """``current->flags``."""
    task = current(k)
    if task:
        return load32(k, task + offsetof(task_struct, "flags"))
    return priv(k).task_flags


@jit
def set_current_flags(k: Any, flags: int) -> None:
    """``current->flags = flags``."""
    task = current(k)
    if task:
        store32(k, task + offsetof(task_struct, "flags"), flags)
    else:
        priv(k).task_flags = flags


@jit
def current_gfp_context(k: Any, gfp: int) -> int:
    """``gfp_t current_gfp_context(gfp_t flags)``: less what the task's scopes forbid."""
    flags = current_flags(k)
    if flags & (PF_MEMALLOC_NOIO | PF_MEMALLOC_NOFS | PF_MEMALLOC_PIN):
        if flags & PF_MEMALLOC_NOIO:
            gfp &= ~(__GFP_IO | __GFP_FS)
        elif flags & PF_MEMALLOC_NOFS:
            gfp &= ~__GFP_FS
        if flags & PF_MEMALLOC_PIN:
            gfp &= ~__GFP_MOVABLE
    return gfp


@jit
def in_interrupt(k: Any) -> bool:
    """``in_interrupt()``."""
    return priv(k).context & _IN_INTERRUPT != 0


@jit
def in_serving_softirq(k: Any) -> bool:
    """``in_serving_softirq()``."""
    return priv(k).context & _SOFTIRQ != 0


@jit
def in_task(k: Any) -> bool:
    """``in_task()``."""
    return priv(k).context & _NOT_IN_TASK == 0


@jit
def tsk_is_oom_victim(k: Any) -> bool:
    """``tsk_is_oom_victim(current)``: the OOM killer has chosen it (TIF_MEMDIE, which stays as long as it runs)."""
    task = current(k)
    return task != 0 and load64(k, task) >> TIF_MEMDIE & 1 != 0


@jit
def fatal_signal_pending(k: Any) -> bool:
    """``fatal_signal_pending(current)``: SIGKILL is on its way."""
    task = current(k)
    if task == 0 or load64(k, task) >> TIF_SIGPENDING & 1 == 0:
        return False
    return load64(k, task + offsetof(task_struct, "pending") + 16) >> (SIGKILL - 1) & 1 != 0
