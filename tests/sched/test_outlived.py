"""What is done later outlives what it needs: each way is found, and named by the function that is called then."""

from __future__ import annotations

import pytest

import kmem
from kmem.kapi.executor import TaskDied
from kmem.kernel import Kernel
from tests.run.running import line_of, module, run

pytestmark = pytest.mark.needs_headers
SOURCE = "tests/kmod/outlived"


def live(mode: str, seed: int = 0, config: str = "debian") -> Kernel:
    """Load and unload the module on a fresh machine."""
    k = kmem.boot(ram="128M", seed=seed, config=config, check="fast")
    try:
        loaded = k.insmod(module(SOURCE), mode=mode)
        k.tasks.settle()
        if mode == "irqwait":
            k.raise_irq(7)
        loaded.rmmod()
    except TaskDied:
        pass
    return k


def line(marker: str) -> int:
    """The line of the module's source that has *marker*."""
    return line_of(f"{SOURCE}/outlived.c", marker)


@pytest.mark.parametrize(
    ("mode", "what", "function"),
    [
        ("timer", "a timer is due", "ring"),
        ("hrtimer", "a high-resolution timer is due", "strike"),
        ("work", "a work is due", "toil"),
        ("delayed", "a work is due", "toil"),
        ("tasklet", "a tasklet is due", "drop"),
    ],
)
def test_what_lies_in_memory_that_was_freed_is_use_after_free(mode: str, what: str, function: str) -> None:
    with live(mode) as k:
        [finding] = k.findings
        assert (finding.kind, finding.function) == ("use-after-free", function)
        assert what in finding.message
        freed = "kfree(h);\n" if mode == "tasklet" else "/* too early */"
        assert finding.object is not None
        assert f"outlived.c:{line('kzalloc')}" in finding.object.allocated_at
        if mode != "tasklet":
            assert f"outlived.c:{line(freed)}" in finding.object.freed_at


@pytest.mark.parametrize("mode", ["timer", "hrtimer", "work", "delayed"])
def test_a_poisoned_timer_or_work_ends_in_a_finding_and_not_in_a_crash_of_the_model(mode: str) -> None:
    with live(mode, config="debug") as k:
        assert k.findings


@pytest.mark.parametrize("seed", range(3))
def test_what_is_read_after_its_grace_period_was_freed(seed: int) -> None:
    with live("grace", seed) as k:
        [finding] = k.findings
        assert (finding.kind, finding.line) == ("use-after-free", line("/* after the grace period */"))
        assert finding.object is not None
        assert finding.object.freed_at.startswith("kvfree_call_rcu")


@pytest.mark.parametrize("seed", range(3))
def test_a_reader_in_time_finds_what_kfree_rcu_will_free(seed: int) -> None:
    with live("reader", seed) as k:
        assert "read 7" in k.dmesg()
        assert not k.findings


def test_an_rcu_callback_of_a_module_that_goes() -> None:
    with live("barrier") as k:
        [finding] = k.findings
        assert (finding.kind, finding.function) == ("api-misuse", "later")
        assert "rcu_barrier() waits for that" in finding.message


def test_a_work_that_still_runs_when_the_module_goes() -> None:
    with live("rmmod") as k:
        [finding] = k.findings
        assert (finding.kind, finding.function) == ("api-misuse", "toil_long")
        assert "a work still runs" in finding.message


@pytest.mark.parametrize(
    ("mode", "marker"),
    [("irqwait", "/* in a handler */"), ("atomic", "/* in a timer */")],
)
def test_sleeping_in_interrupt_context(mode: str, marker: str) -> None:
    with live(mode) as k:
        [finding] = k.findings
        assert (finding.kind, finding.line) == ("sleep-in-atomic", line(marker))


@pytest.mark.parametrize(("mode", "marker"), [("selfcancel", "/* waits for itself */"), ("selfdel", "/* its own */")])
def test_waiting_for_oneself_is_a_deadlock(mode: str, marker: str) -> None:
    with live(mode) as k:
        [finding] = k.findings
        assert (finding.kind, finding.line) == ("deadlock", line(marker))


def test_a_work_queue_that_is_never_destroyed_is_a_leak() -> None:
    ran = run(module(SOURCE), "mode=queue", "--ram", "128M", "--json")
    assert ran.status == 1
    assert (ran.finding["kind"], ran.finding["line"]) == ("leak", line("alloc_workqueue("))
