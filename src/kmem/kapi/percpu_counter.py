"""Counters with a part on each CPU (lib/percpu_counter.c), 6.1 and 6.12."""

from __future__ import annotations

from kmem.kapi.errno import ENOMEM
from kmem.kapi.export import data, export, faithful, simplified
from kmem.kapi.fields import at, get, put
from kmem.kapi.host import Host

_NOBODY = simplified("no CPU ever goes, so that the list of all counters is not kept; nobody else is at the counter")
_COUNTER = "percpu_counter"

data("percpu_counter_batch", 4, (32).to_bytes(4, "little"), align=4, doc="How far a CPU's part goes, at least 32.")


def _parts(k: Host, fbc: int) -> list[int]:
    """Where each CPU's part is."""
    counters = get(k, _COUNTER, fbc, "counters")
    return [k.mm.per_cpu_ptr(counters, cpu) for cpu in range(k.nr_cpus)]


def _count(k: Host, fbc: int) -> int:
    count = get(k, _COUNTER, fbc, "count")
    return count - (1 << 64) if count >> 63 else count


def _init(k: Host, fbc: int, amount: int, counters: int) -> None:
    put(k, _COUNTER, fbc, "lock", 0)
    put(k, _COUNTER, fbc, "count", amount)
    own = at(k, _COUNTER, fbc, "list")
    k.mem.write(own, own.to_bytes(8, "little") * 2)
    put(k, _COUNTER, fbc, "counters", counters)


@export(_NOBODY)
def __percpu_counter_init(k: Host, fbc: int, amount: int, gfp: int, key: int) -> int:
    """``int __percpu_counter_init(struct percpu_counter *fbc, s64 amount, gfp_t gfp, struct lock_class_key *key)``

    lib/percpu_counter.c, 6.1. -ENOMEM.
    """
    return __percpu_counter_init_many(k, fbc, amount, gfp, 1, key)


@export(_NOBODY)
def __percpu_counter_init_many(k: Host, fbc: int, amount: int, gfp: int, nr_counters: int, key: int) -> int:
    """``int __percpu_counter_init_many(struct percpu_counter *fbc, s64 amount, gfp_t gfp, u32 nr_counters, struct
    lock_class_key *key)``

    lib/percpu_counter.c, 6.12. Several counters, whose parts lie beside each other. -ENOMEM.
    """
    apart = 4 if nr_counters == 1 else 8
    counters = k.mm.alloc_percpu(nr_counters * apart, apart, gfp)
    if not counters:
        put(k, _COUNTER, fbc, "counters", 0)
        return -ENOMEM
    for number in range(nr_counters):
        _init(k, fbc + number * k.layout[_COUNTER].size, amount, counters + number * apart)
    return 0


@export(_NOBODY)
def percpu_counter_destroy(k: Host, fbc: int) -> None:
    """``void percpu_counter_destroy(struct percpu_counter *fbc)``

    lib/percpu_counter.c, 6.1. One that was not initialised is left alone.
    """
    percpu_counter_destroy_many(k, fbc, 1)


@export(_NOBODY)
def percpu_counter_destroy_many(k: Host, fbc: int, nr_counters: int) -> None:
    """``void percpu_counter_destroy_many(struct percpu_counter *fbc, u32 nr_counters)``

    lib/percpu_counter.c, 6.12.
    """
    counters = get(k, _COUNTER, fbc, "counters")
    if not counters:
        return
    k.mm.free_percpu(counters)
    for number in range(nr_counters):
        put(k, _COUNTER, fbc + number * k.layout[_COUNTER].size, "counters", 0)


@export(faithful)
def percpu_counter_set(k: Host, fbc: int, amount: int) -> None:
    """``void percpu_counter_set(struct percpu_counter *fbc, s64 amount)``

    lib/percpu_counter.c, 6.1.
    """
    for part in _parts(k, fbc):
        k.mem.set_u32(part, 0)
    put(k, _COUNTER, fbc, "count", amount)


@export(faithful)
def percpu_counter_add_batch(k: Host, fbc: int, amount: int, batch: int) -> None:
    """``void percpu_counter_add_batch(struct percpu_counter *fbc, s64 amount, s32 batch)``

    lib/percpu_counter.c, 6.1. A CPU's part that reaches *batch* goes into the counter itself.
    """
    part = _parts(k, fbc)[k.cpu]
    count = k.mem.s32(part) + amount
    if abs(count) >= batch:
        put(k, _COUNTER, fbc, "count", _count(k, fbc) + count)
        count = 0
    k.mem.set_u32(part, count & 0xFFFFFFFF)


@export(faithful)
def __percpu_counter_sum(k: Host, fbc: int) -> int:
    """``s64 __percpu_counter_sum(struct percpu_counter *fbc)``

    lib/percpu_counter.c, 6.1.
    """
    return _count(k, fbc) + sum(k.mem.s32(part) for part in _parts(k, fbc))


@export(faithful)
def percpu_counter_sync(k: Host, fbc: int) -> None:
    """``void percpu_counter_sync(struct percpu_counter *fbc)``

    lib/percpu_counter.c, 6.1. This CPU's part goes into the counter.
    """
    part = _parts(k, fbc)[k.cpu]
    put(k, _COUNTER, fbc, "count", _count(k, fbc) + k.mem.s32(part))
    k.mem.set_u32(part, 0)


@export(faithful)
def __percpu_counter_compare(k: Host, fbc: int, rhs: int, batch: int) -> int:
    """``int __percpu_counter_compare(struct percpu_counter *fbc, s64 rhs, s32 batch)``

    lib/percpu_counter.c, 6.1. 1, 0 or -1; exactly where the rough count cannot tell.
    """
    count = _count(k, fbc)
    if abs(count - rhs) <= batch * k.nr_cpus:
        count = __percpu_counter_sum(k, fbc)
    return (count > rhs) - (count < rhs)
