"""How far a module of the kernel's own gets: one row of ``kmem survey``.

The machine is booted once and kept as it was then; each row is made in a fork of that process (`kmem.commands.survey`),
so that no module sees what another one did. What a module depends on is loaded first, as modprobe does it, and stays
loaded: only the module itself is taken out again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kmem.errors import InputError, UnknownSymbol, UnsupportedSymbol

if TYPE_CHECKING:
    from kmem.kapi.insmod import LoadedModule
    from kmem.kernel import Kernel
    from kmem.modules.tree import ModuleTree

ENOENT = 2


@dataclass(frozen=True)
class SurveyOptions:
    """The machine that every module gets."""

    release: str = "6.1"
    config: str = "debian"
    ram: int = 512 << 20
    cpus: int = 2
    seed: int = 0
    budget: int = 100_000_000


@dataclass
class Row:
    """What became of one module.

    *status* is ``ok`` (init 0, no findings), ``error`` (init returned an errno), ``findings``, ``unsupported`` (it
    called what kmem does not have), ``refused`` (it does not load) or ``internal`` (kmem failed). *insmod* is what
    insmod would answer: 0 or a positive errno, None where the run did not get that far.
    """

    module: str
    status: str = "internal"
    loads: bool = False
    insmod: int | None = None
    init: int | None = None
    exit: str = "not run"
    symbols: int = 0
    unknown: list[str] = field(default_factory=list)
    """Exported functions that it links to and kmem does not have."""
    stopped_by: str = ""
    stopped_in: str = ""
    """The function that it called and kmem does not have, and the place of the call."""
    findings: list[str] = field(default_factory=list)
    dependencies: dict[str, int | None] = field(default_factory=dict)
    """Modules that were loaded before it, with what their init returned."""
    message: str = ""
    seconds: float = 0.0


class Bench:
    """A booted machine on which one module after the other is tried, each in a fork of the process."""

    def __init__(self, options: SurveyOptions, tree: ModuleTree, root: Path) -> None:
        import kmem
        from kmem.kapi.export import load_all

        self.tree, self.root = tree, root
        load_all()
        self.kernel: Kernel = kmem.boot(
            release=options.release,
            ram=options.ram,
            cpus=options.cpus,
            seed=options.seed,
            config=options.config,
            budget=options.budget,
        )
        assert self.kernel.executor
        self.kernel.snapshot()  # from here on written pages are private: forks do not share them

    def row(self, path: Path) -> dict[str, Any]:
        """Try the module at *path*. Call it in a process that ends afterwards."""
        began = time.perf_counter()
        row = Row(str(path.relative_to(self.root)))
        _try(self.kernel, self.tree, path, row)
        row.seconds = round(time.perf_counter() - began, 3)
        return asdict(row)


def failed_row(module: str, message: str) -> dict[str, Any]:
    """The row of a module whose process did not answer."""
    return asdict(Row(module, message=message))


def _try(kernel: Kernel, tree: ModuleTree, path: Path, row: Row) -> None:
    from kmem.kapi.executor import TaskDied
    from kmem.kapi.insmod import InitFailed
    from kmem.runner import load_dependencies, report_leaks

    module: LoadedModule | None = None
    failed, found = False, 0
    try:
        row.dependencies = load_dependencies(kernel, tree, path)
        kernel.drain()
        kernel.leaks.begin()
        found = len(list(kernel.findings))
        linked = set(kernel.symbols.missing)
        try:
            module = kernel.insmod(path)
            row.loads, row.init, row.insmod = True, module.init, 0
        except InitFailed as error:
            row.loads, row.init, row.insmod, failed = True, error.code, -error.code, True
        row.symbols = len(module.module.imports) if module else 0
        row.unknown = sorted(kernel.symbols.missing - linked)
        if module is not None and module.module.exit_function:
            kernel.tasks.settle()
            if module.module.refcount > 1:
                row.exit = "in use"
            else:
                module.rmmod()
                row.exit = "done"
        elif module is not None:
            row.exit = "none"
        kernel.drain()
        if row.exit == "done" or failed:
            report_leaks(kernel)
    except UnknownSymbol as error:
        row.status, row.insmod, row.message = "refused", ENOENT, error.message
        return
    except UnsupportedSymbol as error:
        row.message = error.message
        row.loads = row.loads or bool(kernel.modules)
    except InputError as error:
        row.status, row.message = "refused", f"{error.message} [{error.slug}]"
        return
    except TaskDied:
        row.loads = True
        if module is not None:
            row.exit = "died"
    kernel.drain()
    row.findings = [str(finding) for finding in list(kernel.findings)[found:]]
    if kernel.unsupported:
        row.status, row.stopped_by = "unsupported", next(iter(kernel.unsupported))
        row.stopped_in = str(kernel.unsupported_at[row.stopped_by])
        row.unknown = sorted({*row.unknown, *kernel.unsupported})
        if row.exit == "not run":
            row.insmod = None
    else:
        row.status = "findings" if row.findings else "error" if failed else "ok"


def agreement(rows: Sequence[Mapping[str, Any]], expected: Mapping[str, int]) -> dict[str, Any]:
    """Compare rows with what a real kernel's insmod answered (errno by module).

    *own* are the modules whose own init gave the error: those whose dependencies did load.
    """
    compared = [row for row in rows if row["module"] in expected]
    wrong = [row for row in compared if row["insmod"] != expected[row["module"]]]
    errors = [row for row in compared if expected[row["module"]] not in (0, ENOENT)]
    right = [row for row in errors if row["insmod"] == expected[row["module"]]]
    return {
        "compared": len(compared),
        "agree": len(compared) - len(wrong),
        "errors": len(errors),
        "errors_agree": len(right),
        "differ": [{"module": row["module"], "real": expected[row["module"]], **_why(row)} for row in wrong],
    }


def _why(row: Mapping[str, Any]) -> dict[str, Any]:
    reason = row["stopped_by"] or (row["findings"][0] if row["findings"] else row["message"])
    return {"kmem": row["insmod"], "status": row["status"], "cause": reason}
