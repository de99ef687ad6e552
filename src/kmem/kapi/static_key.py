"""Static keys (kernel/jump_label.c), 6.1: the count that a module reads; code is not patched."""

from __future__ import annotations

from kmem.kapi.export import export, family, simplified
from kmem.kapi.host import Host

_UNPATCHED = simplified("the count is kept; branches in code stay as they were built")


def _count(k: Host, key: int) -> int:
    return k.mem.s32(key)


@export(_UNPATCHED)
def static_key_count(k: Host, key: int) -> int:
    """``int static_key_count(struct static_key *key)``

    kernel/jump_label.c, 6.1.
    """
    return abs(_count(k, key))


def _declare() -> None:
    where = "kernel/jump_label.c, 6.1."

    def more(k: Host, key: int) -> None:
        k.mem.set_u32(key, _count(k, key) + 1)

    def less(k: Host, key: int) -> None:
        k.mem.set_u32(key, max(_count(k, key) - 1, 0))

    def enable(k: Host, key: int) -> None:
        k.mem.set_u32(key, max(_count(k, key), 1))

    def disable(k: Host, key: int) -> None:
        k.mem.set_u32(key, 0)

    family(_UNPATCHED, "void static_key_slow_inc(struct static_key *key)", where, more)
    family(_UNPATCHED, "void static_key_slow_dec(struct static_key *key)", where, less)
    for stem in ("enable", "enable_cpuslocked"):
        family(_UNPATCHED, f"void static_key_{stem}(struct static_key *key)", where, lambda k, key: enable(k, key))
    for stem in ("disable", "disable_cpuslocked"):
        family(_UNPATCHED, f"void static_key_{stem}(struct static_key *key)", where, lambda k, key: disable(k, key))


_declare()
