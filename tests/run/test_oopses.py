"""Modules with errors: what the kernel itself makes of them, and where; and what is found in modules without.

What kmem's own checks find in them is in tests/sanitizers.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.run.running import Ran, line_of, module, run

pytestmark = [pytest.mark.needs_headers, pytest.mark.slow]

BUG = "tests/kmod/bug"
SOURCE = f"{BUG}/bug.c"
LEAK = "tests/kmod/bad/leak/leak.c"


def commit(mode: str, config: str) -> Ran:
    """Commit one error, with the kernel's own checks alone; the run ends in findings whatever it did to the machine."""
    ran = run(module(BUG), f"mode={mode}", "--config", config, "--check", "none", "--json")
    assert ran.status == 1, ran.told
    assert ran.json["verdict"] == "findings"
    return ran


@pytest.mark.parametrize("config", ["plain", "debian", "debug"])
@pytest.mark.parametrize(
    ("mode", "kind", "function", "marker", "message"),
    [
        ("null", "null-dereference", "bug_null", "WRITE_ONCE(*p, 1);", r"write to 0x0 \(NULL\)"),
        (
            "gpf",
            "use-after-free",
            "bug_gpf",
            'pr_info("read %lx',
            r"access to 0x(6b){8} \(.*poison of a freed object\)",
        ),
        ("rowrite", "read-only-write", "bug_rowrite", "WRITE_ONCE(*p, 13);", r"write to 0xf\w+ \(module space\)"),
        ("guard", "wild-pointer", "bug_write", "WRITE_ONCE(*(unsigned long", r"write to 0xf\w+000 \(vmalloc space\)"),
        ("exec", "exec-fault", "bug_init", "", r"jump to 0xf\w+ \(the direct map\)"),
        ("stack", "stack-overflow", "recurse", "", "kernel stack overflow"),
        ("bug", "bug", "bug_bug", "BUG();", r"BUG\(\)"),
        ("warn", "warning", "bug_warn", "WARN(1,", r"WARN\(\)"),
    ],
)
def test_an_oops(mode: str, kind: str, function: str, marker: str, message: str, config: str) -> None:
    ran = commit(mode, config)
    finding = ran.finding
    assert finding["kind"] == kind
    assert finding["function"].split(".")[0] == function
    assert Path(finding["file"]).name == "bug.c"
    if marker:
        assert finding["line"] == line_of(SOURCE, marker)
    place = re.escape(f"{finding['function']}+{finding['offset']:#x} ({finding['file']}:{finding['line']})")
    assert re.fullmatch(f"{message} at {place}", finding["message"])
    returns = 0 if mode == "warn" else None
    assert ran.json["init"] == returns
    assert "\n".join(finding["text"]) in ran.dmesg
    assert f"{finding['function']}+{finding['offset']:#x}/" in ran.dmesg


@pytest.mark.parametrize(
    ("mode", "headline"),
    [
        ("null", "BUG: kernel NULL pointer dereference, address: 0000000000000000"),
        ("gpf", "general protection fault, probably for non-canonical address 0x6b6b6b6b6b6b6b6b: 0000"),
        ("rowrite", "#PF: supervisor write access in kernel mode"),
        ("guard", "BUG: unable to handle page fault for address: ffffc9"),
        ("exec", "kernel tried to execute NX-protected page - exploit attempt? (uid: 0)"),
        ("stack", "BUG: TASK stack guard page was hit at "),
        ("bug", "kernel BUG at "),
        ("warn", "WARNING: CPU: 0 PID: "),
    ],
)
def test_the_kernel_says_what_a_real_one_says(mode: str, headline: str) -> None:
    ran = commit(mode, "debian")
    assert any(line.startswith(headline) for line in ran.dmesg.splitlines()), ran.dmesg


ALLOCATES = "later[i] = kmalloc(size, GFP_KERNEL);"


def test_a_write_after_free_without_hardening() -> None:
    finding = commit("uaf", "plain").finding
    assert (finding["kind"], finding["address"]) == ("freelist-corruption", "0x000000000000001d")
    assert finding["message"].startswith("the allocator followed a bad free pointer: read from 0x1d (NULL + 0x1d) at ")
    assert (finding["function"], finding["line"]) == ("allocate_more", line_of(SOURCE, ALLOCATES))


def test_a_write_after_free_with_hardening() -> None:
    ran = commit("uaf", "debian")
    finding = ran.finding
    assert (finding["kind"], finding["function"]) == ("freelist-corruption", "allocate_more")
    assert "(not a canonical address)" in finding["message"]
    assert "general protection fault, probably for non-canonical address" in ran.dmesg
    assert "RIP: 0010:__kmem_cache_alloc_node+" in ran.dmesg


def test_a_write_after_free_with_slub_debug() -> None:
    ran = commit("uaf", "debug")
    finding = ran.finding
    assert finding["kind"] == "use-after-free"
    assert finding["message"].startswith("Poison overwritten: 8 bytes at 0xffff888")
    assert "BUG kmalloc-32" in ran.dmesg
    assert "Poison overwritten" in ran.dmesg
    thing = finding["object"]
    places = [line_of(SOURCE, "unsigned long *p = kmalloc("), line_of(SOURCE, "unsigned long *q") + 3]
    assert [int(thing[key].rpartition(":")[2]) for key in ("allocated_at", "freed_at")] == places
    assert (thing["cache"], thing["size"]) == ("kmalloc-32", 32)


def test_a_double_free_without_hardening_gives_memory_out_twice() -> None:
    ran = commit("dblfree", "plain")
    finding = ran.finding
    assert finding["kind"] == "freelist-corruption"
    assert "a second time (first at " in finding["message"]
    assert ran.json["allocations"]["live"] == 0


def test_a_double_free_with_hardening() -> None:
    ran = commit("dblfree", "debian")
    finding = ran.finding
    assert (finding["kind"], finding["function"]) == ("double-free", "bug_dblfree")
    assert finding["line"] == line_of(SOURCE, 'pr_info("second kfree') + 1
    assert "kernel BUG at mm/slub.c:419!" in ran.dmesg


def test_a_double_free_with_slub_debug() -> None:
    ran = commit("dblfree", "debug")
    finding = ran.finding
    second = line_of(SOURCE, 'pr_info("second kfree') + 1
    assert (finding["kind"], finding["function"], finding["line"]) == ("double-free", "bug_dblfree", second)
    assert finding["object"]["freed_at"].endswith(f":{second - 2}")
    assert "Object already free" in ran.dmesg
    assert "FIX kmalloc-32: Object at 0x" in ran.dmesg


def test_a_write_behind_an_object_with_slub_debug() -> None:
    finding = commit("oob", "debug").finding
    assert finding["kind"] == "out-of-bounds"
    assert finding["message"].startswith("Right Redzone overwritten: 8 bytes at ")


@pytest.mark.parametrize("config", ["plain", "debian", "debug"])
def test_leaks_are_listed_by_the_line_that_allocated(config: str) -> None:
    ran = run(module("tests/kmod/bad/leak"), "--config", config, "--json")
    assert ran.status == 1
    found = ran.json["findings"]
    calls = ["kmalloc(100", "vmalloc(10000", "__get_free_pages(", "kmem_cache_create(", "kmem_cache_alloc("]
    assert {finding["kind"] for finding in found} == {"leak"}
    assert [finding["line"] for finding in found] == [line_of(LEAK, call) for call in calls]
    assert ran.json["allocations"]["live"] == len(calls)
    assert found[0]["message"].startswith("1 allocation of 100 bytes (kmalloc-128) never freed at leak_init+")


@pytest.mark.parametrize("config", ["plain", "debian", "debug"])
def test_the_kmalloc_driver_is_clean(config: str) -> None:
    ran = run(module("examples/kmalloc_driver"), "--config", config, "--json")
    assert (ran.status, ran.json["verdict"], ran.json["findings"]) == (0, "clean", [])
    allocations = ran.json["allocations"]
    [row] = allocations["objects"]
    assert (allocations["count"], allocations["live"]) == (1, 0)
    assert row["address"].startswith("0xffff888")
    assert (row["region"], row["cache"], row["runs"]) == ("direct map", "kmalloc-1k", 1)
    assert (row["asked"], row["live"]) == (1024, False)
    assert row["given"] > 1024 if config == "debug" else row["given"] == 1024  # with red zones
    assert re.search(r"kmalloc_driver: allocated 1024 bytes at [0-9a-f]{16}", ran.dmesg)


@pytest.mark.parametrize("config", ["plain", "debian", "debug"])
def test_the_vmalloc_driver_is_clean(config: str) -> None:
    ran = run(module("examples/vmalloc_driver"), "--config", config, "--json")
    assert (ran.status, ran.json["findings"]) == (0, [])
    [row] = ran.json["allocations"]["objects"]
    assert row["address"].startswith("0xffffc900")
    assert (row["region"], row["cache"], row["pages"], row["runs"]) == ("vmalloc", None, 1, 1)
    assert (row["asked"], row["given"]) == (1024, 4096)


def test_what_a_person_is_shown_of_a_clean_run() -> None:
    ran = run(module("examples/kmalloc_driver"))
    assert ran.status == 0
    assert re.search(r"^\[    1\.00000\d\] kmalloc_driver: freed 1024 bytes$", ran.out, re.MULTILINE)
    assert re.search(
        r"^kmalloc +0xffff888\w+ +1024 +1024 +direct map +kmalloc-1k +1 +contiguous ", ran.out, re.MULTILINE
    )
    assert "1 allocation, 1024 bytes asked for in all; no leaks" in ran.out
    assert "verdict: clean; init returned 0; exit ran" in ran.out
