"""Rules 23, 24, 26, 29, 32: contexts, locks, stacks, user copies, life times; and plain BUGs and WARNINGs."""

from __future__ import annotations

from kmem.oops.rules.base import CERTAIN, LIKELY, POSSIBLE, WEAK, Case, Finding, rule
from kmem.oops.values import text_in


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


@rule(26, "kernel stack overflow")
def stack_overflow(case: Case) -> Finding | None:
    """A fault just below the stack (or in its guard page) is an overflow: recursion without end, or large arrays on
    the stack. The distance says how far.
    """
    report = case.report
    function = case.caller
    steps = (
        "look for recursion in the trace and for large local arrays (checkstack.pl)",
        "CONFIG_VMAP_STACK=y gives each stack a guard page",
    )
    low = report.value("stack-hit", "low") or report.value("task-stack", "low")
    at = report.value("stack-hit", "addr") or report.value("far", "addr")
    if report.kind in ("stack-guard", "insufficient") or (low and at and at[0] != "("):
        distance = ""
        if low and at and at[0] != "(":
            below = int(low, 16) - int(at, 16)
            if below > 0x10000 or below < -0x10000:
                return None
            distance = f", {below} bytes below it" if below > 0 else ""
        loop = _repeats(case)
        story = f"; {loop} calls itself" if loop else ""
        return Finding(
            26,
            "stack_overflow",
            CERTAIN,
            f"the kernel stack overflowed in {function}{distance}{story}",
            case.lines("stack-hit", "far", "task-stack"),
            ("memory_corruption",),
            next=steps,
        )
    if report.fact("stack-end"):
        return Finding(
            26,
            "stack_overflow",
            LIKELY,
            "the word at the end of the kernel stack was overwritten: the stack overflowed",
            case.lines("stack-end"),
            ("memory_corruption",),
            next=steps,
        )
    if report.kind == "double-fault":
        pointer = report.regs.get("rsp", report.regs.get("esp"))
        user = pointer is not None and case.meaning(pointer).kind in ("user", "small")
        text = (
            f"the stack pointer {pointer:#x} is in user space"
            if user and pointer is not None
            else "the stack could not be used (most often an overflow)"
        )
        return Finding(
            26,
            "stack_overflow",
            POSSIBLE if user else LIKELY,
            f"double fault in {function}: {text}",
            case.fault_lines,
            ("memory_corruption", "wild_pointer"),
            next=steps,
        )
    return None


def _repeats(case: Case) -> str:
    counts: dict[str, int] = {}
    for frame in case.report.frames:
        counts[frame.name] = counts.get(frame.name, 0) + 1
    top = max(counts, key=lambda name: counts[name], default="")
    return top if counts.get(top, 0) > 4 else ""


@rule(29, "usercopy")
def usercopy(case: Case) -> Finding | None:
    """Hardened usercopy refused a copy: its length runs past the object, or the slab cache has no region that may be
    copied (kmem_cache_create_usercopy).
    """
    report = case.report
    if report.kind != "usercopy":
        return None
    listed = report.fact("whitelist") is not None
    where = report.value("usercopy", "where")
    size = report.value("usercopy", "size")
    story = (
        "the slab cache has no usercopy region"
        if listed
        else f"the copy of {size or 'some'} bytes runs past the object, or the object is not one that may be copied"
    )
    return Finding(
        29,
        "usercopy",
        CERTAIN,
        f"{case.caller} copied {'from' if 'from' in report.headline else 'to or from'} "
        f"{where.strip() or 'kernel memory'}: {story}",
        case.lines("usercopy", "whitelist"),
        ("out_of_bounds",),
        "the usercopy check",
        (
            "kmem_cache_create_usercopy() with the field's offset and size"
            if listed
            else "check the length against the object's size",
        ),
    )


@rule(32, "reference counts and live objects")
def lifetime(case: Case) -> Finding | None:
    """refcount_t warns when a counter underflows, overflows, or is taken from 0: a get or put is missing or doubled,
    and somebody uses a freed object. ODEBUG says that a timer, work item or RCU head was freed or initialised
    while in use.
    """
    report = case.report
    if report.kind == "refcount":
        what = report.value("refcount", "what").strip() or "misuse"
        return Finding(
            32,
            "use_after_free",
            LIKELY,
            f"a reference count was misused ({what}) in {case.caller}: the object is or will be used after its free",
            case.lines("refcount", "warn-at"),
            ("refcount", "double_free"),
            "the refcount_t function",
            ("pair each get with one put; CONFIG_KASAN=y shows the use after free",),
        )
    if report.kind == "odebug":
        kind = report.value("odebug", "type") or "object"
        what = f"{report.value('odebug', 'what')} {report.value('odebug', 'state')}".strip()
        return Finding(
            32,
            "debug_object",
            LIKELY,
            f"a {kind} was misused ({what}) in {case.caller}: it was still in use",
            case.lines("odebug", "warn-at"),
            ("use_after_free",),
            next=(f"cancel the {kind} before its object is freed (del_timer_sync, cancel_work_sync, rcu_barrier)",),
        )
    return None


@rule(7, "corrupted list")
def corrupted_list(case: Case) -> Finding | None:
    """CONFIG_DEBUG_LIST found neighbours that do not point to each other. What stands there instead tells:
    LIST_POISON is an entry that was deleted; another list's address is an entry that was added twice or never
    initialised; a random value is memory that was freed and reused.
    """
    report = case.report
    if report.kind != "list":
        return None
    found = report.value("list", "was")
    story = report.value("list-poison", "poison")
    others: tuple[str, ...] = ("use_after_free", "uninitialised")
    if found.strip("0x"):
        value = int(found, 16)
        meant = case.meaning(value)
        story = (
            f"{found} ({meant.text})"
            if meant.kind != "noncanonical" or not text_in(value, report.bits)
            else f"{found}, text"
        )
        if meant.kind in ("list-poison", "poison"):
            others = ("use_after_free", "uninitialised", "double_free")
    return Finding(
        7,
        "list_corruption",
        LIKELY,
        f"a linked list is damaged, found in {case.caller}{f': a neighbour holds {story}' if story else ''}",
        case.lines("list", "bug-at", "warn-at"),
        others,
        "the list function only checked",
        (
            "is each entry added and deleted once, under the list's lock, and initialised with INIT_LIST_HEAD?",
            "CONFIG_KASAN=y tells whether the entry was freed",
        ),
    )


@rule(32, "assertions")
def assertion(case: Case) -> Finding | None:
    """BUG() and WARN() state that something cannot be. The source line says what."""
    report = case.report
    place = report.fact("bug-at") or report.fact("warn-at")
    at = f" at {place.values['file']}:{place.values['line']}" if place else ""
    if report.kind in ("bug", "invalid-op"):
        return Finding(
            32,
            "bug",
            POSSIBLE,
            f"an assertion failed in {case.caller}{at}: read the condition there",
            case.lines("bug-at"),
        )
    if report.kind in ("warning", "odebug", "refcount"):
        return Finding(
            32, "warning", POSSIBLE, f"{case.caller} warned{at}: read the condition there", case.lines("warn-at")
        )
    if report.kind in ("ubsan", "fortify", "kcsan"):
        cause = "out_of_bounds" if "bounds" in report.headline or report.kind == "fortify" else "undefined"
        return Finding(32, cause, LIKELY, f"{report.headline[:100]}", case.lines("ubsan"))
    if report.kind == "panic":
        return Finding(32, "bug", WEAK, report.headline[:120], case.lines())
    return None
