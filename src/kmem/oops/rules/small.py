"""Rules 1-3: faults at small numbers: NULL and a member, ZERO_SIZE_PTR, error pointers."""

from __future__ import annotations

from kmem.oops.rules.base import CERTAIN, KASAN, LIKELY, POSSIBLE, WEAK, Case, Finding, rule
from kmem.oops.values import NEAR, errno_name, signed


@rule(1, "NULL pointer plus a member's offset")
def null_member(case: Case) -> Finding | None:
    """An address below 4096 whose base register is 0 is a member of a structure whose pointer is NULL; the address
    is the member's offset. A pointer is NULL because an allocation failed and was not checked, because the
    object was not set up yet, or because it was already torn down.
    """
    address = case.real_address
    kind = case.report.value("kasan-range", "what")
    if not case.fault or case.report.access == "fetch":
        return None
    if address is None:
        if kind != "null-ptr-deref" and case.report.kind != "null":
            return None
        address = 0
    if (address >= NEAR and not kind.startswith("null")) or (case.in_allocator and not _base_null(case)):
        return None
    base = case.base
    if base and base[1] not in (0, address) and 0 < base[1] < NEAR and not case.shadow:
        return Finding(
            1,
            "wild_pointer",
            POSSIBLE,
            f"{case.caller} used the number {base[1]} ({base[1]:#x}) in {base[0]} as a pointer",
            case.fault_lines,
            ("type_confusion", "null_pointer"),
            next=(KASAN,),
        )
    sure = CERTAIN if base and base[1] == 0 else LIKELY
    sure = WEAK if case.in_free else sure
    what = (
        "itself"
        if address == 0
        else f"at offset {address} ({address:#x}): that member of a structure whose pointer is NULL"
    )
    return Finding(
        1,
        "null_pointer",
        sure,
        f"{case.caller} dereferenced NULL {what}",
        case.fault_lines,
        ("use_after_free", "uninitialised"),
        next=(
            f"look in {case.caller} for the pointer whose member lies at {address:#x}, and for the check that is "
            f"missing",
            "when it comes from an allocation: kmem run FILE --fail-each fails each allocation in turn",
        ),
    )


def _base_null(case: Case) -> bool:
    return case.trap is not None and not case.trap.index and case.base is not None and case.base[1] == 0


@rule(2, "ZERO_SIZE_PTR")
def zero_size(case: Case) -> Finding | None:
    """kmalloc(0) returns ZERO_SIZE_PTR, 16, which is not NULL and may be freed but not dereferenced."""
    base = case.base
    if not case.fault or case.real_address is None:
        return None
    if base and base[1] == 16 and case.trap and case.trap.base and case.report.kind != "gpf":
        return Finding(
            2,
            "zero_size",
            POSSIBLE,
            f"{base[0]} holds 16, which is what kmalloc(0) returns: a zero-size buffer was used",
            case.fault_lines,
            ("null_pointer",),
            next=("check the size that was asked for: it was 0",),
        )
    return None


@rule(3, "error pointer")
def err_pointer(case: Case) -> Finding | None:
    """A pointer between -4095 and -1 is an error number that a function returned with ERR_PTR() and nobody checked
    with IS_ERR().
    """
    if not case.fault:
        return None
    bits = case.report.bits
    for where, value in (
        ("the base register", case.base[1] if case.base else None),
        ("the address", case.real_address),
    ):
        number = signed(value, bits) if value is not None else 0
        if -4095 <= number < 0:
            return Finding(
                3,
                "err_pointer",
                LIKELY if where[4] == "b" else POSSIBLE,
                f"{where} is {number} = -{errno_name(-number)}: a function returned an error pointer that "
                f"{case.caller} "
                "did not check with IS_ERR()",
                case.fault_lines,
                ("null_pointer",),
                next=("find who returns ERR_PTR(); check with IS_ERR() before use",),
            )
    return None
