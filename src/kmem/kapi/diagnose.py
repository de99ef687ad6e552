"""What the mm asks for while it runs: warnings, reports, constructors. One method for each code of
:mod:`kmem.mm.codes`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from kmem.abi import gfp, page_flags
from kmem.abi.layout import enums
from kmem.abi.slab_flags import slab_flags
from kmem.kapi.shrinker import shrink_slab
from kmem.lib.cstruct import u64
from kmem.mm import codes, places, slub_report
from kmem.mm.codes import EXCEEDS, NO_AREA, NO_AREA_RETRYING, NO_SPACE
from kmem.mm.mm_types import kmem_cache, kmem_cache_cpu, slab, track
from kmem.mm.oom_kill import OomKiller
from kmem.mm.page_slowpath import NOFAIL_ROUNDS
from kmem.mm.proc_slab import cache_nodes, count_free, count_partial
from kmem.mm.show_mem import highest_zone, mem_info, nodemask_text
from kmem.mm.slub_freelist import oo_order
from kmem.mm.slub_report import AllocationFailure, CacheGeometry, NodeCounts, SlabReport, SlabValues, Track
from kmem.mm.vm_flags import MEMTYPE_CONFLICT, MEMTYPE_FREE_INVALID, MEMTYPE_RESERVE_FAILED

if TYPE_CHECKING:
    from kmem.kapi.logbuf import LogBuf
    from kmem.mm.api import Mm
    from kmem.modules.kallsyms import Kallsyms

Line = tuple[int, str]
JIFFIES_AT_BOOT, NS_PER_JIFFY = 4294892296, 4000000
STARVED_LIMIT = 1000
"""How many allocations may fail for lack of memory before a module that does not stop asking is stopped."""

_RANGES = {
    codes.REPORT_LEFT_REDZONE: slub_report.LEFT_REDZONE,
    codes.REPORT_RIGHT_REDZONE: slub_report.RIGHT_REDZONE,
    codes.REPORT_KMALLOC_REDZONE: slub_report.KMALLOC_REDZONE,
    codes.REPORT_ALIGNMENT: slub_report.ALIGNMENT_PADDING,
    codes.REPORT_POISON: slub_report.POISON,
    codes.REPORT_END_POISON: slub_report.END_POISON,
    codes.REPORT_OBJECT_PADDING: slub_report.OBJECT_PADDING,
}
_KINDS = {
    codes.REPORT_LEFT_REDZONE: "out-of-bounds",
    codes.REPORT_RIGHT_REDZONE: "out-of-bounds",
    codes.REPORT_KMALLOC_REDZONE: "out-of-bounds",
    codes.REPORT_ALIGNMENT: "out-of-bounds",
    codes.REPORT_OBJECT_PADDING: "out-of-bounds",
    codes.REPORT_SLAB_PADDING: "out-of-bounds",
    codes.REPORT_POISON: "use-after-free",
    codes.REPORT_END_POISON: "use-after-free",
    codes.REPORT_ALREADY_FREE: "double-free",
    codes.REPORT_INVALID_POINTER: "invalid-free",
    codes.REPORT_REMAINING: "leak",
}
_CATTR_NAMES = ("write-back", "write-combining", "uncached-minus", "uncached", "write-through", "write-protected")
_WARNINGS = {
    places.VFREE_BAD_ADDRESS: "Trying to vfree() bad address ({})\n",
    places.VFREE_NONEXISTENT: "Trying to vfree() nonexistent vm area ({})\n",
}
"""What a WARN says besides its place."""
_FRAMES = {
    codes.REPORT_LEFT_REDZONE: "@left-redzone",
    codes.REPORT_RIGHT_REDZONE: "@right-redzone",
    codes.REPORT_KMALLOC_REDZONE: "@kmalloc-redzone",
    codes.REPORT_POISON: "@poison",
    codes.REPORT_END_POISON: "@end-poison",
    codes.REPORT_OBJECT_PADDING: "@object-padding",
    codes.REPORT_ALREADY_FREE: "free_to_partial_list.cold",
    codes.REPORT_INVALID_POINTER: "slab_err",
    codes.REPORT_DISABLED: "slab_err",
}


class Host(Protocol):
    """What is needed of the kernel."""

    mm: Mm
    log: LogBuf
    kallsyms: Kallsyms

    @property
    def caller(self) -> int: ...
    def now(self) -> int: ...
    def tainted_text(self) -> str: ...
    def add_taint(self, flag: int) -> None: ...
    def stack_addresses(self) -> list[int]: ...
    def stack_lines(self, through: str = "") -> Iterable[Line]: ...
    def comm(self) -> str: ...
    def serving(self) -> str: ...
    def warn_at(self, place: places.Place, message: str = "") -> None: ...
    def flush_tlb(self) -> None: ...
    def warn(self, file: str, line: int, function: str, message: str = "", *, once: bool = False) -> None: ...
    def bug(self, file: str, line: int, function: str) -> NoReturn: ...
    def panic(self, message: str) -> NoReturn: ...
    def run_ctor(self, ctor: int, obj: int) -> None: ...
    def run_guest(self, fn: int, *args: int) -> int: ...
    def shrinkers(self) -> bool: ...
    def address_of(self, name: str) -> int: ...
    @property
    def current(self) -> int: ...
    def memory_held(self) -> str: ...
    def starved(self, failures: int) -> NoReturn: ...
    def finding(self, kind: str, message: str, **facts: object) -> None: ...


class Diagnose:
    """Answers the upcalls of one kernel."""

    def __init__(self, k: Host) -> None:
        self.k = k
        self._stacks: list[list[int]] = [[]]
        self._starved = 0
        self.booted = False
        """Whether there are tasks, and a kernel that can print."""
        self._handlers: dict[int, Callable[[int, int, int, int], int]] = {
            codes.UP_CACHE_FLAGS: self._cache_flags,
            codes.UP_WARN: self._warn,
            codes.UP_BUG: self._bug,
            codes.UP_CTOR: self._ctor,
            codes.UP_ALLOC_FAILED: self._alloc_failed,
            codes.UP_VMALLOC_FAILED: self._vmalloc_failed,
            codes.UP_OUT_OF_MEMORY: self._out_of_memory,
            codes.UP_SLAB_REPORT: self._slab_report,
            codes.UP_SLAB_FIX: self._slab_fix,
            codes.UP_SLAB_TRACK: self._slab_track,
            codes.UP_WRONG_CACHE: self._wrong_cache,
            codes.UP_BAD_PAGE: self._bad_page,
            codes.UP_EVENTS_FULL: self._events_full,
            codes.UP_TLB_FLUSH: self._tlb_flush,
            codes.UP_MEMTYPE: self._memtype,
            codes.UP_SHRINK_SLAB: self._shrink_slab,
            codes.UP_MIGRATE_PAGE: self._migrate_page,
            codes.UP_STUCK: self._stuck,
            codes.UP_SLAB_OOM: self._slab_oom,
            codes.UP_CACHE_FAILED: self._cache_failed,
            codes.UP_CACHE_BUSY: self._cache_busy,
            codes.UP_FIX_FLAGS: self._fix_flags,
            codes.UP_RCU_SLAB: self._rcu_slab,
            codes.UP_RCU_CACHE: self._rcu_cache,
            codes.UP_CONTIG_IN_USE: self._contig_in_use,
        }
        self.drain: Callable[[], None] = lambda: None
        self.counted: Callable[[], bool] = lambda: False
        """Whether somebody counts errors of slabs instead of having them printed."""

    @property
    def _release(self) -> str:
        return self.k.mm.config.release

    def __call__(self, code: int, a: int, b: int, c: int, d: int) -> int:
        """One upcall."""
        return self._handlers[code](a, b, c, d)

    def print(self, lines: Iterable[Line]) -> list[str]:
        """Log report lines; their text."""
        text = []
        for level, line in lines:
            self.k.log.printk(line + "\n", level)
            text.extend(line.split("\n"))
        return text

    def _events_full(self, a: int, b: int, c: int, d: int) -> int:
        self.drain()
        return 0

    def _cache_flags(self, name: int, flags: int, c: int, d: int) -> int:
        return self.k.mm.config.kmem_cache_flags(self.k.mm.view.string(name), flags)

    def _tlb_flush(self, start: int, end: int, c: int, d: int) -> int:
        self.k.flush_tlb()
        return 0

    def _memtype(self, what: int, start: int, end: int, types: int) -> int:
        """What arch/x86/mm/pat/memtype.c says of types of caching that do not agree."""
        one, other = _CATTR_NAMES[types >> 8], _CATTR_NAMES[types & 0xFF]
        task = f"{self.k.comm()}:97"
        span = f"[mem {start:#010x}-{end - 1:#010x}]"
        text = {
            MEMTYPE_CONFLICT: f"{task} conflicting memory types {start:x}-{end:x} {one}<->{other}",
            MEMTYPE_RESERVE_FAILED: f"memtype_reserve failed {span}, track {one}, req {other}",
            MEMTYPE_FREE_INVALID: f"{task} freeing invalid memtype {span}",
        }[what]
        self.print([(6, f"x86/PAT: {text}")])
        return 0

    def _warn(self, where: int, a: int, b: int, d: int) -> int:
        message = _WARNINGS.get(where)
        place = places.place(where, self._release)
        self.k.warn_at(place, message.format(self.k.mm.hash_pointer(u64(a))) if message else "")
        return 0

    def _bug(self, where: int, a: int, b: int, d: int) -> int:
        place = places.place(where, self._release)
        function = self._freeing(u64(a), b) if where == places.SLUB_DOUBLE_FREE else place.function
        self.k.bug(place.file, place.line, function)

    def _freeing(self, obj: int, cache: int) -> str:
        """The kernel function that finds a double free: the slow path's, or what the fast path was inlined into."""
        view = self.k.mm.view
        s = view.ptr(kmem_cache, cache)
        current = view.ptr(kmem_cache_cpu, s.cpu_slab._addr + view.per_cpu_offset(0)).slab
        if current._addr != view.page_of(obj)._addr:
            return "__slab_free"
        return "kmem_cache_free" if self.k.serving() == "kmem_cache_free" else "__kmem_cache_free"

    def _ctor(self, ctor: int, obj: int, s: int, d: int) -> int:
        self.k.run_ctor(u64(ctor), u64(obj))
        return 0

    def _cache_failed(self, name: int, error: int, flags: int, d: int) -> int:
        """``kmem_cache_create()`` gives up."""
        text = self.k.mm.view.string(name)
        if flags & slab_flags(self.k.mm.config.release).SLAB_PANIC:
            self.k.panic(slub_report.cache_panic(text, error))
        self.print([slub_report.cache_failed(text, error), *self.k.stack_lines("kmem_cache_create_usercopy")])
        return 0

    def _cache_busy(self, cache: int, b: int, c: int, d: int) -> int:
        """A cache is to be destroyed and still has objects."""
        name = self.k.mm.view.cache_name(self.k.mm.view.ptr(kmem_cache, cache))
        place = places.place(places.CACHE_STILL_USED, self._release)
        message = slub_report.cache_still_used(name, self.k.kallsyms.sprint(self.k.caller))
        self.k.warn(place.file, place.line, place.function, message + "\n")
        return 0

    def _fix_flags(self, mask: int, b: int, c: int, d: int) -> int:
        """A slab or a large kmalloc cannot be in the zone that was asked for."""
        invalid = mask & (gfp.__GFP_DMA32 | gfp.__GFP_HIGHMEM)
        fixed = mask & ~invalid
        text = self.print(
            [
                slub_report.unexpected_gfp(invalid, gfp.pgg(invalid), fixed, gfp.pgg(fixed)),
                *self.k.stack_lines("kmalloc_fix_flags"),
            ]
        )
        self.k.finding("bad-gfp", text[0], text=tuple(text))
        return fixed

    def _rcu_slab(self, slab_: int, b: int, c: int, d: int) -> int:
        """The pages of a SLAB_TYPESAFE_BY_RCU slab wait for a grace period."""
        from kmem.kapi.rcu import free_slab_after_grace

        free_slab_after_grace(self.k, u64(slab_))  # type: ignore[arg-type]  # the kernel is the kapi's Host too
        return 1

    def _rcu_cache(self, cache: int, b: int, c: int, d: int) -> int:
        """A destroyed SLAB_TYPESAFE_BY_RCU cache waits for one."""
        return 1

    def _contig_in_use(self, count: int, b: int, c: int, d: int) -> int:
        place = places.place(places.CONTIG_IN_USE, self._release)
        self.k.warn(place.file, place.line, place.function, f"{count} pages are still in use!\n")
        return 0

    def _alloc_failed(self, mask: int, order: int, node: int, nodes: int) -> int:
        self._failure(slub_report.page_allocation(order), mask, "__alloc_pages", nodes)
        return 0

    def _failure(self, message: str, mask: int, function: str, nodes: int = -1) -> None:
        """``warn_alloc()``: one report in ten seconds, whatever failed."""
        if mask & gfp.__GFP_NOWARN or not self._ratelimit("nopage_rs", "warn_alloc"):
            return
        mm, names = self.k.mm, gfp.pgg(mask, self._release)
        mems = mm.mems_allowed()
        report = AllocationFailure(
            self.k.comm(), message, mask, names, nodemask=nodemask_text(mm, nodes), mems_allowed=mems
        )
        info = mem_info(mm, highest_zone(mask), nodes)
        self.print(report.lines(self.k.stack_lines(function), info))

    def _ratelimit(self, state: str, function: str) -> bool:
        from kmem.kapi.ratelimit import ratelimit

        return not self.booted or ratelimit(self.k, self.k.address_of(state), function)  # type: ignore[arg-type]

    def _slab_oom(self, cache: int, mask: int, node: int, d: int) -> int:
        """``slab_out_of_memory()``."""
        if not self._ratelimit("slub_oom_rs", "slab_out_of_memory"):
            return 0
        s = self.k.mm.view.ptr(kmem_cache, cache)
        needed = max(-(-int(s.object_size) // 4096) - 1, 0).bit_length()
        orders = (oo_order(s.oo.x), oo_order(s.min.x), needed)
        counts = [
            NodeCounts(number, int(n.nr_slabs), int(n.total_objects), count_partial(self.k.mm.view, n, count_free))
            for number, n in cache_nodes(self.k.mm.view, s)
        ]
        self.print(
            slub_report.slab_out_of_memory(self._geometry(s), mask, gfp.pgg(mask, self._release), node, orders, counts)
        )
        return 0

    def _vmalloc_failed(self, why: int, size: int, mask: int, node: int) -> int:
        if why == EXCEEDS:
            message = slub_report.vmalloc_exceeds(u64(size))
        elif why == NO_SPACE:
            self.print([(4, f"vmap allocation for size {size} failed: use vmalloc=<size> to increase size")])
            return 0
        elif why in (NO_AREA, NO_AREA_RETRYING):
            message = slub_report.vmalloc_no_area(size, nofail=why == NO_AREA_RETRYING)
        else:
            message = slub_report.vmalloc_no_pages(size, 0)
        self._failure(message, mask, "__vmalloc_node_range")
        if why == NO_AREA_RETRYING:
            self._starved += 1
            if self._starved > STARVED_LIMIT:
                self.k.starved(STARVED_LIMIT)
        return 0

    def _out_of_memory(self, mask: int, order: int, node: int, nodes: int) -> int:
        """``out_of_memory()``: whether somebody was killed, or is dying already."""
        self._starved += 1
        if self._starved > STARVED_LIMIT:
            self.k.starved(STARVED_LIMIT)
        if not self.booted:
            return 0
        killer = OomKiller(self.k.mm, self.k)
        current = killer.task(self.k.current)
        if killer.will_free_mem(current):
            killer.mark_oom_victim(current)
            return 1
        if not mask & gfp.__GFP_FS:
            return 1
        victim, dying = killer.select_bad_process(nodes)
        if dying:
            return 1
        text: list[str] = []
        if victim is None:
            text = self.print(killer.dump_header(mask, order, None, nodes))
            text += self.print([(4, "Out of memory and no killable processes...")])
        elif self._ratelimit("oom_rs", "oom_kill_process"):
            text = self.print(killer.dump_header(mask, order, victim, nodes))
        if self._starved == 1 or victim is None:
            self.k.finding("leak", f"the machine is out of memory: {self.k.memory_held()}", text=tuple(text))
        if victim is None:
            self.k.panic("System is deadlocked on memory")
        self._count("OOM_KILL", 1)
        self.print([killer.kill(victim)])
        return 1

    def _count(self, name: str, n: int) -> None:
        events, item = self.k.mm.view.kdata.vm_event_states, enums(self._release)["vm_event_item"][name]
        events[item] = int(events[item]) + n

    def back_to_user(self) -> None:
        """The running task goes back to user mode, where a signal that kills it takes effect."""
        OomKiller(self.k.mm, self.k).revive(self.k.current)

    def _shrink_slab(self, mask: int, node: int, priority: int, d: int) -> int:
        if self.booted and self.k.shrinkers():
            _, scanned = shrink_slab(self.k, mask, node, priority)  # type: ignore[arg-type]  # the kapi's Host too
            self._count("SLABS_SCANNED", scanned)
        return 0

    def _migrate_page(self, old: int, new: int, c: int, d: int) -> int:
        return int(self.k.mm.migrate_user_page(old, new))

    def _stuck(self, mask: int, order: int, node: int, d: int) -> int:
        self.k.starved(NOFAIL_ROUNDS)

    # slub_debug

    def _geometry(self, s: Any) -> CacheGeometry:
        name = self.k.mm.view.cache_name(s)
        return CacheGeometry(name, s.size, s.object_size, s.inuse, s.offset, s.red_left_pad, s.flags, self._release)

    def _values(self, sl: Any) -> SlabValues:
        view = self.k.mm.view
        address = view.addr(sl)
        flags = u64(view.page(view.pfn(address)).flags)
        shown = page_flags.decode(flags, self._release)
        return SlabValues(address, self.k.mm.page_to_virt(address), sl.objects, sl.inuse, u64(sl.freelist), shown)

    def _tracks(self, s: Any) -> Callable[[int], tuple[Track | None, Track | None]]:
        info_end = s.inuse + (8 if s.offset >= s.inuse else 0)

        def tracks(obj: int) -> tuple[Track | None, Track | None]:
            found: list[Track | None] = []
            for which in range(2):
                t = self.k.mm.view.ptr(track, obj + info_end + which * track.size)
                stack = self._stacks[t.handle] if t.handle < len(self._stacks) else []
                found.append(Track(u64(t.addr), t.cpu, t.pid, t.when, stack) if t.addr else None)
            return found[0], found[1]

        return tracks

    def _slab_report(self, what: int, cache: int, slab_: int, obj: int) -> int:
        if self.counted():
            return 0
        view, k = self.k.mm.view, self.k
        s, sl, obj = view.ptr(kmem_cache, cache), view.ptr(slab, slab_), u64(obj)
        report = SlabReport(
            cache=self._geometry(s),
            slab=self._values(sl),
            read=lambda at, n: bytes(k.mm.ram.mem[k.mm.virt_to_phys(at) : k.mm.virt_to_phys(at) + n]),
            free_pointer=lambda o: self._free_pointer(s, o),
            tracks=self._tracks(s),
            jiffies=JIFFIES_AT_BOOT + k.now() // NS_PER_JIFFY,
            tainted=k.tainted_text(),
            symbol=k.kallsyms.sprint_backtrace,
            dump_stack=list(k.stack_lines(_FRAMES.get(what, ""))),
        )
        values = [u64(view.kdata.report[i]) for i in range(4)]
        lines, message = self._lines(report, what, obj, values)
        text = self.print(lines)
        self.k.add_taint(5)
        self._slab_finding(what, report, obj, values, message, text)
        return 0

    def _lines(self, report: SlabReport, what: int, obj: int, v: list[int]) -> tuple[Iterable[Line], str]:
        if what in _RANGES:
            return report.overwritten(_RANGES[what], obj, v[0], v[1], v[3]), f"{_RANGES[what]} overwritten"
        if what == codes.REPORT_SLAB_PADDING:
            length = report.slab.base + report.slab.objects * report.cache.size
            return report.padding_overwritten(
                v[0], v[1], obj, v[1] + 1 - obj, v[3]
            ), f"padding at {length:#x} overwritten"
        if what == codes.REPORT_INVALID_POINTER:
            return report.invalid_object(obj), f"{obj:#x} is no object of {report.cache.name}"
        if what == codes.REPORT_WRONG_COUNT:
            return report.wrong_count(v[0], v[1]), "wrong object count"
        if what == codes.REPORT_REMAINING:
            return report.objects_remaining(
                self._live(report)
            ), f"objects remain in {report.cache.name} when it is destroyed"
        reasons = {
            codes.REPORT_FREEPOINTER: slub_report.FREEPOINTER_CORRUPT,
            codes.REPORT_FREECHAIN: slub_report.FREECHAIN_CORRUPT,
            codes.REPORT_FREELIST_CHECK: slub_report.FREELIST_CHECK,
            codes.REPORT_ALREADY_FREE: slub_report.ALREADY_FREE,
        }
        if what in reasons and obj:
            return report.object_error(obj, reasons[what]), reasons[what]
        messages = {
            codes.REPORT_NOT_SLAB: slub_report.NOT_A_SLAB,
            codes.REPORT_DISABLED: slub_report.SLAB_DISABLED,
            codes.REPORT_OBJECTS: f"objects {report.slab.objects} > max",
            codes.REPORT_INUSE: f"inuse {report.slab.inuse} > max {report.slab.objects}",
            codes.REPORT_FREEPOINTER: slub_report.FREEPOINTER_CORRUPT,
        }
        return report.slab_error(messages[what]), messages[what]

    def _slab_finding(
        self, what: int, report: SlabReport, obj: int, v: list[int], message: str, text: list[str]
    ) -> None:
        if what == codes.REPORT_DISABLED:
            return
        if what in _RANGES:
            message = f"{message}: {v[1] - v[0] + 1} bytes at {v[0]:#x}, first byte {v[2]:#x} instead of {v[3]:#x}"
        kind = _KINDS.get(what, "freelist-corruption")
        tracked = report.cache.flags & report.cache.f.SLAB_STORE_USER
        tracks = report.tracks(obj) if obj and report.is_object(obj) and tracked else (None, None)
        sites = [t.stack[0] if t and t.stack else t.addr if t else 0 for t in tracks]
        facts = {
            "cache": report.cache.name,
            "object_size": report.cache.object_size,
            "allocated": sites[0],
            "freed": sites[1],
        }
        self.k.finding(kind, message, address=obj or v[0], text=tuple(text), slab=facts)

    def _live(self, report: SlabReport) -> list[int]:
        """Objects of a slab that are not on its free list."""
        view, size = self.k.mm.view, report.cache.size
        s = view.slab(view.ptr(slab, report.slab.address)).slab_cache
        free: set[int] = set()
        fp = report.slab.freelist
        while fp and fp not in free and len(free) <= report.slab.objects:
            free.add(fp)
            fp = self._free_pointer(s, fp)
        first = report.slab.base + report.cache.red_left_pad
        return [first + i * size for i in range(report.slab.objects) if first + i * size not in free]

    def _free_pointer(self, s: Any, obj: int) -> int:
        at = self.k.mm.virt_to_phys(obj + s.offset)
        raw = self.k.mm.ram.mem[at : at + 8]
        stored = int.from_bytes(raw, "little")
        if self.k.mm.view.kdata.hardened:
            stored ^= u64(s.random) ^ int.from_bytes((obj + s.offset).to_bytes(8, "big"), "little")
        return stored

    def _slab_fix(self, what: int, cache: int, obj: int, last: int) -> int:
        if self.counted():
            return 0
        name = self.k.mm.view.cache_name(self.k.mm.view.ptr(kmem_cache, cache))
        fixes = {
            codes.FIX_ALL_USED: slub_report.FIX_ALL_USED,
            codes.FIX_NOT_FREED: f"Object at 0x{u64(obj):016x} not freed",
            codes.FIX_CLEARED: slub_report.FIX_FREELIST_CLEARED,
        }
        if what in fixes:
            self.print([(3, f"FIX {name}: {fixes[what]}")])
        return 0

    def _slab_track(self, obj: int, which: int, c: int, d: int) -> int:
        self._stacks.append(self.k.stack_addresses())
        return len(self._stacks) - 1

    def _wrong_cache(self, cache: int, real: int, obj: int, d: int) -> int:
        view = self.k.mm.view
        names = [view.cache_name(view.ptr(kmem_cache, address)) for address in (cache, real)]
        place = places.place(places.CACHE_WRONG, self._release)
        self.k.warn(place.file, place.line, place.function, slub_report.wrong_slab_cache(*names) + "\n")
        return 0

    def _bad_page(self, pfn: int, b: int, c: int, d: int) -> int:
        page = self.k.mm.view.page(pfn)
        self.print(
            [
                (1, f"BUG: Bad page state in process {self.k.comm()}  pfn:{pfn:05x}"),
                (
                    4,
                    f"page: refcount:{page._refcount} mapcount:{page._mapcount + 1} "
                    f"mapping:{u64(page.mapping):016x} pfn:{pfn:#x}",
                ),
                *self.k.stack_lines("bad_page"),
            ]
        )
        self.k.add_taint(5)
        self.k.finding("invalid-free", f"page {pfn:#x} is freed while it is in use or free already")
        return 0
