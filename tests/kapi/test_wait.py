"""Sleeping: the scheduler, timeouts, delays, wait queues, completions."""

from __future__ import annotations

import pytest

from kmem.kapi.host import Stuck
from kmem.kapi.sched import set_task_state, task_state
from kmem.kapi.timekeeping import INITIAL_JIFFIES, jiffies, update_jiffies
from kmem.kapi.timer import bucket_expiry
from tests.kapi.fakehost import FakeHost

TICK = 4_000_000
START = 1_000_000_000
U64 = 1 << 64
UINT_MAX = (1 << 32) - 1


def elapsed(k: FakeHost) -> int:
    """Nanoseconds since the fake kernel began."""
    return k.clock.ns - START


# Time


def test_jiffies_count_ticks_of_four_milliseconds(k: FakeHost) -> None:
    assert jiffies(k) == INITIAL_JIFFIES + 250
    address = k.address_of("jiffies")
    k.clock.advance(10 * TICK)
    assert k.mem.u64(address) == INITIAL_JIFFIES + 250
    update_jiffies(k)
    assert k.mem.u64(address) == INITIAL_JIFFIES + 260


@pytest.mark.parametrize(
    ("name", "argument", "result"),
    [
        ("__msecs_to_jiffies", 0, 0),
        ("__msecs_to_jiffies", 1, 1),
        ("__msecs_to_jiffies", 4, 1),
        ("__msecs_to_jiffies", 5, 2),
        ("__msecs_to_jiffies", 1 << 31, (1 << 62) - 2),
        ("__usecs_to_jiffies", 1, 1),
        ("__usecs_to_jiffies", 4001, 2),
        ("jiffies_to_msecs", 250, 1000),
        ("jiffies_to_usecs", 1, 4000),
        ("jiffies64_to_nsecs", 2, 8_000_000),
        ("nsecs_to_jiffies", 8_000_000 - 1, 1),
        ("ktime_get", 0, START),
        ("ktime_get_seconds", 0, 1),
        ("ktime_get_real_seconds", 0, 1_700_000_001),
        ("ktime_get_with_offset", 0, 1_700_000_001 * 10**9),
        ("ktime_get_with_offset", 1, START),
    ],
)
def test_conversions_of_time(name: str, argument: int, result: int, k: FakeHost) -> None:
    assert k.run(name, argument) == result


def test_a_timespec(k: FakeHost) -> None:
    ts = k.alloc(16)
    k.clock.advance(7)
    k.run("ktime_get_ts64", ts)
    assert (k.mem.s64(ts), k.mem.s64(ts + 8)) == (1, 7)
    k.run("set_normalized_timespec64", ts, 1, -1)
    assert (k.mem.s64(ts), k.mem.s64(ts + 8)) == (0, 999_999_999)


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ((1970, 1, 1, 0, 0, 0), 0),
        ((2000, 2, 29, 12, 0, 0), 951825600),
        ((2023, 11, 14, 22, 13, 20), 1_700_000_000),
        ((2100, 3, 1, 0, 0, 0), 4107542400),
        ((1969, 12, 31, 23, 59, 59), U64 - 1),
    ],
)
def test_mktime64(date: tuple[int, ...], seconds: int, k: FakeHost) -> None:
    assert k.run("mktime64", *date) == seconds


@pytest.mark.parametrize(("j", "up", "expected"), [(1060, 0, 1000), (1070, 0, 1250), (1010, 1, 1250), (1000, 1, 1250)])
def test_round_jiffies(j: int, up: int, expected: int, k: FakeHost) -> None:
    base = -(-INITIAL_JIFFIES // 250) * 250
    name = "round_jiffies_up" if up else "round_jiffies"
    assert k.run(name, base + j) - base == expected
    relative = k.run(name + "_relative", base + j - jiffies(k))
    assert relative + jiffies(k) - base == expected


def test_round_jiffies_never_goes_into_the_past(k: FakeHost) -> None:
    assert k.run("round_jiffies", jiffies(k) + 1) in (jiffies(k) + 1, -(-jiffies(k) // 250) * 250)


@pytest.mark.parametrize(
    ("name", "argument", "ns"),
    [("__udelay", 10, 10_000), ("__ndelay", 1000, 1164), ("__const_udelay", 1 << 32, 10**9), ("__delay", 2000, 1000)],
)
def test_delays_let_time_pass_without_sleeping(name: str, argument: int, ns: int, k: FakeHost) -> None:
    k.run(name, argument)
    assert elapsed(k) == ns
    assert k.context.asked == []


@pytest.mark.parametrize(
    ("name", "arguments", "ns"),
    [
        ("msleep", (1,), 3 * TICK),
        ("msleep", (20,), 7 * TICK),
        ("msleep_interruptible", (4,), 3 * TICK),
        ("usleep_range_state", (100, 200, 2), 100_000),
        ("schedule_timeout_uninterruptible", (3,), 4 * TICK),
        ("schedule_timeout_interruptible", (3,), 4 * TICK),
        ("schedule_timeout_killable", (3,), 4 * TICK),
    ],
)
def test_sleeping_lets_time_pass_and_leaves_the_task_running(
    name: str, arguments: tuple[int, ...], ns: int, k: FakeHost
) -> None:
    assert k.run(name, *arguments) == 0
    assert elapsed(k) == ns
    assert task_state(k) == 0
    assert k.context.asked == ["schedule"]


def test_sleep_ends_on_a_tick(k: FakeHost) -> None:
    k.clock.advance(1)
    k.run("msleep", 4)
    assert elapsed(k) == 3 * TICK


@pytest.mark.parametrize(
    ("delta", "level"), [(0, 0), (62, 0), (63, 1), (503, 1), (504, 2), (4031, 2), (4032, 3), (63 << 21, 8)]
)
def test_a_timer_of_the_wheel_is_never_early_and_late_by_an_eighth_at_most(delta: int, level: int) -> None:
    for clk in (0, 1, 7, 4294892296):
        fires = bucket_expiry(clk + delta, clk)
        assert clk + delta < fires <= clk + delta + 8**level
        assert fires % 8**level == 0


def test_a_timer_that_is_overdue_fires_at_once() -> None:
    assert bucket_expiry(99, 100) == 100


def test_a_running_task_does_not_sleep(k: FakeHost) -> None:
    assert k.run("schedule_timeout", 5) == 5
    assert elapsed(k) == 0
    k.run("schedule")
    assert k.findings == []


def test_a_negative_timeout_is_told(k: FakeHost) -> None:
    set_task_state(k, 1)
    assert k.run("schedule_timeout", -5) == 0
    assert k.log.records[0].text == "schedule_timeout: wrong timeout value fffffffffffffffb"
    assert (k.dumps, task_state(k)) == (1, 0)


@pytest.mark.parametrize("name", ["schedule", "io_schedule", "schedule_timeout"])
def test_sleeping_without_a_waker_is_a_deadlock(name: str, k: FakeHost) -> None:
    set_task_state(k, 2)
    with pytest.raises(Stuck):
        k.run(name, (1 << 63) - 1)
    assert k.findings == [("deadlock", "no task can go on")]


# Wait queues


@pytest.fixture
def queue(k: FakeHost) -> int:
    head = k.put(b"\xff" * 24)
    k.run("__init_waitqueue_head", head, 0, 0)
    return head


def waiter(k: FakeHost, function: int, *, exclusive: bool = False) -> int:
    entry = k.alloc(40)
    k.mem.set_u32(entry, int(exclusive))
    k.mem.set_u64(entry + 16, function)
    k.mem.set_u64(entry + 24, entry + 24)
    k.mem.set_u64(entry + 32, entry + 24)
    return entry


def members(k: FakeHost, queue: int) -> list[int]:
    from kmem.kapi.lists import entries

    return [link - 24 for link in entries(k, queue + 8)]


def test_waking_calls_every_waiter(queue: int, k: FakeHost) -> None:
    seen: list[tuple[int, ...]] = []
    function = k.guest(lambda *args: seen.append(args) or 1)
    a, b = waiter(k, function), waiter(k, function)
    k.run("add_wait_queue", queue, a)
    k.run("add_wait_queue", queue, b)
    k.run("__wake_up", queue, 3, 1, 77)
    assert seen == [(b, 3, 0, 77), (a, 3, 0, 77)]


def test_one_exclusive_waiter_is_woken(queue: int, k: FakeHost) -> None:
    seen: list[int] = []
    function = k.guest(lambda entry, *rest: seen.append(entry) or 1)
    shared, first, second = (waiter(k, function) for _ in range(3))
    k.run("add_wait_queue_exclusive", queue, first)
    k.run("add_wait_queue_exclusive", queue, second)
    k.run("add_wait_queue", queue, shared)
    k.run("__wake_up", queue, 3, 1, 0)
    assert seen == [shared, first]
    seen.clear()
    k.run("__wake_up", queue, 3, 0, 0)
    assert seen == [shared, first, second]


def test_a_waiter_that_fails_ends_the_wake_up(queue: int, k: FakeHost) -> None:
    seen: list[int] = []
    function = k.guest(lambda entry, *rest: seen.append(entry) or -1)
    for _ in range(2):
        k.run("add_wait_queue", queue, waiter(k, function))
    k.run("__wake_up", queue, 3, 0, 0)
    assert len(seen) == 1


def test_waiting_for_an_event(queue: int, k: FakeHost) -> None:
    entry = k.alloc(40)
    k.run("init_wait_entry", entry, 0)
    assert k.run("prepare_to_wait_event", queue, entry, 1) == 0
    assert (members(k, queue), task_state(k)) == ([entry], 1)
    k.run("__wake_up", queue, 3, 1, 0)
    assert (members(k, queue), task_state(k)) == ([], 0)
    k.run("prepare_to_wait", queue, entry, 2)
    assert (members(k, queue), task_state(k)) == ([entry], 2)
    k.run("finish_wait", queue, entry)
    assert (members(k, queue), task_state(k)) == ([], 0)


def test_prepare_to_wait_exclusive_says_whether_it_is_the_first(queue: int, k: FakeHost) -> None:
    a, b = waiter(k, 0), waiter(k, 0)
    assert k.run("prepare_to_wait_exclusive", queue, a, 1) == 1
    assert k.run("prepare_to_wait_exclusive", queue, b, 1) == 0
    assert members(k, queue) == [a, b]
    k.run("remove_wait_queue", queue, a)
    assert members(k, queue) == [b]


def test_waking_a_task_that_runs_is_nothing(k: FakeHost) -> None:
    assert k.run("wake_up_process", k.current) == 0
    set_task_state(k, 1)
    assert k.run("wake_up_process", k.current) == 1


# Completions


def completion(k: FakeHost) -> int:
    x = k.alloc(32)
    k.run("__init_swait_queue_head", x + 8, 0, 0)
    return x


def test_a_completion_that_is_done_is_consumed(k: FakeHost) -> None:
    x = completion(k)
    k.run("complete", x)
    k.run("complete", x)
    assert k.run("completion_done", x) == 1
    k.run("wait_for_completion", x)
    assert k.run("wait_for_completion_timeout", x, 5) == 5
    assert k.run("try_wait_for_completion", x) == 0
    assert elapsed(k) == 0


def test_complete_all_is_for_ever(k: FakeHost) -> None:
    x = completion(k)
    k.run("complete_all", x)
    k.run("complete", x)
    for _ in range(3):
        assert k.run("wait_for_completion_interruptible", x) == 0
    assert k.mem.u32(x) == UINT_MAX


def test_a_completion_that_nobody_completes_is_a_deadlock(k: FakeHost) -> None:
    x = completion(k)
    assert k.run("wait_for_completion_timeout", x, 25) == 0
    assert elapsed(k) == 26 * TICK
    with pytest.raises(Stuck):
        k.run("wait_for_completion", x)
    assert k.findings == [("deadlock", "no task can go on")]
