"""A run as text and as JSON. The data is made by hand: what is tested is the form."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kmem.errors import ModuleFormatError
from kmem.report.comparison import TABLES, comparison_text
from kmem.report.json import RUN_KEYS, rows_json, run_json
from kmem.report.table import Ink, plural, size, table
from kmem.report.text import next_command, run_text

PLAIN = Ink(enabled=False)


def a_run(**changes: Any) -> dict[str, Any]:
    """A clean run of a module that made two allocations and freed them."""
    run: dict[str, Any] = {
        "verdict": "clean",
        "findings": [],
        "dmesg": [
            {"time": 3_226_279_000, "level": 6, "text": "km1024: loading"},
            {"time": 12_000_001_999, "level": 6, "text": "first\nsecond"},
        ],
        "module": {"name": "km1024", "file": "km1024.ko", "note": ""},
        "init": 0,
        "exit": "done",
        "allocations": {
            "count": 2,
            "bytes": 6024,
            "live": 0,
            "objects": [
                {
                    "call": "kmalloc",
                    "address": "0xffff888005e65000",
                    "asked": 1024,
                    "given": 1024,
                    "region": "direct map",
                    "cache": "kmalloc-1k",
                    "pages": 4,
                    "runs": 1,
                    "live": False,
                },
                {
                    "call": "vmalloc",
                    "address": "0xffffc90000055000",
                    "asked": 5000,
                    "given": 8192,
                    "region": "vmalloc",
                    "pages": 2,
                    "runs": 2,
                    "live": False,
                },
            ],
        },
        "unsupported": [],
        "seed": 0,
        "release": "6.1.0-56-amd64",
        "config": "debian",
        "path": "km1024.ko",
    }
    return {**run, **changes}


FINDING = {"kind": "null-dereference", "message": "write of 4 bytes at drv_init+0x1c (drv.c:12)"}


def test_text_has_the_kernel_log_with_kernel_time_stamps() -> None:
    text = run_text(a_run(), PLAIN)
    assert "[    3.226279] km1024: loading\n[   12.000001] first\n[   12.000001] second\n" in text


def test_text_shows_where_each_allocation_came_from() -> None:
    lines = run_text(a_run(), PLAIN).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("call "))
    assert lines[start : start + 4] == [
        "call     address             asked  given  region      from        pages  physically  state",
        "kmalloc  0xffff888005e65000   1024   1024  direct map  kmalloc-1k      4  contiguous  freed",
        "vmalloc  0xffffc90000055000   5000   8192  vmalloc                     2  2 runs      freed",
        "2 allocations, 6024 bytes asked for in all; no leaks",
    ]


def test_text_of_a_leak_says_so_in_the_table_and_below() -> None:
    run = a_run(verdict="findings", findings=[{"kind": "leak", "message": "1024 bytes from kmalloc at drv_init+0x1c"}])
    run["allocations"]["live"] = 1
    run["allocations"]["objects"][0]["live"] = True
    text = run_text(run, PLAIN)
    assert "contiguous  live" in text
    assert "1 never freed" in text
    assert "\nleak: 1024 bytes from kmalloc at drv_init+0x1c\n" in text
    assert "no leaks" not in text


def test_text_ends_with_verdict_and_next_command() -> None:
    lines = run_text(a_run(verdict="findings", findings=[FINDING]), PLAIN).splitlines()
    assert lines[-2] == "verdict: findings (1); init returned 0; exit ran"
    assert lines[-1].startswith("next:    kmem run km1024.ko --config debug")


def test_what_kmem_cannot_do_stands_in_the_headline() -> None:
    run = a_run(verdict="unsupported", unsupported=[{"symbol": "usb_submit_urb", "count": 3}])
    lines = run_text(run, PLAIN).splitlines()
    assert lines[0] == "km1024 on Linux 6.1.0-56-amd64 (debian), seed 0"
    assert lines[1].startswith("unsupported: usb_submit_urb was called 3 times")


def test_a_long_list_of_allocations_is_cut_and_says_so() -> None:
    run = a_run()
    run["allocations"]["objects"] *= 500
    run["allocations"]["count"] = 1000
    text = run_text(run, PLAIN)
    assert text.count("kmalloc-1k") == 20
    assert "… and 960 more (--json has them)" in text


@pytest.mark.parametrize(
    ("init", "exit", "expected"),
    [
        (0, "done", "verdict: findings; init returned 0; exit ran"),
        (-12, "not run", "verdict: findings; init returned -12 (-ENOMEM); exit was not called"),
        (-99999, "not run", "verdict: findings; init returned -99999; exit was not called"),
        (0, None, "verdict: findings; init returned 0; exit did not return"),
        (None, None, "verdict: findings; init did not return"),
    ],
)
def test_the_verdict_says_how_init_and_exit_ended(init: int | None, exit: str | None, expected: str) -> None:
    assert run_text(a_run(verdict="findings", init=init, exit=exit), PLAIN).splitlines()[-2] == expected


def test_what_a_crash_left_behind_is_not_called_a_leak() -> None:
    run = a_run(verdict="findings", findings=[FINDING], init=None, exit=None)
    run["allocations"]["live"] = 1
    text = run_text(run, PLAIN)
    assert "1 still there when the run ended" in text
    assert "never freed" not in text


def test_failed_allocations_and_the_loaders_note_are_shown() -> None:
    run = a_run(module={"name": "km1024", "file": "km1024.ko", "note": "built for another patch level"})
    run["allocations"]["failed"] = 3
    text = run_text(run, PLAIN)
    assert "seed 0\nbuilt for another patch level\n" in text
    assert "in all, 3 more failed; no leaks" in text


def test_a_module_that_allocates_nothing() -> None:
    assert "The module allocated nothing." in run_text(a_run(allocations={"count": 0, "bytes": 0, "live": 0}), PLAIN)


def test_proc_files_are_shown_as_they_are() -> None:
    assert "/proc/meminfo\nMemTotal: 1 kB\n" in run_text(a_run(proc={"meminfo": "MemTotal: 1 kB\n"}), PLAIN)


def test_colour_only_when_wanted() -> None:
    run = a_run(verdict="findings", findings=[FINDING])
    assert "\x1b[" not in run_text(run, PLAIN)
    assert "\x1b[31mfindings\x1b[0m" in run_text(run, Ink(enabled=True))


@pytest.mark.parametrize(
    ("verdict", "config", "expected"),
    [
        ("clean", "debian", "--proc slabinfo"),
        ("findings", "plain", "--config debug   (the same"),
        ("findings", "debug", "--seed 0"),
        ("unsupported", "debian", "--json"),
    ],
)
def test_the_next_command_fits_the_verdict(verdict: str, config: str, expected: str) -> None:
    assert expected in next_command(a_run(verdict=verdict, config=config))


def test_json_has_the_fixed_names_in_order() -> None:
    document = json.loads(run_json(a_run()))
    assert tuple(document) == RUN_KEYS
    assert RUN_KEYS[:11] == (
        *("verdict", "findings", "dmesg", "module", "init", "exit"),
        *("allocations", "unsupported", "seed", "release", "config"),
    )
    assert document["allocations"]["objects"][0]["address"] == "0xffff888005e65000"


def test_json_of_an_error_has_the_same_names_and_the_error() -> None:
    error = ModuleFormatError("truncated", remedy="Copy it again.")
    document = json.loads(run_json({"module": {"name": "x", "file": "x.ko", "note": ""}, "seed": 7}, error))
    assert tuple(document) == (*RUN_KEYS, "error")
    assert document["verdict"] == "error"
    assert document["error"] == {"slug": "module-format", "message": "truncated", "remedy": "Copy it again."}
    assert (document["module"]["file"], document["seed"], document["findings"]) == ("x.ko", 7, [])


def test_table_aligns_numbers_right_and_drops_empty_columns() -> None:
    assert table(("name", "n", "gone", "x"), [("a", 5, None, "left"), ("bcdef", 1000, None, None)]) == [
        "name      n  x",
        "a         5  left",
        "bcdef  1000",
    ]


def test_sizes_and_plurals() -> None:
    assert [size(n) for n in (0, 1, 1000, 1024, 1536, 65536, 3 << 20, 1 << 30, 1 << 40)] == [
        *("0", "1", "1000", "1K", "1536", "64K", "3M", "1G", "1T")
    ]
    assert (plural(1, "page"), plural(0, "page"), plural(2, "page")) == ("1 page", "0 pages", "2 pages")


ROW: dict[str, Any] = {
    "call": "kmalloc",
    "address": "0xffff888005e65000",
    "region": "direct map",
    "asked": 1024,
    "given": 1024,
    "source": "kmalloc-1k",
    "pages": 4,
    "runs": 1,
    "content": "stale",
    "may_sleep": True,
    "allowed": "yes",
    "largest": 4 << 20,
    "free": "kfree",
    "path": "fast",
    "buddy_pages": 0,
    "bytes_zeroed": 0,
    "pte_writes": 0,
    "tlb_flushes": 0,
    "touched_pages": 0,
    "table_pages": 0,
    "faults": 0,
}


def test_a_comparison_shows_each_value_of_a_row_once_per_size() -> None:
    rows = [ROW, {**ROW, "call": "vmalloc", "source": None}, {**ROW, "asked": 65536}]
    text = comparison_text(rows, "process", "Linux 6.1 (debian)", PLAIN)
    assert text.startswith("Linux 6.1 (debian), called in process context\n\n1K (1024 bytes)\n")
    assert "\n\n64K (65536 bytes)\n" in text
    assert text.count("\nvmalloc ") == 3
    rules = [line.split() for line in text.split("the rules")[1].splitlines()]
    assert rules[1] == ["kmalloc", "yes", "yes", "4M", "kfree"]
    columns = [name for columns in TABLES.values() for _, name in columns]
    assert sorted([*columns, "call"]) == sorted(ROW)


def test_comparison_json_keeps_facts_and_rows() -> None:
    document = json.loads(rows_json([ROW], context="softirq", seed=3))
    assert document == {"context": "softirq", "seed": 3, "rows": [ROW]}
