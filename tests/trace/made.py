"""Traces made here: the same events as pages of a ring buffer and as the text of each tool."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HEADER_PAGE = """\
\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;
\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;
\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;
\tfield: char data;\toffset:16;\tsize:4080;\tsigned:0;
"""
_COMMON = """\
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;
"""
NUMBERS = {"kfree": 551, "kmalloc": 552, "kmem_cache_alloc": 553, "kmem_cache_free": 554}
NUMBERS |= {"mm_page_alloc": 560, "mm_page_free": 561}
FIELDS = {
    "kfree": "site ptr",
    "kmem_cache_free": "site ptr name",
    "kmalloc": "site ptr req alloc gfp node",
    "kmem_cache_alloc": "site ptr req alloc gfp node name",
    "mm_page_alloc": "pfn order gfp4 migratetype",
    "mm_page_free": "pfn order",
}
_DECLARED = {
    "site": ("unsigned long call_site", 8),
    "ptr": ("const void * ptr", 8),
    "req": ("size_t bytes_req", 8),
    "alloc": ("size_t bytes_alloc", 8),
    "gfp": ("unsigned long gfp_flags", 8),
    "gfp4": ("unsigned int gfp_flags", 4),
    "node": ("int node", 4),
    "name": ("__data_loc char[] name", 4),
    "pfn": ("unsigned long pfn", 8),
    "order": ("unsigned int order", 4),
    "migratetype": ("int migratetype", 4),
}
GFP_KERNEL = 0xCC0
GFP_FORMAT = 'print fmt: "x", {( unsigned long)(( gfp_t)(0x400u|0x800u)|0x40u|0x80u), "GFP_KERNEL"}'


@dataclass
class Made:
    """One event."""

    time: int
    cpu: int
    pid: int
    kind: str
    ptr: int
    site: int = 0xFFFFFFFF81000000
    req: int = 0
    alloc: int = 0
    gfp: int = 0
    name: str = ""
    order: int = 0


def layout(kind: str, last: bool = False) -> tuple[dict[str, int], int]:
    """Offsets of the fields of an event and the size of what is fixed; with *last* in the reverse order."""
    fields = FIELDS[kind].split()
    at, places = 8, {}
    for name in reversed(fields) if last else fields:
        size = _DECLARED[name][1]
        at = -(-at // size) * size
        places[name] = at
        at += size
    return places, at


def format_text(kind: str, last: bool = False) -> str:
    """The format file of an event."""
    places, _ = layout(kind, last)
    lines = [
        f"\tfield:{_DECLARED[name][0]};\toffset:{at};\tsize:{_DECLARED[name][1]};\tsigned:0;\n"
        for name, at in places.items()
    ]
    return f"name: {kind}\nID: {NUMBERS[kind]}\nformat:\n{_COMMON}\n{''.join(lines)}\n{GFP_FORMAT}\n"


def record(event: Made, last: bool = False) -> bytes:
    """The event as its record."""
    places, size = layout(event.kind, last)
    raw = bytearray(size)
    struct.pack_into("<HBBi", raw, 0, NUMBERS[event.kind], 0x10, 2, event.pid)
    values = {"site": event.site, "ptr": event.ptr, "pfn": event.ptr, "req": event.req, "alloc": event.alloc}
    values |= {"gfp": event.gfp, "gfp4": event.gfp, "order": event.order, "migratetype": 0, "node": 0xFFFFFFFF}
    if "name" in places:
        text = event.name.encode() + b"\0"
        values["name"] = len(text) << 16 | size
        raw += text
    for name, at in places.items():
        struct.pack_into("<Q" if _DECLARED[name][1] == 8 else "<I", raw, at, values[name])
    return bytes(raw) + bytes(-len(raw) % 4)


def pages(events: list[Made], last: bool = False) -> bytes:
    """The pages of one CPU's ring buffer."""
    done, data, begin, now = bytearray(), bytearray(), events[0].time if events else 0, 0
    for event in [*events, None]:
        raw = record(event, last) if event else b""
        if event is None or len(data) + len(raw) + 12 > 4080:
            done += struct.pack("<QQ", begin, len(data)) + bytes(data) + bytes(4080 - len(data))
            data, begin = bytearray(), event.time if event else 0
            now = 0
        if event is None:
            break
        delta = event.time - (now or begin)
        now = event.time
        if delta >= 1 << 27:
            data += struct.pack("<II", 30 | (delta & (1 << 27) - 1) << 5, delta >> 27)
            delta = 0
        data += struct.pack("<I", len(raw) // 4 | delta << 5) + raw
    return bytes(done)


def directory(where: Path, events: list[Made], last: bool = False) -> Path:
    """A directory of raw pages with their formats."""
    where.mkdir(exist_ok=True)
    (where / "header_page").write_text(HEADER_PAGE)
    (where / "formats.txt").write_text("".join(format_text(kind, last) for kind in NUMBERS))
    for cpu in {event.cpu for event in events}:
        (where / f"cpu{cpu}.pages").write_bytes(pages([e for e in events if e.cpu == cpu], last))
    return where


HEADER_EVENT = "# compressed entry header\n\ttype_len    :    5 bits\n"
KALLSYMS = "ffffffff81000000 T start_of_all\n"


def _sized(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + data


def _parts() -> dict[int, bytes]:
    """The parts that trace-cmd.dat(5) describes, by the numbers that version 7 gives them."""
    formats = b"".join(_sized(format_text(kind).encode()) for kind in NUMBERS)
    other = _sized(b"name: sched_switch\nID: 300\nformat:\n")
    names = b"400 make\n512 bad\xff\nx\n"
    return {
        16: b"header_page\0" + _sized(HEADER_PAGE.encode()) + b"header_event\0" + _sized(HEADER_EVENT.encode()),
        17: struct.pack("<I", 1) + _sized(b"name: bprint\n"),
        18: struct.pack("<I", 2)
        + (b"sched\0" + struct.pack("<I", 1) + other)
        + (b"kmem\0" + struct.pack("<I", len(NUMBERS)) + formats),
        19: struct.pack("<I", len(KALLSYMS)) + KALLSYMS.encode(),
        20: struct.pack("<I", 0),
        21: _sized(names),
    }


def trace_dat6(events: list[Made], cpus: int = 2) -> bytes:
    """A ``trace.dat`` of version 6."""
    data = MAGIC_DAT + b"6\0" + struct.pack("<BBI", 0, 8, 4096) + b"".join(_parts().values())
    data += struct.pack("<I", cpus) + b"options  \0" + struct.pack("<HI4s", 8, 4, struct.pack("<I", cpus)) + bytes(2)
    data += b"flyrecord\0"
    streams = [pages([e for e in events if e.cpu == cpu]) for cpu in range(cpus)]
    at = -(-(len(data) + 16 * cpus) // 4096) * 4096
    place = at
    for stream in streams:
        data += struct.pack("<QQ", place, len(stream))
        place += len(stream)
    return data + bytes(at - len(data)) + b"".join(streams)


def trace_dat7(events: list[Made], pack: Callable[[bytes], bytes] | None = None, name: str = "none") -> bytes:
    """A ``trace.dat`` of version 7 of two CPUs, compressed by *pack*."""
    flags = 1 if pack else 0
    data = MAGIC_DAT + b"7\0" + struct.pack("<BBI", 0, 8, 4096) + name.encode() + b"\x001.0\0"
    place = len(data)
    data += bytes(8)
    options = b""

    def packed(content: bytes) -> bytes:
        return struct.pack("<II", len(pack(content)), len(content)) + pack(content) if pack else content

    for number, content in _parts().items():
        options += struct.pack("<HIQ", number, 8, len(data))
        data += struct.pack("<HHIQ", number, flags, 0, len(packed(content))) + packed(content)
    where, table = len(data), b""
    data += struct.pack("<HHIQ", 3, flags, 0, 0)
    for cpu in range(2):
        stream = pages([e for e in events if e.cpu == cpu])
        begin = len(data)
        if pack:
            chunks = [stream[at : at + 3 * 4096] for at in range(0, len(stream), 3 * 4096)]
            data += struct.pack("<I", len(chunks)) + b"".join(map(packed, chunks))
        else:
            data += stream
        table += struct.pack("<IQQ", cpu, begin, len(data) - begin)
    buffer = struct.pack("<Q", where) + b"\0mono\0" + struct.pack("<II", 4096, 2) + table
    second = struct.pack("<HI", 3, len(buffer)) + buffer + struct.pack("<HIQ", 0, 8, 0)
    options += struct.pack("<HIQ", 0, 8, len(data))
    for section in (second, options):
        where = len(data)
        data += struct.pack("<HHIQ", 0, flags, 0, len(packed(section))) + packed(section)
    return data[:place] + struct.pack("<Q", where) + data[place + 8 :]


MAGIC_DAT = b"\x17\x08\x44tracing"


def _values(event: Made, pointer: str) -> str:
    site = f"call_site=fn_{event.site & 0xFF}+0x{event.site >> 8 & 0xFF:x}/0x180"
    if event.kind.startswith("mm_page"):
        end = f" migratetype=0 gfp_flags={gfp_text(event)}" if event.kind == "mm_page_alloc" else ""
        return f"page=00000000abc pfn=0x{event.ptr:x} order={event.order}{end}"
    text = f"{site} ptr={pointer}{event.ptr:016x}"
    if "alloc" in event.kind:
        text += f" bytes_req={event.req} bytes_alloc={event.alloc} gfp_flags={gfp_text(event)} node=-1 accounted=false"
    return text + (f" name={event.name}" if event.kind == "kmem_cache_free" else "")


def gfp_text(event: Made) -> str:
    """How a tool prints the flags."""
    return "GFP_KERNEL" if event.gfp == GFP_KERNEL else "none" if not event.gfp else hex(event.gfp)


def ftrace(events: list[Made]) -> str:
    """``trace``."""
    head = "# tracer: nop\n#\n#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION\n"
    return head + "".join(
        f"  kworker/u4:1-{e.pid}   [{e.cpu:03}] d.s1. {e.time // 10**9:>6}.{e.time % 10**9 // 1000:06}: {e.kind}: "
        f"{_values(e, '')}\n"
        for e in events
    )


def perf_script(events: list[Made]) -> str:
    """``perf script``."""
    return "".join(
        f"some task {e.pid} [{e.cpu:03}] {e.time // 10**9:>6}.{e.time % 10**9 // 1000:06}: {'kmem:' + e.kind:>24}: "
        f"{_values(e, '0x').replace('/0x180', '')}\n"
        for e in events
    )


def trace_cmd(events: list[Made]) -> str:
    """``trace-cmd report``."""
    return "cpus=2\nCPU:1 [7 EVENTS DROPPED]\n" + "".join(
        f"  some [3] x-{e.pid}  [{e.cpu:03}] {e.time // 10**9:>6}.{e.time % 10**9 // 1000:06}: {e.kind:20} (fn+0x10) "
        f"{_values(e, '0x')}\n".replace(e.kind + " " * (20 - len(e.kind)), e.kind + ": ")
        for e in events
    )


BASE = 0xFFFF888000000000
CACHES = (("dentry", 192), ("inode_cache", 600), ("buffer_head", 104))


def workload(count: int, seed: int = 0, cpus: int = 2) -> list[Made]:
    """Allocations and frees in caches, of kmalloc and of pages, as a kernel would trace them: objects lie in slabs."""
    rng = random.Random(seed)
    live: list[Made] = []
    free: dict[str, list[int]] = {}
    found: list[Made] = []
    time, next_pfn = 10**9, 0x10000
    while len(found) < count:
        time += rng.randrange(200, 4000) // 1000 * 1000 + 1000
        cpu, pid = rng.randrange(cpus), rng.choice((17, 400, 512))
        common = {"time": time, "cpu": cpu, "pid": pid, "site": 0xFFFFFFFF81000000 + rng.randrange(40) * 257}
        if live and rng.random() < 0.45:
            old = live.pop(rng.randrange(len(live)))
            kind = {"kmalloc": "kfree", "kmem_cache_alloc": "kmem_cache_free", "mm_page_alloc": "mm_page_free"}[
                old.kind
            ]
            found.append(Made(kind=kind, ptr=old.ptr, name=old.name, order=old.order, **common))
            if old.kind != "mm_page_alloc":
                free[old.name or f"kmalloc-{old.alloc}"].append(old.ptr)
            continue
        if rng.random() < 0.1:
            order = rng.choice((0, 0, 0, 1, 3))
            next_pfn = -(-next_pfn // 8) * 8
            event = Made(kind="mm_page_alloc", ptr=next_pfn, order=order, gfp=GFP_KERNEL, **common)
            next_pfn += 1 << order
        else:
            name, size = rng.choice((*CACHES, ("", 64), ("", 512)))
            slots = free.setdefault(name or f"kmalloc-{size}", [])
            if not slots:
                found.append(Made(kind="mm_page_alloc", ptr=next_pfn, gfp=GFP_KERNEL, **common))
                slots += [BASE + next_pfn * 4096 + i * size for i in range(4096 // size)]
                next_pfn += 1
            kind = "kmem_cache_alloc" if name else "kmalloc"
            ptr = slots.pop(rng.randrange(len(slots)))
            request = size if name else rng.randrange(size // 2 + 1, size + 1)
            event = Made(kind=kind, ptr=ptr, req=request, alloc=size, gfp=GFP_KERNEL, name=name, **common)
        live.append(event)
        found.append(event)
    return found[:count]
