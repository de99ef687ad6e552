"""KASAN's own test, unmodified: what a kernel with KASAN finds in its cases is found here, at the same lines."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from kmem.lib.build import cache_dir
from kmem.modules.kbuild import INSTRUMENT, build
from tests.run.running import run
from tests.selftest.source import NoSource, find

pytestmark = [pytest.mark.needs_headers]
TABLE = Path(__file__).resolve().parents[2] / "docs" / "kasan-cases.json"
CONFIG = ("", "_GENERIC", "_KUNIT_TEST_MODULE", "_STACK", "_VMALLOC", "_OUTLINE")
DEFINED = (*(f"-DCONFIG_KASAN{name}=1" for name in CONFIG), "-DCONFIG_KASAN_SHADOW_OFFSET=0xdffffc0000000000")
"""A kernel with KASAN, as far as the headers' text goes."""
SKIPPED = {
    **dict.fromkeys(("pagealloc_oob_right", "kmalloc_uaf3", "kasan_bitops_tags", "vmalloc_helpers_tags"), "tags"),
    **dict.fromkeys(("match_all_not_assigned", "match_all_ptr_tag", "match_all_mem_tag"), "tags"),
    **dict.fromkeys(("vmap_tags", "vm_map_ram_tags"), "tags"),
    "kasan_global_oob_left": "clang",
}
"""For the tag-based modes of KASAN, or for clang: generic KASAN skips them on a real kernel, too."""
UNSEEN = {
    "kasan_global_oob_right": "beside a variable of the module: needs the compiler",
    "kasan_stack_oob": "beside a variable on the stack: needs the compiler",
    "kasan_alloca_oob_left": "beside a variable on the stack: needs the compiler",
    "kasan_alloca_oob_right": "beside a variable on the stack: needs the compiler",
    "kasan_bitops_generic": "of the word that a bit is in only the byte is touched, and that is in the object",
    "kmalloc_memmove_negative_size": "found, and carried out: the test's task is dead",
}
"""What is not seen, or ends otherwise, in a module that the compiler has not instrumented."""


@cache
def module(instrumented: bool) -> Path:
    """The test, built."""
    source, tree = find(), cache_dir() / "kasan-test"
    for name in ("mm/slab.h", "mm/kasan/kasan.h", "mm/kasan/kasan_test.c"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, tree / name)
    (tree / "Kbuild").write_text("obj-m += mm/kasan/\n")
    # Without this the functions on strings count as not instrumented, and their cases are skipped.
    (tree / "mm/kasan/Kbuild").write_text("obj-m += kasan_test.o\nccflags-y += -include $(src)/strings.h\n")
    (tree / "mm/kasan/strings.h").write_text("#undef CONFIG_AMD_MEM_ENCRYPT\n")
    [path] = build(tree, flags=[*(INSTRUMENT if instrumented else ()), *DEFINED]).modules
    return path


@cache
def outcome(instrumented: bool) -> tuple[dict[str, str], dict[str, list[dict[str, Any]]]]:
    """What KUnit says of each case, and the findings in its function, or in one that only it calls."""
    try:
        path = module(instrumented)
    except NoSource as missing:
        pytest.skip(str(missing))
    told = run(path, "--quarantine", "--json").json
    verdicts: dict[str, str] = {}
    findings: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in told["dmesg"]:
        if match := re.match(r"\s+(ok|not ok) \d+ (\w+)( # SKIP)?", record["text"]):
            verdicts[match[2]] = "skipped" if match[3] else "found" if match[1] == "ok" else "not found"
    for finding in told["findings"]:
        if finding["kind"] not in ("leak", "bug") and finding["file"]:
            findings[_case(finding)].append(finding)
    return verdicts, findings


def _case(finding: dict[str, Any]) -> str:
    """The case that a finding is of: helpers are inlined, or called by the cases of their own name."""
    function = re.sub(r"\..*", "", finding["function"])
    return re.sub("_(modify|test_and_modify)$", "_generic", function).removesuffix("_helper")


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[None]:
    """What came of each; written down with KMEM_UPDATE=1."""
    yield
    if os.environ.get("KMEM_UPDATE"):
        cases = {name: {"plain": _words(name, False), "instrumented": _words(name, True)} for name in outcome(True)[0]}
        TABLE.write_text(json.dumps(cases, indent=1) + "\n")


def _words(name: str, instrumented: bool) -> str:
    verdicts, findings = outcome(instrumented)
    if verdicts[name] == "skipped":
        return "skipped"
    found = findings.get(name) or findings.get(name.replace("_pagealloc", ""), [])
    kinds = sorted({finding["kind"] for finding in found if "kasan_test.c" in finding["file"]})
    lines = sorted({finding["line"] for finding in found if "kasan_test.c" in finding["file"]})
    if not found and verdicts[name] == "found":
        return "nothing, as is right"
    where = (
        f"{', '.join(kinds)} at {', '.join(map(str, lines))}" if kinds else "out-of-bounds in functions of the headers"
    )
    if verdicts[name] == "found":
        return f"found: {where}"
    return f"not found: {UNSEEN[name]}" if not UNSEEN[name].startswith("found") else f"{UNSEEN[name]} ({where})"


def test_every_case_of_the_instrumented_test_passes() -> None:
    verdicts, _ = outcome(True)
    assert {name for name, verdict in verdicts.items() if verdict == "skipped"} == set(SKIPPED)
    assert {name for name, verdict in verdicts.items() if verdict == "not found"} == set()
    assert len(verdicts) == 55


def test_what_the_machine_alone_does_not_see_is_known() -> None:
    verdicts, _ = outcome(False)
    assert {name for name, verdict in verdicts.items() if verdict == "skipped"} == set(SKIPPED)
    assert {name for name, verdict in verdicts.items() if verdict == "not found"} == set(UNSEEN)


@pytest.mark.parametrize("instrumented", [False, True])
def test_every_finding_is_at_an_access_that_the_test_means(instrumented: bool) -> None:
    """The lines between KUNIT_EXPECT_KASAN_FAIL( and its end; what is inlined from headers, or called, is theirs."""
    _, findings = outcome(instrumented)
    source = (find() / "mm/kasan/kasan_test.c").read_text()
    meant: set[int] = set()
    for match in re.finditer(r"KUNIT_EXPECT_KASAN_FAIL\(test,(?:[^;{]|\n)*?\);", source):
        first = source.count("\n", 0, match.start()) + 1
        meant |= set(range(first, first + match[0].count("\n") + 1))
    odd = [
        (finding["kind"], finding["line"], finding["message"])
        for found in findings.values()
        for finding in found
        if finding["file"].endswith("kasan_test.c") and finding["line"] not in meant
    ]
    assert odd == []
