"""What a boot can choose: size, CPUs, hardening, debugging. Values are facts of a configuration, not code paths."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from kmem.abi.slab_flags import DEBUG_DEFAULT_FLAGS, SLUB_DEBUG_LETTERS
from kmem.errors import UsageError

CONFIGS = ("plain", "debian", "debug")
"""``plain``: no hardening; ``debian``: hardened and shuffled free lists, init_on_alloc; ``debug``: debian with
slub_debug=FZPU.
"""


@dataclass(frozen=True, slots=True)
class BootConfig:
    """One boot. *slub_debug* maps a cache name (``*`` at the end allowed, empty for all) to SLAB_* flags."""

    release: str = "6.1"
    config: str = "debian"
    ram: int = 512 << 20
    cpus: int = 2
    nodes: int = 1
    seed: int = 0
    hardened: bool = True
    freelist_random: bool = True
    init_on_alloc: bool = True
    init_on_free: bool = False
    slab_nomerge: bool = False
    slub_debug: dict[str, int] = field(default_factory=dict)
    slub_min_order: int = 0
    slub_max_order: int = 3
    slub_min_objects: int = 0
    no_hash_pointers: bool = False

    def debug_flags(self, name: str) -> int:
        """``kmem_cache_flags()``: the debug flags that the command line gives a cache of this name."""
        everybody = self.slub_debug.get("", 0)
        for pattern, flags in self.slub_debug.items():
            if pattern and (name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern):
                return flags
        return everybody


def parse_slub_debug(text: str) -> dict[str, int]:
    """``slub_debug=`` as on a kernel command line: letters, then cache names; blocks separated by ``;`` (mm/slub.c)."""
    found: dict[str, int] = {}
    for block in text.split(";"):
        letters, *names = block.split(",")
        unknown = [letter for letter in letters if letter.upper() not in SLUB_DEBUG_LETTERS and letter != "-"]
        if unknown:
            raise UsageError(
                f"slub_debug option {unknown[0]!r} is unknown",
                remedy=f"use letters out of {''.join(sorted(SLUB_DEBUG_LETTERS))}, as in slub_debug=FZPU,kmalloc-64",
            )
        flags = 0
        for letter in letters:
            flags |= SLUB_DEBUG_LETTERS.get(letter.upper(), 0)
        if not letters:
            flags = DEBUG_DEFAULT_FLAGS
        for name in names or [""]:
            found[name] = flags
    return found


def configuration(config: str = "debian", **changes: object) -> BootConfig:
    """The named configuration with *changes*; UsageError for a name that is not one of CONFIGS or sizes that cannot
    boot.
    """
    if config not in CONFIGS:
        raise UsageError(f"there is no configuration {config!r}", remedy=f"choose one of {', '.join(CONFIGS)}")
    base = BootConfig(config=config)
    if config == "plain":
        base = replace(base, hardened=False, freelist_random=False, init_on_alloc=False)
    elif config == "debug":
        base = replace(base, slub_debug={"": DEBUG_DEFAULT_FLAGS})
    made = replace(base, **changes)  # type: ignore[arg-type]
    if made.ram < 96 << 20 or made.ram > 4 << 40:
        raise UsageError(f"{made.ram >> 20} MiB of RAM cannot be booted", remedy="choose between 96M and 4T")
    if not 1 <= made.cpus <= 64:
        raise UsageError(f"{made.cpus} CPUs cannot be booted", remedy="choose between 1 and 64")
    return made
