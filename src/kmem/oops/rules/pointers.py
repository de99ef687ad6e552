"""Rules 1-4, 7, 8, 11-13, 25, 27, 28: faults, by what the bad pointer is."""

from __future__ import annotations

from kmem.oops.rules.base import CERTAIN, LIKELY, POSSIBLE, WEAK, Case, Finding, rule
from kmem.oops.values import NEAR, errno_name, list_poison, poison, signed

KASAN = "boot a kernel with CONFIG_KASAN=y and repeat: it names the access, the allocation and the free"


def _field(case: Case, base: int) -> str:
    offset = (case.real_address or 0) - base
    return f"the field at offset {offset} ({offset:#x})" if offset > 0 else "its first word"


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


@rule(4, "poison of a freed object")
def poisoned_pointer(case: Case) -> Finding | None:
    """With slub_debug=P a freed object is filled with 0x6b. A pointer of 0x6b6b6b6b was read from an object after it
    was freed; what the address exceeds it by is the offset of the member that was then accessed.
    """
    if not case.fault:
        return None
    bits = case.report.bits
    values = [*([case.base] if case.base else []), ("the address", case.real_address)]
    values += [(name, value) for name, value in case.report.regs.items() if name not in ("cr2", "eflags", "psr")]
    for where, value in values:
        found = poison(value, bits) if value is not None else None
        if found is None or found[0] not in (0x6B, 0x5A, 0xA5):
            continue
        byte, offset = found
        direct = (case.base is not None and where == case.base[0]) or where == "the address"
        offset = max(offset, (case.real_address or 0) - (value or 0) if direct and where != "the address" else offset)
        cause = "use_after_free" if byte != 0x5A else "uninitialised"
        story = (
            "holds what was read from an object that had been freed (poison 0x6b)"
            if byte != 0x5A
            else "holds what was never initialised (poison 0x5a)"
        )
        member = (
            f"; the member accessed through it lies at offset {offset} ({offset:#x})" if direct and offset > 0 else ""
        )
        return Finding(
            4,
            cause,
            CERTAIN if direct else LIKELY,
            f"{where} {story}{member}",
            case.fault_lines,
            ("memory_corruption",),
            f"{case.function or 'the faulting function'} only followed the pointer; whoever freed the object too "
            f"early is to blame",
            ("slub_debug=FZPU on the command line names who allocated and who freed it", KASAN),
        )
    return None


@rule(7, "LIST_POISON")
def deleted_entry(case: Case) -> Finding | None:
    """list_del() sets an entry's pointers to LIST_POISON1 (…100) and LIST_POISON2 (…122, …200 before 4.15). A fault
    there means that the entry was used after it was taken off its list: deleted twice, or freed while a walk
    went on (list_for_each_entry instead of its _safe variant).
    """
    if not case.fault:
        return None
    bits = case.report.bits
    values = [
        ("the address", case.real_address),
        *([(case.base[0], case.base[1])] if case.base else []),
        *case.report.regs.items(),
    ]
    for where, value in values:
        found = list_poison(value, bits) if value is not None else None
        if found and (abs(found[1]) < 64 or where == "the address"):
            name, offset = found
            return Finding(
                7,
                "use_after_free",
                LIKELY,
                f"{where} is {name}{f' {offset:+#x}' if offset else ''}: a list entry was used after "
                f"list_del(), in {case.caller}",
                case.fault_lines,
                ("list_corruption", "double_free"),
                next=(
                    "walk with list_for_each_entry_safe when the loop deletes; check that list_del runs once, "
                    "under the list's lock",
                    "CONFIG_DEBUG_LIST=y reports the second deletion itself",
                ),
            )
    return None


@rule(8, "a lock's magic number as a pointer")
def magic(case: Case) -> Finding | None:
    """0xdead4ead is the magic of a debug spinlock. Read as a pointer it says that the memory is now another object
    than the code believes: freed and reused, or of the wrong type.
    """
    if not case.fault:
        return None
    for name, value in case.report.regs.items():
        if value >> 32 == 0xDEAD4EAD or (case.report.bits == 32 and value == 0xDEAD4EAD):
            return Finding(
                8,
                "wild_pointer",
                POSSIBLE,
                f"{name} holds a spinlock's magic number as a pointer: {case.caller} read a pointer where "
                "now another kind of object lies",
                case.fault_lines,
                ("use_after_free", "type_confusion"),
                next=(KASAN,),
            )
    return None


@rule(11, "one bit from canonical")
def bit_flip(case: Case) -> Finding | None:
    """An address that is a good kernel address but for a single bit suggests a memory error of the hardware."""
    address = case.address
    if not case.fault or address is None or case.shadow or case.report.bits == 32:
        return None
    base = case.base
    value = base[1] if base else address
    found = case.meaning(value)
    if found.kind != "bit-flip" or case.in_allocator:
        return None
    return Finding(
        11,
        "bit_flip",
        LIKELY,
        f"the pointer {value:#x} is {found.text}: suspect the memory module, not the code",
        case.fault_lines,
        ("memory_corruption", "use_after_free"),
        f"{case.caller} and its callers, unless it happens again at the same place",
        (
            "run memtest86+ (or memtest=4) overnight; look for EDAC or MCE messages; see whether a second crash "
            "flips the same bit",
        ),
    )


@rule(12, "text as a pointer")
def text_pointer(case: Case) -> Finding | None:
    """A pointer whose bytes are printable characters was overwritten by a string: a buffer that lies before it ran
    over, or a string was written to memory that had been freed.
    """
    if not case.fault or case.real_address is None:
        return None
    values = [("the address", case.real_address)]
    if case.base:
        values.insert(0, case.base)
    for where, value in values:
        found = case.meaning(value)
        if found.kind == "text":
            return Finding(
                12,
                "text_overwrite",
                POSSIBLE if case.in_allocator else LIKELY,
                f"{where} {value:#x} is {found.text}: a string was written over a pointer",
                case.fault_lines,
                ("out_of_bounds", "use_after_free"),
                f"{case.caller} only followed the pointer",
                (
                    "look for the string in the sources and in user space: who writes it?",
                    "slub_debug=FZPU finds the overrun at the next free; KASAN at the write",
                ),
            )
    return None


@rule(13, "an instruction as a pointer")
def code_pointer(case: Case) -> Finding | None:
    """When the bad value decodes as a machine instruction, code was read as if it were data: a function's address
    was used as an object's, or a table ran out into text.
    """
    address = case.real_address
    if not case.fault or address is None or case.report.arch not in ("arm", ""):
        return None
    if case.report.arch == "" and case.report.bits == 32 and address >> 16 in (0xE1A0, 0xE92D, 0xE24C, 0xE52D):
        found = True
    else:
        found = case.meaning(address).kind == "code"
    if not found:
        return None
    return Finding(
        13,
        "bad_call",
        POSSIBLE,
        f"the address {address:#010x} is an ARM instruction: code was read as data",
        case.fault_lines,
        ("wild_pointer", "type_confusion"),
        next=("look for a function pointer that is dereferenced as an object",),
    )


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
    sure = POSSIBLE if what.kind in ("region", "noncanonical", "plain") else WEAK
    return Finding(
        25,
        "wild_pointer",
        sure,
        f"{case.caller} used {address:#x}, {what.text}, which is not mapped",
        case.fault_lines,
        ("use_after_free", "memory_corruption"),
        next=(KASAN, "slub_debug=FZPU on the command line, when KASAN is not at hand"),
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
