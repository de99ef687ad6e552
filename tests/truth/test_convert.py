"""Reading kernel logs: what is kept, what is masked, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.truth import bug, burst, probe
from tests.truth.convert import convert
from tests.truth.facts import Collector, FactsError, Value, load_all
from tests.truth.log import Step, lines_of_dmesg, steps_of_serial
from tests.truth.reports import call_trace, find_oops, warnings_before
from tests.truth.slubdebug import find_report

Facts = dict[tuple[str, str], Value]


def read(module: str, lines: list[str], config: str = "plain", **parameters: str) -> Facts:
    """The facts of one load, by step and key."""
    out = Collector(config, module)
    reader = {"probe": probe.collect, "burst": burst.collect, "bug": bug.collect}[module]
    reader(out, Step(module, parameters, tuple(lines)))
    return {(fact.step, fact.key): fact.value for fact in out.facts}


@pytest.mark.needs_shared
def test_the_golden_files_are_what_the_recorded_logs_say(shared: Path) -> None:
    converted = {golden.name: golden for golden in convert(shared / "truth")}
    kept = {golden.name: golden for golden in load_all() if golden.name in converted}
    assert kept == converted


def test_the_golden_files_are_written_as_they_are_read() -> None:
    assert [golden.path.read_text() for golden in load_all()] == [golden.text() for golden in load_all()]


def test_a_console_log_is_divided_by_the_numbers_in_the_kernel_log() -> None:
    text = (
        "[    1.000000] before\r\n"
        "[    2.000000] @@STEP 0\r\n"
        "@@STEP 0 m:/x/burst.ko size=96\r\n"
        "[    2.100000] burst: one\r\n"
        "@@RC insmod burst 0\r\n"
        "@@STEP 1 i:mods/bug.ko mode=null\r\n"
        "[    3.000000] @@STEP 1\r\n"
        "[    3.100000] bug: two\r\n"
    )
    assert steps_of_serial(text) == [
        Step("burst", {"size": "96"}, ("burst: one",)),
        Step("bug", {"mode": "null"}, ("bug: two",)),
    ]


def test_a_mark_in_the_kernel_log_may_hold_the_command() -> None:
    text = "[    2.000000] @@STEP 0 m:/modules/bug.ko mode=null\n[    2.100000] bug: one\n"
    assert steps_of_serial(text) == [Step("bug", {"mode": "null"}, ("bug: one",))]


def test_a_dmesg_record_may_hold_several_lines() -> None:
    assert lines_of_dmesg([{"time": 1, "text": "a\nb"}, {"time": 2, "text": "c"}]) == ("a", "b", "c")


SIZE = (
    "probe: size 65 kmalloc ok addr ffff888002625a80 ksize 96 slab 1 order 0 align 128 | vmalloc ok addr "
    "ffffc90000095000 pages 1 runs 1 | kvmalloc kmalloc | dma ok 104000 <16M | kzalloc ok zeroed 1"
)


def test_a_size_is_reduced_to_what_does_not_depend_on_the_boot() -> None:
    facts = read("probe", [SIZE])
    assert {key: value for (_, key), value in facts.items()} == {
        "kmalloc": "ok",
        "ksize": 96,
        "slab": 1,
        "order": 0,
        "region": "direct map",
        "aligned as in an array": "yes",
        "vmalloc": "vmalloc region, offset 0",
        "pages": 1,
        "one run": "yes",
        "kvmalloc": "kmalloc",
        "dma": "ok <16M",
        "kzalloc": "ok zeroed 1",
        "warning": "none",
    }


def test_a_few_scattered_pages_say_nothing() -> None:
    facts = read("probe", [SIZE.replace("pages 1 runs 1", "pages 2 runs 2")])
    assert ("size 65", "one run") not in facts


def test_an_unknown_line_of_probe_is_refused() -> None:
    with pytest.raises(FactsError, match="no such line is known: sizes 1"):
        read("probe", ["probe: sizes 1"])


def test_two_answers_to_one_question_are_refused() -> None:
    with pytest.raises(FactsError, match="order is 0 and 1"):
        read("probe", [SIZE, SIZE.replace("order 0", "order 1")])


WARNING = [
    "------------[ cut here ]------------",
    "ioremap on RAM at 0x0000000000100000 - 0x0000000000100fff",
    "WARNING: CPU: 1 PID: 53 at arch/x86/mm/ioremap.c:211 __ioremap_caller.constprop.0+0x240/0x270",
    "Modules linked in: probe(O+)",
    "---[ end trace 0000000000000000 ]---",
]


def test_a_warning_belongs_to_the_line_after_it() -> None:
    facts = read("probe", [*WARNING, "probe: vmalloc(0) 0000000000000000", "probe: kvmalloc(2G) 0000000000000000"])
    assert facts["vmalloc(0)", "warning"] == "arch/x86/mm/ioremap.c:211 __ioremap_caller"
    assert facts["vmalloc(0)", "says"] == WARNING[1]
    assert facts["kvmalloc(2G)", "warning"] == "none"


def test_a_warning_in_the_module_loses_its_line_number() -> None:
    lines = [WARNING[0], "bug: warned", "WARNING: CPU: 0 PID: 9 at /some/where/bug.c:12 bug_warn+0x1/0x2 [bug]"]
    ((text, warned),) = warnings_before([*lines, "bug: end"], "bug: ")
    assert text == "end"
    assert [(report.place, report.said) for report in warned] == [("[module]", ("bug: warned",))]


def burst_lines(lifo: str = "LIFO 0 0", back: int = 2) -> list[str]:
    """Six objects of two slabs, of which the odd ones are freed; three come next, two of them again."""
    return [
        "burst A[0] slab ffff888002cf2000 order 0: 2 3",
        "burst A[2] slab ffff888002f60000 order 0: 0 1 2 3",
        "burst B[0] slab ffff888002f60000 order 0: 3 1",
        "burst B[2] slab ffff888002f99000 order 0: 0",
        f"burst: {back} of 3 freed objects came back",
        f"burst: {lifo}",
        "burst C[0] slab ffff888002f60000 order 0: 2 0",
        "burst C[2] slab ffff888002f99000 order 0: 0 1 2 3",
    ]


def test_a_burst_is_reduced_to_orders() -> None:
    facts = {key: value for (_, key), value in read("burst", burst_lines(), size="64").items()}
    assert facts["objects per slab"] == 4
    assert facts["order within a fresh slab"] == "ascending"
    assert "B starts in the slab of A's last object (if seen)" not in facts, "A has filled its last slab"
    assert facts["B takes each slab's freed objects last-in first-out"] == "yes"
    assert facts["freed objects that came back, as counted"] == "yes"
    assert facts["C takes each slab last-in first-out or fresh"] == "yes"


def test_a_burst_that_miscounts_or_goes_first_in_first_out_is_seen() -> None:
    lines = burst_lines(back=1)
    lines[2] = lines[2].replace("3 1", "1 3")
    lines[6] = lines[6].replace("2 0", "0 2")
    facts = {key: value for (_, key), value in read("burst", lines, size="64").items()}
    assert facts["freed objects that came back, as counted"] == "no"
    assert facts["B takes each slab's freed objects last-in first-out"] == "no"
    assert facts["C takes each slab last-in first-out or fresh"] == "no"


def test_rotations_of_one_permutation_are_told_from_chance() -> None:
    lines = burst_lines()
    lines[0] = "burst A[0] slab ffff888002cf2000 order 0: 1 3 0 2"
    lines[1] = "burst A[4] slab ffff888002f60000 order 0: 0 2 1 3"
    lines[2] = "burst B[0] slab ffff888002f60000 order 0: 3 2"
    facts = read("burst", lines, size="64")
    assert facts["size=64", "order within a fresh slab"] == "rotations of one permutation"
    lines[1] = "burst A[4] slab ffff888002f60000 order 0: 0 1 2 3"
    assert read("burst", lines, size="64")["size=64", "order within a fresh slab"] == "no two alike"


def test_a_missing_line_of_a_burst_is_refused() -> None:
    with pytest.raises(FactsError, match="a line is missing"):
        read("burst", burst_lines()[1:], size="64")
    with pytest.raises(FactsError, match="not complete"):
        read("burst", burst_lines()[:-3], size="64")


OOPS = [
    "bug: kmalloc #0 -> ffff88801ff53420",
    "general protection fault, probably for non-canonical address 0xa242cbcd176cef9b: 0000 [#1] PREEMPT SMP NOPTI",
    "RIP: 0010:__kmem_cache_alloc_node+0x12e/0x2a0",
    "Call Trace:",
    " <TASK>",
    " ? bug_init+0x113/0x1000 [bug]",
    " __kmalloc+0x49/0x150",
    " bug_init+0x113/0x1000 [bug]",
    " do_one_initcall+0x59/0x220",
    " </TASK>",
]


def test_an_oops_is_reduced_to_its_kind_its_place_and_the_way_there() -> None:
    facts = {key: value for (_, key), value in read("bug", OOPS, mode="uaf").items()}
    assert facts["oops"] == "general protection fault, probably for non-canonical address ADDRESS: 0000"
    assert facts["oops after allocations"] == 1
    assert facts["rip"] == "__kmem_cache_alloc_node"
    assert facts["trace"] == "__kmalloc [module]"
    assert facts["init ends"] == "no"


def test_a_small_address_stays() -> None:
    found = find_oops(["BUG: kernel NULL pointer dereference, address: 000000000000001d"])
    assert found is not None
    assert found[1].says.endswith("address: 000000000000001d")


def test_the_trace_of_a_module_stops_at_the_loader() -> None:
    assert call_trace(["Call Trace:", " <TASK>", " vfree+0x1/0x2", " do_one_initcall+0x1/0x2"]) == "vfree"


def test_a_report_of_slub_debug_is_relative_to_the_object() -> None:
    lines = [
        "BUG kmalloc-32 (Tainted: G           OE     ): Poison overwritten",
        "0xffff8880067d9170-0xffff8880067d9177 @offset=368. First byte 0xd instead of 0x6b",
        "Freed in bug_init+0xb2/0x1000 [bug] age=1 cpu=0 pid=97",
        "Freed in kernel_init+0xb2/0x1000 age=1 cpu=0 pid=1",
        "Slab 0xffffea000019f640 objects=25 used=13 fp=0xffff8880067d92a0 flags=0xfffffc0000200(slab)",
        "Object 0xffff8880067d9160 @offset=352 fp=0xffff8880067d92a0",
        "Redzone  ffff8880067d9150: bb bb bb bb  ....",
        "Object   ffff8880067d9170: 0d 00 6b a5  ..k.",
        "FIX kmalloc-32: Restoring Poison 0xffff8880067d9170-0xffff8880067d9177=0x6b",
        "bug: kmalloc #0 -> ffff8880067d8660",
        "FIX kmalloc-32: of another report",
    ]
    found = find_report(lines, "bug: ")
    assert found == (
        0,
        {
            "report": "kmalloc-32: Poison overwritten",
            "bad bytes": "+16..+23 First byte 0xd instead of 0x6b",
            "freed": "[module]",
            "objects in slab": 25,
            "dump Redzone -16": "bb * 4",
            "dump Object +16": "0d 00 6b a5",
            "fix 1": "kmalloc-32: Restoring Poison +16..+23=0x6b",
            "report call trace": "",
        },
    )
