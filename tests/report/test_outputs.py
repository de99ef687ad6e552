"""Runs for other programs: SARIF, JUnit, KTAP, annotations; and leaks that are allowed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from kmem.report.github import github
from kmem.report.junit import junit
from kmem.report.ktap import ktap
from kmem.report.sarif import sarif
from tests.run.running import EXAMPLES, line_of, module, run

FINDING: dict[str, Any] = {
    "kind": "use-after-free",
    "message": "read of 8 bytes at drv_exit+0x2c (drv.c:88)",
    "function": "drv_exit",
    "offset": 0x2C,
    "file": "sub dir/drv.c",
    "line": 88,
    "address": "0xffff888004841000",
    "access": "read",
    "size": 8,
    "object": {"cache": "kmalloc-64", "size": 64, "allocated_at": "sub dir/drv.c:41", "freed_at": "drv_exit+0x10"},
    "event": 7,
    "text": ["BUG: KASAN: \x1b"],
    "count": 3,
    "reproduce": "--seed 0",
}
LEAK = {**FINDING, "kind": "leak", "message": "1 allocation", "file": None, "line": None, "function": None, "count": 1}
RUN: dict[str, Any] = {
    "verdict": "findings",
    "findings": [FINDING, LEAK],
    "module": {"name": "drv", "file": "drv.ko", "note": ""},
    "dmesg": [{"time": 1, "level": 6, "text": "drv: \x1b[31mred\x00"}],
    "init": 0,
    "exit": "done",
    "unsupported": [],
    "seed": 0,
    "release": "6.1",
    "config": "debian",
    "timings": {"init": 0.5},
    "failing": [
        {"number": 1, "lasting": lasting, "call": "kmalloc", "site": "drv.c:41", "outcome": "died", "findings": lasting}
        for lasting in (False, True)
    ],
}
CLEAN = {**RUN, "verdict": "clean", "findings": [], "failing": []}


def test_sarif_has_each_finding_with_its_places() -> None:
    [one] = json.loads(sarif(RUN, "1.0"))["runs"]
    assert [rule["id"] for rule in one["tool"]["driver"]["rules"]] == ["leak", "use-after-free"]
    first, leak = one["results"]
    assert (first["ruleId"], first["level"], first["occurrenceCount"]) == ("use-after-free", "error", 3)
    place = first["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "sub%20dir/drv.c"}, "region": {"startLine": 88}}
    [related] = first["relatedLocations"]
    assert (related["message"]["text"], related["physicalLocation"]["region"]["startLine"]) == ("allocated here", 41)
    assert "locations" not in leak
    assert first["partialFingerprints"] != leak["partialFingerprints"]
    assert json.loads(sarif(CLEAN, "1.0"))["runs"][0]["results"] == []


def test_junit_has_a_case_for_each_thing_that_is_looked_at() -> None:
    [suite] = ET.fromstring(junit(RUN))
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("6", "3", "0")
    names = [case.get("name") for case in suite.findall("testcase")]
    assert names == ["init", "exit", "checks", "leaks", "allocation 1 fails", "allocation 1 and all after it fails"]
    failure = suite.find("testcase[@name='checks']/failure")
    assert failure is not None
    assert failure.text == f"use-after-free: {FINDING['message']} (3 times)"
    assert "red\\x00" in str(suite.findtext("system-out"))
    [suite] = ET.fromstring(junit({**CLEAN, "exit": "none"}))
    assert (suite.get("failures"), suite.get("skipped")) == ("0", "1")


def test_ktap_is_one_test_with_the_cases_below_it() -> None:
    lines = ktap(RUN).splitlines()
    assert lines[:4] == ["KTAP version 1", "1..1", "    KTAP version 1", "    1..6"]
    assert "    ok 1 init" in lines
    assert "    not ok 3 checks" in lines
    assert lines[-1] == "not ok 1 drv"
    clean = ktap({**CLEAN, "exit": "none"}).splitlines()
    assert "    ok 2 exit # SKIP is missing: the module cannot be unloaded" in clean
    assert clean[-1] == "ok 1 drv"
    died = ktap({**RUN, "init": None, "exit": None}).splitlines()
    assert died.index("    # init did not return") == died.index("    not ok 1 init") - 1


def test_annotations_are_escaped() -> None:
    first, leak = github(RUN).splitlines()
    assert first.startswith("::error file=sub dir/drv.c,line=88,title=kmem%3A use-after-free::use-after-free: ")
    assert leak == "::error title=kmem%3A leak::leak: 1 allocation"
    assert "%0A" in github({**RUN, "findings": [{**LEAK, "message": "a\nb"}]})
    assert github(CLEAN) == ""


@pytest.mark.needs_headers
def test_a_run_writes_what_it_is_asked_for(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("sarif", "junit", "ktap")}
    ran = run(
        module("examples/name_driver"),
        *(word for name, file in files.items() for word in (f"--{name}", file)),
        GITHUB_ACTIONS="true",
    )
    assert ran.status == 1
    line = line_of("examples/name_driver/name_driver.c", "copy[len] =")
    [result] = json.loads(files["sarif"].read_text())["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["region"]["startLine"] == line
    assert f'file="{EXAMPLES.relative_to(Path.cwd())}/name_driver/name_driver.c" line="{line}"' in (
        files["junit"].read_text()
    )
    assert "not ok 3 checks" in files["ktap"].read_text()
    assert re.search(rf"^::error file=examples/name_driver/name_driver.c,line={line},", ran.out, re.MULTILINE)
    assert "\x1b[" not in ran.out
    assert run(module("examples/name_driver"), "--sarif", tmp_path / "no" / "where").status == 2


@pytest.mark.needs_headers
def test_a_leak_is_allowed_with_a_reason() -> None:
    leak = module("tests/kmod/bad/leak")
    assert run(leak).status == 1
    ran = run(leak, "--allow-leak", "leak_init=the firmware frees it")
    assert ran.status == 0, ran.told
    assert "left behind at leak_init, as allowed: the firmware frees it" in ran.out
    document = run(leak, "--json", "--allow-leak", "leak.c=meant", "--allow-leak", "leak.c:1=no").json
    assert document["verdict"] == "clean"
    assert [one["used"] > 0 for one in document["allowed"]] == [True, False]
    assert document["allocations"]["live"] >= 1
    ran = run(leak, "--allow-leak", "other_init=meant")
    assert ran.status == 1
    assert "nothing was left behind there" in ran.out
    assert run(leak, "--allow-leak", "leak_init").status == 2
