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
    if allocates:
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
    return None


@rule(37, "no progress")
def hang(case: Case) -> Finding | None:
    """Soft lockup: a processor ran kernel code for 20 seconds without scheduling. Hard lockup: with interrupts off too.
    RCU stall: a processor did not pass through a quiescent state; when the report says that RCU's own thread was
    starved, that thread did not get to run, and the trace shows nobody guilty. Hung task: a task slept
    uninterruptibly for two minutes: who should wake it is not in its own trace.
    """
    report = case.report
    starved = report.fact("starved")
    if report.kind in ("soft-lockup", "hard-lockup"):
        off = " with interrupts off" if report.kind == "hard-lockup" else ""
        spins = any("spin_lock" in frame.name or "spinlock" in frame.name for frame in report.trace()[:4])
        story = f"a processor did not leave {case.caller}{off}"
        story += ": it waits for a spinlock that another one holds" if spins else ""
        steps = ["who holds the lock? echo l > /proc/sysrq-trigger shows what every processor does"]
        if not spins:
            steps = ["look for a loop there that does not end, or that needs cond_resched()"]
        others: tuple[str, ...] = ("deadlock",)
    elif report.kind == "rcu-stall":
        others = ("deadlock",)
        story = f"RCU waited in vain for a processor{f' in {case.caller}' if report.function else ''}"
        steps = ["look for a loop, or a long section with preemption off or under rcu_read_lock(), on that processor"]
        if starved:
            story = f"RCU's own thread did not run for {starved.values['n']} jiffies"
            steps = [
                "is a real-time task, or the host of this virtual machine, keeping the processor? The functions in "
                "the traces are then not to blame"
            ]
    elif report.kind == "hung":
        others = ("deadlock",)
        story = f"a task waited in {case.caller} for a lock, a page or a device that did not come"
        steps = [
            "echo w > /proc/sysrq-trigger shows every blocked task: which one holds what the others wait for?",
            "CONFIG_PROVE_LOCKING=y finds a deadlock of locks; look for I/O errors above when it is a disk",
        ]
    else:
        return None
    return Finding(37, "hang", LIKELY, story, case.lines("starved", "rcu-self"), others, next=tuple(steps))
