"""Runs the KUnit suites of a module (lib/kunit/test.c, lib/kunit/try-catch.c), 6.1, and prints KTAP.

As in the kernel the suites run before the module's init. Each case has a thread of its own there; here it runs on the
stack of the task that loads the module, and an assertion that fails drops what is on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kmem.kapi.errno import EFAULT, ETIMEDOUT
from kmem.kapi.executor import TaskDied
from kmem.kapi.host import s32
from kmem.kapi.kunit import (
    FAILURE,
    INDENT,
    SKIPPED,
    SUCCESS,
    err,
    kunit_cleanup,
    kunit_init_test,
    member,
    set_failure,
    struct,
    text,
)
from kmem.modules.module import Module
from kmem.modules.taint import TAINT_TEST

SECTION = ".kunit_test_suites"
_PARAM_DESC_SIZE = 128
_WORDS = {SUCCESS: "ok", FAILURE: "not ok", SKIPPED: "ok"}


@dataclass
class Stats:
    """``struct kunit_result_stats``."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def update(self, status: int) -> None:
        """Count one result."""
        self.passed += status == SUCCESS
        self.failed += status == FAILURE
        self.skipped += status == SKIPPED

    def add(self, other: Stats) -> None:
        """``kunit_accumulate_stats()``."""
        self.passed, self.failed = self.passed + other.passed, self.failed + other.failed
        self.skipped += other.skipped

    @property
    def total(self) -> int:
        """All results."""
        return self.passed + self.failed + self.skipped

    def __str__(self) -> str:
        return f"pass:{self.passed} fail:{self.failed} skip:{self.skipped} total:{self.total}"


def suites(module: Module) -> list[int]:
    """``mod->kunit_suites``."""
    section = module.elf.find(SECTION)
    at = module.sections.get(SECTION)
    if section is None or at is None:
        return []
    return [int.from_bytes(module.env.mem.read(at + 8 * n, 8), "little") for n in range(section.size // 8)]


def run_suites(k: Any, module: Module) -> None:
    """``kunit_module_init()``."""
    for number, suite in enumerate(suites(module), 1):
        _Suite(k, suite, number).run()


class _Suite:
    """One suite while it runs; *k* is the `kmem.kernel.Kernel`."""

    def __init__(self, k: Any, suite: int, number: int) -> None:
        self.k, self.suite, self.number = k, suite, number
        self.name = text(k, self._at("name"))
        self.cases = list(self._cases())

    def _at(self, member: str) -> int:
        return self.suite + struct(self.k, "kunit_suite").offset(member)

    def _case(self, case: int, member: str) -> int:
        return case + struct(self.k, "kunit_case").offset(member)

    def _name(self, case: int) -> str:
        return text(self.k, self.k.mem.u64(self._case(case, "name")))

    def _cases(self) -> list[int]:
        found, case = [], self.k.mem.u64(self._at("test_cases"))
        while self.k.mem.u64(self._case(case, "run_case")):
            found.append(case)
            case += struct(self.k, "kunit_case").size
        return found

    def _info(self, line: str) -> None:
        self.k.log.printk(f"\x016{line}", whole=True)

    def run(self) -> None:
        """``kunit_run_tests()``."""
        k = self.k
        k.add_taint(TAINT_TEST)
        k.mem.set_u8(self._at("status_comment"), 0)
        k.mem.set_u32(self._at("suite_init_err"), 0)
        init = k.mem.u64(self._at("suite_init"))
        error = s32(k.executor.run(init, self.suite)) if init else 0
        status = FAILURE
        if error:
            k.mem.set_u32(self._at("suite_init_err"), error & 0xFFFFFFFF)
            k.log.printk(f"\x013{INDENT}# {self.name}: {INDENT}# failed to initialize ({error})", whole=True)
        else:
            status = self._run_cases()
        comment = f" # SKIP {text(k, self._at('status_comment'))}" if status == SKIPPED else ""
        self._info(f"{_WORDS[status]} {self.number} {self.name}{comment}")

    def _run_cases(self) -> int:
        """The cases, and the status of the suite."""
        k, suite_stats, total = self.k, Stats(), Stats()
        for line in ("KTAP version 1", f"# Subtest: {self.name}", f"1..{len(self.cases)}"):
            self._info(INDENT + line)
        size = struct(k, "kunit").size
        test = k.mm.core.k_scratch(size + _PARAM_DESC_SIZE)
        for number, case in enumerate(self.cases, 1):
            k.mem.write(test, bytes(size + _PARAM_DESC_SIZE))
            k.mem.set_u32(self._case(case, "status"), SKIPPED)
            stats = Stats()
            if k.mem.u64(self._case(case, "generate_params")):
                self._run_params(case, test, stats)
            else:
                self._run_case(case, test)
                stats.update(k.mem.u32(member(k, test, "status")))
            self._report(case, test, number, stats)
            suite_stats.update(k.mem.u32(self._case(case, "status")))
            total.add(stats)
        k.mm.core.k_scratch_free(test)
        leave = k.mem.u64(self._at("suite_exit"))
        if leave:
            k.executor.run(leave, self.suite)
        if suite_stats.total > 1:
            self._info(f"# {self.name}: {suite_stats}")
        if total.total > 1:
            self._info(f"# Totals: {total}")
        return FAILURE if suite_stats.failed else SUCCESS if suite_stats.passed else SKIPPED

    def _report(self, case: int, test: int, number: int, stats: Stats) -> None:
        """The lines behind a case."""
        k, name = self.k, self._name(case)
        status = k.mem.u32(self._case(case, "status"))
        if stats.total > 1:
            self._info(f"{INDENT}# {name}: {stats}")
        comment = f" # SKIP {text(k, member(k, test, 'status_comment'))}" if status == SKIPPED else ""
        self._info(f"{INDENT}{_WORDS[status]} {number} {name}{comment}")
        if status == FAILURE:
            k.finding("bug", f"the KUnit case {self.name}.{name} failed", function=name)

    def _run_params(self, case: int, test: int, stats: Stats) -> None:
        """The case once for each parameter that it generates."""
        k, generate = self.k, self.k.mem.u64(self._case(case, "generate_params"))
        desc = test + struct(k, "kunit").size
        value, index = k.executor.run(generate, 0, desc), 0
        self._info(f"{INDENT * 2}KTAP version 1\n")
        self._info(f"{INDENT * 2}# Subtest: {self._name(case)}")
        while value:
            k.mem.set_u64(member(k, test, "param_value"), value)
            k.mem.set_u32(member(k, test, "param_index"), index)
            self._run_case(case, test)
            status = k.mem.u32(member(k, test, "status"))
            shown = text(k, desc) or f"param-{index}"
            self._info(f"{INDENT * 2}{_WORDS[status]} {index + 1} {shown}")
            k.mem.set_u8(desc, 0)
            value, index = k.executor.run(generate, value, desc), index + 1
            stats.update(status)

    def _run_case(self, case: int, test: int) -> None:
        """``kunit_run_case_catch_errors()``."""
        k = self.k
        kunit_init_test(k, test, k.mem.u64(self._case(case, "name")), 0)
        result = member(k, test, "try_catch") + struct(k, "kunit_try_catch").offset("try_result")
        k.mem.set_u32(result, 0)
        k.mem.set_u64(k.address_of("kunit_current"), test)
        try:
            init = k.mem.u64(self._at("init"))
            error = s32(k.executor.run(init, test)) if init else 0
            if error:
                err(k, test, f"failed to initialize: {error}\n")
                set_failure(k, test)
            else:
                k.executor.run(k.mem.u64(self._case(case, "run_case")), test)
            self._cleanup(test)
        except TaskDied:
            if k.mem.s32(result) == -EFAULT:
                self._cleanup(test)
            else:
                k.mem.set_u32(result, -ETIMEDOUT & 0xFFFFFFFF)
                set_failure(k, test)
                err(k, test, "try timed out\n")
                err(k, test, "test case timed out\n")
        finally:
            k.mem.set_u64(k.address_of("kunit_current"), 0)
        status = k.mem.u32(member(k, test, "status"))
        before = k.mem.u32(self._case(case, "status"))
        if status == FAILURE or (before != FAILURE and status == SUCCESS):
            k.mem.set_u32(self._case(case, "status"), status)

    def _cleanup(self, test: int) -> None:
        """``kunit_run_case_cleanup()``."""
        leave = self.k.mem.u64(self._at("exit"))
        if leave:
            self.k.executor.run(leave, test)
        self.k.executor.drive(kunit_cleanup(self.k, test))
