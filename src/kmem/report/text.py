"""What ``kmem run`` prints for a person, from the same values as ``--json``.

The order is fixed: what ran (and what kmem could not do, first of all), the kernel log, what was allocated, the
findings with one line each, the verdict, and the command that helps next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from errno import errorcode
from os import strerror
from typing import Any

from kmem.report.table import Ink, plural, size, table

STYLE = {"clean": "green", "findings": "red", "unsupported": "yellow", "error": "red"}
EXIT = {
    "": "did not return",
    "done": "ran",
    "none": "is missing: the module cannot be unloaded",
    "not run": "was not called",
}
OF_AN_OBJECT = (
    "use-after-free",
    "double-free",
    "invalid-free",
    "mismatched-free",
    "out-of-bounds",
    "freelist-corruption",
)
"""Kinds of findings at an address whose history explains them."""
ROWS = 40
"""How many allocations the table shows before it says how many more there are."""


def run_text(run: Mapping[str, Any], ink: Ink) -> str:
    """Return the whole report of one run."""
    parts = [
        _headline(run, ink),
        _dmesg(run["dmesg"], ink),
        *(f"{ink('bold', '/proc/' + name)}\n{text.rstrip()}" for name, text in run.get("proc", {}).items()),
        _allocations(run, ink),
        _injected(run),
        _allowed(run, ink),
        _failing(run, ink),
        _schedules(run, ink),
        _findings(run, ink),
        _verdict(run, ink),
    ]
    return "\n\n".join(part for part in parts if part)


def _headline(run: Mapping[str, Any], ink: Ink) -> str:
    module = run["module"]
    lines = [ink("bold", f"{module['name']} on Linux {run['release']} ({run['config']}), seed {run['seed']}")]
    lines += [
        ink(
            "yellow",
            f"unsupported: {call['symbol']} was called {plural(call['count'], 'time')}{_place(call)}; "
            "kmem does not have it yet, so the run stopped there; "
            "docs/adding-an-export.md says how to add it",
        )
        for call in run["unsupported"]
    ]
    return "\n".join(lines + ([module["note"]] if module.get("note") else []))


def _place(call: Mapping[str, Any]) -> str:
    """Where the module's call is."""
    if not call.get("function"):
        return ""
    source = f" ({call['file']}:{call['line']})" if call["file"] else ""
    return f", at {call['function']}+{call['offset']:#x}{source}"


def _dmesg(records: Sequence[Mapping[str, Any]], ink: Ink) -> str:
    lines = []
    for record in records:
        seconds, nanoseconds = divmod(int(record["time"]), 1_000_000_000)
        stamp = ink("dim", f"[{seconds:5d}.{nanoseconds // 1000:06d}]")
        for line in str(record["text"]).split("\n"):
            lines.append(f"{stamp} {line}")
    return "\n".join(lines)


def _allocations(run: Mapping[str, Any], ink: Ink) -> str:
    allocations = run["allocations"]
    rows: Sequence[Mapping[str, Any]] = allocations.get("objects", [])
    if not allocations["count"]:
        return "The module allocated nothing."
    head = ("call", "address", "asked", "given", "region", "from", "pages", "physically", "at", "state")
    shown = table(
        head,
        [
            (
                row.get("call"),
                row.get("address"),
                row.get("asked"),
                row.get("given"),
                row.get("region"),
                row.get("cache") or _order(row.get("order")),
                row.get("pages"),
                _runs(row.get("runs")),
                row.get("site"),
                "live" if row.get("live") else "freed",
            )
            for row in rows[:ROWS]
        ],
    )
    shown[0] = ink("bold", shown[0])
    more = allocations["count"] - min(len(rows), ROWS)
    if rows and more > 0:
        shown.append(f"… and {more} more (--json has them)" if more <= len(rows) - ROWS else f"… and {more} more")
    total = f"{plural(allocations['count'], 'allocation')}, {allocations['bytes']} bytes asked for in all"
    if allocations.get("failed"):
        total += f", {allocations['failed']} more failed"
    return "\n".join([*(shown if rows else []), f"{total}; {_live(run, ink)}"])


def _order(order: int | None) -> str | None:
    return None if order is None else f"order {order}"


def _runs(runs: int | None) -> str | None:
    if runs is None:
        return None
    return "contiguous" if runs == 1 else f"{runs} runs"


def _live(run: Mapping[str, Any], ink: Ink) -> str:
    live = run["allocations"]["live"]
    if live == 0:
        return ink("green", "no leaks")
    if any(finding["kind"] == "leak" for finding in run["findings"]):
        return ink("red", f"{live} never freed")
    return f"{live} still there when the run ended"


def _injected(run: Mapping[str, Any]) -> str:
    failed = [f"{one['kind']}: {one['call']} at {one['site']} was made to fail" for one in run.get("injected") or ()]
    more = [f"… and {len(failed) - ROWS} more (--json has them)"] if len(failed) > ROWS else []
    return "\n".join(failed[:ROWS] + more)


def _allowed(run: Mapping[str, Any], ink: Ink) -> str:
    lines = []
    for one in run.get("allowed") or ():
        left = plural(one["used"], "allocation")
        words = f"{left} left behind at {one['site']}, as allowed: {one['reason']}"
        nothing = ink("yellow", f"--allow-leak {one['site']}: nothing was left behind there")
        lines.append(words if one["used"] else nothing)
    return "\n".join(lines)


def _findings(run: Mapping[str, Any], ink: Ink) -> str:
    lines = []
    for finding in run["findings"]:
        again = f" ({finding['count']} times)" if finding.get("count", 1) > 1 else ""
        lines.append(f"{finding['kind']}: {finding['message']}{again}")
        if finding.get("text") and finding["text"][0].startswith("=" * 60):  # not in the log: no kernel printed it
            lines += [f"    {line}".rstrip() for line in finding["text"]]
    init = run["init"] or 0
    if init < 0:
        name = f"{errorcode[-init]}, {strerror(-init)}" if -init in errorcode else "no errno"
        lines.append(f"insmod failed: the module's init returned {init} ({name}), so it was not loaded")
    return "\n".join(ink("red", line) for line in lines)


def _failing(run: Mapping[str, Any], ink: Ink) -> str:
    """What came of failing every allocation: the tries that ended badly, and how many did not."""
    tries = run.get("failing") or []
    if not tries:
        return ""
    bad = [one for one in tries if one["findings"]]
    number = max(one["number"] for one in tries)
    head = f"{plural(number, 'allocation')} failed in turn, once and with all after it: {len(tries)} tries, "
    head += f"{len(bad)} with findings" if bad else "no findings"
    rows = table(
        ("failed", "and all after", "call", "at", "then", "findings"),
        [
            (
                one["number"],
                "yes" if one["lasting"] else "no",
                one["call"],
                one["site"],
                one["outcome"],
                one["findings"] or None,
            )
            for one in tries[:ROWS]
        ],
    )
    more = [f"… and {len(tries) - ROWS} more tries (--json has them)"] if len(tries) > ROWS else []
    return "\n".join([ink("red" if bad else "green", head), *rows, *more])


def _schedules(run: Mapping[str, Any], ink: Ink) -> str:
    """How many schedules were tried, and which was the first that misbehaved."""
    facts = run.get("schedules") or {}
    if facts.get("asked", 1) < 2:
        return ""
    if run["verdict"] != "clean":
        how = f"schedule {facts['tried']} of {facts['asked']} misbehaves"
        return ink("red", f"{how}: kmem run {run.get('path', 'FILE')}   (repeats it)")
    if not facts["several_tasks"]:
        return "one schedule was tried: the module has but one task, so that all are the same"
    return ink("green", f"{plural(facts['tried'], 'schedule')} tried, none misbehaves")


def _verdict(run: Mapping[str, Any], ink: Ink) -> str:
    verdict = run["verdict"]
    found = f" ({len(run['findings'])})" if run["findings"] else ""
    ended = f"verdict: {ink(STYLE[verdict], verdict)}{found}; {_ended(run['init'], run['exit'])}"
    return f"{ended}\nnext:    {next_command(run)}"


def _ended(init: int | None, exit: str | None) -> str:
    if init is None:
        return "init did not return"
    code = f" (-{errorcode[-init]})" if -init in errorcode else ""
    return f"init returned {init}{code}; exit {EXIT.get(exit or '', exit)}"


def next_command(run: Mapping[str, Any]) -> str:
    """Return the command that tells more after this run, and in brackets what it tells."""
    command = f"kmem run {run.get('path', 'FILE')}"
    if run["verdict"] == "unsupported":
        return f"{command} --json   (every unsupported call with its count)"
    kinds = {finding["kind"] for finding in run["findings"]}
    again = next((f["reproduce"] for f in run["findings"] if "--fail-nth" in f.get("reproduce", "")), "")
    if again and run.get("failing"):
        return f"{command} {again[again.index('--fail-nth') :]}   (that one try, with its kernel log)"
    place = next((f["address"] for f in run["findings"] if f["kind"] in OF_AN_OBJECT and f.get("address")), "")
    if run.get("trace") and place:
        return f"kmem x {place} {run['trace']}   (who allocated, freed and reused what is there)"
    if "hang" in kinds:
        return f"{command} --budget 1e9   (ten times as long as by default)"
    if kinds == {"leak"} or ((run["init"] or 0) < 0 and not kinds):
        return f"{command} --config {run['config']} --json   (every allocation and where it was made)"
    if run["verdict"] == "findings" and run["config"] != "debug":
        return f"{command} --config debug   (the same with the kernel's own slub_debug checks)"
    if run["verdict"] == "findings":
        seed = "" if " --seed " in command else f" --seed {run['seed']}"
        return f"{command} --config debug{seed} --json   (every fact about the findings)"
    return f"{command} --config debug --proc slabinfo   (slub_debug checks, and the slab caches afterwards)"


def machine_line(release: str, config: str, ram: int, cpus: int, nodes: int) -> str:
    """Return one line that says which machine was simulated."""
    described = f"Linux {release} ({config}), {size(ram)} of memory, {plural(cpus, 'CPU')}"
    return f"{described}, {plural(nodes, 'node')}" if nodes > 1 else described
