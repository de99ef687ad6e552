"""/proc/PID/maps, smaps, status, stat, statm, comm and pagemap (fs/proc/task_mmu.c, fs/proc/array.c; 6.1), from RAM.

Simplified: pages of the kernel's that a driver mapped count as private memory; status has the lines about memory only;
of stat, what is not about memory is 0, but the number, the name and the state.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from kmem.abi.address import PAGE_OFFSET
from kmem.errors import UsageError
from kmem.lib.cstruct import u64
from kmem.mm.mm_types import mm_struct, task_struct, vm_area_struct
from kmem.mm.proc_system import NSEC_PER_SEC, USER_HZ

if TYPE_CHECKING:
    from kmem.mm.user import UserMemory
    from kmem.mm.view import View

PAGE, VM_LOCKED = 4096, 0x2000
MM_FILEPAGES, MM_ANONPAGES = 0, 1
FIRST, PRIORITY, NUM_THREADS, STARTTIME, VSIZE, RSSLIM, STARTCODE, START_DATA = 4, 18, 20, 22, 23, 25, 26, 45
"""Places in /proc/PID/stat, counted from 1: the first number after the state, and those that are not 0."""
FRAME, PRESENT, DIRTY, SPECIAL, SOFT_DIRTY = 0x000FFFFFFFFFF000, 1, 1 << 6, 1 << 9, 1 << 11
_FLAG_NAMES = "rd wr ex sh mr mw me ms gd - pf - - lo io sr rr dc de lf ac nr ht sf - wf dd sd mm hg nh mg".split()
_VM_FLAGS = {bit: name for bit, name in enumerate(_FLAG_NAMES) if name != "-"}


def areas(view: View, mm: int) -> Iterator[Any]:
    """Every area of an address space, by address."""
    yield from view.list(view.ptr(mm_struct, mm).mmlist, vm_area_struct, "anon_vma_chain")


def get_mm_counter(view: View, mm: int, member: int) -> int:
    """``get_mm_counter()`` as the machine's release keeps it: one array, or a counter for each CPU and a sum."""
    counters = view.ptr(mm_struct, mm).rss_stat
    if view.struct(mm_struct).field("rss_stat").kind == "array":
        return int(counters[member].count)
    return int(counters.count[member])


def rss(view: View, mm: int) -> int:
    """``get_mm_rss()``."""
    return get_mm_counter(view, mm, MM_FILEPAGES) + get_mm_counter(view, mm, MM_ANONPAGES)


def entries(view: View, mm: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """(address, entry) of each page of a range that has one, by a walk of the tables in RAM."""

    def walk(table: int, level: int, base: int) -> Iterator[tuple[int, int]]:
        span = 1 << (12 + 9 * level)
        words = memoryview(view.ram.mem)[table : table + PAGE].cast("Q")
        first = max(start - base, 0) // span
        for index in range(first, min(512, -(-(end - base) // span))):
            entry = words[index]
            at = base + index * span
            if level == 0:
                if entry:
                    yield at, entry
            elif entry & PRESENT:
                yield from walk(entry & FRAME, level - 1, at)

    yield from walk(u64(view.ptr(mm_struct, mm).pgd) - PAGE_OFFSET, 3, 0)


def _name(space: Any, vma: Any) -> str:
    if vma.vm_start <= space.brk and vma.vm_end >= space.start_brk and not vma.vm_file:
        return "[heap]"
    return "[stack]" if vma.vm_start <= space.start_stack <= vma.vm_end and not vma.vm_file else ""


def _line(space: Any, vma: Any) -> str:
    flags = vma.vm_flags
    shown = "".join(letter if flags >> bit & 1 else "-" for bit, letter in enumerate("rwx"))
    offset = vma.vm_pgoff << 12 if vma.vm_file else 0
    line = f"{vma.vm_start:08x}-{vma.vm_end:08x} {shown}{'s' if flags & 0x80 else 'p'} {offset:08x} 00:00 0 "
    name = _name(space, vma)
    return (line.ljust(73) + name if name else line) + "\n"


def maps(view: View, mm: int) -> str:
    """/proc/PID/maps. A file is one without a name: drivers' files have none here."""
    space = view.ptr(mm_struct, mm)
    return "".join(_line(space, vma) for vma in areas(view, mm))


def _sizes(view: View, mm: int, vma: Any) -> dict[str, int]:
    """The figures of one area in smaps, in bytes; Pss in 4096ths."""
    counts = dict.fromkeys(("rss", "pss", "dirty_pss", "anonymous", "referenced"), 0)
    counts |= dict.fromkeys(("Shared_Clean", "Shared_Dirty", "Private_Clean", "Private_Dirty"), 0)
    for _, entry in entries(view, mm, vma.vm_start, vma.vm_end):
        if not entry & PRESENT or entry & SPECIAL:
            continue
        page = view.page((entry & FRAME) >> 12)
        mapped = page._mapcount + 1
        dirty = entry & DIRTY or page.flags >> view.page_flags.bit("PG_dirty") & 1
        counts["rss"] += PAGE
        counts["pss"] += (PAGE << 12) // mapped
        counts["dirty_pss"] += (PAGE << 12) // mapped if dirty else 0
        counts["anonymous"] += PAGE if u64(page.mapping) & 1 else 0
        counts["referenced"] += PAGE if entry & 1 << 5 else 0
        counts[f"{'Shared' if mapped > 1 else 'Private'}_{'Dirty' if dirty else 'Clean'}"] += PAGE
    return counts


def smaps(view: View, mm: int) -> str:
    """/proc/PID/smaps."""
    space, text = view.ptr(mm_struct, mm), ""
    for vma in areas(view, mm):
        n = _sizes(view, mm, vma)
        flags = vma.vm_flags
        rows = [
            ("Size", vma.vm_end - vma.vm_start),
            ("KernelPageSize", PAGE),
            ("MMUPageSize", PAGE),
            ("Rss", n["rss"]),
            ("Pss", n["pss"] >> 12),
            ("Pss_Dirty", n["dirty_pss"] >> 12),
            *((name, n[name]) for name in ("Shared_Clean", "Shared_Dirty", "Private_Clean", "Private_Dirty")),
            ("Referenced", n["referenced"]),
            ("Anonymous", n["anonymous"]),
            *((name, 0) for name in ("LazyFree", "AnonHugePages", "ShmemPmdMapped", "FilePmdMapped")),
            *((name, 0) for name in ("Shared_Hugetlb", "Private_Hugetlb", "Swap", "SwapPss")),
            ("Locked", n["pss"] >> 12 if flags & VM_LOCKED else 0),
        ]
        text += _line(space, vma)
        text += "".join(f"{name + ':':<15} {value >> 10:8d} kB\n" for name, value in rows)
        text += f"THPeligible:    {0:d}\n"
        text += "VmFlags: " + "".join(f"{name} " for bit, name in _VM_FLAGS.items() if flags >> bit & 1) + "\n"
    return text


def _comm(view: View, task: int) -> str:
    return view.string(task + view.offset(task_struct, "comm"), 16)


def comm(view: View, task: int) -> str:
    """/proc/PID/comm."""
    return _comm(view, task) + "\n"


def status(view: View, task: int, mm: int) -> str:
    """The lines of /proc/PID/status that tell of memory, after the name and the number; these alone of a thread of the
    kernel's.
    """
    t, space = view.ptr(task_struct, task), view.ptr(mm_struct, mm)
    lines = [f"Name:\t{_comm(view, task)}\n", f"Pid:\t{t.pid}\n"]
    if not mm:
        return "".join(lines)
    anon, file = get_mm_counter(view, mm, MM_ANONPAGES), get_mm_counter(view, mm, MM_FILEPAGES)
    peak, high = max(space.hiwater_vm, space.total_vm), max(space.hiwater_rss, anon + file)
    pages = {"VmPeak": peak, "VmSize": space.total_vm, "VmLck": space.locked_vm, "VmPin": space.pinned_vm}
    pages |= {"VmHWM": high, "VmRSS": anon + file, "RssAnon": anon, "RssFile": file, "RssShmem": 0}
    pages |= {"VmData": space.data_vm, "VmStk": space.stack_vm, "VmExe": 0, "VmLib": space.exec_vm}
    lines += [f"{name}:\t{n << 2:8d} kB\n" for name, n in pages.items()]
    lines += [f"VmPTE:\t{space.pgtables_bytes >> 10:8d} kB\n", f"VmSwap:\t{0:8d} kB\n"]
    return "".join(lines)


def statm(view: View, mm: int) -> str:
    """/proc/PID/statm: size, resident, shared, text, lib, data, dirty; in pages."""
    if not mm:
        return "0 0 0 0 0 0 0\n"
    space = view.ptr(mm_struct, mm)
    shared = get_mm_counter(view, mm, MM_FILEPAGES)
    return f"{space.total_vm} {rss(view, mm)} {shared} 0 0 {space.data_vm + space.stack_vm} 0\n"


def stat(view: View, task: int, mm: int) -> str:
    """/proc/PID/stat: 52 numbers."""
    t, space = view.ptr(task_struct, task), view.ptr(mm_struct, mm)
    bits = int(getattr(t, "__state"))
    state = "R" if not bits else "S" if bits & 1 else "D" if bits & 2 else "I"
    numbers = [0] * 49
    numbers[PRIORITY - FIRST], numbers[NUM_THREADS - FIRST], numbers[RSSLIM - FIRST] = 20, 1, (1 << 64) - 1
    numbers[STARTTIME - FIRST] = int(t.start_boottime) * USER_HZ // NSEC_PER_SEC
    if mm:
        numbers[VSIZE - FIRST], numbers[VSIZE + 1 - FIRST] = space.total_vm * PAGE, rss(view, mm)
        code = (space.start_code, space.end_code, space.start_stack)
        numbers[STARTCODE - FIRST : STARTCODE + 3 - FIRST] = map(u64, code)
        data = (space.start_data, space.end_data, space.start_brk)
        numbers[START_DATA - FIRST : START_DATA + 3 - FIRST] = map(u64, data)
    return f"{t.pid} ({_comm(view, task)}) {state} {' '.join(map(str, numbers))}\n"


def pagemap(user: UserMemory, mm: int, addr: int, length: int) -> bytes:
    """/proc/PID/pagemap: for each page of the range one word, as root reads it."""
    view = user.view
    found = dict(entries(view, mm, addr & -PAGE, addr + length))
    words = []
    for at in range(addr & -PAGE, addr + length, PAGE):
        entry, word = found.get(at, 0), 0
        vma = user.find_vma(mm, at)
        inside = bool(vma) and view.ptr(vm_area_struct, vma).vm_start <= at
        if entry & PRESENT:
            pfn = (entry & FRAME) >> 12
            page = view.page(pfn)
            word = 1 << 63 | pfn
            if not entry & SPECIAL:
                word |= 0 if u64(page.mapping) & 1 else 1 << 61
                word |= 1 << 56 if page._mapcount == 0 else 0
        soft = entry & SOFT_DIRTY or (inside and view.ptr(vm_area_struct, vma).vm_flags >> 27 & 1)
        words.append(word | (1 << 55 if soft else 0))
    return struct.pack(f"<{len(words)}Q", *words)


def files(view: View, task: int) -> dict[str, Callable[[], str]]:
    """The files of /proc/PID: what gives the text of each."""
    mm = u64(view.ptr(task_struct, task).mm._addr)
    found: dict[str, Callable[[], str]] = {
        "comm": lambda: comm(view, task),
        "maps": lambda: maps(view, mm) if mm else "",
        "smaps": lambda: smaps(view, mm) if mm else "",
        "stat": lambda: stat(view, task, mm),
        "statm": lambda: statm(view, mm),
        "status": lambda: status(view, task, mm),
    }
    return found


def text(user: UserMemory, task: int, name: str) -> str:
    """The text of /proc/PID/*name*; UsageError for a file that there is not."""
    found = files(user.view, task)
    if name not in found:
        raise UsageError(f"there is no /proc/PID/{name}", remedy=f"choose one of {', '.join(found)}")
    return found[name]()
