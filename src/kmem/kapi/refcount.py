"""Reference counts (lib/refcount.c), 6.1: what the inlines call when a count goes wrong, and the conditional
decrements."""

from __future__ import annotations

from kmem.kapi.export import export, faithful
from kmem.kapi.host import Guest, Host
from kmem.kapi.mutex import mutex_lock, mutex_unlock
from kmem.kapi.spinlock import LOCKS, spin_lock, spin_unlock

FILE = "lib/refcount.c"
SATURATED = 0xC0000000
"""REFCOUNT_SATURATED, INT_MIN / 2 as an unsigned number."""

_EVENTS = (
    (19, "saturated; leaking memory"),
    (22, "saturated; leaking memory"),
    (25, "addition on 0; use-after-free"),
    (28, "underflow; use-after-free"),
    (31, "decrement hit 0; leaking memory"),
)


@export(faithful)
def refcount_warn_saturate(k: Host, r: int, t: int) -> None:
    """``void refcount_warn_saturate(refcount_t *r, enum refcount_saturation_type t)``

    lib/refcount.c, 6.1. Saturates the count and warns once for each kind.
    """
    k.mem.set_u32(r, SATURATED)
    line, event = _EVENTS[t] if t < len(_EVENTS) else (34, "unknown saturation event!?")
    k.warn(FILE, line, "refcount_warn_saturate", f"refcount_t: {event}.", once=True)


@export(faithful)
def refcount_dec_if_one(k: Host, r: int) -> bool:
    """``bool refcount_dec_if_one(refcount_t *r)``

    lib/refcount.c, 6.1. Only from 1 to 0.
    """
    if k.mem.u32(r) != 1:
        return False
    k.mem.set_u32(r, 0)
    return True


@export(faithful)
def refcount_dec_not_one(k: Host, r: int) -> bool:
    """``bool refcount_dec_not_one(refcount_t *r)``

    lib/refcount.c, 6.1. False, and nothing done, at 1.
    """
    value = k.mem.u32(r)
    if value == SATURATED:
        return True
    if value == 1:
        return False
    if not value:
        k.warn(FILE, 87, "refcount_dec_not_one", "refcount_t: underflow; use-after-free.", once=True)
        return True
    k.mem.set_u32(r, value - 1)
    return True


def _dec_and_test(k: Host, r: int) -> bool:
    """``refcount_dec_and_test()``."""
    old = k.mem.s32(r)
    k.mem.set_u32(r, old - 1 & 0xFFFFFFFF)
    if old == 1:
        return True
    if old <= 0:
        refcount_warn_saturate(k, r, 3)
    return False


@export(LOCKS)
def refcount_dec_and_mutex_lock(k: Host, r: int, lock: int) -> bool | Guest:
    """``bool refcount_dec_and_mutex_lock(refcount_t *r, struct mutex *lock)``

    lib/refcount.c, 6.1. True, with the mutex held, if the count became 0.
    """
    if refcount_dec_not_one(k, r):
        return False
    waiting = mutex_lock(k, lock)
    return _locked(k, r, lock) if isinstance(waiting, int) else _locked_later(k, r, lock, waiting)


def _locked(k: Host, r: int, lock: int) -> bool:
    if _dec_and_test(k, r):
        return True
    mutex_unlock(k, lock)
    return False


def _locked_later(k: Host, r: int, lock: int, waiting: Guest) -> Guest:
    yield from waiting
    return _locked(k, r, lock)


@export(faithful)
def refcount_dec_and_lock(k: Host, r: int, lock: int) -> Guest:
    """``bool refcount_dec_and_lock(refcount_t *r, spinlock_t *lock)``

    lib/refcount.c, 6.1. True, with the lock held, if the count became 0.
    """
    if refcount_dec_not_one(k, r):
        return 0
    waiting = spin_lock(k, lock)
    if not isinstance(waiting, int):
        yield from waiting
    if _dec_and_test(k, r):
        return 1
    spin_unlock(k, lock)
    return 0


@export(faithful)
def _atomic_dec_and_lock(k: Host, atomic: int, lock: int) -> Guest:
    """``int _atomic_dec_and_lock(atomic_t *atomic, spinlock_t *lock)``

    lib/dec_and_lock.c, 6.1. True, with the lock held, if the number became 0.
    """
    if k.mem.s32(atomic) != 1:
        k.mem.set_u32(atomic, k.mem.u32(atomic) - 1 & 0xFFFFFFFF)
        return 0
    waiting = spin_lock(k, lock)
    if not isinstance(waiting, int):
        yield from waiting
    left = k.mem.u32(atomic) - 1 & 0xFFFFFFFF
    k.mem.set_u32(atomic, left)
    if not left:
        return 1
    spin_unlock(k, lock)
    return 0
