"""Rules 7, 29, 32: lists, reference counts, live objects, user copies; plain BUGs and WARNINGs."""

from __future__ import annotations

from kmem.oops.rules.base import CERTAIN, LIKELY, POSSIBLE, WEAK, Case, Finding, rule
from kmem.oops.values import text_in


@rule(7, "corrupted list")
def corrupted_list(case: Case) -> Finding | None:
    """CONFIG_DEBUG_LIST found neighbours that do not point to each other. What stands there instead tells:
    LIST_POISON is an entry that was deleted; another list's address is an entry that was added twice or never
    initialised; a random value is memory that was freed and reused.
    """
    report = case.report
    if report.kind == "bug" and case.function.startswith(("__list_add_valid", "__list_del_entry_valid")):
        return Finding(
            7,
            "list_corruption",
            LIKELY,
            f"{case.function}() stopped the kernel: a linked list is damaged; the line that says how is missing",
            case.fault_lines,
            ("use_after_free", "uninitialised"),
            "the list function only checked",
            ('find the line with "list_add corruption" or "list_del corruption" above this report',),
        )
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
    if report.kind == "panic":
        return Finding(32, "bug", WEAK, report.headline[:120], case.lines())
    return None
