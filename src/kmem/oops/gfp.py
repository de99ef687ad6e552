"""GFP masks by the kernel release that printed them: the bits moved five times between 2.6.12 and 6.18."""

from __future__ import annotations

from kmem.abi.flags import format_flags, parse_flags
from kmem.abi.gfp import decode as decode_modern
from kmem.errors import KmemError

_OLD = {
    "GFP_HIGHUSER_MOVABLE": 0x200DA,
    "GFP_HIGHUSER": 0x200D2,
    "GFP_USER": 0x200D0,
    "GFP_KERNEL": 0xD0,
    "GFP_NOFS": 0x50,
    "GFP_ATOMIC": 0x20,
    "GFP_NOIO": 0x10,
    "__GFP_DMA": 0x1,
    "__GFP_HIGHMEM": 0x2,
    "__GFP_DMA32": 0x4,
    "__GFP_MOVABLE": 0x8,
    "__GFP_WAIT": 0x10,
    "__GFP_HIGH": 0x20,
    "__GFP_IO": 0x40,
    "__GFP_FS": 0x80,
    "__GFP_COLD": 0x100,
    "__GFP_NOWARN": 0x200,
    "__GFP_REPEAT": 0x400,
    "__GFP_NOFAIL": 0x800,
    "__GFP_NORETRY": 0x1000,
    "__GFP_MEMALLOC": 0x2000,
    "__GFP_COMP": 0x4000,
    "__GFP_ZERO": 0x8000,
    "__GFP_NOMEMALLOC": 0x10000,
    "__GFP_HARDWALL": 0x20000,
    "__GFP_THISNODE": 0x40000,
    "__GFP_RECLAIMABLE": 0x80000,
    "__GFP_KMEMCG": 0x100000,
    "__GFP_NOTRACK": 0x200000,
    "__GFP_NO_KSWAPD": 0x400000,
    "__GFP_OTHER_NODE": 0x800000,
    "__GFP_WRITE": 0x1000000,
}
"""2.6.x to 4.3."""


def _middle(direct: int, kswapd: int, account: int, atomic: int, extra: dict[str, int]) -> dict[str, int]:
    reclaim = direct | kswapd
    return {
        "GFP_HIGHUSER_MOVABLE": reclaim | 0x200CA,
        "GFP_HIGHUSER": reclaim | 0x200C2,
        "GFP_KERNEL_ACCOUNT": reclaim | account | 0xC0,
        "GFP_USER": reclaim | 0x200C0,
        "GFP_KERNEL": reclaim | 0xC0,
        "GFP_NOFS": reclaim | 0x40,
        "GFP_ATOMIC": kswapd | atomic | 0x20,
        "GFP_NOIO": reclaim,
        "__GFP_DMA": 0x1,
        "__GFP_HIGHMEM": 0x2,
        "__GFP_DMA32": 0x4,
        "__GFP_MOVABLE": 0x8,
        "__GFP_RECLAIMABLE": 0x10,
        "__GFP_HIGH": 0x20,
        "__GFP_IO": 0x40,
        "__GFP_FS": 0x80,
        "__GFP_NOWARN": 0x200,
        "__GFP_RETRY_MAYFAIL": 0x400,
        "__GFP_NOFAIL": 0x800,
        "__GFP_NORETRY": 0x1000,
        "__GFP_MEMALLOC": 0x2000,
        "__GFP_COMP": 0x4000,
        "__GFP_ZERO": 0x8000,
        "__GFP_NOMEMALLOC": 0x10000,
        "__GFP_HARDWALL": 0x20000,
        "__GFP_THISNODE": 0x40000,
        "__GFP_ATOMIC": atomic,
        "__GFP_ACCOUNT": account,
        "__GFP_DIRECT_RECLAIM": direct,
        "__GFP_KSWAPD_RECLAIM": kswapd,
        **extra,
    }


_4_4 = _middle(
    0x400000,
    0x2000000,
    0x100000,
    0x80000,
    {"__GFP_COLD": 0x100, "__GFP_NOTRACK": 0x200000, "__GFP_OTHER_NODE": 0x800000, "__GFP_WRITE": 0x1000000},
)
_4_12 = _middle(
    0x400000, 0x1000000, 0x100000, 0x80000, {"__GFP_COLD": 0x100, "__GFP_NOTRACK": 0x200000, "__GFP_WRITE": 0x800000}
)
_4_17 = _middle(0x200000, 0x400000, 0x100000, 0x80000, {"__GFP_WRITE": 0x800000})
_ERAS = (((4, 4), _OLD), ((4, 12), _4_4), ((4, 17), _4_12), ((5, 0), _4_17))


def _table(version: tuple[int, int]) -> dict[str, int] | None:
    return next((table for before, table in _ERAS if version < before), None)


def known(version: tuple[int, int]) -> bool:
    """Whether the release is known well enough to decode a mask."""
    return version != (0, 0)


def names(mask: int, version: tuple[int, int]) -> str:
    """*mask* in the kernel's names, by the table of release *version*."""
    table = _table(version)
    if table is None:
        text = decode_modern(mask)
        # GFP_ATOMIC lost its own bit in 6.3.
        if version >= (6, 3) and mask & 0x820 == 0x820 and "__GFP_HIGH" in text:
            rest = decode_modern(mask & ~0x820) if mask & ~0x820 else ""
            text = "GFP_ATOMIC" + (f"|{rest}" if rest else "")
        return text
    return format_flags(mask, table) or "none"


def _modern_value(text: str) -> int:
    try:
        return parse_flags(
            text, {"GFP_KERNEL": 0xCC0, "GFP_ATOMIC": 0xA20, "GFP_NOFS": 0xC40, "GFP_NOIO": 0xC00, "GFP_NOWAIT": 0x800}
        )
    except KmemError:
        return 0


def may_sleep(mask: int, version: tuple[int, int]) -> bool:
    """Whether an allocation with *mask* may wait for memory."""
    table = _table(version)
    if table is None:
        return bool(mask & 0x400)
    return bool(mask & table.get("__GFP_DIRECT_RECLAIM", table.get("__GFP_WAIT", 0)))


def usual(value: int, version: tuple[int, int]) -> str:
    """The name of *value* when it is one of the masks that drivers pass; else empty. For guessing at registers."""
    table = _table(version)
    for name in ("GFP_KERNEL", "GFP_ATOMIC", "GFP_NOFS", "GFP_NOIO"):
        mask = _modern_value(name) if table is None else table[name]
        zero = 0x100 if table is None else table["__GFP_ZERO"]
        if name == "GFP_NOIO" and mask < 0x20:
            continue
        if value == mask:
            return name
        if value == mask | zero:
            return f"{name}|__GFP_ZERO"
    return ""
