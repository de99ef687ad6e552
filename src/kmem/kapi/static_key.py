"""Static keys (kernel/jump_label.c, arch/x86/kernel/jump_label.c), 6.1: counts, and branches patched into code.

A module has {code, target, key} for each branch in its ``__jump_table``; whether that is a jump or a NOP follows from
what the key says now against what the branch was built for.
"""

from __future__ import annotations

from collections.abc import Iterator

from kmem.kapi.export import export, faithful, family, simplified
from kmem.kapi.fields import get
from kmem.kapi.host import Host

ENTRY_SIZE = 16
NOPS = {2: b"\x66\x90", 5: b"\x0f\x1f\x44\x00\x00"}
"""What objtool leaves for a jump that is not taken."""
_MODULES = simplified("branches in code of modules; the kernel's own read the count")


def _count(k: Host, key: int) -> int:
    return k.mem.s32(key)


def _branches(k: Host, module: int) -> Iterator[tuple[int, int, int, int]]:
    """(code, target, key, its bits) of each branch in a ``struct module``."""
    first, count = get(k, "module", module, "jump_entries"), get(k, "module", module, "num_jump_entries")
    for entry in range(first, first + count * ENTRY_SIZE, ENTRY_SIZE):
        key = entry + 8 + k.mem.s64(entry + 8)
        yield entry + k.mem.s32(entry), entry + 4 + k.mem.s32(entry + 4), key & ~3, key & 3


def _instruction(k: Host, code: int, target: int, jump: bool) -> bytes:
    """The jump to *target* or the NOP, as long as what is there."""
    size = 2 if k.mem.read(code, 2) in (NOPS[2], b"\xeb" + k.mem.read(code + 1, 1)) else 5
    if not jump:
        return NOPS[size]
    opcode = b"\xeb" if size == 2 else b"\xe9"
    return opcode + (target - code - size).to_bytes(size - 1, "little", signed=True)


def patch(k: Host, module: int, only: int = 0) -> None:
    """``jump_label_update()`` of the branches in one module: of the key *only*, or, when it is loaded, of all keys of
    modules. In init code, too, until it is freed.
    """
    for code, target, key, bits in _branches(k, module):
        if (key == only if only else k.owner_of(key)) and k.owner_of(code) == module:
            wanted = _instruction(k, code, target, (_count(k, key) > 0) != bool(bits & 1))
            if k.mem.read(code, len(wanted)) != wanted:
                k.poke_text(code, wanted)


def _update(k: Host, key: int) -> None:
    for module in k.loaded_modules():
        patch(k, module, key)


@export(faithful)
def static_key_count(k: Host, key: int) -> int:
    """``int static_key_count(struct static_key *key)``

    kernel/jump_label.c, 6.1.
    """
    return abs(_count(k, key))


def _declare() -> None:
    where = "kernel/jump_label.c, 6.1."

    def change(k: Host, key: int, count: int) -> None:
        before = _count(k, key)
        k.mem.set_u32(key, count)
        if (before > 0) != (count > 0):
            _update(k, key)

    def more(k: Host, key: int) -> None:
        change(k, key, _count(k, key) + 1)

    def less(k: Host, key: int) -> None:
        change(k, key, max(_count(k, key) - 1, 0))

    def enable(k: Host, key: int) -> None:
        if _count(k, key) > 0:
            if _count(k, key) != 1:
                k.warn(FILE, 200, "static_key_enable_cpuslocked", once=True)
            return
        change(k, key, 1)

    def disable(k: Host, key: int) -> None:
        if _count(k, key) != 1:
            if _count(k, key):
                k.warn(FILE, 231, "static_key_disable_cpuslocked", once=True)
            return
        change(k, key, 0)

    family(_MODULES, "void static_key_slow_inc(struct static_key *key)", where, more)
    family(_MODULES, "void static_key_slow_dec(struct static_key *key)", where, less)
    for stem in ("enable", "enable_cpuslocked"):
        family(_MODULES, f"void static_key_{stem}(struct static_key *key)", where, lambda k, key: enable(k, key))
    for stem in ("disable", "disable_cpuslocked"):
        family(_MODULES, f"void static_key_{stem}(struct static_key *key)", where, lambda k, key: disable(k, key))


FILE = "kernel/jump_label.c"
_declare()
