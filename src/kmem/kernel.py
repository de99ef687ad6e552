"""The kernel: one simulated machine, booted, with the C-named calls on it and modules loaded into it.

    k = kmem.boot(release="6.1", ram="512M", cpus=2, seed=0)
    p = k.kmalloc(64, kmem.GFP_KERNEL); k.write(p, b"hello"); k.kfree(p)
    m = k.insmod("driver.ko", count=3); m.rmmod()

`Kernel` is also what the exported functions (`kmem.kapi.host.Host`), the module loader (`kmem.modules.env.LoadEnv`)
and the crash reports (`kmem.kapi.crash.CrashHost`) see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn

from kmem.abi.exports import export
from kmem.abi.gfp_by_name import by_name, differs
from kmem.abi.layout import layout
from kmem.abi.release import release
from kmem.errors import UsageError
from kmem.kapi import kunit_kasan, kunit_slab
from kmem.kapi.context import CpuContext
from kmem.kapi.cpumask import cpumask_of
from kmem.kapi.diagnose import Diagnose
from kmem.kapi.executor import Executor, RunOver, TaskDied
from kmem.kapi.export import Data, private_data
from kmem.kapi.host import Call
from kmem.kapi.insmod import LoadedModule, Modules
from kmem.kapi.logbuf import LogBuf
from kmem.kapi.process import Process, driver_fault
from kmem.kapi.site import CallSite, CrashSite
from kmem.kapi.symbols import Symbols
from kmem.kapi.tasks import Tasks
from kmem.kapi.track import describe, given_twice
from kmem.kapi.views import Views
from kmem.kapi.vsprintf import FormatOptions
from kmem.lib.cstruct import u64
from kmem.machine.bus import Bus, OpenBus
from kmem.machine.clock import Clock
from kmem.machine.linear import DirectMap
from kmem.machine.paging import AddressSpace
from kmem.mm import places
from kmem.mm.api import Mm
from kmem.mm.config import BootConfig, configuration
from kmem.mm.stream import Event, EventStream
from kmem.mm.user import UserMemory
from kmem.modules.kallsyms import Kallsyms
from kmem.modules.module import Module
from kmem.sanitizers.kmemleak import Kmemleak
from kmem.sanitizers.report import Finding, Findings, Kind, SlabObject

if TYPE_CHECKING:
    from kmem.kapi.failslab import Faults
    from kmem.kapi.history import History
    from kmem.kapi.instrument import Instrument
    from kmem.kapi.openfile import OpenFile
    from kmem.kapi.pci_plug import PciDevice
    from kmem.kapi.recorder import Recorder
    from kmem.mm.proc_mount import Mount
    from kmem.mm.proc_tree import Tree

BOOT_NS = 1_000_000_000
"""Simulated time at which the machine is up."""
COMM = "insmod"
"""The task that loads modules."""


class Kernel(Views):
    """A booted machine; *config* says which. Close it (or use it as a context manager) to give its memory back."""

    def __init__(
        self,
        config: BootConfig | None = None,
        *,
        budget: int = 100_000_000,
        bus: Bus | None = None,
        check: str = "none",
        quarantine: bool = False,
        history: bool = False,
    ) -> None:
        self.boot_config = config or configuration()
        self.budget = budget
        self.bus = bus or OpenBus()
        """What answers at physical addresses above RAM, and at ports."""
        self.release = release(self.boot_config.release)
        self.layout = layout(self.boot_config.release)
        self.config = self.release.configs[self.boot_config.config]
        self._percpu_offsets: dict[str, int] = {}
        self.nr_cpus, self.nr_nodes = self.boot_config.cpus, self.boot_config.nodes
        self.clock = Clock(BOOT_NS)
        self.log = LogBuf(self.clock)
        self.kallsyms = Kallsyms()
        self.random = Random(f"kmem {self.boot_config.seed}")
        plain_pointers = self.boot_config.no_hash_pointers or bool(self.boot_config.slub_debug)
        self.format = FormatOptions.seeded(self.boot_config.seed, no_hash_pointers=plain_pointers)
        self.findings = Findings()
        self.circumstances = self.reproduce = ""
        """What to say of every finding from now on: in words, and as options."""
        self.open_files: list[OpenFile] = []
        self.faults: Faults | None = None
        """What fails now and then (`kmem.kapi.failslab.arm`)."""
        self.left: list[tuple[str, int, CallSite]] = []
        """What modules that are gone have left registered: what it is, its address, where it was registered."""
        self.unsupported: dict[str, int] = {}
        self.unsupported_at: dict[str, CallSite] = {}
        self.tainted = 0
        self._warned: set[tuple[str, int]] = set()
        self._executor: Executor | None = None
        self._idle_flags = 0x202  # EFLAGS while no guest code runs
        self.site = CrashSite(self)
        self._diagnose = Diagnose(self)
        self.mm = Mm(self.boot_config, self._diagnose)
        self._diagnose.drain, self._diagnose.counted = self.drain, partial(kunit_slab.counted, self)
        self.mm.start()
        self.events = EventStream(self.mm.core)
        early: list[Event] = []
        if check != "none":
            self.events.listen(early.append)
        self.mem = AddressSpace(self.mm.ram, self.mm.boot.cr3, self.bus)
        self.mm.resources.read_string = lambda addr: self.mem.cstr(addr).decode("utf-8", "backslashreplace")
        self.gs_base = u64(self.mm.view.per_cpu_offset(0))
        self.symbols = Symbols(self.mm.ram, self.release.name, self.kallsyms, self._stub, self._initial)
        self.regions, self.crash = self.release.addresses, self.site.crash
        self.user = UserMemory(self.mm)
        self.user.start()
        self._per_cpu()
        direct = DirectMap(self.mm.ram)
        self.context = CpuContext(direct, self.gs_base + self.percpu("__preempt_count"), self._flags, self._set_flags)
        self.context.on_sleep, self.context.on_schedule = self.site.sleeping, self.site.scheduling
        self.context.on_wait = self.site.waiting
        self.mm.moment = self._moment
        self.mm.view.kdata.current_task = self.percpu("current_task")
        self._diagnose.booted = True
        self.mm.oom_reap, self.mm.migrate_user_page = self._oom_reap, self._migrate_user_page
        self.mm.warn = lambda where, message: self.warn_at(places.place(where, self.release.name), message)
        self.mm.printk, self.mm.dump_stack, self.mm.hash_pointer = self.printk, self.dump_stack, self.hash_pointer
        self.mm.symbol = self.kallsyms.sprint
        nesting = self.layout["task_struct"].offset("rcu_read_lock_nesting")
        self.context.rcu_depth = lambda: direct.s32(self.current + nesting)
        self.user.current, self.user.atomic = lambda: self.current, lambda: bool(self.context.preempt_count)
        self.user.stack_pointer = lambda: self.site.regs().rsp
        self.user.driver_fault = partial(driver_fault, self)
        self.mm.sleep_forbidden, self.mm.might_sleep = self.context.sleep_forbidden, self.context.on_sleep
        self.tasks = Tasks(self)
        self.sched = self.tasks.sched
        self.loader = Modules(self)
        self.leaks = Kmemleak(self.loader.is_code, partial(describe, self), twice=partial(given_twice, self))
        self.events.listen(self.leaks)
        self.history: Recorder | None = None
        """Every event since the boot, for `x`."""
        if history:
            from kmem.kapi.recorder import Recorder

            self.history = Recorder(self)
            self.events.listen(self.history)
        self.checks: Checks | None = None
        if check != "none":
            from kmem.kapi.checks import Checks

            self.drain()
            self.events.forget(early.append)
            self.events.restart()
            self.checks = Checks(self, early, keep=quarantine)
            self.mem = self.checks.mem
        for level, text in self.boot_config.boot_log:
            self.log.printk(text + "\n", level)

    # booting

    def percpu(self, name: str) -> int:
        """Offset of a per-cpu variable, which may be one of those that ``struct pcpu_hot`` unites."""
        known = self._percpu_offsets.get(name)
        if known is None:
            known = self._percpu_offsets[name] = self._percpu_offset(name)
        return known

    def _percpu_offset(self, name: str) -> int:
        found = export(name, self.release.name)
        if found is not None:
            return found.address
        hot = export("pcpu_hot", self.release.name)
        assert hot is not None, name
        return hot.address + self.layout["pcpu_hot"].offset(name.removeprefix("__"))

    def _per_cpu(self) -> None:
        """The static per-cpu variables that compiled module code reads."""
        canary = self.random.getrandbits(56) << 8
        self.user.adopt = self._adopt
        task = self.user.new_task(COMM)
        self.pid, self.cpu = self.user.pid(task), 0
        self._current_at = self.gs_base + self.percpu("current_task")
        for cpu in range(self.nr_cpus):
            base = u64(self.mm.view.per_cpu_offset(cpu))
            self.mem.set_u64(base + 0x28, canary)
            self.mem.set_u64(base + self.percpu("current_task"), task)
            self.mem.set_u64(base + self.percpu("this_cpu_off"), base)
            self.mem.set_u32(base + self.percpu("cpu_number"), cpu)
            self.mem.set_u32(base + self.percpu("__preempt_count"), 1 << 31)
            self.mem.set_u64(base + self.percpu("cpu_sibling_map"), cpumask_of(self, cpu))
            for name in ("cpu_core_map", "cpu_die_map"):  # the machine has one package
                self.mem.set_u64(base + self.percpu(name), self.address_of("__cpu_online_mask"))

    def _adopt(self, task: int) -> None:
        """A new task has the namespaces that all have."""
        where = task + self.layout["task_struct"].offset("nsproxy")
        self.mem.set_u64(where, self.address_of("kmem_init_nsproxy"))

    def _initial(self, entry: Data) -> bytes:
        if not callable(entry.init):
            return entry.init
        with self.spared():  # a kernel has it since it booted
            return entry.init(self)

    @contextmanager
    def spared(self) -> Iterator[None]:
        """What is allocated inside meets no injected fault and does not count for one."""
        private = self.mm.core.private
        before = private.fail_after, private.allocations
        private.fail_after = -1
        try:
            yield
        finally:
            private.fail_after, private.allocations = before

    @property
    def executor(self) -> Executor:
        """The CPU; it starts when guest code is first run."""
        if self._executor is None:
            self._executor = Executor(self, self.gs_base, self.budget)
            self.mem.set_u64(self.current + self.layout["task_struct"].offset("stack"), self._executor.stack)
            self.symbols.code_written = self._executor.cpu.code_written
            if self.checks:
                self.checks.attach(self._executor.cpu)
        return self._executor

    def _stub(self, name: str, bound: Any, address: int) -> bytes:
        return self.executor.stub(name, bound, address)

    def _flags(self) -> int:
        return self._executor.flags if self._executor and self._executor.cpu.depth else self._idle_flags

    def _set_flags(self, value: int) -> None:
        if self._executor and self._executor.cpu.depth:
            self._executor.set_flags(value)
        else:
            self._idle_flags = value

    def _moment(self) -> tuple[int, int, int, int, int]:
        executor = self._executor
        caller = executor.caller if executor is not None and executor.cpu.depth else 0
        return caller, self.context.preempt_count, self.pid, self.cpu, self.clock.ns

    def snapshot(self) -> None:
        """Make the state of now the one that :meth:`rollback` returns to. Not while a module's code runs."""
        for entry in private_data():
            self.address_of(entry.name)  # what the kapi keeps in RAM must be there before, to be there afterwards
        self.drain()
        self.mm.ram.snapshot()
        self.tasks.check_saved()
        self._saved = (
            self.log.mark(),
            self.clock.ns,
            [(module, module.mark()) for module in self.modules.values()],
            self.kallsyms.mark(),
            self.tainted,
            set(self._warned),
            self.random.getstate(),
            self.symbols.mark(),
            self.leaks.mark(),
            self.checks.mark() if self.checks else None,
            self._executor,
            self._executor.traps.mark() if self._executor else 0,
            self.tasks.mark(),
            self.history.mark() if self.history else 0,
        )

    def rollback(self) -> None:
        """Return to the last snapshot: memory in 0.05 ms whatever its size, and the log, the time and the modules with
        it.

        Findings and events that were made since then stay: they happened.
        """
        self.drain()
        self.mm.ram.rollback()
        mark, ns, modules, names, self.tainted, warned, state, symbols, live, shadow, executor, traps, tasks, past = (
            self._saved
        )
        self.log.rewind(mark)
        self.clock.set(ns)
        self.loader.loaded = {module.name: module for module, _ in modules}
        self._warned = set(warned)
        for module, module_mark in modules:
            module.rewind(module_mark)
        self.kallsyms.rewind(names)
        self.random.setstate(state)
        self.pid = self.user.pid(self.current)
        self.symbols.rewind(symbols)
        self.leaks.rewind(live)
        if self.history:
            self.history.rewind(past)
        if self.checks and shadow:
            self.checks.rewind(shadow)
        self.open_files.clear()
        self.left.clear()
        self.site.forget_sites()
        if self._executor is not executor:  # the stack and the code that the CPU needs are gone again
            self.close()
        elif self._executor:
            self._executor.traps.rewind(traps)
            self._executor.code_changed()
        self.tasks.rewind(tasks)

    def close(self) -> None:
        """Stop the CPU and give the simulated RAM back."""
        if self._executor is not None:
            self._executor.cpu.close()
            self._executor = None
            self.symbols.code_written = lambda address, size: None

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # memory, by its C names

    def __getattr__(self, name: str) -> Any:
        """The C-named calls: those of the mm (`kmem.mm.api.Mm`), and every exported function (`kmem.kapi.calls`)."""
        if name == "mm" or (name.startswith("__") and name.endswith("__")) or "mm" not in self.__dict__:
            raise AttributeError(name)
        if not name.startswith("_") and hasattr(self.mm, name):
            found = getattr(self.mm, name)
            return by_name(found, self.release.name) if differs(self.release.name) and callable(found) else found
        from kmem.kapi.calls import call_of, old_name

        found = call_of(self, name)
        if found is None:
            raise AttributeError(old_name(name) or f"the kernel has no function {name}() that kmem knows")
        return found

    def read(self, addr: int, n: int) -> bytes:
        """*n* bytes of kernel memory at *addr*."""
        return self.mem.read(addr, n)

    def write(self, addr: int, data: bytes) -> None:
        """Store *data* at *addr*."""
        self.mem.write(addr, data)

    def proc(self, name: str) -> str:
        """The text of /proc/*name*."""
        from kmem.mm import proc

        return proc.text(self.mm, name, **self._shown())

    def proc_tree(self) -> Tree:
        """Every file of /proc, /sys/kernel/slab, /sys/module and /sys/devices/system/node that there is now, to be read
        later.
        """
        from kmem.mm import proc_tree

        found = proc_tree.tree(self.mm, **self._shown())
        files, links = self.loader.tree()
        found.files |= {f"sys/module/{name}": text for name, text in files.items()}
        found.links |= {f"sys/module/{name}": target for name, target in links.items()}
        return found

    def write_proc(self, where: str | Path) -> int:
        """Write `proc_tree` as files into the directory *where*, which must be new, empty, or written by this before.
        Returns how many.
        """
        from kmem.mm import proc_files

        return proc_files.write(self.proc_tree(), proc_files.prepare(where))

    def mount(self, where: str | Path) -> Mount:
        """Mount `proc_tree` at the directory *where*: what is read there is what holds at that moment, while this
        machine is used. Close it, or use it as a context manager. UsageError where FUSE is missing.
        """
        from kmem.mm.proc_mount import Mount

        return Mount(self.proc_tree, where)

    def _shown(self) -> dict[str, Any]:
        """What /proc knows of the kernel besides its memory."""
        return {"kallsyms": self.kallsyms, "hash_pointer": self._hash_pointer(), "modules": self.loader.listed}

    def _hash_pointer(self) -> Callable[[int], int] | None:
        """What ``%p`` prints for an address; None for the address itself."""
        from kmem.kapi.siphash import siphash_1u64

        key = self.format.ptr_key
        if self.format.no_hash_pointers or key is None:
            return None
        return lambda pointer: siphash_1u64(pointer, key) & 0xFFFFFFFF

    def x(self, address: int | str) -> History:
        """What happened at *address*, an address or ``symbol+0x10``: who allocated it, who freed it, what reused it;
        and the bytes that are there. Of a machine that was booted with ``history=True``.
        """
        if self.history is None:
            raise UsageError("this machine keeps no history", remedy="boot it with kmem.boot(history=True)")
        self.drain()
        found = self.history.history(self.resolve(address))
        found.memory = self._bytes_at(found.address, 64)
        return found

    def _bytes_at(self, address: int, n: int) -> bytes | None:
        """Up to *n* bytes of RAM at *address*, as far as its page goes; None if no RAM is mapped there."""
        phys = self.mm.phys_of(address)
        n = min(n, 4096 - address % 4096)
        return bytes(self.mm.ram.mem[phys : phys + n]) if 0 <= phys < self.mm.ram.size else None

    def resolve(self, address: int | str) -> int:
        """The address that is meant: a number, ``0xffff…`` or ``symbol+0x10``. UsageError if it is none."""
        from kmem.kapi.history import address_of

        return address if isinstance(address, int) else address_of(address, self.kallsyms.address)

    def kmemleak(self) -> str:
        """Look for memory of modules that nothing points to any more: the text of /sys/kernel/debug/kmemleak."""
        from kmem.kapi import kmemleak_scan

        return "".join("\n".join(kmemleak_scan.report(self, one)) + "\n" for one in kmemleak_scan.scan(self))

    def sysfs(self, cache: str, attribute: str) -> str:
        """The text of /sys/kernel/slab/*cache*/*attribute*."""
        from kmem.mm import slub_sysfs

        return slub_sysfs.sysfs(self.mm, cache, attribute, kallsyms=self.kallsyms)

    def node_sysfs(self, node: int, attribute: str) -> str:
        """The text of /sys/devices/system/node/node*node*/*attribute*."""
        from kmem.mm import node_sysfs

        return node_sysfs.text(self.mm, node, attribute)

    def dmesg(self) -> str:
        """The kernel log, as ``dmesg`` prints it."""
        return self.log.text()

    # what exported functions use (kmem.kapi.host.Host)

    @property
    def caller(self) -> int:
        """Return address of the call that is being served, 0 outside one."""
        return self._executor.caller if self._executor and self._executor.cpu.depth else 0

    @property
    def current(self) -> int:
        """``current``."""
        return self.mem.u64(self._current_at)

    def smp_processor_id(self) -> int:
        """``smp_processor_id()``."""
        return self.cpu

    def address_of(self, name: str) -> int:
        """Address of an export, placed on first use."""
        found = self.symbols.address(name)
        assert found is not None, name
        return found

    def module_of(self, addr: int) -> int:
        """``struct module *`` of the module whose image holds *addr*, 0 for the kernel."""
        module = self.module_at(addr)
        return module.address if module else 0

    def call(self, fn: int, *args: int) -> Call:
        """What a handler yields to run guest code."""
        return Call(fn, args)

    def warn(self, file: str, line: int, function: str, message: str = "", *, once: bool = False) -> None:
        """A kernel WARN at a place of the kernel's own."""
        if once and (file, line) in self._warned:
            return
        self._warned.add((file, line))
        self.site.warning(file, line, function, message)

    def warn_at(self, place: places.Place, message: str = "") -> None:
        """A WARN of the mm."""
        self.warn(place.file, place.line, place.function, message, once=place.once)

    def bug(self, file: str, line: int, function: str) -> NoReturn:
        """A kernel BUG: the task dies."""
        self.drain()
        self.site.kernel_bug(file, line, function)
        raise TaskDied

    def called_by(self, slug: str) -> None:
        """The kernel function of this `KernelText.caller` is the one that allocates next."""
        from kmem.kapi.kernel_text import kernel_text

        site = kernel_text(self.release.name).caller(slug)
        if site and self.kallsyms.address(site.function) is None:
            self.kallsyms.add(site.function, site.address - site.offset, site.size)
        self.mm.enter()
        self.mm.core.private.call_site = site.address if site else 0

    def hash_pointer(self, addr: int) -> str:
        """``%p``."""
        from kmem.kapi.printf_spec import Spec
        from kmem.kapi.vsprintf_pointer import default_pointer

        return default_pointer(self, addr, Spec()).decode()

    def flush_tlb(self) -> None:
        """The CPU forgets the translations that it remembers."""
        if self._executor:
            self._executor.cpu.flush_tlb()

    def panic(self, message: str) -> NoReturn:
        """``panic()``: the machine stops."""
        self.log.printk(f"Kernel panic - not syncing: {message}\n", 0)
        self.finding("bug", f"kernel panic: {message}")
        raise RunOver

    def memory_held(self) -> str:
        """What the modules have allocated and not freed, in words."""
        self.drain()
        live = self.leaks.live()
        size = sum(allocation.event.allocated for allocation in live)
        return f"{len(live)} allocations of the module hold {size} bytes of it"

    def starved(self, failures: int) -> NoReturn:
        """The module goes on asking for memory that is not there: the task dies."""
        self.drain()
        self.finding("hang", f"still asking for memory after {failures} failures for lack of it")
        raise TaskDied

    def dump_stack(self) -> None:
        """``dump_stack()``."""
        self.site.dump_stack()

    def finding(self, kind: str, message: str, **facts: Any) -> None:
        """Record what was found to be wrong; the site is the module's code if nothing better is known."""
        slab = facts.pop("slab", None)
        if "function" not in facts or not facts["function"]:
            at = self.site.blame(None)
            facts |= {"function": at.function, "offset": at.offset, "file": at.file, "line": at.line}
        if slab:
            where = [self.site.place(slab[key]) if slab[key] else "" for key in ("allocated", "freed")]
            facts["object"] = SlabObject(slab["cache"], slab["object_size"], *where)
        seed = f"--config {self.boot_config.config} --seed {self.boot_config.seed}"
        facts.setdefault("reproduce", seed + self.reproduce)
        message += self.circumstances
        self.findings.add(Finding(Kind(kind), message, event=self.events.count, **facts))
        if kind in kunit_kasan.KINDS:
            kunit_kasan.reported(self)

    # what diagnosis uses (kmem.kapi.diagnose.Host, kmem.kapi.executor.Host)

    def now(self) -> int:
        """Nanoseconds since boot."""
        return self.clock.ns

    def drain(self) -> None:
        """Hand recorded events to their listeners."""
        self.events.drain()

    def comm(self) -> str:
        """Name of the running task."""
        return self.mem.cstr(self.current + self.layout["task_struct"].offset("comm"), 16).decode(errors="replace")

    def serving(self) -> str:
        """Name of the exported function that is being served."""
        return self.site.export()

    def tainted_text(self) -> str:
        """``print_tainted()``."""
        return self.site.tainted_text()

    def stack_addresses(self) -> list[int]:
        """Return addresses of the call that is being served, innermost first."""
        return self.site.stack_addresses()

    def stack_lines(self, through: str = "") -> Iterable[tuple[int, str]]:
        """What ``dump_stack()`` prints here."""
        return self.site.stack_lines(through)

    def instrumented(self) -> Instrument:
        """The shadow of the instrumented code that runs."""
        assert self.checks
        assert self.checks.instrument
        return self.checks.instrument

    def run_ctor(self, ctor: int, obj: int) -> None:
        """Run a cache's constructor on a new object."""
        if self.checks:
            self.drain()
            self.checks.construct(obj, partial(self.executor.run, ctor, obj))
        else:
            self.executor.run(ctor, obj)

    def run_guest(self, fn: int, *args: int) -> int:
        """Call a function of a module in the middle of what the kernel does; what it leaves in rax."""
        if self.checks:
            self.drain()
        return self.executor.run(fn, *args)

    def shrinkers(self) -> bool:
        """Whether a module has registered a shrinker."""
        if not self.symbols.placed("shrinker_list"):
            return False
        head = self.address_of("shrinker_list")
        return self.mem.u64(head) not in (0, head)

    def _oom_reap(self, task: int) -> None:
        self.mm.core.k_oom_reap(task)

    def _migrate_user_page(self, old: int, new: int) -> bool:
        moved = bool(self.mm.core.k_migrate_anon(old, new))
        if self._executor:
            self._executor.cpu.flush_tlb()
        return moved

    def back_to_user(self) -> None:
        """The system call is over."""
        self._diagnose.back_to_user()

    def report_fault(self, fault: Any, in_mm: bool) -> None:
        """Print an oops."""
        self.site.fault(fault, in_mm)

    def report_ud2(self, fault: Any) -> bool:
        """Print a BUG or WARN of module code; whether it goes on."""
        return self.site.ud2(fault)

    def report_hang(self, regs: Any, budget: int) -> None:
        """Module code took more instructions than it may."""
        self.site.hang(regs, budget)

    def add_taint(self, flag: int) -> None:
        """``add_taint()``."""
        self.tainted |= 1 << flag

    def printk(self, level: int, text: str) -> None:
        """Log one line."""
        self.log.printk(text + "\n", level)

    # devices

    def plug_pci(
        self,
        vendor: int,
        device: int,
        bars: Sequence[int | tuple[int, int]] = (),
        *,
        cls: int = 0,
        subsystem: tuple[int, int] = (0, 0),
        irq: int = 11,
    ) -> PciDevice:
        """Put a PCI device into the machine; a driver that knows it is probed at once, or when it is loaded.

        *bars* are the sizes of its memory regions, or (physical address, size); what is read and written there is
        answered by the machine's bus. *cls* is the class code, 24 bits.
        """
        from kmem.kapi.pci_plug import plug

        return plug(self, vendor, device, bars, cls=cls, subsystem=subsystem, irq=irq)

    def open(self, path: str | tuple[int, int], flags: int = 2, *, process: Process | None = None) -> OpenFile:
        """Open the character device of a driver: *path* is ``/dev/NAME`` or (major, minor), *flags* those of open(2)
        (O_RDWR). The program is *process*, or the task that loads modules. SystemCallFailed with the driver's errno.
        """
        from kmem.kapi.openfile import OpenFile

        return OpenFile(self, path, flags, process)

    # processes

    def process(self, comm: str = "app", *, randomize: bool = True) -> Process:
        """Start a process: a task with a fresh address space, as after exec (`kmem.kapi.process.Process`)."""
        return Process.start(self, comm, randomize=randomize)

    @contextmanager
    def run_as(self, process: Process) -> Iterator[Process]:
        """Let *process* be ``current`` until the block ends."""
        before = self.current
        self.switch_to(process.task)
        try:
            yield process
        finally:
            self.switch_to(before)

    def exported(self, name: str) -> int:
        """``__symbol_get()``: the address of an exported symbol, of a module's or the kernel's; 0 if there is none."""
        return self.loader.resolve(name) or 0

    def owner_of(self, address: int) -> int:
        """``__module_address()``: the ``struct module`` whose memory holds *address*, 0 if it is none's."""
        module = self.loader.at(address)
        return module.address if module else 0

    def use_cpu(self, cpu: int, task: int) -> None:
        """The machine executes *cpu*, whose current task is *task*."""
        base = u64(self.mm.view.per_cpu_offset(cpu))
        self.cpu, self._current_at = cpu, base + self.percpu("current_task")
        self.pid = self.user.pid(task)
        self.context.use(base + self.percpu("__preempt_count"))
        self.executor.use_cpu(base, self.mem.u64(task + self.layout["task_struct"].offset("stack")))

    def loaded_modules(self) -> list[int]:
        """Every ``struct module`` that is loaded."""
        return [module.address for module in self.loader.loaded.values()]

    def poke_text(self, address: int, code: bytes) -> None:
        """``text_poke()``: other code at *address*, though it may not be written there."""
        for offset, byte in enumerate(code):
            phys = self.mm.phys_of(address + offset)
            self.mm.ram.mem[phys : phys + 1] = bytes([byte])
        self.executor.cpu.code_written(address, len(code))

    def run_for(self, ns: int) -> None:
        """Let *ns* nanoseconds of simulated time pass: threads, timers and works run as they come."""
        self.tasks.run_for(ns)

    def raise_irq(self, irq: int) -> None:
        """A device raises interrupt line *irq*: its handlers, and their threads, run before this returns."""
        self.tasks.raise_irq(irq)

    def switch_to(self, task: int) -> None:
        """``__switch_to()``: *task* is current on this CPU."""
        if self._executor:
            self.mem.set_u64(task + self.layout["task_struct"].offset("stack"), self._executor.main_stack)
        self.mem.set_u64(self._current_at, task)
        self.pid = self.user.pid(task)

    # modules

    @property
    def modules(self) -> dict[str, Module]:
        """Modules that are loaded, by name."""
        return self.loader.loaded

    def module_at(self, addr: int) -> Module | None:
        """The module whose memory holds *addr*."""
        return self.loader.at(addr)

    def insmod(self, file: str | Path | bytes, **params: object) -> LoadedModule:
        """Load a module and run its init (`kmem.kapi.insmod.Modules.insmod`)."""
        return self.loader.insmod(file, **params)


def boot(
    release: str = "6.1",
    ram: str | int = "512M",
    cpus: int = 2,
    seed: int = 0,
    config: str = "debian",
    numa: int = 1,
    **more: Any,
) -> Kernel:
    """Boot a machine. *ram* in bytes or with a K, M, G or T; *config* plain, debian or debug; *numa* is the number of
    nodes that memory and CPUs are shared out to; *more* as in `BootConfig`; *cmdline*, a kernel command line
    (`kmem.mm.cmdline`); *bus*, the devices that answer (`kmem.machine.bus.Bus`); and *history*, to keep what
    `Kernel.x` tells.
    """
    size = ram if isinstance(ram, int) else int(ram[:-1]) << {"K": 10, "M": 20, "G": 30, "T": 40}[ram[-1].upper()]
    budget, bus = more.pop("budget", 100_000_000), more.pop("bus", None)
    check, quarantine, history = more.pop("check", "none"), more.pop("quarantine", False), more.pop("history", False)
    chosen = configuration(config, release=release, ram=size, cpus=cpus, seed=seed, nodes=numa, **more)
    return Kernel(chosen, budget=budget, bus=bus, check=check, quarantine=quarantine, history=history)
