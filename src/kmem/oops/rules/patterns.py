"""Rules 4, 6-8, 12, 13: faults through values that are a mark: poison, red zone, LIST_POISON, magic, text, code."""

from __future__ import annotations

from kmem.oops.rules.base import CERTAIN, KASAN, LIKELY, POSSIBLE, REPEAT, Case, Finding, rule
from kmem.oops.values import list_poison, poison


@rule(4, "poison of a freed object")
def poisoned_pointer(case: Case) -> Finding | None:
    """With slub_debug=P a freed object is filled with 0x6b. A pointer of 0x6b6b6b6b was read from an object after it
    was freed; what the address exceeds it by is the offset of the member that was then accessed.
    """
    if not case.fault:
        return None
    bits = case.report.bits
    values = [*([case.base] if case.base else []), ("the address", case.real_address), *_bystanders(case)]
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
            CERTAIN if direct else POSSIBLE if case.base else LIKELY,
            f"{where} {story}{member}",
            case.fault_lines,
            ("memory_corruption",),
            f"{case.function or 'the faulting function'} only followed the pointer; whoever freed the object too "
            f"early is to blame",
            ("slub_debug=FZPU on the command line names who allocated and who freed it", KASAN),
        )
    return None


def _bystanders(case: Case) -> list[tuple[str, int]]:
    """The registers that hold data: what stands in them may have been loaded by the code in passing."""
    return [(name, value) for name, value in case.report.regs.items() if name not in ("cr2", "eflags", "psr", "pc")]


@rule(6, "red zone, padding and start poison as values")
def other_poison(case: Case) -> Finding | None:
    """0x5a fills a fresh object: a value of 0x5a5a… was never initialised. 0xa5 ends the poison, 0xbb and 0xcc are
    the red zones of inactive and active objects, 0xaa is page poison: such a value was read past an object's
    end, or from a freed page.
    """
    if not case.fault:
        return None
    bits = case.report.bits
    for name, value in (*([case.base] if case.base else []), ("the address", case.real_address)):
        if value is None:
            continue
        low = value & 0xFF
        filled = int.from_bytes(bytes([low]) * (bits // 8), "big")
        top = value >> (bits - 24)
        if bits == 64 and top in (0xCCCCCC, 0xBBBBBB, 0x6B6B6B, 0x5A5A5A) and value != filled:
            byte = top & 0xFF
            return Finding(
                6,
                "use_after_free" if byte == 0x6B else "out_of_bounds",
                POSSIBLE,
                f"the upper bytes of {name} {value:#x} are {byte:#04x}, a mark of slub_debug: a pointer was read that "
                "lies half in a red zone or in poison, or was half overwritten with it",
                case.fault_lines,
                ("freelist_corruption", "use_after_free"),
                next=(REPEAT,),
            )
        if low in (0xBB, 0xCC, 0xAA) and value == filled:
            cause = "use_after_free" if low == 0xAA else "out_of_bounds"
            return Finding(
                6,
                cause,
                POSSIBLE if low != 0xAA else LIKELY,
                f"{name} holds {value:#x}: {case.meaning(value).text}",
                case.fault_lines,
                ("use_after_free", "out_of_bounds"),
                next=(REPEAT,),
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
    values = [("the address", case.real_address), *([case.base] if case.base else [])]
    unknown = case.real_address is None and case.base is None
    # list_del() itself loads both constants, so in other registers they only tell when nothing else is known.
    for where, value in [*values, *(_bystanders(case) if unknown else [])]:
        found = list_poison(value, bits) if value is not None else None
        if found and (abs(found[1]) < 64 or where == "the address"):
            name, offset = found
            return Finding(
                7,
                "use_after_free",
                POSSIBLE if unknown else LIKELY,
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
    if not case.fault or address is None or case.meaning(address).kind != "code":
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
