"""The title of a report: one line, as syzkaller's dashboards write it, the same for the same crash."""

from __future__ import annotations

import re

from kmem.oops.blame import bare, blamed, is_tool
from kmem.oops.patterns import FAULTS
from kmem.oops.report import Frame, Report

UNKNOWN = "corrupted"
"""What stands in a title for the function when the log names none that can be trusted."""

_ROOTS = re.compile(
    r"^(?:start_kernel|x86_64_start_\w+|secondary_startup\w*|kernel_init\w*|worker_thread|process_one_work|"
    r"do_one_initcall|rest_init|cpu_startup_entry|do_idle|cpu_idle\w*|smpboot_thread_fn)$"
)


def title(report: Report) -> tuple[str, str]:
    """The blamed function (may be empty) and the title of *report*."""
    function = _function(report)
    return function, _TITLES.get(report.kind, _plain)(report, function or UNKNOWN)


def _function(report: Report) -> str:
    reliable = [frame for frame in report.frames if frame.reliable]
    if report.kind == "stack-end" or report.fact("stack-end"):
        return bare(report.value("workqueue", "fn")) or blamed(reliable)
    if report.kind in ("kasan", "kmsan", "kfence", "ubsan"):
        return _sanitizer_function(report, reliable)
    if report.kind in FAULTS | {"double-fault", "stack-guard"} and report.pc is not None:
        first = blamed([report.pc])
        if report.kind in ("unhandled",) and first == "":
            return bare(report.pc.name)
        below = blamed(reliable)
        return first or (bare(report.pc.name) if _ROOTS.match(below) else below) or bare(report.pc.name)
    if report.kind == "lockdep" and report.fact("wanted-lock"):
        return bare(report.value("wanted-lock", "where"))
    if report.kind == "kcsan":
        return bare(re.split(r"\W", report.value("kcsan", "where"), maxsplit=1)[0])
    if report.kind in ("soft-lockup", "rcu-stall") and report.pc is None:
        interrupted = [frame for frame in reliable if frame.context not in ("IRQ", "NMI")]
        return blamed(interrupted or reliable)
    if report.pc is None and report.regs.get("pc") == 0 and not reliable and report.lr is not None:
        return blamed([report.lr])
    if report.kind in ("slub", "slab-corruption"):
        return blamed(reliable) or blamed(report.free_frames) or blamed(report.alloc_frames)
    if report.pc is not None and report.kind not in ("warning", "bug", "list", "refcount", "odebug", "usercopy"):
        return blamed([report.pc, *reliable])
    if report.kind in ("alloc-failure", "vmap-failure", "sleep"):
        return blamed(reliable) or blamed(report.frames)
    where = report.value("warn-at", "where").split("+")[0].removesuffix("()")
    warned = [Frame(0, where, None, None, "", True, "", "")] if where else []
    return blamed([*warned, *([report.pc] if report.pc else []), *reliable])


def _sanitizer_function(report: Report, reliable: list[Frame]) -> str:
    where = bare(report.value(report.kind, "where").split("+")[0])
    if where and "/" not in where and not is_tool(where):
        return where
    frames = reliable
    names = [bare(frame.name) for frame in reliable]
    if where in names:
        frames = reliable[names.index(where) :]
    return blamed(frames) or ("" if "/" in where else where)


def _plain(report: Report, function: str) -> str:
    names = {
        "sched": "BUG: scheduling while atomic",
        "bug": "kernel BUG",
        "warning": "WARNING",
        "insufficient": "kernel stack overflow",
        "double-fault": "PANIC: double fault",
        "soft-lockup": "BUG: soft lockup",
        "hard-lockup": "hard lockup",
        "rcu-stall": "INFO: rcu detected stall",
        "hung": "INFO: task hung",
        "oom": "out of memory",
        "preempt": "BUG: using per-cpu data in preemptible code",
        "trace": "call trace",
        "fortify": "fortify: buffer overflow",
        "oops": "Oops",
        "alloc-failure": "page allocation failure",
        "vmap-failure": "vmalloc failure",
        "stack-guard": "BUG: stack guard page was hit",
        "unhandled": "Unhandled fault",
    }
    return f"{names.get(report.kind, report.kind)} in {function}"


def _kasan(report: Report, function: str) -> str:
    what = report.value("kasan", "what").strip().replace(" ", "-")
    what = "invalid-free" if what.startswith("double-free-or") else what
    access = report.value("access", "rw")
    return f"KASAN: {what}{f' {access}' if access and 'free' not in what.split('-after-')[0] else ''} in {function}"


def _lockdep(report: Report, function: str) -> str:
    for words, name in (
        ("inconsistent lock state", "inconsistent lock state"),
        ("suspicious", "WARNING: suspicious RCU usage"),
        ("bad unlock", "WARNING: bad unlock balance"),
    ):
        if words in report.headline:
            return f"{name} in {function}"
    return f"possible deadlock in {function}"


def _spinlock(report: Report, function: str) -> str:
    found = re.search(r"BUG: (spinlock [a-z ]+|rwlock [a-z ]+)", report.headline)
    return f"BUG: {found[1].strip() if found else 'spinlock misuse'} in {function}"


def _ubsan(report: Report, function: str) -> str:
    what = report.value("ubsan", "what").lower().replace(" ", "-")
    return f"UBSAN{f': {what}' if what else ''} in {function}"


def _kcsan(report: Report, function: str) -> str:
    where = re.sub(r"\+0x\S+", "", report.value("kcsan", "where")).strip()
    return f"KCSAN: {report.value('kcsan', 'what') or 'data-race'} in {where or function}"


def _fault(report: Report, function: str) -> str:
    if report.kind == "null" or (report.kind == "paging" and report.address is not None and report.address < 4096):
        return f"BUG: unable to handle kernel NULL pointer dereference in {function}"
    return f"BUG: unable to handle kernel paging request in {function}"


def _warning(report: Report, function: str) -> str:
    where = report.value("warn-at", "where") + (report.pc.name if report.pc else "")
    if re.match(r"kmalloc_slab|kvmalloc_node|__?kvmalloc|krealloc|__alloc_pages", where):
        return f"WARNING: kmalloc bug in {function}"
    if report.value("warn-at", "file").endswith("kernel/locking/lockdep.c"):
        return f"WARNING: locking bug in {function}"
    if where.startswith(("__vmalloc_node", "vmalloc")):
        return f"WARNING: zero-size vmalloc in {function}"
    return f"WARNING in {function}"


def _slub(report: Report, function: str) -> str:
    what = re.sub(r" on __kmem_cache_shutdown\(\)| in \S+", "", report.value("slub", "what")).strip(" :")
    cache = report.value("slub", "cache")
    return f"BUG {cache}: {what[:60]}" if cache else f"slab corruption in {function}"


def _panic(report: Report, function: str) -> str:
    if report.fact("stack-end"):
        return f"kernel panic: corrupted stack end in {function}"
    what = report.headline.split("not syncing: ")[-1][:60].strip()
    return f"kernel panic: {what}"


_TITLES = {
    "kasan": _kasan,
    "kcsan": _kcsan,
    "ubsan": _ubsan,
    "lockdep": _lockdep,
    "spinlock": _spinlock,
    "kfence": lambda report, function: f"KFENCE: {report.value('kfence', 'what')} in {function}",
    "kmsan": lambda report, function: f"KMSAN: {report.value('kmsan', 'what')} in {function}",
    "null": _fault,
    "paging": _fault,
    "oops": lambda report, function: (
        f"Internal error in {function}" if "Internal" in report.headline else f"Oops in {function}"
    ),
    "gpf": lambda report, function: f"general protection fault in {function}",
    "warning": _warning,
    "refcount": lambda report, function: f"WARNING: refcount bug in {function}",
    "odebug": lambda report, function: f"WARNING: ODEBUG bug in {function}",
    "list": lambda report, function: f"BUG: corrupted list in {function}",
    "usercopy": lambda report, function: f"BUG: bad usercopy in {function}",
    "sleep": lambda report, function: f"BUG: sleeping function called from invalid context in {function}",
    "bad-page": lambda report, function: f"BUG: Bad page state in {function}",
    "kmemleak": lambda report, function: f"memory leak in {function}",
    "slub": _slub,
    "slab-corruption": lambda report, function: f"slab corruption in {function}",
    "panic": _panic,
}
