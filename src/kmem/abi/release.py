"""A modelled kernel release as data: its names, its addresses, its constants, its configuration, its features.

The data are ``releases/<release>.toml``. Code asks for a feature ("max-order-exclusive" in release.features), never for
a version number.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

from kmem.abi.data import read

MODEL = os.environ.get("KMEM_RELEASE", "6.1")
"""The release that model code is compiled with, or interpreted with. Everything else takes the release of a boot."""

ConfigValue = bool | int | str


@dataclass(frozen=True, eq=False, repr=False)
class AddressMap:
    """Virtual addresses of x86-64 with 4-level page tables and no KASLR (Documentation/x86/x86_64/mm.rst).

    Ends are exclusive.
    """

    page_offset: int
    page_offset_end: int
    vmalloc_start: int
    vmalloc_end: int
    vmemmap_start: int
    vmemmap_end: int
    cpu_entry_area: int
    espfix: int
    efi_start: int
    efi_end: int
    start_kernel_map: int
    text: int
    text_end: int
    image_end: int
    modules_vaddr: int
    modules_end: int
    fixaddr_top: int
    vsyscall: int
    ldt_base: int
    guard_hole: int
    guard_hole_end: int
    task_size_max: int
    first_module: int


@dataclass(frozen=True)
class PageFlagField:
    """A field in the upper bits of page->flags; `base` is the radix that %pGp prints it in."""

    name: str
    shift: int
    width: int
    base: int


@dataclass(frozen=True, eq=False, repr=False)
class Release:
    """One kernel release. `name` is what users say ("6.1"); all mappings are read-only."""

    name: str
    version: str
    """``uname -r``."""
    build: str
    """``uname -v``."""
    machine: str
    """``uname -m``."""
    linux_banner: str
    """The first line of dmesg, without its time stamp."""
    oops_version: str
    """What follows the taint flags in the "CPU: 0 PID: 97 Comm: …" line of a report."""
    oops_options: str
    """What follows "[#1]" in the first line of an oops."""
    hardware: str
    """What follows "Hardware name: " in a report."""
    vermagic: str
    """The vermagic of a module that this kernel loads, with its trailing blank."""
    vermagic_tail: str
    """`vermagic` without the version: what is compared for a module with CRCs (``same_magic``, kernel/module)."""
    taint_letters: str
    """Letters of the taint flags by bit number; a clear bit prints a blank, but bit 0 prints "G"."""
    addresses: AddressMap
    constants: Mapping[str, int]
    """C constants by their C name."""
    config: Mapping[str, ConfigValue]
    """Debian's configuration: CONFIG_ names; False when not set."""
    configs: Mapping[str, Mapping[str, ConfigValue]]
    """`config` as each of kmem's configurations (debian, plain, debug) changes it; slub_debug as a pseudo-option."""
    zones: tuple[str, ...]
    """Names of the zones (zone_names, mm/page_alloc.c) in the order of enum zone_type."""
    migratetypes: tuple[str, ...]
    """Names of the migrate types (migratetype_names, mm/page_alloc.c) in the order of enum migratetype."""
    kmalloc_types: tuple[str, ...]
    """Prefixes of the kmalloc caches in the order of enum kmalloc_cache_type: kmalloc, kmalloc-cg, …"""
    kmalloc_sizes: tuple[int, ...]
    """Object size by index of kmalloc_caches[type]; 0 where there is no cache."""
    slab_flags: Mapping[str, int]
    page_flag_fields: tuple[PageFlagField, ...]
    features: frozenset[str]
    places: Mapping[str, tuple[str, int, str, bool]]
    """Where the mm warns and stops, by the name in kmem.mm.places: file, line, function, only once."""


@cache
def release(name: str) -> Release:
    """The release called `name` ("6.1"). Raises UsageError for one that is not modelled."""
    import tomllib

    raw = tomllib.loads(read(name, "toml"))
    config = _read_only(raw["config"])
    configs = {kind: _read_only({**config, **changes}) for kind, changes in raw["configs"].items()}
    return Release(
        name=name,
        **raw["names"],
        addresses=AddressMap(**raw["addresses"]),
        constants=_read_only(_page_blocks(raw["constants"])),
        config=config,
        configs=MappingProxyType(configs),
        zones=tuple(raw["mm"]["zones"]),
        migratetypes=tuple(raw["mm"]["migratetypes"]),
        kmalloc_types=tuple(raw["mm"]["kmalloc_types"]),
        kmalloc_sizes=tuple(raw["mm"]["kmalloc_sizes"]),
        slab_flags=_read_only(raw["slab_flags"]),
        page_flag_fields=tuple(PageFlagField(*row) for row in raw["mm"]["page_flag_fields"]),
        features=frozenset(raw["mm"]["features"]),
        places=_read_only({name: tuple(where) for name, where in raw.get("places", {}).items()}),
    )


PAGEBLOCK_ORDER = "KMEM_PAGEBLOCK_ORDER"
"""A variable of the environment: the order of page blocks of a kernel that was built with another one."""


def _page_blocks(constants: dict[str, Any]) -> dict[str, Any]:
    """The constants with the order of page blocks that the environment asks for."""
    order = os.environ.get(PAGEBLOCK_ORDER, "")
    if not order.isdecimal() or not 4 <= int(order) <= 10:
        return constants
    return {**constants, "pageblock_order": int(order), "pageblock_nr_pages": 1 << int(order)}


def _read_only(table: dict[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(table)
