"""A kernel for handlers alone: memory in one bytearray, a bump allocator, Python functions in place of guest code.

`FakeHost.run` calls an export as a trap does, through its converter: integers go into six registers, then onto a stack.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from random import Random
from typing import Any, NoReturn

from kmem.abi.layout import layout
from kmem.abi.release import release
from kmem.kapi.bind import Bound, bind_export
from kmem.kapi.export import Code, Data, Export, lookup
from kmem.kapi.host import Call, Stuck
from kmem.kapi.logbuf import LogBuf
from kmem.kapi.vsprintf import FormatOptions
from kmem.machine.clock import Clock
from kmem.machine.fault import AccessFault
from kmem.modules.kallsyms import Kallsyms

MASK64 = (1 << 64) - 1
BASE = 0xFFFF888000000000
SIZE = 1 << 20
STACK = BASE + SIZE - 4096
STUBS = 0xFFFFFFFF81000000
GUEST = 0xFFFFFFFFC0000000
CALLER = 0xFFFFFFFFC0100010
PAGE = 4096


class FakeBug(Exception):
    """BUG() at a place of the kernel."""


class FakePanic(Exception):
    """panic()."""


class FakeMemory:
    """`SIZE` bytes at `BASE`; everything else is not mapped."""

    def __init__(self) -> None:
        self.bytes = bytearray(SIZE)

    def _at(self, addr: int, n: int, access: str) -> int:
        if not BASE <= addr <= addr + n <= BASE + SIZE:
            raise AccessFault(addr, n, access)
        return addr - BASE

    def read(self, addr: int, n: int) -> bytes:
        at = self._at(addr, n, "read")
        return bytes(self.bytes[at : at + n])

    def write(self, addr: int, data: bytes) -> None:
        at = self._at(addr, len(data), "write")
        self.bytes[at : at + len(data)] = data

    def _get(self, addr: int, n: int, signed: bool = False) -> int:
        return int.from_bytes(self.read(addr, n), "little", signed=signed)

    def u8(self, addr: int) -> int:
        return self._get(addr, 1)

    def u16(self, addr: int) -> int:
        return self._get(addr, 2)

    def u32(self, addr: int) -> int:
        return self._get(addr, 4)

    def u64(self, addr: int) -> int:
        return self._get(addr, 8)

    def s32(self, addr: int) -> int:
        return self._get(addr, 4, True)

    def s64(self, addr: int) -> int:
        return self._get(addr, 8, True)

    def set_u8(self, addr: int, value: int) -> None:
        self.write(addr, value.to_bytes(1, "little"))

    def set_u16(self, addr: int, value: int) -> None:
        self.write(addr, value.to_bytes(2, "little"))

    def set_u32(self, addr: int, value: int) -> None:
        self.write(addr, value.to_bytes(4, "little"))

    def set_u64(self, addr: int, value: int) -> None:
        self.write(addr, value.to_bytes(8, "little"))

    def cstr(self, addr: int, limit: int = 4096) -> bytes:
        at = self._at(addr, 1, "read") if limit else 0
        end = self.bytes.find(0, at, at + limit)
        if end < 0:
            if at + limit > SIZE:
                raise AccessFault(BASE + SIZE, 1, "read")
            end = at + limit
        return bytes(self.bytes[at:end])

    def translate(self, addr: int) -> int:
        return self._at(addr, 1, "read")

    def fill(self, addr: int, byte: int, n: int) -> None:
        self.write(addr, bytes([byte]) * n)


class FakeMm:
    """A bump allocator that knows what is live; every call is in *calls*."""

    def __init__(self, mem: FakeMemory) -> None:
        self.mem = mem
        self.next = BASE + PAGE
        self.live: dict[int, int] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.fail = False
        self.most = 1 << 20

    def allocate(self, size: int, align: int = 16) -> int:
        """*size* bytes, 0 when allocations are to fail."""
        if self.fail or size > SIZE // 2:
            return 0
        self.next = -(-self.next // align) * align
        p, self.next = self.next, self.next + max(size, 1)
        self.live[p] = size
        return p

    def _log(self, *call: Any) -> None:
        self.calls.append(call)

    def kmalloc(self, size: int, gfp: int, node: int = -1, caller: int = 0) -> int:
        self._log("kmalloc", size, gfp, node, caller)
        return self.allocate(size) if size else 16

    def kmalloc_trace(self, s: int, gfp: int, node: int, size: int) -> int:
        self._log("kmalloc_trace", s, gfp, node, size)
        return self.allocate(size)

    def kfree(self, p: int) -> None:
        self._log("kfree", p)
        if p > 16:
            del self.live[p]

    def ksize(self, p: int) -> int:
        return -(-self.live[p] // 8) * 8

    def krealloc(self, p: int, size: int, gfp: int) -> int:
        self._log("krealloc", p, size, gfp)
        return self.allocate(size)

    def kmalloc_large(self, size: int, gfp: int, node: int) -> int:
        self._log("kmalloc_large", size, gfp, node)
        return self.allocate(size, PAGE)

    def kmem_cache_create(
        self,
        name: str,
        size: int,
        align: int,
        flags: int,
        ctor: int,
        useroffset: int = 0,
        usersize: int = 0,
        caller: int = 0,
    ) -> int:
        self._log("kmem_cache_create", name, size, align, flags, ctor, useroffset, usersize)
        return self.allocate(64)

    def kmem_cache_destroy(self, s: int) -> None:
        self._log("kmem_cache_destroy", s)

    def kmem_cache_alloc(self, s: int, gfp: int, node: int = -1) -> int:
        self._log("kmem_cache_alloc", s, gfp, node)
        return self.allocate(32)

    def kmem_cache_free(self, s: int, p: int) -> None:
        self._log("kmem_cache_free", s, p)
        self.live.pop(p, None)

    def kmem_cache_alloc_bulk(self, s: int, gfp: int, n: int) -> list[int]:
        self._log("kmem_cache_alloc_bulk", s, gfp, n)
        return [] if self.fail else [self.allocate(32) for _ in range(n)]

    def kmem_cache_free_bulk(self, s: int, objects: Sequence[int]) -> None:
        for p in reversed(objects):
            self.kmem_cache_free(s, p) if s else self.kfree(p)

    def rcu_free_slab(self, slab: int) -> None:
        self._log("rcu_free_slab", slab)

    def rcu_destroy_caches(self) -> int:
        return 0

    def split_page(self, page: int, order: int) -> None:
        self._log("split_page", page, order)

    def alloc_pages_exact(self, size: int, gfp: int, node: int = -1) -> int:
        self._log("alloc_pages_exact", size, gfp, node)
        return self.allocate(size, PAGE)

    def alloc_pages_bulk(self, gfp: int, nr_pages: int, node: int = -1, nodes: int = -1) -> list[int]:
        self._log("alloc_pages_bulk", gfp, nr_pages, node)
        return [] if self.fail else [self.allocate(64, 64) for _ in range(min(nr_pages, self.most))]

    def page_ref_sub(self, page: int, count: int) -> bool:
        self._log("page_ref_sub", page, count)
        return True

    def is_free_buddy_page(self, page: int) -> bool:
        return page not in self.live

    def alloc_contig_range(self, start: int, end: int, migratetype: int, gfp: int) -> int:
        self._log("alloc_contig_range", start, end, migratetype, gfp)
        return 0

    def free_contig_range(self, pfn: int, nr_pages: int) -> None:
        self._log("free_contig_range", pfn, nr_pages)

    def virt_addr_valid(self, kaddr: int) -> bool:
        return BASE <= kaddr < BASE + SIZE

    def slab_object_info(self, p: int) -> tuple[str, int, int, int, int] | None:
        return None

    def vmalloc_area_info(self, p: int) -> tuple[int, int, int] | None:
        return None

    def kmem_cache_shrink(self, s: int) -> int:
        self._log("kmem_cache_shrink", s)
        return 0

    def kmem_cache_size(self, s: int) -> int:
        return 32

    def slab_of(self, p: int) -> int:
        return 0

    def alloc_pages(self, gfp: int, order: int, node: int = -1) -> int:
        self._log("alloc_pages", gfp, order, node)
        return self.allocate(64 << order, 64)

    def alloc_pages_nodemask(self, gfp: int, order: int, node: int, nodes: int = -1) -> int:
        self._log("alloc_pages_nodemask", gfp, order, node, nodes)
        return self.allocate(64 << order, 64)

    def free_pages(self, page: int, order: int) -> None:
        self._log("free_pages", page, order)

    def get_free_pages(self, gfp: int, order: int) -> int:
        self._log("get_free_pages", gfp, order)
        return self.allocate(PAGE << order, PAGE)

    def free_pages_addr(self, addr: int, order: int) -> None:
        self._log("free_pages_addr", addr, order)

    def vmalloc(self, size: int, gfp: int = 0, node: int = -1, align: int = 1) -> int:
        self._log("vmalloc", size, gfp, node)
        return self.allocate(size, PAGE)

    def vzalloc(self, size: int) -> int:
        self._log("vzalloc", size)
        return self.allocate(size, PAGE)

    def vfree(self, p: int) -> None:
        self._log("vfree", p)

    def vmalloc_huge(self, size: int, gfp: int = 0xCC0) -> int:
        self._log("vmalloc_huge", size, gfp)
        return self.allocate(size, PAGE)

    def vmalloc_user(self, size: int) -> int:
        self._log("vmalloc_user", size)
        return self.allocate(size, PAGE)

    def vmalloc_32(self, size: int) -> int:
        self._log("vmalloc_32", size)
        return self.allocate(size, PAGE)

    def vmalloc_32_user(self, size: int) -> int:
        self._log("vmalloc_32_user", size)
        return self.allocate(size, PAGE)

    def vfree_atomic(self, p: int) -> None:
        self._log("vfree_atomic", p)

    def run_work(self) -> None:
        self._log("run_work")

    def vmap_array(self, pages: int, count: int, flags: int, prot: int) -> int:
        self._log("vmap_array", pages, count, flags, prot)
        return self.allocate(PAGE * count, PAGE)

    def vmap_pfn(self, pfns: int, count: int, prot: int) -> int:
        self._log("vmap_pfn", pfns, count, prot)
        return self.allocate(PAGE * count, PAGE)

    def vm_map_ram(self, pages: int, count: int, node: int = -1) -> int:
        self._log("vm_map_ram", pages, count, node)
        return self.allocate(PAGE * count, PAGE)

    def vm_unmap_ram(self, p: int, count: int) -> None:
        self._log("vm_unmap_ram", p, count)

    def vm_unmap_aliases(self) -> None:
        self._log("vm_unmap_aliases")

    def is_vmalloc_or_module_addr(self, p: int) -> bool:
        return p >= 0xFFFFC90000000000

    def lookup_address(self, p: int) -> tuple[int, int]:
        return 0, 0

    def vmalloc_to_pfn(self, p: int) -> int:
        return 0

    def vunmap(self, p: int) -> None:
        self._log("vunmap", p)

    def kvmalloc(self, size: int, gfp: int, node: int = -1) -> int:
        self._log("kvmalloc", size, gfp, node)
        return self.allocate(size)

    def kvfree(self, p: int, caller: int = 0) -> None:
        self._log("kvfree", p)
        self.live.pop(p, None)

    def is_vmalloc_addr(self, p: int) -> bool:
        return p >= 0xFFFFC90000000000

    def vmalloc_to_page(self, p: int) -> int:
        return 0

    def virt_to_page(self, p: int) -> int:
        return BASE + SIZE // 2 + (p - BASE) // PAGE * 64

    def page_to_virt(self, page: int) -> int:
        return BASE + (page - BASE - SIZE // 2) // 64 * PAGE

    def page_to_pfn(self, page: int) -> int:
        return (page - BASE - SIZE // 2) // 64

    def ioremap(self, phys: int, size: int, pcm: int = 2) -> int:
        self._log("ioremap", phys, size, pcm)
        return self.allocate(size, PAGE)

    def iounmap(self, p: int) -> None:
        self._log("iounmap", p)

    def alloc_percpu(self, size: int, align: int, gfp: int = 0xCC0) -> int:
        self._log("alloc_percpu", size, align, gfp)
        return self.allocate(size, align)

    def free_percpu(self, p: int) -> None:
        self._log("free_percpu", p)


class FakeContext:
    """Counts in Python; what was asked for is in *asked*."""

    def __init__(self) -> None:
        self.preempt = 0
        self.softirq = 0
        self.flags = 0x246
        self.asked: list[str] = []

    @property
    def preempt_count(self) -> int:
        return self.preempt + 0x200 * self.softirq

    def preempt_disable(self) -> None:
        self.preempt += 1

    def preempt_enable(self) -> None:
        self.preempt -= 1

    def irqs_disabled(self) -> bool:
        return not self.flags & 0x200

    def local_irq_save(self) -> int:
        flags = self.flags
        self.flags &= ~0x200
        return flags

    def local_irq_restore(self, flags: int) -> None:
        self.flags = flags

    def local_irq_disable(self) -> None:
        self.flags &= ~0x200

    def local_irq_enable(self) -> None:
        self.flags |= 0x200

    def local_bh_disable(self) -> None:
        self.softirq += 1

    def local_bh_enable(self) -> None:
        self.softirq -= 1

    def in_interrupt(self) -> bool:
        return self.softirq > 0

    def as_at_boot(self) -> AbstractContextManager[None]:
        return nullcontext()

    def might_sleep(self, function: str, file: str, line: int) -> None:
        self.asked.append(f"{function} {file}:{line}")

    def schedule_debug(self) -> None:
        self.asked.append("schedule")


class FakeUser:
    """A task without user memory."""

    def mm_of(self, task: int) -> int:
        return 0

    def kernel_access(self, mm: int, addr: int, access: int) -> int:
        return -14


class FakeSched:
    """One task, which nobody can wake: it sleeps until its time is up, or is stuck."""

    on = False
    resuming = False

    def __init__(self, k: FakeHost) -> None:
        self.k = k
        self.woken: list[int] = []

    def start(self) -> None:
        """Nothing is to be set up."""

    def record(self, task: int) -> int:
        return self.k.record

    def wake(self, task: int, states: int) -> int:
        self.woken.append(task)
        at = task + self.k.layout["task_struct"].offset("__state")
        sleeping = self.k.mem.u32(at) & states
        if sleeping:
            self.k.mem.set_u32(at, 0)
        return int(bool(sleeping))


class FakeTasks:
    """What is held, and what is said when nothing runs."""

    def __init__(self, k: FakeHost) -> None:
        self.k = k
        self.held: dict[int, tuple[int, int, str]] = {}

    def acquired(self, lock: int, kind: str) -> None:
        self.held[lock] = self.k.current, self.k.caller, kind

    def released(self, lock: int) -> None:
        self.held.pop(lock, None)

    def nothing_runs(self, waiting: list[int]) -> None:
        self.k.finding("deadlock", "no task can go on")
        raise Stuck


class FakeSymbols:
    """Everything counts as placed that somebody asked the host for."""

    def __init__(self, k: FakeHost) -> None:
        self.k = k

    def placed(self, name: str) -> bool:
        return name in self.k._placed


class FakeHost:
    """A kernel that never booted."""

    caller = CALLER

    def owner_of(self, address: int) -> int:
        return 0

    def loaded_modules(self) -> list[int]:
        return []

    def poke_text(self, address: int, code: bytes) -> None:
        self.mem.write(address, code)

    def __init__(self) -> None:
        self.mem = FakeMemory()
        self.mm = FakeMm(self.mem)
        self.user: Any = FakeUser()
        self.clock = Clock(1_000_000_000)
        self.log = LogBuf(self.clock)
        self.layout = layout("6.1")
        self.release = release("6.1")
        self.config = dict(self.release.configs["debian"])
        self.kallsyms = Kallsyms()
        self.random = Random("fake")
        self.context = FakeContext()
        self.format = FormatOptions.seeded(0)
        self.nr_cpus = 2
        self.nr_nodes = 1
        self.current = self.alloc(self.layout["task_struct"].size)
        self.record = self.alloc(512)
        self.sched: Any = FakeSched(self)
        self.tasks: Any = FakeTasks(self)
        self.faults = None
        self.symbols: Any = FakeSymbols(self)
        self.warnings: list[str] = []
        self.findings: list[tuple[str, str]] = []
        self.dumps = 0
        self.calls: list[tuple[int, ...]] = []
        self._once: set[tuple[str, int]] = set()
        self._placed: dict[str, int] = {}
        self._code: dict[int, Callable[..., int] | Bound] = {}

    def alloc(self, size: int) -> int:
        """Zeroed memory that is no kmalloc object."""
        p = self.mm.allocate(size)
        del self.mm.live[p]
        return p

    def put(self, content: bytes | str) -> int:
        """*content* in memory; a str as a string with its NUL."""
        raw = content.encode() + b"\0" if isinstance(content, str) else content
        p = self.alloc(len(raw))
        self.mem.write(p, raw)
        return p

    def text(self, addr: int) -> str:
        """The string at *addr*."""
        return self.mem.cstr(addr, 1 << 16).decode()

    def guest(self, function: Callable[..., int]) -> int:
        """An address at which guest code can "call" *function*, which gets the integers of the call."""
        address = GUEST + 16 * len(self._code)
        self._code[address] = function
        return address

    def smp_processor_id(self) -> int:
        return 0

    def address_of(self, name: str) -> int:
        if name not in self._placed:
            entry = lookup(name)
            assert entry is not None, name
            assert not isinstance(entry, Code), "guest code cannot run here"
            if isinstance(entry, Data):
                address = self.mm.allocate(entry.size, entry.align)
                del self.mm.live[address]
                self._placed[name] = address
                content = entry.init(self) if callable(entry.init) else entry.init
                self.mem.write(address, content)
            else:
                address = self._placed[name] = STUBS + 16 * len(self._placed)
                self._code[address] = bind_export(entry)
            self.kallsyms.add(name, address, entry.size if isinstance(entry, Data) else 16)
        return self._placed[name]

    def call(self, fn: int, *args: int) -> Call:
        return Call(fn, args)

    def warn(self, file: str, line: int, function: str, message: str = "", *, once: bool = False) -> None:
        if once and (file, line) in self._once:
            return
        self._once.add((file, line))
        self.warnings.append(f"{file}:{line} {function}: {message}")

    def bug(self, file: str, line: int, function: str) -> NoReturn:
        raise FakeBug(f"{file}:{line} {function}")

    def panic(self, message: str) -> NoReturn:
        raise FakePanic(message)

    def dump_stack(self) -> None:
        self.dumps += 1

    def finding(self, kind: str, message: str, **facts: object) -> None:
        self.findings.append((kind, message))

    def run(self, name: str, *args: int | str | bytes) -> int:
        """Calls the export *name* and returns rax. Texts and bytes are put into memory."""
        entry = lookup(name)
        assert isinstance(entry, Export), name
        words = [arg & MASK64 if isinstance(arg, int) else self.put(arg) for arg in args]
        registers = [*words[:6], *[0x5A5A5A5A5A5A5A5A] * (6 - len(words)), STACK]
        for index, word in enumerate(words[6:]):
            self.mem.set_u64(STACK + 8 + 8 * index, word)
        return self.drive(bind_export(entry)(self, registers))

    def drive(self, result: int | Generator[Call, int, int]) -> int:
        """What the executor does with a handler's result."""
        if isinstance(result, int):
            assert type(result) is int, "a bool in rax"
            assert 0 <= result <= MASK64
            return result
        value = None
        try:
            while True:
                call = result.send(value)  # type: ignore[arg-type]
                self.calls.append((call.fn, *call.args))
                value = self._enter(call)
        except StopIteration as stop:
            return (stop.value or 0) & MASK64

    def _enter(self, call: Call) -> int:
        function = self._code[call.fn]
        if call.fn in self._placed.values():
            registers = [*call.args, *[0] * (6 - len(call.args)), STACK]
            return self.drive(function(self, registers))  # type: ignore[arg-type]
        return function(*call.args) & MASK64  # type: ignore[operator]
