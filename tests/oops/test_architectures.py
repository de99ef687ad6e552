"""Headers and traces of the rarer architectures, and the kinds of report that are no faults."""

from __future__ import annotations

import pytest

from kmem.oops.explain import explain

LOGS = {
    "powerpc": """BUG: Unable to handle kernel data access at 0xc00a000000000018
Faulting instruction address: 0xc000000000123456
Oops: Kernel access of bad area, sig: 11 [#1]
CPU: 3 PID: 1234 Comm: foo Not tainted 5.14.0 #1
GPR00: c000000000123400 c000000007a3fa40 c000000001234500 0000000000000000
NIP [c000000000123456] demo_read+0x56/0x120 [demo]
Call Trace:
[c000000007a3fad0] [c0000000003b1234] vfs_read+0xd4/0x210
""",
    "riscv": """Unable to handle kernel NULL pointer dereference at virtual address 0000000000000010
Oops [#1]
CPU: 0 PID: 88 Comm: insmod Tainted: G           O       6.1.0 #1
epc : demo_read+0x12/0x100 [demo]
epc : ffffffff01234012 ra : ffffffff80001f00 sp : ffffffc8101dbc20
[<ffffffff80001f00>] do_one_initcall+0x40/0x1a0
""",
    "mips": """CPU 0 Unable to handle kernel paging request at virtual address 00000004, epc == 80123456, ra == 80123400
Oops[#1]:
CPU: 0 PID: 1 Comm: swapper Not tainted 4.14.0 #0
$ 0   : 00000000 00000001 00000000 00000000
epc   : 80123456 demo_read+0x56/0x100
Call Trace:
[<80200000>] driver_probe+0x10/0x20
""",
    "s390": """Unable to handle kernel pointer dereference in virtual kernel address space
Failing address: 0000000000000000 TEID: 0000000000000483
Oops: 0004 ilc:2 [#1] SMP
CPU: 1 PID: 3 Comm: x Not tainted 5.4.0 #1
Krnl PSW : 0704c00180000000 000003ff80123456 (demo_read+0x26/0x80 [demo])
""",
}


@pytest.mark.parametrize("arch", sorted(LOGS))
def test_rare_architectures(arch: str) -> None:
    found = explain(LOGS[arch])
    assert [(each.report.arch, each.report.function) for each in found] == [(arch, "demo_read")]
    assert found[0].report.address is not None
    assert found[0].verdict.cause == ("wild_pointer" if arch == "powerpc" else "null_pointer")


TRACE = "Call Trace:\n dump_stack_lvl+0x4/0x5\n {}\n demo_ioctl+0x2/0x3 [demo]\n"


@pytest.mark.parametrize(
    ("headline", "inner", "title", "cause"),
    [
        ("INFO: task foo:123 blocked for more than 120 seconds.", "__schedule+0x1/0x2", "INFO: task hung", "hang"),
        (
            "watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [foo:99]",
            "_raw_spin_lock+0x1/0x2",
            "BUG: soft lockup",
            "hang",
        ),
        (
            "BUG: scheduling while atomic: foo/123/0x00000002",
            "msleep+0x1/0x2",
            "BUG: scheduling while atomic",
            "sleep_in_atomic",
        ),
        (
            "UBSAN: array-index-out-of-bounds in drivers/demo.c:12:4",
            "ubsan_epilogue+0x1/0x2",
            "UBSAN: array-index-out-of-bounds",
            "out_of_bounds",
        ),
        (
            "foo invoked oom-killer: gfp_mask=0x100cca(GFP_HIGHUSER_MOVABLE), order=0",
            "__alloc_pages+0x1/0x2",
            "out of memory",
            "out_of_memory",
        ),
        (
            "WARNING: possible circular locking dependency detected\nstack backtrace:",
            "__lock_acquire+0x1/0x2",
            "possible deadlock",
            "deadlock",
        ),
    ],
)
def test_reports_that_are_no_faults(headline: str, inner: str, title: str, cause: str) -> None:
    found = explain(f"{headline}\n{TRACE.format(inner)}")
    assert [(each.report.title, each.verdict.cause) for each in found] == [(f"{title} in demo_ioctl", cause)]


def test_unknown_is_an_answer() -> None:
    found = explain("BUG: demo_cache (Not tainted): Something no kernel of today says\n")
    assert [(each.verdict.cause, each.confidence) for each in found] == [("unknown", 0.0)]


STALL = """INFO: rcu_sched detected stalls on CPUs/tasks:
Call Trace:
 <IRQ>  [<ffffffff816efb87>] sched_show_task+0x31a/0x325
 [<ffffffff814f5cdf>] update_process_times+0x3f/0x70
 <EOI>  [<ffffffff8152dedc>] demo_poll+0x26c/0x330 [demo]
 [<ffffffff8152eaa5>] demo_thread+0x6a5/0x7e0 [demo]
"""
LOCKING = """WARNING: CPU: 1 PID: 4085 at kernel/locking/lockdep.c:3190 __lock_acquire+0x23b3/0x4b50()
DEBUG_LOCKS_WARN_ON(id >= MAX_LOCKDEP_KEYS)
Call Trace:
 [<ffffffff812361f3>] __lock_acquire+0x23b3/0x4b50
 [<ffffffff8376f89e>] _raw_write_lock_irqsave+0x4e/0x70
 [<ffffffff825b46c9>] demo_remove+0x69/0x110 [demo]
"""


@pytest.mark.parametrize(
    ("log", "title"),
    [(STALL, "INFO: rcu detected stall in demo_poll"), (LOCKING, "WARNING: locking bug in demo_remove")],
    ids=["the interrupted function is blamed for a stall", "lockdep's own warning"],
)
def test_titles_as_syzkaller_writes_them(log: str, title: str) -> None:
    assert explain(log)[0].report.title == title
