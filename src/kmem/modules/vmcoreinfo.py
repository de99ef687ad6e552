"""What a core of the simulated machine says about itself: VMCOREINFO, the kernel's variables, and the RAM behind them.

VMCOREINFO has the kernel's own form (kernel/crash_core.c, arch/x86/kernel/crash_core_64.c; 6.1). A second note, KMEM,
stands for debug information: release, configuration, and every variable and symbol by address.

A few variables that a debugger reads the model keeps nowhere in RAM (``init_mm``, the sections of physical memory, CPU
and node masks). They are made here, at :data:`EXTRA_ADDRESS`, in memory that is in the core and not in the machine.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from typing import Any

from kmem.abi.address import KERNEL_TEXT, PAGE_OFFSET, PAGE_SHIFT, PMD_SHIFT, START_KERNEL_MAP, VMEMMAP_START
from kmem.abi.layout import enums, layout
from kmem.abi.page_flags import PGTY_SLAB
from kmem.abi.release import release
from kmem.lib.cstruct import Field
from kmem.machine.coredump import Extra, Note, Window, write_core
from kmem.mm.api import Mm
from kmem.mm.boot import IMAGE_PHYS, IMAGE_SIZE
from kmem.mm.mm_types import KDATA_ADDRESS, kdata
from kmem.mm.mmzone import MAX_ORDER
from kmem.modules.kallsyms import Kallsyms

EXTRA_ADDRESS = 0xFFFFFFFFBF000000
"""In the last 16 MiB of the kernel image's window, where nothing is mapped."""
NOTE = "KMEM"
FORMAT = 1
NR_NODE_STATES = 6
SECTION_PRESENT, SECTION_HAS_MEM_MAP, SECTION_ONLINE, SECTION_EARLY = 1, 2, 4, 8

_OWN = """swapper_pg_dir strings strings_used report vm_events alias_list node_load deferred_end numa_node_offset
numa_distance""".split()
"""Members of ``kdata`` that are no variable of the kernel, or one of another type."""
_ATOMIC = ("vm_zone_stat", "vm_node_stat", "vm_numa_event", "totalram_pages", "vmap_lazy_nr", "nr_vmalloc_pages")
_RENAMED = {"totalram_pages": "_totalram_pages"}

Variables = dict[str, tuple[int, str]]
"""Address and type (in the grammar of ``releases/*.structs.json``, and ``atomic_long_t``) by name."""


def dump_core(path: str | os.PathLike[str], mm: Mm, kallsyms: Kallsyms | None = None) -> int:
    """Write a core of the machine to *path* and return the bytes of RAM in it. Nothing in the machine changes.

    Raises InputError if the file cannot be written.
    """
    extra, variables = extra_memory(mm, kallsyms)
    variables = kernel_variables() | variables
    described = {
        "format": FORMAT,
        "release": mm.config.release,
        "boot": {"config": mm.config.config, "ram": mm.config.ram, "cpus": mm.config.cpus, "seed": mm.config.seed},
        "absent": absent_members(mm),
        "variables": variables,
        "symbols": [*symbols(kallsyms)],
    }
    notes = [
        Note("VMCOREINFO", 0, vmcoreinfo(mm, variables).encode()),
        Note(NOTE, FORMAT, json.dumps(described, separators=(",", ":")).encode()),
    ]
    return write_core(path, mm.ram, [*windows(mm)], notes, [extra])


def windows(mm: Mm) -> Iterator[Window]:
    """The linear mappings: the direct map without the hole below 4 GiB, the kernel image, the struct pages."""
    size = 1 << PMD_SHIFT
    end = 0
    ranges: list[list[int]] = []
    for first, last in mm.boot.usable:
        start, end = first & -size, min(-(-last // size) * size, mm.ram.size)
        if ranges and start <= ranges[-1][1]:
            ranges[-1][1] = end
        else:
            ranges.append([start, end])
    for start, end in ranges:
        yield Window(PAGE_OFFSET + start, start, end - start)
    yield Window(KERNEL_TEXT, IMAGE_PHYS, IMAGE_SIZE)
    yield Window(VMEMMAP_START, mm.boot.mem_map, mm.boot.mem_map_size)


def kernel_variables() -> Variables:
    """The variables in ``kdata`` under the kernel's names."""
    found: Variables = {}
    for name in kdata.names():
        if name not in _OWN:
            field = kdata.field(name)
            kind = spell(field)
            found[_RENAMED.get(name, name)] = (
                KDATA_ADDRESS + field.offset,
                kind.replace("s64", "atomic_long_t") if name in _ATOMIC else kind,
            )
    return found


def spell(field: Field) -> str:
    """The field's type in the grammar of ``releases/*.structs.json``."""
    if field.kind == "array":
        assert field.element is not None
        return f"[{field.length}]{spell(field.element)}"
    if field.kind == "int":
        return f"{'s' if field.signed else 'u'}{field.size * 8}"
    return f"*{field.target}" if field.kind == "ptr" else f"struct {field.target}"


def absent_members(mm: Mm) -> dict[str, list[str]]:
    """Members of the release's structs that this configuration's kernel would not have."""
    gone = [] if mm.config.hardened else ["random"]
    return {"kmem_cache": gone + ([] if mm.config.freelist_random else ["random_seq"])}


def extra_memory(mm: Mm, kallsyms: Kallsyms | None) -> tuple[Extra, Variables]:
    """The variables that are not in RAM. One that *kallsyms* knows is, because a module links to it."""
    structs, facts = layout(mm.config.release), release(mm.config.release).constants
    memory = bytearray()
    variables: Variables = {}

    def place(raw: bytes) -> int:
        memory.extend(bytes(-len(memory) % 64))
        memory.extend(raw)
        return EXTRA_ADDRESS + len(memory) - len(raw)

    def variable(name: str, kind: str, raw: bytes) -> None:
        known = kallsyms.address(name) if kallsyms else None
        variables[name] = (place(raw) if known is None else known, kind)

    cpus = ((1 << mm.config.cpus) - 1).to_bytes(structs["cpumask"].size, "little")
    for name in ("__cpu_possible_mask", "__cpu_online_mask", "__cpu_present_mask", "__cpu_active_mask"):
        variable(name, "struct cpumask", cpus)
    nodes = ((1 << mm.config.nodes) - 1).to_bytes(structs["nodemask_t"].size, "little")
    variable("node_states", f"[{NR_NODE_STATES}]struct nodemask_t", nodes * NR_NODE_STATES)
    variable("min_low_pfn", "u64", bytes(8))
    variable("max_low_pfn", "u64", (mm.ram.size >> PAGE_SHIFT).to_bytes(8, "little"))
    init_mm = bytearray(structs["mm_struct"].size)
    struct.pack_into("<Q", init_mm, structs["mm_struct"].offset("pgd"), START_KERNEL_MAP + mm.boot.cr3)
    struct.pack_into("<ii", init_mm, structs["mm_struct"].offset("mm_users"), 2, 1)
    variable("init_mm", "struct mm_struct", bytes(init_mm))
    variables["swapper_pg_dir"] = (START_KERNEL_MAP + mm.boot.cr3, "[512]u64")
    sections = _sections(mm, facts["SECTION_SIZE_BITS"])
    per_root, size = facts["SECTIONS_PER_ROOT"], structs["mem_section"].size
    roots = []
    for first in range(0, len(sections), per_root):
        rows = b"".join(encoded.to_bytes(8, "little").ljust(size, b"\0") for encoded in sections[first:][:per_root])
        roots.append(place(rows.ljust(per_root * size, b"\0")))
    table = place(b"".join(root.to_bytes(8, "little") for root in roots).ljust(_section_roots(facts) * 8, b"\0"))
    variables["mem_section"] = (place(table.to_bytes(8, "little")), "**mem_section")
    variable("__highest_present_section_nr", "u64", (len(sections) - 1).to_bytes(8, "little"))
    return Extra(EXTRA_ADDRESS, bytes(memory)), variables


def _section_roots(facts: Any) -> int:
    sections = 1 << (facts["MAX_PHYSMEM_BITS"] - facts["SECTION_SIZE_BITS"])
    return int(-(-sections // facts["SECTIONS_PER_ROOT"]))


def _sections(mm: Mm, bits: int) -> list[int]:
    """``section_mem_map`` of every section up to the last with memory (``sparse_encode_mem_map()``, mm/sparse.c)."""
    flags = SECTION_PRESENT | SECTION_HAS_MEM_MAP | SECTION_ONLINE | SECTION_EARLY
    found = []
    for first in range(0, mm.ram.size, 1 << bits):
        present = any(start < first + (1 << bits) and end > first for start, end in mm.boot.usable)
        # the map of a section begins at its own first page, less the number of that page
        found.append(VMEMMAP_START | flags if present else 0)
    while found and not found[-1]:
        found.pop()
    return found


def symbols(kallsyms: Kallsyms | None) -> Iterator[tuple[str, int, int]]:
    """Name, address and size of the kernel's and the modules' symbols that are in memory."""
    if kallsyms is None:
        return
    kernel, _, modules = kallsyms.mark()
    for name, (addr, size) in kernel.items():
        yield name, addr, size
    for module in modules.values():
        for name, addr in zip(module.names, module.values, strict=True):
            symbol = kallsyms.lookup(addr)
            yield name, addr, symbol.size if symbol and symbol.size >> 63 == 0 else 0


_SIZES = ("page", "mem_section", "pglist_data", "zone", "free_area", "list_head", "nodemask_t")
_OFFSETS = """page.flags page._refcount page.mapping page.lru page._mapcount page.private page.compound_dtor
page.compound_order page.compound_head mem_section.section_mem_map pglist_data.node_zones pglist_data.nr_zones
pglist_data.node_start_pfn pglist_data.node_spanned_pages pglist_data.node_id zone.free_area zone.vm_stat
zone.spanned_pages list_head.next list_head.prev vmap_area.va_start vmap_area.list""".split()
_FLAGS = ("PG_lru", "PG_private", "PG_swapcache", "PG_swapbacked", "PG_slab", "PG_hwpoison")


def vmcoreinfo(mm: Mm, variables: Variables) -> str:
    """The text of VMCOREINFO."""
    structs, facts = layout(mm.config.release), release(mm.config.release).constants
    flags = enums(mm.config.release)["pageflags"]
    lines = [f"OSRELEASE={release(mm.config.release).version}", f"PAGESIZE={1 << PAGE_SHIFT}"]
    for name in ("swapper_pg_dir", "node_data", "mem_section", "vmap_area_list"):
        lines.append(f"SYMBOL({name})={variables[name][0]:x}")
    lines += [f"SYMBOL(_stext)={KERNEL_TEXT:x}", f"SYMBOL(init_top_pgt)={variables['swapper_pg_dir'][0]:x}"]
    lines += [f"LENGTH(mem_section)={_section_roots(facts)}", f"LENGTH(zone.free_area)={MAX_ORDER}"]
    lines.append(f"LENGTH(node_data)={facts['MAX_NUMNODES']}")
    lines += [f"SIZE({name})={structs[name].size}" for name in _SIZES]
    for path in _OFFSETS:
        name, _, member = path.partition(".")
        if member in structs[name].members:
            lines.append(f"OFFSET({path})={structs[name].offset(member)}")
    for name in ("SECTION_SIZE_BITS", "MAX_PHYSMEM_BITS"):
        lines.append(f"NUMBER({name})={facts[name]}")
    lines += [f"NUMBER({name})={flags[name]}" for name in _FLAGS if name in flags]
    if "PG_slab" not in flags:
        lines.append(f"NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)={(PGTY_SLAB << 24) - (1 << 32)}")
    lines += [
        "NUMBER(NR_FREE_PAGES)=0",
        "NUMBER(phys_base)=0",
        "NUMBER(pgtable_l5_enabled)=0",
        "NUMBER(sme_mask)=0",
        f"NUMBER(KERNEL_IMAGE_SIZE)={1 << 30}",
        "KERNELOFFSET=0",
    ]
    return "\n".join(lines) + "\n"
