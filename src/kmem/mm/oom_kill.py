"""The OOM killer: which process dies so that the others can go on (mm/oom_kill.c, 6.1).

Processes are the ``task_struct`` on ``kdata.tasks``, linked by ``tasks``; the one that loads modules is one of them.
The largest by resident pages, page tables and ``oom_score_adj`` is chosen. It gets SIGKILL and TIF_MEMDIE in its
``task_struct``, with which it may dip into the reserves; its memory is freed by `Mm.oom_reap`. When there is nobody to
kill the machine panics.

Simplified: a task without an address space that is no kernel thread counts as busybox's insmod (2260 kB, one page of
its own). A task has one thread, and no memory control group; the reaper frees a victim's memory at once, but never
gets at the running task, which dies when it returns to user mode.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from kmem.abi import gfp
from kmem.lib.cstruct import u64
from kmem.mm import vmstat
from kmem.mm.mm_types import mm_struct, task_struct
from kmem.mm.show_mem import highest_zone, mem_info, nodemask_text, unreclaimable_slab

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kmem.mm.api import Mm

Line = tuple[int, str]
KERN_ERR, KERN_WARNING, KERN_INFO = 3, 4, 6
OOM_SCORE_ADJ_MIN = -1000
PF_EXITING, PF_KTHREAD = 0x4, 0x200000
PF_SCOPES = 0x100C0800 | 0x20000
"""PF_MEMALLOC and the memalloc scopes, PF_KSWAPD: what a task that died in the kernel may have left set."""
TIF_SIGPENDING, TIF_MEMDIE, SIGKILL = 1 << 2, 1 << 20, 9
MMF_OOM_SKIP = 1 << 21
PAGE_SIZE = 4096


class Usage(NamedTuple):
    """What a task's address space holds, in pages; *pgtables* in bytes."""

    total_vm: int
    file: int
    anon: int
    swap: int
    shmem: int
    pgtables: int

    @property
    def rss(self) -> int:
        """``get_mm_rss()``."""
        return self.file + self.anon + self.shmem


INSMOD = Usage(565, 0, 1, 0, 0, 28672)
"""busybox's insmod, as it is when the module's init runs."""


class Host(Protocol):
    """What the killer needs of the kernel besides memory."""

    @property
    def current(self) -> int: ...
    def stack_lines(self, through: str = "") -> Iterable[Line]: ...


def set_word(mm: Mm, addr: int, value: int) -> None:
    """Store a 64-bit word at an address of the direct map."""
    at = mm.virt_to_phys(addr)
    mm.ram.mem[at : at + 8] = (value & (1 << 64) - 1).to_bytes(8, "little")


def word(mm: Mm, addr: int) -> int:
    """The 64-bit word at an address of the direct map."""
    at = mm.virt_to_phys(addr)
    return int.from_bytes(mm.ram.mem[at : at + 8], "little")


class OomKiller:
    """``out_of_memory()`` of one machine."""

    def __init__(self, mm: Mm, host: Host) -> None:
        self.mm, self.host = mm, host
        self._pending = mm.view.offset(task_struct, "pending") + 16

    # tasks

    def tasks(self) -> Iterator[Any]:
        """``for_each_process()``."""
        return self.mm.view.list(self.mm.view.kdata.tasks, task_struct, "tasks")

    def task(self, address: int) -> Any:
        """``(struct task_struct *)address``."""
        return self.mm.view.ptr(task_struct, address)

    def comm(self, task: Any) -> str:
        """``task->comm``."""
        at = self.mm.virt_to_phys(u64(task._addr) + self.mm.view.offset(task_struct, "comm"))
        return bytes(self.mm.ram.mem[at : at + 16]).split(b"\0", 1)[0].decode(errors="replace")

    def oom_score_adj(self, task: Any) -> int:
        """``task->signal->oom_score_adj``."""
        return self.mm.oom_score_adj(u64(task._addr))

    def usage(self, task: Any) -> Usage:
        """``task->mm`` in numbers."""
        space = task.mm
        if not space:
            return INSMOD
        rss = self.mm.view.struct(mm_struct).field("rss_stat")
        at, step = u64(space._addr) + rss.offset, rss.size // 4
        count = [word(self.mm, at + i * step + (8 if step > 8 else 0)) for i in range(4)]
        count = [value - (1 << 64) if value >> 63 else value for value in count]
        return Usage(int(space.total_vm), count[0], count[1], count[2], count[3], int(space.pgtables_bytes))

    def unkillable(self, task: Any) -> bool:
        """``oom_unkillable_task()``."""
        return bool(task.pid == 1 or task.flags & PF_KTHREAD)

    def is_victim(self, task: Any) -> bool:
        """``tsk_is_oom_victim()``."""
        return bool(word(self.mm, u64(task._addr)) & TIF_MEMDIE)

    def will_free_mem(self, task: Any) -> bool:
        """``task_will_free_mem()``: it is dying and has not been reaped."""
        if not task or (task.mm and task.mm.flags & MMF_OOM_SKIP):
            return False
        dying = word(self.mm, u64(task._addr) + self._pending) >> (SIGKILL - 1) & 1
        return bool(dying or task.flags & PF_EXITING)

    def badness(self, task: Any, totalpages: int) -> int | None:
        """``oom_badness()``; None if the task cannot be chosen."""
        if self.unkillable(task):
            return None
        adj = self.oom_score_adj(task)
        if adj == OOM_SCORE_ADJ_MIN or (task.mm and task.mm.flags & MMF_OOM_SKIP):
            return None
        usage = self.usage(task)
        return usage.rss + usage.swap + usage.pgtables // PAGE_SIZE + adj * (totalpages // 1000)

    def select_bad_process(self, nodes: int) -> tuple[Any, bool]:
        """``select_bad_process()``: the task to kill, None if there is none; and whether one is dying already."""
        totalpages, chosen, most = int(self.mm.view.kdata.totalram_pages), None, 0
        if self.policy(nodes):
            pgdats = [pgdat for pgdat in vmstat.nodes(self.mm.view) if nodes >> int(pgdat.node_id) & 1]
            totalpages = sum(int(pgdat.node_present_pages) for pgdat in pgdats)
        for task in self.tasks():
            if self.unkillable(task):
                continue
            if self.is_victim(task):
                if task.mm and task.mm.flags & MMF_OOM_SKIP:
                    continue
                return None, True
            points = self.badness(task, totalpages)
            if points is not None and (chosen is None or points >= most):
                chosen, most = task, points
        return chosen, False

    # the report

    def dump_tasks(self) -> Iterator[Line]:
        """``dump_tasks()``."""
        yield KERN_INFO, "Tasks state (memory values in pages):"
        yield KERN_INFO, "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name"
        for task in self.tasks():
            if self.unkillable(task):
                continue
            u = self.usage(task)
            yield (
                KERN_INFO,
                f"[{task.pid:7}] {0:5} {task.tgid:5} {u.total_vm:8} {u.rss:8} {u.pgtables:8} {u.swap:8}         "
                f"{self.oom_score_adj(task):5} {self.comm(task)}",
            )

    def policy(self, nodes: int) -> bool:
        """``constrained_alloc()``: whether a node mask left nodes out (CONSTRAINT_MEMORY_POLICY)."""
        everything = (1 << self.mm.nr_node_ids()) - 1
        return nodes & everything != everything

    def dump_header(self, mask: int, order: int, victim: Any, nodes: int) -> Iterator[Line]:
        """``dump_header()``; *nodes* is the request's node mask."""
        nodes = nodes if self.policy(nodes) else -1
        constraint = "CONSTRAINT_MEMORY_POLICY" if nodes >= 0 else "CONSTRAINT_NONE"
        current, names = self.task(self.host.current), gfp.pgg(mask, self.mm.config.release)
        yield (
            KERN_WARNING,
            f"{self.comm(current)} invoked oom-killer: gfp_mask={mask:#x}({names}), order={order}, "
            f"oom_score_adj={self.oom_score_adj(current)}",
        )
        yield from self.host.stack_lines("out_of_memory")
        yield from mem_info(self.mm, highest_zone(mask), nodes)
        yield from unreclaimable_slab(self.mm)
        yield from self.dump_tasks()
        if victim is not None:
            yield (
                KERN_INFO,
                f"oom-kill:constraint={constraint},nodemask={nodemask_text(self.mm, nodes)},cpuset=/,"
                f"mems_allowed={self.mm.mems_allowed()},global_oom,task_memcg=/,"
                f"task={self.comm(victim)},pid={victim.pid},uid=0",
            )

    # killing

    def mark_oom_victim(self, task: Any) -> None:
        """``mark_oom_victim()``: it may use the reserves from now on."""
        at = u64(task._addr)
        set_word(self.mm, at, word(self.mm, at) | TIF_MEMDIE)

    def kill(self, task: Any) -> Line:
        """``__oom_kill_process()``: SIGKILL, the reserves, and its memory freed; the line that says so."""
        u, at = self.usage(task), u64(task._addr)
        set_word(self.mm, at, word(self.mm, at) | TIF_SIGPENDING)
        set_word(self.mm, at + self._pending, word(self.mm, at + self._pending) | 1 << (SIGKILL - 1))
        self.mark_oom_victim(task)
        line = (
            f"Out of memory: Killed process {task.pid} ({self.comm(task)}) total-vm:{u.total_vm * 4}kB, "
            f"anon-rss:{u.anon * 4}kB, file-rss:{u.file * 4}kB, shmem-rss:{u.shmem * 4}kB, UID:0 "
            f"pgtables:{u.pgtables >> 10}kB oom_score_adj:{self.oom_score_adj(task)}"
        )
        if at != self.host.current:
            self.mm.oom_reap(at)
        return KERN_ERR, line

    def revive(self, task: int) -> None:
        """The task has returned to user mode and died; what runs next in its ``task_struct`` is another process."""
        if word(self.mm, task) & TIF_MEMDIE:
            set_word(self.mm, task, word(self.mm, task) & ~(TIF_MEMDIE | TIF_SIGPENDING))
            set_word(self.mm, task + self._pending, word(self.mm, task + self._pending) & ~(1 << (SIGKILL - 1)))
        struct = self.task(task)
        if struct.flags & PF_SCOPES:
            struct.flags = struct.flags & ~PF_SCOPES
