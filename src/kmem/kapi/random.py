"""Random numbers (drivers/char/random.c, lib/random32.c), 6.1: from the seeded generator of the machine, so runs are
alike."""

from __future__ import annotations

from kmem.kapi.export import export, faithful, simplified
from kmem.kapi.host import Host

_SEEDED = simplified("a seeded generator: the same run gives the same numbers")
_MASK32 = 0xFFFFFFFF


@export(_SEEDED)
def get_random_bytes(k: Host, buf: int, len_: int) -> None:
    """``void get_random_bytes(void *buf, size_t len)``

    drivers/char/random.c, 6.1.
    """
    if len_:
        k.mem.write(buf, k.random.randbytes(len_))


@export(_SEEDED)
def get_random_u8(k: Host) -> int:
    """``u8 get_random_u8(void)``

    drivers/char/random.c, 6.1.
    """
    return k.random.getrandbits(8)


@export(_SEEDED)
def get_random_u16(k: Host) -> int:
    """``u16 get_random_u16(void)``

    drivers/char/random.c, 6.1.
    """
    return k.random.getrandbits(16)


@export(_SEEDED)
def get_random_u32(k: Host) -> int:
    """``u32 get_random_u32(void)``

    drivers/char/random.c, 6.1.
    """
    return k.random.getrandbits(32)


@export(_SEEDED)
def get_random_u64(k: Host) -> int:
    """``u64 get_random_u64(void)``

    drivers/char/random.c, 6.1.
    """
    return k.random.getrandbits(64)


@export(_SEEDED)
def __get_random_u32_below(k: Host, ceil: int) -> int:
    """``u32 __get_random_u32_below(u32 ceil)``

    drivers/char/random.c, 6.1. Below *ceil*; any number for 0.
    """
    return k.random.randrange(ceil or 1 << 32)


@export(faithful)
def prandom_u32_state(k: Host, state: int) -> int:
    """``u32 prandom_u32_state(struct rnd_state *state)``

    lib/random32.c, 6.1. The Tausworthe generator taus113, of four words.
    """
    result = 0
    for index, (a, b, c, d) in enumerate(
        ((6, 13, 0xFFFFFFFE, 18), (2, 27, 0xFFFFFFF8, 2), (13, 21, 0xFFFFFFF0, 7), (3, 12, 0xFFFFFF80, 13))
    ):
        word = k.mem.u32(state + 4 * index)
        word = ((word & c) << d & _MASK32) ^ ((word << a & _MASK32) ^ word) >> b
        k.mem.set_u32(state + 4 * index, word)
        result ^= word
    return result


@export(faithful)
def prandom_bytes_state(k: Host, state: int, buf: int, bytes_: int) -> None:
    """``void prandom_bytes_state(struct rnd_state *state, void *buf, size_t bytes)``

    lib/random32.c, 6.1.
    """
    words = b"".join(prandom_u32_state(k, state).to_bytes(4, "little") for _ in range(0, bytes_, 4))
    if bytes_:
        k.mem.write(buf, words[:bytes_])
