"""What reading text costs: events a second of ftrace, ``perf script`` and ``trace-cmd report``.

``python benchmarks/bench_text.py TRACE`` takes any trace, with the kernel's format files beside it, and writes its
events as each tool would have printed them. Names of functions are made up from the addresses, as long as a kernel's
are; names of tasks, from their numbers. The text is read warm.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from kmem.trace.formats import parse_format
from kmem.trace.open import open_trace
from kmem.trace.schema import KINDS, Recording

_PARTS = ("alloc", "inode", "page", "do", "vm_area", "copy", "skb", "init", "free", "radix", "security", "ext4")
TOOLS = ("ftrace", "perf script", "trace-cmd report")


def head(tool: str, comm: str, pid: int, cpu: int, time: str, kind: str) -> str:
    """What a line begins with."""
    if tool == "ftrace":
        return f"{comm:>16}-{pid:<7} [{cpu:03}] ...1. {time:>12}: {kind}: "
    if tool == "perf script":
        return f"{comm:>16} {pid:>5} [{cpu:03}] {time:>12}: {'kmem:' + kind:>20}: "
    return f"{comm:>16}-{pid:<5} [{cpu:03}] {time:>12}: {kind + ': ':<22}"


def function(site: int) -> str:
    """A name, an offset and a length for an address."""
    h = site * 0x9E3779B97F4A7C15 >> 20
    return f"{_PARTS[h % 12]}_{_PARTS[h // 12 % 12]}_{h >> 8 & 0xFF:x}+{h >> 16 & 0xFFF:#x}/{(h >> 16 & 0xFFF) + 64:#x}"


def flags(mask: int, names: dict[str, int]) -> str:
    """What ``%pGg`` prints of a mask, with the *names* of the format files."""
    found = []
    for name, bits in names.items():
        if bits and mask & bits == bits:
            found.append(name)
            mask &= ~bits
    return "|".join(found + [f"{mask:#x}"] * bool(mask)) or "none"


def lines(recording: Recording, tool: str, names: dict[str, int]) -> Iterator[str]:
    """The text of *recording* as *tool* prints it, a batch at a time."""
    hexa = "" if tool == "ftrace" else "0x"
    sites: dict[int, str] = {}
    masks: dict[int, str] = {}
    columns = ("time", "call_site", "ptr", "requested", "allocated", "gfp", "task", "cache", "cpu", "kind", "order")
    for batch in recording.batches():
        found = []
        for when, site, ptr, req, alloc, gfp, task, cache, cpu, number, order in zip(
            *(batch[name].tolist() for name in columns), strict=True
        ):
            kind, pfn = KINDS[number], f"page={hexa}{0xFFFFEA0000000000 + (ptr << 6):x} pfn=0x{ptr:x}"
            if site not in sites:
                sites[site] = function(site).split("/")[0] if tool == "perf script" else function(site)
            if gfp not in masks:
                masks[gfp] = flags(gfp, names)
            name = f" name={recording.info.strings[cache]}"
            if kind in ("kmalloc", "kmem_cache_alloc"):
                sizes = f"bytes_req={req} bytes_alloc={alloc} gfp_flags={masks[gfp]} node=-1 accounted=false"
                text = f"call_site={sites[site]} ptr={hexa}{ptr:016x}{name if kind != 'kmalloc' else ''} {sizes}"
            elif kind in ("kfree", "kmem_cache_free"):
                text = f"call_site={sites[site]} ptr={hexa}{ptr:016x}{name if kind != 'kfree' else ''}"
            elif kind == "mm_page_alloc":
                text = f"{pfn} order={order} migratetype=0 gfp_flags={masks[gfp]}"
            elif kind == "mm_page_alloc_extfrag":
                text = f"{pfn} alloc_order={order} fallback_order={req} pageblock_order=9 fragmenting=0"
            else:
                text = f"{pfn} order={order}{' migratetype=0' if kind == 'mm_page_pcpu_drain' else ''}"
            seconds = f"{when // 10**9}.{when % 10**9 // 1000:06}"
            found.append(f"{head(tool, f'task-{task % 97:x}', task, cpu, seconds, kind)}{text}\n")
        yield "".join(found)


def write(recording: Recording, tool: str, names: dict[str, int], path: Path) -> int:
    """Put the text into *path*; its bytes."""
    with open(path, "w", encoding="ascii", errors="replace") as file:
        if tool == "ftrace":
            file.write("# tracer: nop\n#\n#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION\n")
        file.writelines(lines(recording, tool, names))
    return path.stat().st_size


def measure(path: Path, turns: int = 5) -> tuple[int, float, float]:
    """How many events there are, and the most that were read in a microsecond of processor time, and of time."""
    count, by_processor, by_clock = 0, 0.0, 0.0
    for _ in range(turns):
        recording = open_trace(path)
        begin, used = time.perf_counter(), time.process_time()
        count = sum(batch.n for batch in recording.batches())
        by_clock = max(by_clock, count / (time.perf_counter() - begin) / 1e6)
        by_processor = max(by_processor, count / (time.process_time() - used) / 1e6)
    return count, by_processor, by_clock


def main() -> None:
    """Write, measure and print."""
    source = Path(sys.argv[1])
    beside = source if source.is_dir() else source.parent
    names = parse_format((beside / "format.kmalloc").read_text()).gfp_names()
    for tool in TOOLS:
        with tempfile.TemporaryDirectory() as where:
            path = Path(where) / "trace.txt"
            size = write(open_trace(source), tool, names, path)
            count, by_processor, by_clock = measure(path)
        print(f"{tool:16} {count:,} events, {size / count:.0f} bytes each: ", end="")
        print(f"{by_processor:.2f} M a second of processor time, {by_clock:.2f} M a second", flush=True)


if __name__ == "__main__":
    main()
