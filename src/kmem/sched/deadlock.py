"""What is said when no task can run any more: who waits for what, where, and who holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kmem.sched import layout as at
from kmem.sched.core import KINDS, LOCK_KINDS, MUTEX, NOTHING

if TYPE_CHECKING:
    from kmem.sched.core import Scheduler


def report(k: Any, sched: Scheduler, held: dict[int, tuple[int, int, str]], waiting: list[int]) -> None:
    """Record the ``deadlock`` finding; *held* tells who took a lock, and where."""
    lines = [_line(k, sched, held, task) for task in waiting]
    locks = [task for task in waiting if sched.kind(task) in LOCK_KINDS]
    first = locks[0] if locks else waiting[0] if waiting else 0
    if not first:
        k.finding("deadlock", "every task sleeps, and nothing is left that could wake one")
        return
    record = sched.record(first)
    site = k.site.call_site(k.mem.u64(record + at.CALLER))
    message = "; ".join(line.removeprefix("task ") for line in lines) if len(lines) < 4 else lines[0]
    facts = site.facts() if site.module is not None else {}
    k.finding("deadlock", f"no task can go on: {message}", address=k.mem.u64(record + at.OBJECT), text=lines, **facts)


def _line(k: Any, sched: Scheduler, held: dict[int, tuple[int, int, str]], task: int) -> str:
    record = sched.record(task)
    kind, obj = sched.kind(task), k.mem.u64(record + at.OBJECT)
    where = k.site.place(k.mem.u64(record + at.CALLER))
    said = f"task {_name(k, sched, task)} waits for {KINDS[kind]}"
    if obj and kind != NOTHING:
        said += f" at {obj:#x}"
    said += f" ({where})"
    if kind in LOCK_KINDS:
        said += _holder(k, sched, held, obj, kind, task)
    return said


def _holder(k: Any, sched: Scheduler, held: dict[int, tuple[int, int, str]], lock: int, kind: int, task: int) -> str:
    found = held.get(lock)
    if found is not None:
        owner, site, _ = found
        who = "it itself" if owner == task else _name(k, sched, owner)
        return f", which {who} took ({k.site.place(site)})"
    owner = k.mem.u64(lock) & ~7 if kind == MUTEX else 0
    return f", which {_name(k, sched, owner)} holds" if owner in sched.tasks() else ""


def _name(k: Any, sched: Scheduler, task: int) -> str:
    o = sched.offsets
    comm = k.mem.cstr(task + o.comm, 16).decode(errors="replace")
    return f"{comm}/{k.mem.u32(task + o.pid)}"
