"""Which of the kernel's own tests are run, how they end on a real kernel, and how they are built.

A test module says in the log how it went; many make their init fail on purpose, so that they need not be unloaded.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kmem.lib.build import cache_dir
from kmem.modules.kbuild import build
from tests.selftest.source import find


@dataclass(frozen=True)
class Verdict:
    """How a test ends: the errno of its init, and what the log says last of it."""

    lines: tuple[str, ...] = ()
    init: int = 0
    warns: bool = False
    """Whether the test provokes warnings of the kernel."""
    words: tuple[str, ...] = ()
    """Parameters of the module."""


def says(*lines: str, init: int = 0, warns: bool = False, words: tuple[str, ...] = ()) -> Verdict:
    """A verdict of these lines, in this order."""
    return Verdict(lines, init, warns, words)


def vmalloc_test(name: str, failed: int = 0) -> str:
    """What test_vmalloc says of one of its tests."""
    return f"Summary: {name}_test passed: {1 - failed} failed: {failed} repeat: 1 loops: 10"


EAGAIN, EINVAL = -11, -22

WITHOUT_PCPU = f"run_test_mask={1023 - 128}"
"""Parameter of test_vmalloc: all of its tests but pcpu_alloc_test, which wants more per-CPU memory than the one chunk
that the model has."""

SELFTESTS = {
    "test_meminit": says("test_meminit: all 131 tests passed!"),
    "test_bitmap": says("test_bitmap: all 6550 tests passed"),
    "test_ida": says("IDA: 147357 of 147357 tests passed", init=EINVAL, warns=True),
    "test_user_copy": says("test_user_copy: tests passed."),
    "test_scanf": says("test_scanf: all 2545 tests passed"),
    "test_hexdump": says("test_hexdump: all 1184 tests passed"),
    "test_uuid": says("test_uuid: all 18 tests passed"),
    "percpu_test": says("percpu test done", init=EAGAIN),
    "atomic64_test": says("atomic64_test: passed for x86-64 platform with CX8 and with SSE"),
    "test_strscpy": says("test_strscpy: all 32 tests passed"),
    "test_memcat_p": says("test_memcat_p: test passed"),
    "test_min_heap": says("min_heap_test: test passed"),
    "test-kstrtox": says(init=EINVAL),
    "test-string_helpers": says("test_string_helpers: Running tests...", init=EINVAL),
    "test_bitops": says("test_bitops: Completed bitops test"),
    "test_bits": says(),
    "test_module": says("test_module: Goodbye"),
    "test_siphash": says("test_siphash: self-tests: pass"),
    "crc32test": says("crc32_combine: 8373 self tests passed", "crc32c_combine: 8373 self tests passed"),
    "test_vmalloc": says(
        *map(vmalloc_test, ("fix_size_alloc", "full_fit_alloc", "long_busy_list_alloc", "random_size_alloc")),
        *map(vmalloc_test, ("fix_align_alloc", "random_size_align_alloc")),
        vmalloc_test("align_shift_alloc", failed=1),
        *map(vmalloc_test, ("kvfree_rcu_1_arg_vmalloc", "kvfree_rcu_2_arg_vmalloc")),
        init=EAGAIN,
        words=("nr_threads=1", "test_loop_count=10", "sequential_test_order=1", WITHOUT_PCPU),
    ),
    "test_rhashtable": says(
        "Started 3 threads, 0 failed, rhltable test returns 0", words=("parm_entries=2000", "tcount=3", "runs=1")
    ),
    "test_printf": says("test_printf: all 420 tests passed"),
    "test_static_keys": says(),
    "rbtree_test": says("augmented rbtree testing", init=EAGAIN, words=("perf_loops=10", "check_loops=10")),
    "interval_tree_test": says(
        "interval tree insert/remove", "interval tree search", init=EAGAIN, words=("perf_loops=10", "search_loops=10")
    ),
    "test_string": says("String selftests succeeded"),
    "test_div64": says("test_div64: Starting 64bit/32bit division and modulo test"),
    "test_debug_virtual": says(),
    "test_ref_tracker": says(),
    "globtest": says("glob: 64 self-tests passed, 0 failed"),
}
"""Tests that a stock kernel can load."""

HELPERS = ("test_static_key_base",)
"""Modules that a test needs beside it."""


def suite(name: str, passed: int, skipped: int = 0) -> Verdict:
    """A KUnit suite of which so many cases pass."""
    total = passed + skipped
    stats = (f"# {name}: pass:{passed} fail:0 skip:{skipped} total:{total}",) if total > 1 else ()
    return Verdict((*stats, f"ok 1 {name}"))


SUITES = {
    "slub_kunit": suite("slub_test", 5),
    "overflow_kunit": suite("overflow", 18),
    "cmdline_kunit": suite("cmdline", 4),
    "bitfield_kunit": suite("bitfields", 2),
    "cpumask_kunit": suite("cpumask", 6),
    "fortify_kunit": suite("fortify", 2),
    "is_signed_type_kunit": suite("is_signed_type", 1),
    "memcpy_kunit": suite("memcpy", 4),
    "stackinit_kunit": suite("stackinit", 60, 5),
    "test_sort": suite("lib_sort", 1),
    "test_list_sort": suite("list_sort", 1),
    "test_hash": suite("hash", 2),
    "test_linear_ranges": suite("linear-ranges-test", 4),
    "rational-test": Verdict(("# rational_test: pass:8 fail:0 skip:0 total:8", "ok 1 rational_test", "ok 1 rational")),
    "kunit-example-test": suite("example", 2, 2),
    "list-test": Verdict(("# list-kunit-test: pass:39 fail:0 skip:0 total:39", "ok 1 list-kunit-test", "ok 2 hlist")),
}
"""KUnit suites; the framework is kmem's."""


@cache
def built() -> dict[str, Path]:
    """Every module, by name, built in one go. Raises NoSource, or BuildError."""
    source, tree = find(), cache_dir() / "selftest"
    names = [*SELFTESTS, *SUITES, *HELPERS]
    wanted = {"Kbuild": "obj-m += lib/\n", "lib/Kbuild": "".join(f"obj-m += {name}.o\n" for name in sorted(names))}
    for name, text in wanted.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    headers = [path.relative_to(source) for path in sorted((source / "lib").glob("*.h"))]
    others = [Path("mm/slab.h"), Path("tools/testing/selftests/kselftest_module.h")]
    for path in [*headers, *others]:
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / path, tree / path)
    for name in names:
        [path] = (source / "lib").rglob(f"{name}.c")
        shutil.copyfile(path, tree / "lib" / path.name)
    return {path.stem: path for path in build(tree).modules}
