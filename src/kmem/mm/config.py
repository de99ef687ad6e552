"""What a boot can choose: size, CPUs, hardening, debugging. Values are facts of a configuration, not code paths."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from kmem.abi.slab_flags import slab_flags
from kmem.errors import UsageError
from kmem.mm.cmdline import parse
from kmem.mm.mm_types import MAX_NODES

LARGEST_RAM = 1022 << 30
"""What the emulated CPU's 40 address lines reach, less the hole below 4 GiB, in bytes."""
SMALLEST_RAM, SMALLEST_NODE = 96 << 20, 64 << 20

CONFIGS = ("plain", "debian", "debug")
"""``plain``: no hardening; ``debian``: hardened and shuffled free lists, init_on_alloc; ``debug``: debian with
slub_debug=FZPU.
"""


@dataclass(frozen=True, slots=True)
class BootConfig:
    """One boot. *slub_debug* maps a cache name (``*`` at the end allowed, empty for all others) to SLAB_* flags.

    *slub_tiny* is a kernel built with CONFIG_SLUB_TINY, *slub_cpu_partial* False one without CONFIG_SLUB_CPU_PARTIAL.
    *boot_log* and *notes* are what the command line gave rise to (`kmem.mm.cmdline.CommandLine`).
    """

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
    disable_higher_order_debug: bool = False
    slub_cpu_partial: bool = True
    slub_tiny: bool = False
    shuffle_page_alloc: bool = False
    min_free_kbytes: int = -1
    watermark_scale_factor: int = 10
    watermark_boost_factor: int = 15000
    cmdline: str = ""
    boot_log: tuple[tuple[int, str], ...] = ()
    notes: tuple[str, ...] = ()

    def kmem_cache_flags(self, name: str, flags: int) -> int:
        """``kmem_cache_flags()``: the flags of a cache of this name, with what the command line adds."""
        f = slab_flags(self.release)
        if flags & f.SLAB_NO_USER_FLAGS:
            return flags
        for pattern, block in self.slub_debug.items():
            prefix, glob, _ = pattern.partition("*")
            if pattern and (name.startswith(prefix) if glob else name == pattern):
                return flags | block
        everybody = self.slub_debug.get("", 0)
        return flags | (everybody & ~f.SLAB_STORE_USER if flags & f.SLAB_NOLEAKTRACE else everybody)


def configuration(config: str = "debian", *, cmdline: str = "", **changes: object) -> BootConfig:
    """The named configuration with *cmdline*, then *changes*; UsageError for a name that is not one of CONFIGS or
    sizes that cannot boot.
    """
    if config not in CONFIGS:
        raise UsageError(f"there is no configuration {config!r}", remedy=f"choose one of {', '.join(CONFIGS)}")
    base = BootConfig(config=config)
    release = str(changes.get("release", base.release))
    if config == "plain":
        base = replace(base, hardened=False, freelist_random=False, init_on_alloc=False)
    elif config == "debug":
        base = replace(base, slub_debug={"": slab_flags(release).DEBUG_DEFAULT_FLAGS})
    if changes.get("slub_tiny"):
        base = replace(base, hardened=False, freelist_random=False, slub_cpu_partial=False, slub_max_order=1)
    line = parse(cmdline, {"shuffle": config != "plain"}, release)
    made = replace(base, cmdline=cmdline, boot_log=tuple(line.log), notes=tuple(line.notes), **line.settings)
    made = replace(made, **changes)  # type: ignore[arg-type]
    if made.slub_tiny and made.slub_debug:
        raise UsageError("SLUB_TINY has no slub_debug", remedy="choose one of the two, and not --config debug")
    if made.ram % (2 << 20) or not SMALLEST_RAM <= made.ram <= LARGEST_RAM:
        raise UsageError(
            f"{made.ram} bytes of RAM cannot be simulated", remedy="choose a multiple of 2M between 96M and 1022G"
        )
    if not 1 <= made.nodes <= MAX_NODES:
        raise UsageError(f"{made.nodes} nodes cannot be booted", remedy=f"choose between 1 and {MAX_NODES}")
    if made.nodes > 1 and made.ram // made.nodes < SMALLEST_NODE:
        raise UsageError(
            f"{made.ram >> 20} MiB of RAM are too little for {made.nodes} nodes", remedy="give each node 64M or more"
        )
    if not 1 <= made.cpus <= 64:
        raise UsageError(f"{made.cpus} CPUs cannot be booted", remedy="choose between 1 and 64")
    return made
