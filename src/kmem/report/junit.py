"""``--junit F``: the run in the XML that CI systems read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

from kmem.report.cases import cases


def junit(run: Mapping[str, Any]) -> str:
    """Return the document: one test suite, the module."""
    module, timings = run["module"], run.get("timings", {})
    listed = list(cases(run))
    suite = ET.Element(
        "testsuite",
        name=f"kmem.{module['name']}",
        tests=str(len(listed)),
        failures=str(sum(bool(case.problems) for case in listed)),
        errors="0",
        skipped=str(sum(bool(case.skipped) for case in listed)),
        time=f"{sum(timings.values()):.3f}",
    )
    properties = ET.SubElement(suite, "properties")
    for name in ("release", "config", "seed", "verdict"):
        ET.SubElement(properties, "property", name=name, value=str(run[name]))
    for case in listed:
        element = ET.SubElement(suite, "testcase", classname=f"kmem.{module['name']}", name=case.name)
        element.set("time", f"{timings.get(case.name, 0):.3f}")
        if case.file:
            element.set("file", case.file)
            element.set("line", str(case.line))
        if case.skipped:
            ET.SubElement(element, "skipped", message=case.skipped)
        if case.problems:
            failure = ET.SubElement(element, "failure", message=_clean(case.problems[0]), type=run["verdict"])
            failure.text = _clean("\n".join(case.problems))
    log = ET.SubElement(suite, "system-out")
    log.text = _clean("\n".join(record["text"] for record in run.get("dmesg", ())))
    suites = ET.Element("testsuites")
    suites.append(suite)
    ET.indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(suites, encoding="unicode") + "\n"


def _clean(text: str) -> str:
    """Without the control characters that XML cannot hold; a driver may print any."""
    return "".join(c if c in "\t\n" or (c >= " " and c not in "\ufffe\uffff") else f"\\x{ord(c):02x}" for c in text)
