"""Modules in and out: insmod and rmmod, and what the loader needs of the kernel (kernel/module/main.c, 6.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kmem.errors import InputError, KmemError
from kmem.kapi.process import aslr
from kmem.kapi.site import CallSite
from kmem.lib.cstruct import u64
from kmem.modules.loader import load_module
from kmem.modules.module import Module
from kmem.modules.taint import module_taint_letters
from kmem.modules.this_module import MODULE_REF_BASE, MODULE_STATE_COMING, MODULE_STATE_GOING

if TYPE_CHECKING:
    from kmem.kapi.instrument import Instrument
    from kmem.kernel import Kernel


NEEDS = b"__asan_register_globals", b"__asan_load", b"__asan_store"
"""What gives instrumented code away."""
KUNIT_SECTION = ".kunit_test_suites"


class Modules:
    """The modules of one kernel, and the kernel as `kmem.modules.env.LoadEnv` sees it."""

    def __init__(self, k: Any) -> None:
        self.k = k
        self.loaded: dict[str, Module] = {}
        self._instrument: Instrument | None = None
        """While an instrumented module is loaded."""
        self.mem, self.kallsyms, self.layout, self.release = k.mem, k.kallsyms, k.layout, k.release

    @property
    def tainted(self) -> int:
        """``tainted_mask``."""
        return int(self.k.tainted)

    def add_taint(self, flag: int) -> None:
        """``add_taint()``."""
        self.k.add_taint(flag)

    def printk(self, level: int, text: str) -> None:
        """Log one line."""
        self.k.printk(level, text)

    def module_alloc(self, size: int) -> int:
        """``module_alloc()``."""
        self.k.called_by("module-memory")
        return int(self.k.mm.core.k_module_alloc(size)) if size else 0

    def module_memfree(self, addr: int) -> None:
        """``module_memfree()``."""
        if addr:
            self.k.mm.core.k_module_memfree(addr)
            if self.k._executor:
                self.k._executor.code_changed()

    def set_memory(self, addr: int, size: int, write: bool, execute: bool) -> None:
        """``set_memory_ro()`` and its kin."""
        self.k.mm.core.k_set_memory(addr, -(-size // 4096), int(write), int(execute))
        if self.k._executor:
            self.k._executor.code_changed()

    def resolve(self, name: str) -> int | None:
        """``find_symbol()``: other modules first, then the kernel."""
        for module in self.loaded.values():
            for exported in module.exports:
                if exported.name == name:
                    return exported.address
        own = self._instrument.resolve(name) if self._instrument else None
        if own is not None:
            return own
        found: int | None = self.k.symbols.exported(name)
        return found

    def percpu_modalloc(self, size: int, align: int, image: bytes) -> int:
        """``percpu_modalloc()``."""
        offset = self.k.mm.core.k_alloc_percpu(size, align, 0xCC0)
        if offset:
            for cpu in range(self.k.nr_cpus):
                base = u64(self.k.mm.view.per_cpu_offset(cpu))
                self.mem.write(base + offset, image)
        return int(offset)

    def percpu_modfree(self, offset: int) -> None:
        """``percpu_modfree()``."""
        self.k.mm.core.k_free_percpu(offset)

    def at(self, addr: int) -> Module | None:
        """The module whose memory holds *addr*."""
        for module in self.loaded.values():
            if module.contains(addr):
                return module
        return None

    def users(self, module: Module) -> list[str]:
        """Names of the modules that use symbols of *module* (``source_list``)."""
        return [
            other.name
            for other in self.loaded.values()
            if other is not module and any(module.contains(address) for address in other.imports.values())
        ]

    def references(self, module: Module) -> int:
        """``module_refcount()``, and a reference for each module that uses its symbols, which ``refcnt`` lacks."""
        return module.refcount - MODULE_REF_BASE + len(self.users(module))

    def tree(self) -> tuple[dict[str, Callable[[], str]], dict[str, str]]:
        """What /sys/module has for the loaded modules: what gives the text of each file, and links; by path."""
        files: dict[str, Callable[[], str]] = {}
        links: dict[str, str] = {}
        for name, module in self.loaded.items():
            texts = {
                "coresize": str(module.core.size),
                "initsize": str(module.init.size if module.init.base else 0),
                "initstate": {MODULE_STATE_COMING: "coming", MODULE_STATE_GOING: "going"}.get(module.state, "live"),
                "refcnt": str(self.references(module)),
                "taint": module_taint_letters(module.taints),
            }
            files |= {f"{name}/{file}": f"{text}\n".__str__ for file, text in texts.items()}
            links |= {f"{name}/holders/{user}": f"../../{user}" for user in self.users(module)}
        return files, links

    def listed(self) -> str:
        """/proc/modules as root reads it (kernel/module/procfs.c), the newest first."""
        lines = []
        for module in reversed(self.loaded.values()):
            users = self.users(module)
            who = "".join(f"{name}," for name in users) + ("" if module.exit_function else "[permanent],")
            state = {MODULE_STATE_COMING: "Loading", MODULE_STATE_GOING: "Unloading"}.get(module.state, "Live")
            size = module.core.size + (module.init.size if module.init.base else 0)
            taint = module_taint_letters(module.taints)
            lines.append(
                f"{module.name} {size} {self.references(module)} {who or '-'} {state} {module.core.base:#018x}"
                f"{f' ({taint})' if taint else ''}\n"
            )
        return "".join(lines)

    def is_code(self, addr: int) -> bool:
        return self.at(addr) is not None

    def insmod(self, file: str | Path | bytes, **params: object) -> LoadedModule:
        """Load a module and run its init. *file* is a path (or the bytes) of a ``.ko``; *params* are its parameters.

        Raises InitFailed if init returns an error (the module is gone then), ModuleFormatError and others for files
        that cannot be loaded, TaskDied if init crashed (the report is in the log and in `findings`).
        """
        return self.init(self.load(file, **params))

    def load(self, file: str | Path | bytes, **params: object) -> Module:
        """Load a module and set its parameters as for :meth:`insmod`; init has not run afterwards."""
        from kmem.kapi.static_key import patch
        from kmem.modules.image import read_module

        image = file if isinstance(file, bytes) else read_module(Path(file))
        given = {name: None if value is None else _text(value) for name, value in params.items()}
        assert self.k.executor
        self.exec_insmod()
        if any(name in image for name in NEEDS):
            if self.k.checks is None:
                raise InputError(
                    "the module was compiled with -fsanitize=kernel-address, and nothing is checked",
                    remedy="run it with --check fast or full, or build it without",
                )
            self._instrument = self.k.checks.instrumented()
        try:
            module = load_module(image, self, params=given)
        finally:
            self._instrument = None
        self.k.executor.code_changed()
        if module.name in self.loaded:
            module.free()
            raise InputError(f"module {module.name} is loaded already", remedy="unload it first")
        self.loaded[module.name] = module
        patch(self.k, module.address)
        self.k.site.forget_sites()
        if self.k.checks:
            self.k.drain()
            self.k.checks.loaded(module)
        self._set_params(module)
        return module

    def _set_params(self, module: Module) -> None:
        from kmem.kapi.params import set_param

        for setting in module.settings:
            error = self.k.executor.drive(set_param(self.k, setting.param.address, setting.value))
            if error:
                self.forget(module)
                refused = ParameterRefused(module.name, setting.param.name, setting.value, signed32(error))
                self.printk(3, refused.line)
                raise refused

    def exec_insmod(self) -> None:
        """The task that loads modules gets its address space when the first one is loaded."""
        if not self.k.user.mm_of(self.k.current):
            self.k.user.exec(self.k.current, aslr(self.k.boot_config.seed, self.k.pid))

    def init(self, module: Module) -> LoadedModule:
        """Run the init of a loaded module."""
        if self.k.checks and self.k.checks.instrument:
            for constructor in module.constructors:  # as with CONFIG_CONSTRUCTORS
                self.run(constructor)
        if KUNIT_SECTION in module.sections:
            from kmem.kapi.kunit_run import run_suites

            run_suites(self.k, module)
        result = 0
        if module.init_function:
            result = signed32(self.run(module.init_function))
        if result < 0:
            module.set_state(2)
            self.k.tasks.module_goes(module)
            self.k.drain()
            self.forget(module)
            raise InitFailed(module.name, result, "its init function returned an error")
        if result > 0:
            self.printk(
                4,
                f"do_init_module: '{module.name}'->init suspiciously returned {result}, "
                "it should follow 0/-E convention",
            )
            self.printk(4, "do_init_module: loading module anyway...")
            self.k.dump_stack()
        self.k.tasks.init_goes()
        module.init_done()
        return LoadedModule(self.k, module, result)

    def run(self, function: int, *args: int) -> int:
        """Run a module's function, init or exit most often, and afterwards the RCU callbacks that it queued."""
        if self.k.symbols.placed("jiffies"):
            from kmem.kapi.timekeeping import update_jiffies

            update_jiffies(self.k)
        value = self.k.executor.run(function, *args)
        if self.k.symbols.placed("rcu_cblist") and not self.k.sched.on:
            from kmem.kapi.rcu import drain

            self.k.executor.drive(drain(self.k))
        self.k.mm.run_work()
        self._balanced(function)
        return int(value)

    def _balanced(self, function: int) -> None:
        """``do_one_initcall()``: a function that has changed what it must leave as it was is told of."""
        context = self.k.context
        wrong = []
        if context.preempt_count:
            wrong.append("preemption imbalance")
            context.add(-context.preempt_count)
        if context.irqs_disabled():
            wrong.append("disabled interrupts")
            context.local_irq_enable()
        if wrong:
            name = self.k.kallsyms.sprint(function).partition(" ")[0]
            self.k.finding("api-misuse", f"{name} returned with {' and '.join(wrong)}")

    def _registered(self, module: Module) -> None:
        """What the module has registered and not taken out: the kernel would call code that is gone."""
        from kmem.kapi.registry import left

        for what, address, caller in left(self.k, module.address):
            name = module.function(caller - 1) or ""
            site = CallSite(caller, module, name, caller - (module.symbol(name) or caller))
            self.k.left.append((what, address, site))

    def forget(self, module: Module) -> None:
        """Take a module out whose exit, or whose init in vain, has run."""
        from kmem.kapi.params import free_params

        self._registered(module)
        if self.k.checks:
            self.k.checks.quarantine.flush()
        if module.params:
            self.k.executor.drive(free_params(self.k, module.params[0].address, len(module.params)))
        self.k.site.forget_sites()
        module.free()
        self.loaded.pop(module.name, None)


class InitFailed(KmemError):
    """A module's init returned an error."""

    slug = "init-failed"
    status = 1

    def __init__(self, name: str, code: int, why: str) -> None:
        from kmem.kapi.errno import errname

        self.code = code
        super().__init__(
            f"could not insert module {name}: {why}: {errname(code) or code}",
            remedy="see the kernel log for the driver's own words",
        )


class ParameterRefused(InputError):
    """A module parameter does not take the value that it was given; *line* is what the kernel prints."""

    slug = "bad-parameter"

    def __init__(self, module: str, name: str, value: str | None, code: int) -> None:
        from kmem.kapi.errno import errname
        from kmem.modules.params import error_line

        self.line = error_line(module, name, value, -code)
        super().__init__(
            f"{self.line} ({errname(code) or code})",
            remedy=f"Give {name} a value that its type can hold; modinfo -p shows a module's parameters.",
        )


class LoadedModule:
    """A module that is in the kernel: `rmmod` takes it out."""

    def __init__(self, kernel: Kernel, module: Module, init: int) -> None:
        self.kernel, self.module, self.init = kernel, module, init

    @property
    def name(self) -> str:
        """Its name."""
        return self.module.name

    def rmmod(self) -> None:
        """Run exit and take the module out. InputError if it has none, or is in use."""
        kernel, module = self.kernel, self.module
        if not module.exit_function:
            raise InputError(
                f"module {module.name} has no exit function: it cannot be unloaded", remedy="add module_exit()"
            )
        if module.refcount > 1:
            raise InputError(f"module {module.name} is in use", remedy="close or unload what uses it first")
        module.set_state(2)
        kernel.loader.run(module.exit_function)
        kernel.tasks.module_goes(module)
        kernel.drain()
        kernel.loader.forget(module)


def signed32(value: int) -> int:
    """An ``int`` out of rax."""
    return ((value & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "Y" if value else "N"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(_text(item) for item in value)
    return str(value)
