"""One run of a module, from file to verdict: boot, load, unload, look for what is left."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from kmem.errors import InputError, InvariantViolated, UnknownSymbol, UsageError

if TYPE_CHECKING:
    from kmem.kernel import Kernel
    from kmem.modules.tree import ModuleTree
    from kmem.sanitizers.allow import Allowance
    from kmem.sanitizers.kmemleak import Allocation


ENOENT = 2


@dataclass(frozen=True)
class RunOptions:
    """What ``kmem run`` was asked to do. *path* is a ``.ko``, or source for :func:`find_module`; *parameters* are
    module parameters (None: given without ``=``).
    """

    path: str
    parameters: dict[str, str | None] = field(default_factory=dict)
    release: str = "6.1"
    config: str = "debian"
    ram: int = 512 << 20
    cpus: int = 2
    numa: int = 1
    seed: int = 0
    schedules: int = 1
    page_cache: int = 0
    budget: int = 100_000_000
    cmdline: str = ""
    check: str = "fast"
    fail_nth: int = 0
    fail_all: bool = False
    fail_each: bool = False
    allow_leak: tuple[tuple[str, str], ...] = ()
    faults: tuple[tuple[str, str], ...] = ()
    kmemleak: bool = False
    quarantine: bool = False
    proc: tuple[str, ...] = ()
    proc_dir: str = ""
    core: str = ""
    trace: str = ""


@dataclass
class RunResult:
    """What came of it; the fields are those of ``kmem run --json`` (docs of `kmem.report.json`)."""

    verdict: str
    findings: list[dict[str, Any]]
    dmesg: list[dict[str, Any]]
    module: dict[str, Any]
    init: int | None
    exit: str | None
    allocations: dict[str, Any]
    unsupported: list[dict[str, Any]]
    seed: int
    release: str
    config: str
    proc: dict[str, str]
    timings: dict[str, float]
    hashes: dict[str, str]
    failing: list[dict[str, Any]]
    allowed: list[dict[str, Any]] = field(default_factory=list)
    injected: list[dict[str, Any]] = field(default_factory=list)
    schedules: dict[str, Any] = field(default_factory=dict)
    seen: dict[str, Any] = field(default_factory=dict)


class Watcher(Protocol):
    """Somebody who looks at the machine while a module runs: `begin` before it is loaded, `end` when all is over."""

    def begin(self, kernel: Kernel) -> None: ...
    def moment(self, name: str) -> None: ...
    def end(self) -> dict[str, Any]: ...


class Nobody:
    """The watcher of a run at which nobody looks."""

    def begin(self, kernel: Kernel) -> None: ...
    def moment(self, name: str) -> None: ...
    def end(self) -> dict[str, Any]:
        """Nothing was seen."""
        return {}


def find_module(options: RunOptions) -> Path:
    """The ``.ko`` to run, built by kbuild if *options.path* is source. UsageError if a directory makes several."""
    path = Path(options.path)
    if not path.exists():
        raise InputError(f"{path}: no such file or directory", remedy="give a .ko, a .c, or a directory with a Kbuild")
    if path.suffix != ".c" and not path.is_dir():
        return path
    from kmem.modules.kbuild import INSTRUMENT, build

    modules = build(
        path,
        release=options.release,
        flags=INSTRUMENT if options.check == "full" else (),
        progress=lambda text: print(f"kmem: {text}", file=sys.stderr),
    ).modules
    if len(modules) > 1:
        listed = "\n".join(f"kmem run {module}" for module in modules)
        raise UsageError(f"{path} makes {len(modules)} modules", remedy=f"they are built; run one:\n{listed}")
    return modules[0]


def run_module(options: RunOptions, watcher: Watcher | None = None) -> RunResult:
    """Do all of it. Raises KmemError for what cannot be run at all; what the module does wrong is in the result."""
    if options.schedules > 1:
        return _try_schedules(options, watcher)
    result = _run_once(options, watcher)
    if options.check == "full" and not options.fail_each:
        _same_again(result, _run_once(replace(options, proc_dir="", core="", trace="")))
    return result


def _try_schedules(options: RunOptions, watcher: Watcher | None) -> RunResult:
    """The first of the runs with *options.schedules* seeds that misbehaves; the last, if none does. Where a module has
    but one task, there is but one schedule.
    """
    tried = 0
    for seed in range(options.seed, options.seed + options.schedules):
        result = _run_once(replace(options, seed=seed, proc_dir="", core=""))
        tried += 1
        if result.verdict != "clean" or not result.schedules["several_tasks"]:
            break
        print(f"\rkmem: schedule {tried} of {options.schedules}", end="", file=sys.stderr)
    if tried > 1:
        print(file=sys.stderr)
    facts = result.schedules | {"asked": options.schedules, "tried": tried}
    if options.proc_dir or options.core or watcher or options.check == "full":
        result = run_module(replace(options, seed=result.seed, schedules=1), watcher)
    result.schedules = facts
    return result


def _run_once(options: RunOptions, watcher: Watcher | None = None) -> RunResult:
    from kmem.modules.image import read_module

    clock = _Stopwatch()
    path = Path(options.path)
    image = read_module(path)
    clock.lap("read")
    import kmem

    with kmem.boot(
        release=options.release,
        ram=options.ram,
        cpus=options.cpus,
        numa=options.numa,
        seed=options.seed,
        config=options.config,
        cmdline=options.cmdline,
        budget=options.budget,
        check=options.check,
        quarantine=options.quarantine,
    ) as kernel:
        kernel.fill_page_cache(options.page_cache)
        clock.lap("boot")
        with _traced(kernel, options.trace):
            return _run(kernel, image, path, options, clock, watcher or Nobody())


@contextmanager
def _traced(kernel: Kernel, path: str) -> Iterator[None]:
    """Write the events of what is done inside into *path*, if that is asked for."""
    if not path:
        yield
        return
    from kmem.trace.simulated import RunTrace

    trace = RunTrace(kernel, Path(path))
    try:
        yield
    finally:
        trace.close()


def _same_again(first: RunResult, second: RunResult) -> None:
    """T2 and T5 of ``--check full``: the same module on a second machine leads to the same events, memory, log and
    findings. InvariantViolated says what differs.
    """
    same = {
        "T2: the memory": first.hashes["ram"] == second.hashes["ram"],
        "T5: the events": first.hashes["events"] == second.hashes["events"],
        "T5: the log": first.dmesg == second.dmesg,
        "T5: the findings": (first.verdict, first.findings) == (second.verdict, second.findings),
    }
    for what, equal in same.items():
        if not equal:
            raise InvariantViolated(
                f"the run was repeated, and {what.partition(': ')[2]} came out different ({what[:2]})",
                remedy="This is a fault of kmem, not of the module. Please report it with the module and the command.",
            )


def load_dependencies(kernel: Kernel, tree: ModuleTree, path: Path) -> dict[str, int | None]:
    """Load what the module at *path* needs and is not loaded yet; what each init returned, None for one that is not
    there or does not load. A module whose dependency failed does not load either, as on a real machine.
    """
    from kmem.kapi.insmod import InitFailed
    from kmem.modules.tree import module_name

    files, lacking = tree.order(path)
    done: dict[str, int | None] = dict.fromkeys(lacking)
    for file in files:
        name = module_name(file)
        if name in kernel.modules:
            continue
        try:
            done[name] = kernel.insmod(file).init
        except InitFailed as error:
            done[name] = error.code
        except UnknownSymbol:
            done[name] = -ENOENT
        except InputError:
            done[name] = None
    return done


class _Stopwatch:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 4)
        self._last = now


def _run(
    kernel: Kernel, image: bytes, path: Path, options: RunOptions, clock: _Stopwatch, watcher: Watcher
) -> RunResult:
    from kmem.faultinject import Failing, fail_each, live
    from kmem.kapi import kmemleak_scan
    from kmem.kapi.consistency import Consistency
    from kmem.kapi.failslab import arm
    from kmem.sanitizers.allow import Allowance

    arm(kernel, dict(options.faults), options.seed)
    watch = Consistency(kernel, path.name.split(".")[0]) if options.check == "full" else None
    needed = _dependencies(kernel, path)
    kernel.drain()
    kernel.leaks.begin()
    watcher.begin(kernel)
    module = kernel.loader.load(image, **options.parameters)
    clock.lap("load")
    tries: list[dict[str, Any]] = []
    allowed = [Allowance(site, reason) for site, reason in options.allow_leak]
    if options.fail_each:
        tries = fail_each(kernel, module, partial(report_leaks, kernel, allowed))
        for allowance in allowed:
            allowance.used = 0
        clock.lap("failing")
    if options.faults:
        kernel.circumstances = f" (with {' '.join(kind for kind, _ in options.faults)})"
        kernel.reproduce = "".join(f" --{kind.replace('_', '-')} {text}" for kind, text in options.faults)
    if options.fail_nth:
        Failing(kernel).arm(options.fail_nth, options.fail_all)

    def between() -> None:
        clock.lap("init")
        watcher.moment("init returned")
        if options.kmemleak or options.check == "full":
            kmemleak_scan.find(kernel)
        if watch:
            watch.check("after init", trials=True)

    watcher.moment("init")
    life = live(kernel, module, between)
    watcher.moment("exit returned" if life.exit == "done" else "end")
    init, ended, died = life.init, life.exit, life.died
    if watch:
        watch.check("at the end", trials=True)
    clock.lap("exit" if "init" in clock.laps else "init")
    if not died and ended != "none":
        report_leaks(kernel, allowed)
    findings = [finding.to_json() for finding in kernel.findings]
    for shown, finding in zip(findings, kernel.findings, strict=True):
        shown["text"] = list(finding.text)
        shown["count"] = kernel.findings.count(finding)
        shown["reproduce"] = finding.reproduce
    verdict = "unsupported" if kernel.unsupported else "findings" if findings or died else "clean"
    if verdict == "clean" and init is not None and init < 0:
        verdict = "findings"
    result = RunResult(
        verdict=verdict,
        findings=findings,
        dmesg=[{"time": r.ns, "level": r.level, "text": r.text} for r in kernel.log.records],
        module={"name": module.name, "file": str(path), "note": module.note}
        | ({"dependencies": needed} if needed else {}),
        init=init,
        exit=ended,
        allocations=_allocations(kernel),
        unsupported=[
            {"symbol": symbol, "count": count, **kernel.unsupported_at[symbol].facts()}
            for symbol, count in kernel.unsupported.items()
        ],
        seed=options.seed,
        release=options.release,
        config=options.config,
        proc={name: kernel.proc(name) for name in options.proc},
        timings=clock.laps,
        hashes={"ram": kernel.mm.ram.hash(), "events": kernel.events.digest()},
        failing=tries,
        allowed=[asdict(allowance) for allowance in allowed],
        injected=kernel.faults.told() if kernel.faults else [],
        schedules={"asked": 1, "tried": 1, "several_tasks": kernel.sched.on},
        seen=watcher.end(),
    )
    if options.proc_dir:
        kernel.write_proc(options.proc_dir)
    if options.core:
        from kmem.modules.vmcoreinfo import dump_core

        dump_core(options.core, kernel.mm, kernel.kallsyms)
    clock.lap("report")
    return result


def _dependencies(kernel: Kernel, path: Path) -> dict[str, int | None]:
    """Load what the module says that it depends on, if it is there, and say so on standard error."""
    from kmem.modules.tree import ModuleTree, depends_of, root_of

    if not depends_of(path):
        return {}
    needed = load_dependencies(kernel, ModuleTree(root_of(path)), path)
    if needed:
        what = ", ".join(name + ("" if code == 0 else " (not there)" if code is None else f" ({code})")
                         for name, code in needed.items())  # fmt: skip
        print(f"kmem: loaded first: {what}", file=sys.stderr)
    return needed


def report_leaks(kernel: Kernel, allowed: Sequence[Allowance] = ()) -> None:
    """One finding for each call site of the module's that left something behind, unless it is *allowed* to.

    What another module called for that is still there, a library that was loaded first, is that one's to free.
    """
    for what, address, site in kernel.left:
        facts = site.facts()
        if not any(allowance.covers(facts) for allowance in allowed):
            kernel.finding("leak", f"{what} is still registered when its module is gone", address=address, **facts)
    kernel.left.clear()
    sites: dict[int, list[Allocation]] = defaultdict(list)
    for allocation in kernel.leaks.counted():
        if not allocation.live or kernel.loader.is_code(allocation.event.call_site):
            continue
        sites[allocation.event.call_site].append(allocation)
    for left in sites.values():
        first = left[0]
        facts = first.site.facts() if first.site else {}
        if any(allowance.covers(facts, len(left)) for allowance in allowed):
            continue
        size = sum(allocation.event.requested or allocation.event.allocated for allocation in left)
        what = f"{len(left)} allocations" if len(left) > 1 else "1 allocation"
        source = first.cache or first.region
        kernel.finding(
            "leak",
            f"{what} of {size} bytes ({source}) never freed",
            address=first.address,
            **facts,
        )


def _allocations(kernel: Kernel) -> dict[str, Any]:
    made = kernel.leaks.counted()
    rows = [
        {
            "call": allocation.event.kind,
            "address": f"{allocation.address:#018x}",
            "asked": allocation.event.requested or None,
            "given": allocation.event.allocated,
            "region": allocation.region,
            "cache": allocation.cache or None,
            "order": allocation.event.order if not allocation.cache and allocation.region == "direct map" else None,
            "pages": allocation.pages or None,
            "runs": allocation.runs or None,
            "site": str(allocation.site),
            "live": allocation.live,
        }
        for allocation in made[:1000]
    ]
    return {
        "count": len(made),
        "bytes": kernel.leaks.bytes,
        "live": sum(allocation.live for allocation in made),
        "failed": kernel.leaks.failed,
        "objects": rows,
    }
