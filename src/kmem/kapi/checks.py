"""``--check fast``: every access of a module's code, and of the functions that it calls, is checked against the shadow.

The emulated CPU calls the check of `kmem.lib.access` for each load and store; the functions that copy, compare and
print memory for a module go through `Watched`. What is forbidden becomes a finding with the report that KASAN would
print; then the access is carried out, as a kernel without KASAN does, and what comes of it is seen as well.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kmem.abi.address import PAGE_OFFSET
from kmem.abi.slab_flags import SLAB_TYPESAFE_BY_RCU
from kmem.kapi import dmacheck, kunit_kasan
from kmem.kapi.bind import Bound, RawArgs
from kmem.kapi.export import Export, lookup
from kmem.kapi.host import Call, Host
from kmem.kapi.kasan_report import report
from kmem.kapi.regs import PtRegs
from kmem.lib import access as native
from kmem.lib.access import MEM_READ, MEM_WRITE, SLOW
from kmem.lib.build import loaded
from kmem.lib.cstruct import u64
from kmem.lib.jit import INTERPRETED
from kmem.machine import uc
from kmem.machine.fault import AccessFault, Regs
from kmem.machine.operand import operands
from kmem.machine.paging import AddressSpace
from kmem.mm.mm_types import kmem_cache
from kmem.mm.stream import Event
from kmem.sanitizers import gfp
from kmem.sanitizers.kasan import ZERO_SIZE_PTR, Access, Bug, Kasan, Object, Verdict
from kmem.sanitizers.quarantine import Quarantine
from kmem.sanitizers.report import SlabObject
from kmem.sanitizers.shadow import GLOBAL_REDZONE

if TYPE_CHECKING:
    from kmem.kapi.instrument import Instrument
    from kmem.machine.bus import Bus
    from kmem.machine.cpu import Cpu
    from kmem.machine.ram import Ram
    from kmem.modules.module import Module

LONGEST_INSTRUCTION = 15
STACK_SIZE = 16 << 10
LEAST_STACK = 1024
"""Bytes of the stack that are kept with an allocation, unless it ends before."""
KINDS = {
    Bug.USE_AFTER_FREE: "use-after-free",
    Bug.USE_AFTER_SCOPE: "use-after-free",
}
MOVE = frozenset(("krealloc", "krealloc_noprof", "kvrealloc", "kvrealloc_noprof", "krealloc_node_align_noprof"))
"""What the allocator itself copies into what it gives."""
LEAVE = frozenset(("_copy_to_user", "copy_user_generic_unrolled", "copy_user_generic_string"))
KEPT = {"kfree": 0, "kfree_sensitive": 0, "kvfree": 0, "kmem_cache_free": 1}
"""What frees an object, and which argument it is."""
CHECKED = frozenset(
    f"kmem.kapi.{name}"
    for name in (
        *("string", "string_helpers", "sprintf", "uaccess", "usercopy", "hexdump", "kstrtox", "sscanf", "util"),
        "fileops",
    )
)
"""Where the exported functions are that work on memory which the caller names."""


@dataclass(frozen=True, slots=True)
class StackSample:
    """The stack of a moment: registers, and the bytes from the stack pointer on."""

    regs: Regs
    content: bytes

    def u64(self, addr: int) -> int:
        """The number at *addr* as it was."""
        at = addr - self.regs.rsp
        if not 0 <= at <= len(self.content) - 8:
            raise AccessFault(addr, 8, "read")
        return int.from_bytes(self.content[at : at + 8], "little")


class Watched(AddressSpace):
    """The kernel's memory, with a look at the shadow for what exported functions do in it on behalf of a module."""

    def __init__(self, ram: Ram, cr3: int, bus: Bus | None, checks: Checks) -> None:
        super().__init__(ram, cr3, bus)
        self._checks = checks
        self.watching = False

    def _look(self, addr: int, n: int, write: bool) -> None:
        """Check an access; what a report reads is not looked at."""
        self.watching = False
        try:
            self._checks.kernel_access(addr, n, write)
        finally:
            self.watching = True

    def read(self, addr: int, n: int) -> bytes:
        """*n* bytes at *addr*."""
        if self.watching:
            self._look(addr, n, False)
        return super().read(addr, n)

    def write(self, addr: int, data: bytes | bytearray | memoryview) -> None:
        """Store *data* at *addr*."""
        if self.watching:
            self._look(addr, len(data), True)
        super().write(addr, data)
        self._checks.written(addr, len(data))

    def fill(self, addr: int, byte: int, n: int) -> None:
        """``memset(addr, byte, n)``."""
        if self.watching:
            self._look(addr, n, True)
        super().fill(addr, byte, n)
        self._checks.written(addr, n)

    def cstr(self, addr: int, limit: int = 4096) -> bytes:
        """The bytes before the first NUL, at most *limit*; what lies behind it is not looked at."""
        watching, self.watching = self.watching, False
        try:
            found = super().cstr(addr, limit)
        finally:
            self.watching = watching
        if watching:
            self._look(addr, min(len(found) + 1, limit), False)
        return found


def _bytes(n: int) -> str:
    return f"{n} byte{'s' if n != 1 else ''}"


class Checks:
    """The checks of one kernel *k*, a `kmem.kernel.Kernel`. Made after boot, before the first module."""

    def __init__(self, k: Any, early: Iterable[Event], *, keep: bool = False) -> None:
        self.k = k
        self.kasan = Kasan(k.mm.ram.size, self, k.loader.is_code, self.sample)
        self.kasan.bad_free = self._bad_free
        self._private = k.mm.core.private
        self._sizes: dict[int, tuple[int, int]] = {}
        self.quarantine = Quarantine(k.mm.ram.size if keep else 0, self._release)
        """With *keep*: what the module has freed, and the allocator does not know yet."""
        self.reader = 0
        """Where the running RCU reader began: a return address."""
        self._frames: dict[int, int] = {}
        self._before: dict[str, Callable[[RawArgs], object]] = {
            "kmem_cache_free": self._kmem_cache_free,
            "kfree": self._kfree,
            "kfree_sensitive": self._kfree,
            "vfree": self._vfree,
            "simple_read_from_buffer": self._simple_read,
            "__rcu_read_lock": self._reads,
            "kmem_cache_destroy": self._destroy,
            "ksize": self._ksize,
            **dict.fromkeys(MOVE, lambda words: self._used(words[0])),
            "kmem_cache_shrink": lambda words: self.quarantine.flush(),
            **dmacheck.functions(self),
            "_copy_from_user": lambda words: self.kernel_access(words[0], words[2], True),
        }
        self.instrument: Instrument | None = None
        """The shadow of code that the compiler instrumented, once there is some."""
        self._native = native.Access()
        self._slow = SLOW(self._forbidden)
        self.reported: set[tuple[int, int]] = set()
        self.mem = Watched(k.mm.ram, k.mm.boot.cr3, k.bus, self)
        for event in early:
            self._event(event)
        k.events.listen(self._event)

    def _event(self, event: Event) -> None:
        if event.kind in ("kmem_cache_create", "kmem_cache_destroy"):
            self._sizes.pop(event.ptr, None)
        self.kasan(event)
        if event.gfp & gfp.SUSPECT or event.kind == "vmalloc":
            self._flags(event)

    # what the shadow asks (kmem.sanitizers.kasan.Memory)

    def _cache(self, cache: int) -> tuple[int, int]:
        found = self._sizes.get(cache)
        if found is None:
            s = self.k.mm.view.ptr(kmem_cache, cache)
            found = self._sizes[cache] = int(s.object_size), int(s.flags)
        return found

    def object_size(self, cache: int) -> int:
        """``s->object_size``."""
        return self._cache(cache)[0]

    def delays_reuse(self, cache: int) -> bool:
        """Whether freed objects may still be read."""
        return bool(self._cache(cache)[1] & SLAB_TYPESAFE_BY_RCU)

    def percpu(self, offset: int) -> Iterator[int]:
        """The physical address of a per-cpu variable on each CPU."""
        for cpu in range(self.k.nr_cpus):
            phys = self.phys_of(u64(self.k.mm.view.per_cpu_offset(cpu)) + offset & (1 << 64) - 1)
            if 0 <= phys < self.kasan.shadow.size:
                yield phys

    def object_of(self, address: int) -> int:
        """Where the slab object begins that *address* lies in."""
        view = self.k.mm.view
        head = view.page_of(address)
        if not view.is_slab(head):
            return address
        s = view.slab(head).slab_cache
        base = PAGE_OFFSET + (view.pfn(view.addr(head)) << 12) + int(s.red_left_pad)
        size = int(s.size)
        return int(base + (address - base) // size * size)

    def slab_around(self, address: int) -> tuple[range, int, range]:
        """The page frames of the slab that *address* lies in, the size of its objects, and where they begin."""
        view = self.k.mm.view
        head = view.page_of(address)
        sl = view.slab(head)
        s, pfn = sl.slab_cache, view.pfn(view.addr(head))
        first = PAGE_OFFSET + (pfn << 12) + int(s.red_left_pad)
        size, count = int(s.size), int(sl.objects)
        objects = range(first, first + size * count, size)
        pages = -(-size * count // 4096)
        return range(pfn, pfn + pages), int(s.object_size), objects

    def is_free(self, pfn: int) -> bool:
        """Whether nobody has the page: its count is 0, and it is no part of a larger one that is somebody's."""
        if not 0 <= pfn < self.k.mm.ram.size >> 12:
            return False
        page = self.k.mm.view.page(pfn)
        return not page._refcount and not page.compound_head & 1

    def phys_of(self, p: int) -> int:
        """The physical address behind a kernel address, or -1."""
        return int(self.k.mm.phys_of(p))

    def sample(self) -> StackSample | None:
        """The stack of the call that is being served."""
        executor = self.k._executor
        if executor is None or not executor.cpu.depth:
            return None
        regs = executor.traps.registers()
        return StackSample(regs, self._stack(regs.rsp, executor.stack + STACK_SIZE))

    def _stack(self, start: int, end: int) -> bytes:
        """What lies on the running stack from *start* on: where its pages are does not change while it is in use."""
        content, mem = b"", self.k.mm.ram.mem
        while start < end and len(content) < LEAST_STACK:
            page = start >> 12
            if page not in self._frames:
                self._frames[page] = self.phys_of(page << 12)
            length, at = min(end - start, 4096 - start % 4096), self._frames[page]
            if at < 0:
                break
            at += start % 4096
            content += bytes(mem[at : at + length])
            start += length
        return content

    def mark(self) -> Any:
        """The state of now, for :meth:`rewind`."""
        if self.instrument:
            self.instrument.shadow.ram.snapshot()
        return self.kasan.mark(), set(self.reported), self.quarantine.mark()

    def rewind(self, mark: Any) -> None:
        """Memory is as it was at *mark*."""
        if self.instrument:
            self.instrument.shadow.ram.rollback()
        self.kasan.rewind(mark[0])
        self.reported = set(mark[1])
        self.quarantine.rewind(mark[2])

    # accesses

    def known(self, place: int, write: bool) -> bool:
        """Whether what happens at *place* was reported before; from now on it was. With "multi-shot" (a test of KASAN's
        own) every report is new.
        """
        known = (place, write) in self.reported
        self.reported.add((place, write))
        return known and not kunit_kasan.multi_shot(self.k)

    def attach(self, cpu: Cpu) -> None:
        """From now on the CPU's loads and stores are checked."""
        shadow, given = self.kasan.shadow, self._native
        given.shadow, given.unwritten, given.size = shadow.address, shadow.unwritten_address, shadow.size
        given.slow = ctypes.cast(self._slow, ctypes.c_void_p).value
        hook: Any = self._interpreted if INTERPRETED else loaded(self.k.release.name).access_check()
        for kind in (uc.HOOK_MEM_READ, uc.HOOK_MEM_WRITE):
            if INTERPRETED:
                cpu.engine.hook(kind, uc.MEM_HOOK(hook))
            else:
                cpu.engine.hook(kind, hook, user_data=ctypes.addressof(given))
        if self.instrument:
            self.instrument.attach(cpu)
        cpu.flush_code()

    def instrumented(self) -> Instrument:
        """The shadow of instrumented code, which is about to be loaded."""
        if self.instrument is None:
            from kmem.kapi.instrument import Instrument

            self.instrument = Instrument(self)
            self.instrument.attach(self.k.executor.cpu)
        self.instrument.enter()
        return self.instrument

    def _interpreted(self, engine: int, kind: int, phys: int, size: int, value: int) -> None:
        """The check in Python, for a model that is not compiled."""
        shadow = self.kasan.shadow
        if phys + size > shadow.size:
            return
        if kind == MEM_WRITE:
            shadow.written(phys, size)
        if shadow.first_bad(phys, size) >= 0:
            self._forbidden(engine, kind, phys, size, value)

    def _forbidden(self, _engine: int, kind: int, phys: int, size: int, _value: int) -> None:
        """Module code touches what it may not."""
        cpu = self.k.executor.cpu
        cpu.guard(lambda: self._module_access(phys, size, kind != MEM_READ), None)

    def _module_access(self, phys: int, size: int, write: bool) -> None:
        shadow = self.kasan.shadow
        bad = shadow.first_bad(phys, size)
        regs = self.k.executor.cpu.registers()
        if bad < 0 or self.known(regs.rip, write):
            return
        address, base = PAGE_OFFSET + phys, None
        for operand in self._operands(regs):
            if self.phys_of(operand.address) == phys:
                address, base = operand.address, operand.base
        self._report(Access(address, phys, size, write, address + bad - phys, base), regs)

    def _operands(self, regs: Regs) -> list[Any]:
        try:
            code = AddressSpace.read(self.mem, regs.rip, LONGEST_INSTRUCTION)
        except AccessFault:
            return []
        return operands(code, regs, self.k.executor.cpu.gs_base)

    def kernel_access(self, addr: int, n: int, write: bool) -> bool:
        """``kasan_check_range()``: an exported function is about to touch *n* bytes at *addr* for a module; whether it
        may.
        """
        if self.instrument and n > 0 and not self.instrument.access(addr, n, write):
            return False
        if n > 0 and addr + n > 1 << 64:
            if not self.known(self.k.caller, write):
                access = Access(addr, self.phys_of(addr), n, write, addr, addr)
                verdict = Verdict(Bug.OUT_OF_BOUNDS, self.kasan.find(addr))
                self.found(access, verdict, None, report(self, access, verdict, None))
            return False
        done = 0
        while done < n:
            length = min(n - done, 4096 - (addr + done) % 4096)
            phys = self.phys_of(addr + done)
            if phys >= 0 and phys + length <= self.kasan.shadow.size:
                bad = self.kasan.shadow.first_bad(phys, length)
                if bad >= 0 and self._private.events:  # it may have been allocated a moment ago
                    self.k.drain()
                    bad = self.kasan.shadow.first_bad(phys, length)
                if bad >= 0:
                    found = addr + done + bad - phys
                    caller = self.k.caller
                    if not self.known(caller, write):
                        access = Access(addr, phys - done, n, write, found, addr)
                        self._report(access, None)
                    return False
            done += length
        return True

    def remember(self) -> None:
        """Code goes away in which objects were freed: look up its places while they can be."""
        self.k.drain()
        for thing in self.kasan.objects.values():
            if thing.freed_site:
                self.k.site.call_site(thing.freed_site)

    def due(self, addr: int, n: int, what: str, function: int) -> None:
        """*what*, of *n* bytes at *addr*, is due, and its *function* will be called: a finding if it was freed."""
        self.k.drain()
        phys, place = self.phys_of(addr), self.k.site.call_site(function, 0)
        bad = self.kasan.shadow.first_bad(phys, n) if 0 <= phys <= self.kasan.shadow.size - n else -1
        if bad < 0 or place.module is None or self.known(addr, False):
            return
        verdict = self.kasan.judge(Access(addr, phys, n, False, addr + bad - phys, addr))
        thing = verdict.object
        self.k.finding(
            KINDS.get(verdict.bug, "out-of-bounds"),
            f"{what} is due that lies in memory which was freed; its function is called",
            address=addr,
            access="read",
            size=n,
            object=self._object(thing) if thing else None,
            **place.facts(),
        )

    def written(self, addr: int, n: int) -> None:
        """Memory was written by the kernel."""
        if self._private.events:
            self.k.drain()
        done = 0
        while done < n:
            length = min(n - done, 4096 - (addr + done) % 4096)
            phys = addr + done - PAGE_OFFSET
            if not 0 <= phys < self.kasan.shadow.size:
                phys = self.phys_of(addr + done)
            if phys >= 0 and phys + length <= self.kasan.shadow.size:
                self.kasan.shadow.written(phys, length)
            done += length

    def checked(self, name: str, bound: Bound) -> Bound:
        """The function that serves the export *name*, with an eye on the memory that it touches."""
        entry = lookup(name)
        watch = isinstance(entry, Export) and entry.handler.__module__ in CHECKED
        moves, leaves, before = name in MOVE, name in LEAVE, self._before.get(name)
        held = KEPT.get(name) if self.quarantine.limit else None

        def served(k: Host, words: RawArgs) -> int | Generator[Call, int, int]:
            if leaves:
                self.leaving(words[1], words[2])
            elif before:
                before(words)
            if held is not None and self._keep(name, words[held]):
                return 0
            if moves and words[0] in self.quarantine:
                return 0  # as with KASAN: what is free is not given again
            self.mem.watching = watch
            try:
                result = bound(k, words)
            finally:
                self.mem.watching = False
            if isinstance(result, Generator):
                return self._driven(result)
            if moves and result > ZERO_SIZE_PTR:
                self.k.drain()
                if result == words[0] and name.startswith("krealloc"):
                    self.kasan.resized(result, words[1])
                self.written(result, self.k.mm.ksize(result))
            return result

        return served

    def _keep(self, name: str, address: int) -> bool:
        """Put what is freed into quarantine; False if the allocator is to see to it at once."""
        self.k.drain()
        thing = self.kasan.objects.get(address)
        if thing is None and 0 <= address - PAGE_OFFSET < self.kasan.shadow.size:
            thing = self.kasan.objects.get(self.object_of(address))
        if thing is None or not thing.cache:
            return False
        if thing.address == address and not thing.live and address not in self.quarantine:
            return False
        kind = "kmem_cache_free" if name == "kmem_cache_free" else "kfree"
        time, caller, task = self.k.now(), self.k.caller, self.k.pid
        event = Event(time, kind, self.k.cpu, 0, task, caller, address, 0, 0, 0, -1, thing.cache, 0)
        good = thing.address == address and address not in self.quarantine
        if good and self._cache(thing.cache)[1] & SLAB_TYPESAFE_BY_RCU:
            return False
        if name == "kfree_sensitive" and good:
            self.mem.fill(address, 0, thing.room)
        self.kasan(event)
        if good:
            self.k.leaks(event)
            self.quarantine.put(address, thing.cache, thing.room)
        return True

    def _release(self, address: int, cache: int) -> None:
        """An object leaves the quarantine."""
        self.kasan.released = address
        if self.kasan.objects[address].kind == "kmalloc":
            self.k.mm.kfree(address)
        else:
            self.k.mm.kmem_cache_free(cache, address)
        self.k.drain()
        self.kasan.released = 0

    def _flags(self, event: Event) -> None:
        """An allocation of the module's: are its flags such as can be meant?"""
        if event.ptr and event.gfp and self.k.loader.is_code(event.call_site):
            problem = gfp.wrong(event)
            if problem:
                facts = self.k.site.call_site(event.call_site).facts()
                self.k.finding("bad-gfp", f"{event.kind} with {problem}", **facts)

    def _reads(self, _words: RawArgs) -> None:
        """``rcu_read_lock()``: the outermost is kept."""
        if not self.k.context.rcu_depth():
            self.reader = self.k.caller

    def _simple_read(self, words: RawArgs) -> None:
        """``simple_read_from_buffer()``: what of the buffer goes to user memory."""
        position = self.k.mem.u64(words[2])
        n = min(words[1], words[4] - position) if position < words[4] else 0
        if n > 0:
            self.leaving(words[3] + position, n)

    def leaving(self, start: int, n: int, way: str = "copy to user memory") -> None:
        """*n* bytes at *start* go to user memory or a device: may they be read, and were they all written?"""
        self.kernel_access(start, n, False)
        shadow, done, unwritten, first = self.kasan.shadow, 0, 0, 0
        while done < n:
            length = min(n - done, 4096 - (start + done) % 4096)
            phys = self.phys_of(start + done)
            if phys >= 0 and phys + length <= shadow.size:
                at = shadow.first_unwritten(phys, length)
                if at >= 0:
                    first = first or start + done + at - phys
                    unwritten += shadow.count_unwritten(phys, length)
            done += length
        if not unwritten or self.known(self.k.caller, False):
            return
        thing = self.kasan.find(first)
        inside = f", from byte {first - thing.address} of {thing.size}" if thing else ""
        remedy = "; kzalloc would have cleared them" if thing and thing.kind == "kmalloc" else ""
        self.k.finding(
            "uninitialised-leak",
            f"{way} of {unwritten} bytes that were never written{inside}{remedy}",
            address=first,
            access="read",
            size=n,
            object=self._object(thing) if thing else None,
        )

    def _driven(self, handler: Generator[Call, int, int]) -> Generator[Call, int, int]:
        """A handler that runs guest code: the shadow is brought up to date before it does."""
        value: int | None = None
        while True:
            try:
                call = handler.send(value)  # type: ignore[arg-type]  # None starts it
            except StopIteration as end:
                return int(end.value or 0)
            self.k.drain()
            value = yield call

    def construct(self, obj: int, run: Callable[[], object]) -> None:
        """Run a constructor on an object that is free."""
        view = self.k.mm.view
        s = view.slab(view.page_of(obj)).slab_cache
        done = self.kasan.under_construction(obj, int(s.object_size))
        try:
            run()
        finally:
            done()

    # findings

    def _object(self, thing: Object) -> SlabObject:
        k = self.k
        name = k.mm.view.described_cache(k.mm.view.ptr(kmem_cache, thing.cache)) if thing.cache else thing.kind
        places = [k.site.place(at) if at else "" for at in (thing.site, thing.freed_site)]
        return SlabObject(name, thing.size, *places)

    def _report(self, access: Access, regs: Regs | None) -> None:
        self.k.drain()
        verdict = self.kasan.judge(access)
        self.found(access, verdict, regs, report(self, access, verdict, regs))

    def found(self, access: Access, verdict: Verdict, regs: Regs | None, lines: Iterable[str]) -> None:
        """Record a forbidden access; *lines* are KASAN's report of it."""
        thing = verdict.object
        way = "write" if access.write else "read"
        what = f"{way} of {_bytes(access.size)}{self._where(verdict, access.bad)}"
        blamed = self.k.site.blame(PtRegs(regs) if regs else None)
        at = {name: getattr(blamed, name) for name in ("function", "offset", "file", "line")}
        text = tuple(lines)
        self.k.finding(
            KINDS.get(verdict.bug, "out-of-bounds"),
            what,
            address=access.bad,
            access=way,
            size=access.size,
            object=self._object(thing) if thing else None,
            text=text,
            **at,
        )

    def _kmem_cache_free(self, words: RawArgs) -> None:
        """A hardened kernel corrects the cache before anybody sees the event."""
        thing = self.kasan.objects.get(words[1])
        if thing is not None and thing.live and thing.cache != words[0]:
            self._mismatched("kmem_cache_free", thing)

    def _kfree(self, words: RawArgs) -> None:
        thing = self.kasan.objects.get(words[0])
        if thing is not None and thing.live and thing.kind in ("mm_page_alloc", "vmalloc"):
            self._mismatched("kfree", thing)

    def _used(self, address: int) -> None:
        """``kasan_check_byte()``: the object that the allocator is asked about."""
        if address > ZERO_SIZE_PTR:
            self.kernel_access(address, 1, False)

    def _ksize(self, words: RawArgs) -> None:
        """Until "mm: Make ksize() a reporting-only function" who asked for it might use all of an object."""
        self._used(words[0])
        thing = self.kasan.objects.get(words[0])
        if thing is not None and "ksize-unpoisons" in self.k.release.features:
            self.kasan.resized(words[0], thing.room)

    def _destroy(self, words: RawArgs) -> None:
        self.quarantine.flush()
        self.k.drain()
        thing = self.kasan.destroyed.get(words[0])
        if thing is not None and not self.known(self.k.caller, False):
            places = [self.k.site.place(at) if at else "" for at in (thing.site, thing.freed_site)]
            self.k.finding(
                "use-after-free",
                f"kmem_cache_destroy of {words[0]:#x}, which is destroyed already",
                address=words[0],
                object=SlabObject("kmem_cache", thing.size, *places),
            )

    def _vfree(self, words: RawArgs) -> None:
        thing = self.kasan.objects.get(words[0])
        if thing is not None and thing.live and thing.kind != "vmalloc":
            self._mismatched("vfree", thing)

    def _mismatched(self, call: str, thing: Object) -> None:
        name = self._object(thing).cache
        self.k.finding(
            "mismatched-free",
            f"{call} of {thing.address:#x}, which is of {name}",
            address=thing.address,
            object=self._object(thing),
        )

    def loaded(self, module: Module) -> None:
        """What lies behind the last byte of a module's data is nobody's."""
        if self.instrument:
            self.instrument.loaded(module)
        for memory in (module.core, module.init):  # its pages were another module's
            for at in range(memory.base, memory.base + memory.size if memory.base else 0, 4096):
                phys = self.phys_of(at)
                if phys >= 0:
                    self.kasan.shadow.unpoison(phys, 4096)
                    self.kasan.shadow.written(phys, 4096)
        sizes = {section.index: section.size for section in module.elf.sections}
        ends = [at + sizes.get(index, 0) for index, at in module.section_addresses.items() if module.core.contains(at)]
        at, end = max(ends, default=0), module.core.base + module.core.size
        while ends and at < end:
            length = min(end - at, 4096 - at % 4096)
            phys = self.phys_of(at)
            if phys >= 0:
                self.kasan.shadow.poison(phys, length, GLOBAL_REDZONE)
            at += length

    @staticmethod
    def _where(verdict: Verdict, address: int) -> str:
        thing = verdict.object or verdict.variable
        if thing is None or verdict.bug is Bug.USE_AFTER_FREE:
            return ""
        words = verdict.distance(address).replace("to the left", "left").replace("to the right", "right")
        name = f" of the variable {verdict.variable.name}" if verdict.variable else ""
        return f" {words} {_bytes(thing.size)}{name}"

    def explain_fault(self, address: int) -> tuple[str, str, SlabObject] | None:
        """Kind, words and object for a fault at *address*, if an area of the module's explains it."""
        verdict = self.kasan.explain(address)
        if verdict is None or verdict.object is None:
            return None
        kind = KINDS.get(verdict.bug, "out-of-bounds")
        return kind, self._where(verdict, address), self._object(verdict.object)

    def _bad_free(self, what: str, event: Event, thing: Object | None) -> None:
        facts = self.k.site.call_site(event.call_site).facts() if event.call_site else {}
        words = {
            "double-free": f"{event.kind} of {event.ptr:#x}, which is free already",
            "invalid-free": f"{event.kind} of {event.ptr:#x}, where no allocation begins",
            "mismatched-free": f"{event.kind} of {event.ptr:#x}, which is of {thing.kind if thing else 'another'}",
        }
        self.k.finding(what, words[what], address=event.ptr, object=self._object(thing) if thing else None, **facts)
