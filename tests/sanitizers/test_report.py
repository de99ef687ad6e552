"""Findings: their line, their JSON, which of them are one, and which kind a fault is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from kmem.machine.fault import BP, DE, DF, GP, PF, PF_INSTR, PF_PROT, PF_WRITE, UD, Fault
from kmem.sanitizers.report import Finding, Findings, Kind, SlabObject, classify, describe, region

REGIONS = SimpleNamespace(
    page_offset=0xFFFF888000000000,
    page_offset_end=0xFFFFC88000000000,
    vmalloc_start=0xFFFFC90000000000,
    vmalloc_end=0xFFFFE90000000000,
    vmemmap_start=0xFFFFEA0000000000,
    vmemmap_end=0xFFFFEB0000000000,
    start_kernel_map=0xFFFFFFFF80000000,
    modules_vaddr=0xFFFFFFFFC0000000,
    modules_end=0xFFFFFFFFFF000000,
    task_size_max=0x7FFFFFFFF000,
)
STACK = (0xFFFFC90000338000, 0xFFFFC9000033C000)
POISONED = "computed from the poison of a freed object"
DELETED = "computed from a list entry after list_del()"


def uaf(**changes: object) -> Finding:
    values: dict[str, object] = {
        "kind": Kind.USE_AFTER_FREE,
        "message": "read of 8 bytes",
        "function": "drv_remove",
        "offset": 0x2C,
        "file": "drv.c",
        "line": 88,
        "object": SlabObject("kmalloc-64", 64, "drv.c:41", "drv.c:80"),
    }
    return Finding(**{**values, **changes})  # type: ignore[arg-type]


def test_one_line() -> None:
    assert str(uaf()) == (
        "use-after-free: read of 8 bytes at drv_remove+0x2c (drv.c:88); "
        "kmalloc-64 object allocated drv.c:41, freed drv.c:80"
    )


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"object": None}, "use-after-free: read of 8 bytes at drv_remove+0x2c (drv.c:88)"),
        ({"object": None, "file": "", "line": 0}, "use-after-free: read of 8 bytes at drv_remove+0x2c"),
        ({"object": None, "function": ""}, "use-after-free: read of 8 bytes at drv.c:88"),
        ({"object": None, "function": "", "file": ""}, "use-after-free: read of 8 bytes"),
        (
            {"object": SlabObject("kmalloc-64", 64, "drv.c:41"), "function": "", "file": ""},
            "use-after-free: read of 8 bytes; kmalloc-64 object allocated drv.c:41",
        ),
        (
            {"object": SlabObject("kmalloc-64", 64), "function": "", "file": ""},
            "use-after-free: read of 8 bytes; kmalloc-64 object",
        ),
    ],
)
def test_one_line_says_what_is_known(changes: dict[str, object], line: str) -> None:
    assert str(uaf(**changes)) == line


def test_json_of_everything() -> None:
    finding = uaf(address=0xFFFF888005E65008, access="read", size=8, event=17, text=("BUG: …",), reproduce="--seed 3")
    assert json.loads(json.dumps(finding.to_json())) == {
        "kind": "use-after-free",
        "message": str(uaf()).removeprefix("use-after-free: "),
        "function": "drv_remove",
        "offset": 44,
        "file": "drv.c",
        "line": 88,
        "address": "0xffff888005e65008",
        "access": "read",
        "size": 8,
        "object": {"cache": "kmalloc-64", "size": 64, "allocated_at": "drv.c:41", "freed_at": "drv.c:80"},
        "event": 17,
    }


def test_json_of_nearly_nothing() -> None:
    made = Finding(Kind.HANG, "init did not return").to_json()
    assert list(made) == [*"kind message function offset file line address access size object event".split()]
    assert {key for key, value in made.items() if value is not None} == {"kind", "message"}


def test_address_zero_is_an_address() -> None:
    assert Finding(Kind.NULL_DEREFERENCE, "write", address=0).to_json()["address"] == "0x0000000000000000"


def test_one_defect_is_reported_once() -> None:
    findings = Findings()
    assert findings.add(uaf())
    assert not findings.add(uaf(address=0x1234, message="read of 4 bytes"))
    assert findings.add(uaf(offset=0x30))
    assert findings.add(uaf(kind=Kind.OUT_OF_BOUNDS))
    assert len(findings) == 3
    assert findings.count(uaf()) == 2
    assert [finding.offset for finding in findings] == [0x2C, 0x30, 0x2C]


def test_findings_without_a_site_are_all_kept() -> None:
    findings = Findings()
    assert findings.add(Finding(Kind.LEAK, "64 bytes"))
    assert findings.add(Finding(Kind.LEAK, "128 bytes"))
    assert len(findings) == 2


def test_a_source_line_is_a_site_too() -> None:
    findings = Findings()
    assert findings.add(uaf(function=""))
    assert not findings.add(uaf(function=""))
    assert findings.add(uaf(function="", line=89))


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(PF, 0, 0), Kind.NULL_DEREFERENCE),
        (Fault(PF, PF_WRITE, 0xFFF), Kind.NULL_DEREFERENCE),
        (Fault(PF, PF_INSTR, 0), Kind.NULL_DEREFERENCE),
        (Fault(PF, 0, 0x1000), Kind.WILD_POINTER),
        (Fault(PF, 0, 0x7F0012345678), Kind.WILD_POINTER),
        (Fault(PF, 0, 0xFFFFC90000123000), Kind.WILD_POINTER),
        (Fault(PF, PF_WRITE | PF_PROT, 0xFFFFFFFF82000000), Kind.READ_ONLY_WRITE),
        (Fault(PF, PF_INSTR | PF_PROT, 0xFFFF888005E65000), Kind.EXEC_FAULT),
        (Fault(PF, PF_INSTR, 0x401000), Kind.EXEC_FAULT),
        (Fault(PF, PF_WRITE, STACK[0] - 8), Kind.STACK_OVERFLOW),
        (Fault(DF, 0, STACK[0] - 8), Kind.STACK_OVERFLOW),
        (Fault(PF, PF_WRITE, STACK[0] - 0x1008), Kind.WILD_POINTER),
        (Fault(GP, 0, 0xA242CBCD176CEF9B), Kind.WILD_POINTER),
        (Fault(GP, 0, 0x6B6B6B6B6B6B6B6B), Kind.USE_AFTER_FREE),
        (Fault(GP, 0, 0x6B6B6B6B6B6B6B8B), Kind.USE_AFTER_FREE),
        (Fault(GP, 0, 0xDEAD000000000108), Kind.USE_AFTER_FREE),
        (Fault(12, 0, 0), Kind.WILD_POINTER),
        (Fault(DE), Kind.BUG),
        (Fault(UD), Kind.BUG),
        (Fault(BP), Kind.BUG),
        (Fault(DF), Kind.BUG),
    ],
)
def test_kind_of_a_fault(fault: Fault, kind: Kind) -> None:
    assert classify(fault, stack=STACK) is kind


def test_a_fault_of_the_allocator_is_the_free_lists_whatever_the_address() -> None:
    assert classify(Fault(PF, 0, 0x1D), in_allocator=True) is Kind.FREELIST_CORRUPTION
    assert classify(Fault(GP, 0, 0xA242CBCD176CEF9B), in_allocator=True) is Kind.FREELIST_CORRUPTION
    assert classify(Fault(UD), in_allocator=True) is Kind.BUG


def test_a_write_to_page_tables() -> None:
    fault = Fault(PF, PF_WRITE | PF_PROT, 0xFFFF888000002000)
    assert classify(fault, is_page_table=lambda address: address >> 12 == 0xFFFF888000002) is Kind.PAGE_TABLE_WRITE
    assert classify(fault, is_page_table=lambda _: False) is Kind.READ_ONLY_WRITE


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (0, "NULL"),
        (0x10, "NULL + 0x10"),
        (0x401000, "user space"),
        (0xFFFF888000000000, "the direct map"),
        (0xFFFFC90000000000, "vmalloc space"),
        (0xFFFFEA0000001000, "the array of struct page"),
        (0xFFFFFFFF81000000, "the kernel image"),
        (0xFFFFFFFFC0000000, "module space"),
        (0xFFFFFFFFFFFFFFF4, "the last page, where error pointers point"),
        (0xFFFFFE0000000000, "kernel space that is not in use"),
        (0x00007FFFFFFFF000, "not a canonical address"),
        (0xA242CBCD176CEF9B, "not a canonical address"),
    ],
)
def test_regions(address: int, words: str) -> None:
    assert region(address, REGIONS) == words


@pytest.mark.parametrize(
    ("fault", "size", "message"),
    [
        (Fault(PF, PF_WRITE, 0), 4, "write of 4 bytes to 0x0 (NULL)"),
        (Fault(PF, 0, 0x401000), None, "read from 0x401000 (user space)"),
        (Fault(PF, PF_INSTR | PF_PROT, 0xFFFF888005E65000), None, "jump to 0xffff888005e65000 (the direct map)"),
        (Fault(GP, 0, 0x6B6B6B6B6B6B6B73), 8, f"access of 8 bytes to 0x6b6b6b6b6b6b6b73 ({POISONED})"),
        (Fault(GP, 0, 0xDEAD000000000108), None, f"access to 0xdead000000000108 ({DELETED})"),
        (Fault(GP), None, "general protection fault"),
        (Fault(DE), None, "division by zero or overflow of a division"),
        (Fault(UD), None, "invalid instruction"),
        (Fault(PF, PF_WRITE, STACK[0] - 8), None, "kernel stack overflow"),
    ],
)
def test_message_of_a_fault(fault: Fault, size: int | None, message: str) -> None:
    assert describe(fault, classify(fault, stack=STACK), REGIONS, size) == message


def test_the_kinds_are_those_that_the_design_fixes() -> None:
    source = Path(__file__).parents[2] / "src/kmem/sanitizers/report.py"
    spelled = re.findall(r'^    [A-Z_]+ = "([a-z-]+)"$', source.read_text(), re.M)
    assert spelled == [str(kind) for kind in Kind]
    assert len(Kind) == 22
