"""Read-copy-update."""

from __future__ import annotations

import pytest

from kmem.kapi.host import Stuck
from kmem.kapi.rcu import drain, in_reader, pending
from tests.kapi.fakehost import FakeHost


def head_with(k: FakeHost, before: int = 0) -> int:
    """A ``struct rcu_head`` *before* bytes into an object."""
    return k.mm.allocate(before + 16) + before


def test_readers_nest(k: FakeHost) -> None:
    k.run("__rcu_read_lock")
    k.run("__rcu_read_lock")
    k.run("__rcu_read_unlock")
    assert in_reader(k)
    k.run("__rcu_read_unlock")
    assert not in_reader(k)
    assert k.findings == []


def test_an_unlock_too_many_is_misuse(k: FakeHost) -> None:
    k.run("__rcu_read_unlock")
    assert k.findings == [("api-misuse", "rcu_read_unlock() without rcu_read_lock()")]


def test_callbacks_run_in_order_after_the_grace_period(k: FakeHost) -> None:
    seen: list[int] = []

    def callback(head: int) -> int:
        assert k.context.in_interrupt()
        seen.append(head)
        return 0

    function = k.guest(callback)
    heads = [head_with(k) for _ in range(3)]
    for head in heads:
        k.run("call_rcu", head, function)
    assert pending(k)
    assert seen == []
    assert k.drive(drain(k)) == 3
    assert seen == heads
    assert not pending(k)
    assert k.context.softirq == 0


def test_a_callback_may_queue_another(k: FakeHost) -> None:
    seen: list[int] = []
    second = head_with(k)

    def callback(head: int) -> int:
        seen.append(head)
        if head != second:
            k.run("call_rcu", second, function)
        return 0

    function = k.guest(callback)
    first = head_with(k)
    k.run("call_rcu", first, function)
    assert k.drive(drain(k)) == 2
    assert seen == [first, second]


@pytest.mark.parametrize("name", ["synchronize_rcu", "synchronize_rcu_expedited", "rcu_barrier"])
def test_waiting_runs_what_is_queued(name: str, k: FakeHost) -> None:
    seen: list[int] = []
    k.run("call_rcu", head_with(k), k.guest(lambda head: seen.append(head) or 0))
    k.run(name)
    assert len(seen) == 1


def test_waiting_in_a_reader_is_a_deadlock(k: FakeHost) -> None:
    k.run("__rcu_read_lock")
    with pytest.raises(Stuck):
        k.run("synchronize_rcu")
    message = "synchronize_rcu() in an RCU read-side critical section waits for itself"
    assert k.findings == [("deadlock", message)]


def test_kfree_rcu_frees_the_object_around_the_head(k: FakeHost) -> None:
    head = head_with(k, 24)
    k.run("kvfree_call_rcu", head, 24)
    assert head - 24 in k.mm.live
    k.drive(drain(k))
    assert k.mm.live == {}
    assert ("kvfree", head - 24) in k.mm.calls


def test_kfree_rcu_without_a_head_waits(k: FakeHost) -> None:
    p = k.mm.allocate(64)
    k.run("kvfree_call_rcu", 0, p)
    assert k.mm.live == {}
    assert k.context.asked == ["kvfree_call_rcu kernel/rcu/tree.c:3391"]
