"""Rules 11, 25, 27, 28: faults at addresses that say only where they lie."""

from __future__ import annotations

from kmem.oops.rules.base import KASAN, LIKELY, POSSIBLE, WEAK, Case, Finding, rule
from kmem.oops.values import NEAR


@rule(11, "one bit from canonical")
def bit_flip(case: Case) -> Finding | None:
    """An address that is a good kernel address but for a single bit suggests a memory error of the hardware."""
    address = case.address
    if not case.fault or address is None or case.shadow or case.report.bits == 32:
        return None
    name, value = case.base or _truncated(case) or ("the address", address)
    found = case.meaning(value)
    if found.kind != "bit-flip" or case.in_allocator:
        return None
    return Finding(
        11,
        "bit_flip",
        LIKELY,
        f"{name} {value:#x} is {found.text}: suspect the memory module, not the code",
        case.fault_lines,
        ("memory_corruption", "use_after_free"),
        f"{case.caller} and its callers, unless it happens again at the same place",
        (
            "run memtest86+ (or memtest=4) overnight; look for EDAC or MCE messages; see whether a second crash "
            "flips the same bit",
        ),
    )


def _truncated(case: Case) -> tuple[str, int] | None:
    """The register whose lower half the address has, where the machine reports no more of it (riscv's sv39)."""
    address = case.address or 0
    if case.report.arch != "riscv" or case.meaning(address).kind == "small":
        return None
    near = [(name, value) for name, value in case.report.regs.items() if (address - value) % (1 << 32) < NEAR]
    return near[0] if len(near) == 1 else None


@rule(25, "a pointer into nowhere")
def wild(case: Case) -> Finding | None:
    """A fault at an address that is neither NULL nor a known pattern: the pointer was overwritten, computed wrongly,
    or its mapping is gone. The region that it points to tells what it may have been.
    """
    address = case.real_address
    if not case.fault:
        return None
    if address is None:
        return Finding(
            25,
            "wild_pointer",
            WEAK,
            f"{case.caller} used a pointer that is no address; the log does not say which",
            case.fault_lines,
            ("null_pointer", "use_after_free"),
            next=(KASAN,),
        )
    if address < NEAR or case.report.access == "fetch":
        return None
    what = case.meaning(address)
    if case.report.kind in ("unhandled", "abort") or "external abort" in case.report.headline:
        return Finding(
            25,
            "wild_pointer",
            POSSIBLE,
            f"the bus refused the access of {case.caller} to {address:#x}",
            case.fault_lines,
            ("bad_page",),
        )
    sure = POSSIBLE if what.kind in ("region", "noncanonical") else WEAK
    return Finding(
        25,
        "wild_pointer",
        sure,
        f"{case.caller} used {address:#x}, {what.text}, which is not mapped",
        case.fault_lines,
        ("use_after_free", "memory_corruption"),
        next=(KASAN, "slub_debug=FZPU on the command line, when KASAN is not at hand"),
    )


@rule(25, "bus abort")
def unreadable_page(case: Case) -> Finding | None:
    """A bus abort on a page of RAM says that no memory answers there: a wrong memory map, or a device window."""
    report = case.report
    if not case.fault or "external abort" not in report.headline:
        return None
    return Finding(
        25,
        "wild_pointer",
        POSSIBLE,
        f"the bus refused the access of {case.function or case.caller}: no memory or device answers at that address",
        case.fault_lines,
        ("bad_page",),
        next=("check the memory map (device tree, mem=) and the clocks and power of the device",),
    )


@rule(27, "user pointer or wrong jump")
def user_or_fetch(case: Case) -> Finding | None:
    """An instruction fetch from data is a call through an overwritten function pointer. A user address that the
    kernel accesses directly lacks copy_from_user() or get_user().
    """
    address = case.address
    report = case.report
    if not case.fault or address is None:
        return None
    if report.access == "fetch" or "NX-protected" in report.headline:
        null = address < NEAR
        text = "NULL" if address == 0 else f"{address:#x}, {case.meaning(address).text}"
        return Finding(
            27,
            "null_pointer" if null else "bad_call",
            LIKELY,
            f"the kernel jumped to {text}: a function pointer "
            f"{'was not set' if null else 'was overwritten, or its object is gone'}; {case.caller} called it",
            case.fault_lines,
            ("use_after_free", "bad_call" if null else "memory_corruption"),
            next=(KASAN,),
        )
    present = report.arch.startswith("x86") and bool((report.error_code or 0) & 1) and report.access == "read"
    if case.meaning(address).kind == "user" and present:
        return Finding(
            27,
            "user_pointer",
            LIKELY,
            f"{case.caller} read {address:#x} directly: it is a mapped page of user space that the processor keeps the "
            "kernel from (SMAP)",
            case.fault_lines,
            ("wild_pointer",),
            next=("copy_from_user() or get_user()",),
        )
    if case.meaning(address).kind == "user" and address >= 0x10000 and not case.in_allocator:
        return Finding(
            27,
            "user_pointer" if "access to user memory" in report.headline else "wild_pointer",
            POSSIBLE,
            f"{case.caller} accessed {address:#x}, an address of user space, directly",
            case.fault_lines,
            ("user_pointer", "memory_corruption"),
            next=("copy_from_user() or get_user() if the pointer came from user space", KASAN),
        )
    return None


@rule(28, "write to read-only memory")
def read_only(case: Case) -> Finding | None:
    """A protection fault (bit 0 of the error code) on a write to a present page: constants, kernel text, or a page
    that was made read-only.
    """
    code = case.report.error_code
    if (
        not case.fault
        or case.report.access != "write"
        or code is None
        or not case.report.arch.startswith("x86")
        or not code & 1
    ):
        return None
    where = case.meaning(case.address or 0).text
    return Finding(
        28,
        "read_only_write",
        LIKELY,
        f"{case.caller} wrote to {case.address or 0:#x}, {where}: the page is present and read-only",
        case.lines("pte") + case.fault_lines[1:],
        ("wild_pointer", "memory_corruption"),
        next=("is the object const or __ro_after_init? Else the pointer is wrong: boot with CONFIG_KASAN=y",),
    )
