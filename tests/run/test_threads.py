"""Threads of a module: they share what they share, wait for each other, and are found when they do it wrong."""

from __future__ import annotations

from typing import Any

import pytest

import kmem
from kmem.kapi.executor import TaskDied
from kmem.kernel import Kernel
from tests.run.running import line_of, module

pytestmark = pytest.mark.needs_headers

SOURCE = "tests/kmod/threads"


def load(mode: str, seed: int = 0, cpus: int = 2, **params: Any) -> Kernel:
    """Load the module on a fresh machine and unload it again."""
    k = kmem.boot(ram="128M", cpus=cpus, seed=seed)
    try:
        loaded = k.insmod(module(SOURCE), mode=mode, **params)
    except TaskDied:
        return k
    k.tasks.settle()
    loaded.rmmod()
    return k


def line(marker: str) -> int:
    """The line of the module's source that has *marker*."""
    return line_of(f"{SOURCE}/threads.c", marker)


@pytest.mark.parametrize("mode", ["mutex", "spin", "rwsem"])
@pytest.mark.parametrize(("seed", "cpus"), [(0, 1), (0, 2), (1, 2), (2, 4), (3, 4)])
def test_no_update_is_lost_under_a_lock(mode: str, seed: int, cpus: int) -> None:
    with load(mode, seed, cpus, workers=4, rounds=300) as k:
        assert f"{mode}: counter 1200, sum 0" in k.dmesg()
        assert not k.findings


def test_a_lost_update_is_found_by_trying_schedules_and_again_by_its_seed() -> None:
    def lost(seed: int) -> str:
        with load("none", seed) as k:
            assert bool(k.findings) == ("an update was lost" in k.dmesg())
            return k.dmesg() if k.findings else ""

    found = {seed: text for seed in range(20) if (text := lost(seed))}
    assert 0 < len(found) < 20
    seed, text = next(iter(found.items()))
    assert lost(seed) == text


def test_one_cpu_loses_no_update_because_nothing_preempts_kernel_code() -> None:
    for seed in range(4):
        with load("none", seed, cpus=1) as k:
            assert not k.findings


@pytest.mark.parametrize("seed", range(3))
def test_producer_and_consumer_on_a_wait_queue(seed: int) -> None:
    with load("queue", seed, rounds=100) as k:
        assert "queue: counter 0, sum 5050" in k.dmesg()
        assert not k.findings


def test_a_thread_sleeps_on_a_completion_and_on_a_mutex_by_turns() -> None:
    with load("turns", rounds=5) as k:
        assert "turns: counter 10, sum 0" in k.dmesg()
        assert not k.findings


def test_two_mutexes_in_two_orders_are_a_deadlock_that_names_both_places() -> None:
    with load("abba") as k:
        (finding,) = k.findings
        assert finding.kind == "deadlock"
        assert finding.line in (line("/* AB */"), line("/* BA */"))
        told = "\n".join(finding.text)
        for marker in ("/* AB */", "/* BA */"):
            assert f"threads.c:{line(marker)}" in told
        assert "which backwards/0/" in told
        assert "which forwards/0/" in told


def test_a_mutex_that_is_still_held_when_the_module_goes_is_misuse() -> None:
    with load("hold") as k:
        (finding,) = k.findings
        assert (finding.kind, finding.line) == ("api-misuse", line('"hold"') + 1)
        assert "still holds a mutex" in finding.message


def test_a_thread_that_outlives_the_module_is_misuse() -> None:
    with load("stay") as k:
        (finding,) = k.findings
        assert (finding.kind, finding.function) == ("api-misuse", "stay")
        assert "thread stayer still runs" in finding.message


def test_what_a_stopped_thread_returns() -> None:
    with load("halt") as k:
        assert "stopped: 7" in k.dmesg()
        assert not k.findings


def test_a_thread_that_is_stopped_before_it_ran_returns_eintr() -> None:
    def stopped(seed: int) -> str:
        with kmem.boot(ram="128M", seed=seed) as k:
            k.insmod(module(SOURCE), mode="halt").rmmod()
            assert not k.findings
            return k.dmesg().rpartition("stopped: ")[2].strip()

    assert {stopped(seed) for seed in range(8)} == {"-4", "7"}, "some schedules let it run first"


@pytest.mark.parametrize("mode", ["mutex", "none", "queue"])
def test_the_same_seed_is_the_same_run(mode: str) -> None:
    def outcome() -> tuple[str, str, str]:
        with load(mode, 5, cpus=3) as k:
            k.drain()
            return k.dmesg(), k.mm.ram.hash(), k.events.digest()

    assert outcome() == outcome()


def test_a_machine_that_is_saved_while_a_thread_sleeps_goes_on_from_there() -> None:
    with kmem.boot(ram="128M") as k:
        loaded = k.insmod(module(SOURCE), mode="halt")
        k.tasks.settle()
        k.snapshot()
        clean = k.mm.ram.hash()
        texts = []
        for _ in range(3):
            k.run_for(50_000_000)
            loaded.rmmod()
            texts.append((k.dmesg(), k.mm.ram.hash()))
            k.rollback()
            assert k.mm.ram.hash() == clean
        assert "stopped: 7" in texts[0][0]
        assert texts[0] == texts[1] == texts[2]
        assert not k.findings
