"""Rules 18-22: page state, page allocation and vmalloc failures, impossible sizes."""

from __future__ import annotations

from kmem.oops import gfp, pageflags
from kmem.oops.rules.base import CERTAIN, LIKELY, Case, Finding, rule


@rule(18, "bad page state")
def bad_page(case: Case) -> Finding | None:
    """The page allocator found a page in a state that no free page has: a reference count that is not 0 (a put too
    many or too few), a mapping or flags that its last user did not clear. When several fields of struct page
    show a repeated byte, the struct page itself was overwritten: suspect DMA or an overrun of the memory map.
    """
    report = case.report
    if report.kind != "bad-page":
        return None
    overwritten = _repeated(case)
    if overwritten:
        return Finding(
            18,
            "bad_page",
            LIKELY,
            f"struct page itself was overwritten (fields of repeated bytes: {overwritten}): somebody wrote over "
            f"the memory map",
            case.lines("page", "page-flags", "page-bad"),
            ("memory_corruption", "bit_flip"),
            "the process that was named only freed or got the page",
            ("suspect a device's DMA: boot with the IOMMU on, without out-of-tree modules", "run memtest86+"),
        )
    count = report.value("page", "count") or report.value("page-old", "count")
    why = report.value("page-why", "why")
    flags = report.value("page-bad", "names") or report.value("page-flags", "names") or _flags(case)
    story = (
        f"its reference count is {count}"
        if count not in ("", "0")
        else f"flags are left set: {flags}"
        if flags
        else why or "a field is not as it must be"
    )
    if count.startswith("-"):
        story += ": put_page() or free_pages() ran more often than get_page()"
    if "cgroup" in why:
        story += "; it is still charged to a cgroup"
    if "reserved" in flags.split("|"):
        story = (
            "PG_reserved is still set: a driver that mapped its buffer did not clear it on every page before the free"
        )
    return Finding(
        18,
        "bad_page",
        CERTAIN,
        f"a page was freed or handed out in a bad state: {story}",
        case.lines("page", "page-old", "page-flags", "page-why", "page-bad"),
        ("double_free", "memory_corruption"),
        "the process that is named found the page; the one that left it so ran before",
        ("boot with page_owner=on: the report then says who had the page", "CONFIG_DEBUG_VM=y and page_poison=1"),
    )


def _flags(case: Case) -> str:
    """The names of the flags that were printed as a mask alone. 2.6.27 was the last to print them in one line with
    the mapping, so such a line without a release is of the table that most of those kernels had.
    """
    old = case.report.value("page-old", "flags")
    mask = old or case.report.value("page-flags", "flags")
    version = case.report.version if not old or case.report.version != (0, 0) else (2, 18)
    return pageflags.names(int(mask, 16), version) if mask else ""


def _repeated(case: Case) -> str:
    report = case.report
    texts = [report.value("page", key) for key in ("count", "mapping")] + [report.value("page-flags", "flags")]
    found = []
    for text in texts:
        try:
            value = int(text, 16 if text[:2] == "0x" or len(text) == 8 else 10) & 0xFFFFFFFF
        except ValueError:
            continue
        data = value.to_bytes(4, "little")
        if value not in (0, 0xFFFFFFFF) and max(data.count(byte) for byte in data) >= 3 and data.count(0) < 3:
            found.append(f"{value:#x}")
    return ", ".join(found) if len(found) > 1 else ""


@rule(19, "page allocation failure")
def alloc_failure(case: Case) -> Finding | None:
    """Order 0 with GFP_ATOMIC fails when the reserve is gone: pressure, not a bug; the caller must cope. Order 4 and
    above with GFP_KERNEL fails from fragmentation though memory is free: use kvmalloc(), or smaller pieces.
    """
    report = case.report
    fact = report.fact("order")
    if report.kind != "alloc-failure" or fact is None:
        return None
    order, mode = int(fact.values["order"][:3]), int(fact.values["mode"], 16)
    names = fact.values.get("names") or (case.gfp(mode) if gfp.known(report.version) else "")
    size = f"{4 << order} KiB" if order < 9 else f"{4 << order >> 10} MiB" if order < 40 else "too much"
    asked = f"{size} in one piece (order {order}, {f'{names}, ' if names else ''}{mode:#x})"
    sleeps = gfp.may_sleep(mode, report.version) if gfp.known(report.version) else mode != 0x20
    steps: tuple[str, ...]
    if order == 0:
        story = "there was no free page that this request may take: memory pressure"
        steps = ("raise vm.min_free_kbytes; the caller must cope with NULL",)
        if not sleeps:
            story += " in a context that cannot wait for reclaim"
    elif order > 10:
        story, steps = (
            "no kernel has pages of that order: the size was computed wrongly",
            ("check the size before the call",),
        )
    else:
        story = (
            "no such piece is free, though memory may be: fragmentation"
            if order >= 3
            else "memory is short or fragmented"
        )
        steps = (
            "kvmalloc() when the memory need not be physically contiguous; else smaller pieces, or allocate at boot",
            "__GFP_NOWARN when the caller falls back anyway",
        )
    return Finding(
        20 if order > 10 else 19,
        "oversize_request" if order > 10 else "alloc_failure",
        CERTAIN,
        f"{case.caller} asked for {asked}: {story}",
        case.lines("order"),
        ("out_of_memory",),
        "this is a warning: the allocation returned NULL and nothing is corrupted",
        steps,
    )


@rule(20, "impossible size")
def oversize(case: Case) -> Finding | None:
    """kmalloc() above its maximum (KMALLOC_MAX_SIZE), kvmalloc() above 2 GB and vmalloc(0) warn: a size was computed
    from unchecked input, overflowed, or is 0.
    """
    report = case.report
    if "kmalloc bug" in report.title:
        return Finding(
            20,
            "oversize_request",
            LIKELY,
            f"{case.caller} asked for more than the allocator can ever give: the size was not checked or its "
            f"computation overflowed",
            case.lines("warn-at"),
            ("warning",),
            f"{report.value('warn-at', 'where').split('+')[0]} only refused it",
            (
                "limit the size where it comes from user space; array_size() saturates instead of wrapping",
                "__GFP_NOWARN if failing is fine",
            ),
        )
    if "zero-size vmalloc" in report.title:
        return Finding(
            22,
            "oversize_request",
            LIKELY,
            f"{case.caller} asked vmalloc() for 0 bytes (or for more than there are pages)",
            case.lines("warn-at"),
            ("warning",),
            next=("check the size that was computed: it is 0",),
        )
    return None


@rule(21, "vmalloc area full")
def vmalloc_full(case: Case) -> Finding | None:
    """vmalloc() and module loading need virtual address space. 32-bit machines have little: on arm, modules must lie
    in the 16 MB below PAGE_OFFSET, so a module (or its DWARF-free part) of 13 MB may not fit however much RAM
    is free.
    """
    report = case.report
    if report.kind != "vmap-failure":
        return None
    size = report.value("vmap-size", "size")
    number = int(size[:18]) if size else 0
    if not number:
        return None
    module = any("module_alloc" in frame.name or "load_module" in frame.name for frame in report.frames)
    area = "the modules area (16 MB on arm)" if module and report.arch == "arm" else "the vmalloc area"
    return Finding(
        21,
        "vmalloc_exhausted",
        LIKELY,
        f"{number:,} bytes of address space were not free in {area}; RAM was not what was missing",
        case.lines("vmap-size", "mode"),
        ("alloc_failure", "oversize_request"),
        "the page allocator",
        (
            "build the module in, or smaller (strip debug information)"
            if module
            else "vmalloc=SIZE on the command line (32-bit)",
            "cat /proc/vmallocinfo: who holds the space?",
            "CONFIG_ARM_MODULE_PLTS=y lets modules lie elsewhere" if module else "look for a vmalloc leak",
        ),
    )


@rule(19, "out of memory")
def out_of_memory(case: Case) -> Finding | None:
    """The OOM killer ran: no memory was left for a request that must succeed. The Mem-Info tells who has it: a cgroup
    at its limit, processes (anon), or the kernel itself (slab_unreclaimable; a quarter of RAM there is a leak).
    """
    report = case.report
    if report.kind != "oom":
        return None
    slab, ram = (int(report.value(name, "pages")[:18] or 0) for name in ("slab-pages", "ram-pages"))
    story, steps = "no memory was left", ["compare the Mem-Info of several reports: what grows?"]
    others: tuple[str, ...] = ("leak",)
    if report.fact("memcg-oom"):
        story = "a memory cgroup reached its limit"
        steps = ["raise the cgroup's memory.max, or make its processes smaller; the machine has memory left"]
        others = ()
    elif slab and ram and slab * 4 > ram:
        story += f": {slab:,} of {ram:,} pages are slabs that cannot be reclaimed, so the kernel itself leaks"
        steps = ["slabtop names the cache that grows; CONFIG_DEBUG_KMEMLEAK=y names who allocates", *steps]
    killed = report.fact("killed")
    if killed:
        story += f"; the kernel killed {killed.values['comm']} (pid {killed.values['pid']})"
    return Finding(
        19,
        "out_of_memory",
        CERTAIN,
        story,
        case.lines("mode", "order", "memcg-oom", "slab-pages", "ram-pages", "killed"),
        others,
        "the function in the trace only asked for a page" if not others else "",
        tuple(steps),
    )
