"""Rules 23 and 24: sleeping in atomic context, lock order, and tasks that make no progress."""

from __future__ import annotations

from kmem.oops.rules.base import CERTAIN, LIKELY, POSSIBLE, Case, Finding, rule


@rule(23, "sleeping in atomic context")
def sleeping(case: Case) -> Finding | None:
    """A function that may sleep was called with a spinlock held, with interrupts or preemption off, in an interrupt,
    or inside rcu_read_lock(). For an allocation: GFP_ATOMIC (or GFP_NOWAIT), or move it out of the locked
    region.
    """
    report = case.report
    if report.kind not in ("sleep", "sched"):
        return None
    locks = [
        fact.values
        for fact in report.facts.get("lock", [])
        if "mutex" not in fact.values["lock"] and "sem" not in fact.values["lock"]
    ]
    irq = any(frame.context in ("IRQ", "SOFTIRQ", "NMI", "#DB") for frame in report.frames)
    why = []
    if report.value("atomic", "irqs") == "1":
        why.append("interrupts are off")
    if irq:
        why.append("it runs in an interrupt")
    if locks:
        why.append(f"{locks[-1]['lock']} is held, taken at {locks[-1]['where']}")
    elif report.value("preempt-at", "where").strip("[]<> 0x"):
        why.append(f"preemption was disabled at {report.value('preempt-at', 'where')}")
    if report.value("atomic", "atomic") not in ("", "0") and not why:
        why.append("preemption is off: a spinlock or RCU read lock is held")
    names = {frame.name for frame in report.frames}
    allocates = any(
        name.startswith(("kmem_cache_alloc", "__kmalloc", "kmalloc", "__alloc_pages", "idr_pre_get")) for name in names
    )
    at = report.value("sleep-at", "file")
    allocates = allocates or "mm/slab" in at or "mm/slub" in at or "page_alloc" in at
    steps: tuple[str, ...] = (
        ("GFP_ATOMIC, with a plan for NULL, or allocate before the lock is taken",)
        if allocates
        else (f"move the call out of the atomic region: what {case.caller} calls may sleep",)
    )
    if case.total and allocates:
        steps = (*steps, "kmem run FILE reports this without a lock-debugging kernel")
    return Finding(
        23,
        "sleep_in_atomic",
        CERTAIN,
        f"{case.caller} {'allocated with a mask that may sleep' if allocates else 'called what may sleep'} "
        f"in atomic context{': ' + ', '.join(why) if why else ''}",
        case.lines("sleep-at", "atomic", "lock", "preempt-at"),
        ("deadlock",),
        "the allocator" if allocates else "",
        steps,
    )


@rule(24, "vmalloc in an interrupt")
def vmalloc_interrupt(case: Case) -> Finding | None:
    """vmalloc() and vfree() take locks and may sleep: BUG_ON(in_interrupt()) stops them in interrupts."""
    report = case.report
    if report.kind == "bug" and (
        "in_interrupt" in report.headline or report.value("bug-at", "file").endswith("mm/vmalloc.c")
    ):
        return Finding(
            24,
            "sleep_in_atomic",
            LIKELY,
            "vmalloc() or vfree() was called in an interrupt",
            case.lines("bug-at"),
            ("bug",),
            next=("kmalloc(GFP_ATOMIC), or allocate earlier; free with kvfree_rcu() or from a work item",),
        )
    return None


@rule(23, "lock order and reclaim")
def lockdep(case: Case) -> Finding | None:
    """lockdep: RECLAIM_FS or fs_reclaim in the report means that an allocation that may enter reclaim is made under
    a lock that reclaim itself takes: GFP_NOFS or GFP_NOIO (memalloc_nofs_save) breaks the cycle.
    """
    report = case.report
    if report.kind == "lockdep":
        if report.fact("reclaim"):
            return Finding(
                23,
                "reclaim_deadlock",
                CERTAIN,
                "a lock that memory reclaim takes is also held while allocating with a mask that "
                "may enter reclaim: a deadlock waits",
                case.lines("reclaim", "lock"),
                ("deadlock",),
                "the reclaim path that reported it",
                ("allocate with GFP_NOFS under that lock, or memalloc_nofs_save() around it",),
            )
        return Finding(
            23,
            "deadlock",
            LIKELY,
            f"locks are taken in an order or a context that can deadlock (in {case.caller})",
            case.lines("lock"),
            next=("read the two chains in the report: one of them must change its order",),
        )
    if report.kind in ("spinlock", "preempt"):
        return Finding(
            23,
            "deadlock" if report.kind == "spinlock" else "bug",
            POSSIBLE,
            report.headline[:120],
            case.lines(),
            ("use_after_free",),
        )
    if report.kind in ("soft-lockup", "hard-lockup", "hung", "rcu-stall"):
        return Finding(
            23,
            "hang",
            LIKELY,
            f"a processor or task made no progress in {case.caller}",
            case.lines(),
            ("deadlock",),
            next=("look for an endless loop there, or who holds the lock: echo t > /proc/sysrq-trigger",),
        )
    return None
