"""What the kernel does later: timers, works, tasklets, irq_works, RCU callbacks, interrupts, calls on other CPUs."""

from __future__ import annotations

import re
from typing import Any

import pytest

import kmem
from kmem.kernel import Kernel
from tests.run.running import module, run

pytestmark = pytest.mark.needs_headers
SOURCE = "tests/kmod/deferred"
SOFTIRQ, HARDIRQ, TASK = "hardirq 0 softirq 1 task 0", "hardirq 1 softirq 0 task 0", "hardirq 0 softirq 0 task 1"


def live(mode: str, seed: int = 0, cpus: int = 2, wait: int = 0, **params: Any) -> Kernel:
    """Load the module on a fresh machine, let *wait* nanoseconds pass and unload it."""
    k = kmem.boot(ram="128M", cpus=cpus, seed=seed, check="fast")
    loaded = k.insmod(module(SOURCE), mode=mode, **params)
    k.tasks.settle()
    k.run_for(wait)
    loaded.rmmod()
    return k


def said(k: Kernel) -> list[tuple[float, str]]:
    """What the module said, and when."""
    return [(float(t), text) for t, text in re.findall(r"\[ *([\d.]+)\] deferred: (\w+ \d.*)", k.dmesg())]


def test_a_timer_fires_at_the_tick_after_its_time_until_it_is_deleted() -> None:
    with live("timer", wait=40_000_000) as k:
        assert [round(t, 3) for t, _ in said(k)] == [1.012, 1.024, 1.036]
        assert all(SOFTIRQ in text for _, text in said(k))
        assert "calls: 3" in k.dmesg()
        assert not k.findings


def test_a_high_resolution_timer_fires_on_time_with_interrupts_off() -> None:
    with live("hrtimer") as k:
        assert [round(t, 4) for t, _ in said(k)] == [1.0005, 1.001, 1.0015]
        assert all(HARDIRQ in text and "irqs off 1" in text for _, text in said(k))
        assert not k.findings


def test_a_delayed_work_is_executed_by_a_kworker_and_may_queue_itself() -> None:
    with live("work", wait=60_000_000) as k:
        assert [text.split(":")[0] for _, text in said(k)] == ["work 1", "work 2", "work 3"]
        assert all(TASK in text and "kworker/" in text for _, text in said(k))
        assert not k.findings


@pytest.mark.parametrize(("mode", "context"), [("tasklet", SOFTIRQ), ("irqwork", HARDIRQ)])
def test_what_is_scheduled_runs_soon_in_interrupt_context(mode: str, context: str) -> None:
    with live(mode) as k:
        [(when, text)] = said(k)
        assert when < 1.001
        assert context in text
        assert not k.findings


def test_rcu_callbacks_free_what_they_hold() -> None:
    with live("rcu") as k:
        assert [text.split(":")[0] for _, text in said(k)] == ["rcu 1", "rcu 2"]
        assert not [made for made in k.leaks.made if made.live]
        assert not k.findings


@pytest.mark.parametrize("cpus", [1, 2, 4])
@pytest.mark.parametrize("seed", range(3))
def test_a_grace_period_waits_for_the_reader(seed: int, cpus: int) -> None:
    with live("sync", seed, cpus) as k:
        assert "sync: 40" in k.dmesg()
        assert not k.findings


@pytest.mark.parametrize(("cpus", "sum"), [(1, "1"), (2, "11"), (4, "1111")])
def test_a_function_is_called_on_each_cpu(cpus: int, sum: str) -> None:
    with live("cpus", cpus=cpus) as k:
        assert f"cpus: {sum}\n" in k.dmesg()
        assert not k.findings


@pytest.mark.parametrize("cpus", [1, 3])
def test_an_interrupt_that_is_raised_is_handled_and_its_thread_runs(cpus: int) -> None:
    with kmem.boot(ram="128M", cpus=cpus) as k:
        loaded = k.insmod(module(SOURCE), mode="irq")
        for _ in range(2):
            k.raise_irq(9)
        k.raise_irq(8)  # nobody's
        loaded.rmmod()
        k.raise_irq(9)
        told = [text for _, text in said(k)]
        assert [text.split(":")[0] for text in told] == ["irq 1", "thread 2", "irq 3", "thread 4"]
        assert HARDIRQ in told[0]
        assert TASK in told[1]
        assert "irq/9-deferred" in told[1]
        assert "calls: 4" in k.dmesg()
        assert not k.findings


@pytest.mark.parametrize(
    ("mode", "kind", "message", "function"),
    [
        ("timer", "api-misuse", "a timer is armed", "ring"),
        ("work", "api-misuse", "a delayed work is pending", "toil"),
        ("irq", "leak", "interrupt line 9 never freed", "hard"),
    ],
)
def test_what_is_left_when_the_module_goes_is_named(mode: str, kind: str, message: str, function: str) -> None:
    with live(mode, leave=True) as k:
        [finding] = k.findings
        assert (finding.kind, finding.function) == (kind, function)
        assert message in finding.message


@pytest.mark.parametrize("mode", ["timer", "hrtimer", "work", "tasklet", "irqwork", "rcu", "sync", "cpus"])
def test_the_same_seed_is_the_same_run(mode: str) -> None:
    def outcome() -> tuple[str, str, str]:
        with live(mode, 3, 3) as k:
            k.drain()
            return k.dmesg(), k.mm.ram.hash(), k.events.digest()

    assert outcome() == outcome()


def test_a_machine_that_is_saved_while_a_work_waits_goes_on_from_there() -> None:
    with kmem.boot(ram="128M") as k:
        loaded = k.insmod(module(SOURCE), mode="work")
        k.tasks.settle()
        k.snapshot()
        clean, texts = k.mm.ram.hash(), []
        for _ in range(3):
            k.run_for(60_000_000)
            loaded.rmmod()
            texts.append((k.dmesg(), k.mm.ram.hash()))
            k.rollback()
            assert k.mm.ram.hash() == clean
        assert "calls: 3" in texts[0][0]
        assert texts[0] == texts[1] == texts[2]
        assert not k.findings


@pytest.mark.parametrize("mode", ["work", "timer", "tasklet", "rcu", "irq"])
def test_threads_of_the_kernel_itself_do_not_fail_for_an_injected_fault(mode: str) -> None:
    assert run(module(SOURCE), f"mode={mode}", "--ram", "128M", "--fail-each").status == 0
