"""``struct module``: what load_module writes into the module's own ``.gnu.linkonce.this_module``
(include/linux/module.h).

Members are found by name in the layout of the release; what a release does not have is left out.
"""

from __future__ import annotations

from kmem.abi.layout import Layout, Member
from kmem.errors import InternalError
from kmem.modules.elf import malformed
from kmem.modules.layout import Region
from kmem.modules.staging import Staging
from kmem.modules.tables import BUG_ENTRY_SIZE, EXTABLE_ENTRY_SIZE, KERNEL_SYMBOL_SIZE

MODULE_STATE_LIVE, MODULE_STATE_COMING, MODULE_STATE_GOING, MODULE_STATE_UNFORMED = range(4)
"""``enum module_state``: normal, running init, going away, being set up."""

MOD_INIT_TYPES = (4, 5, 6)
"""MOD_INIT_TEXT, MOD_INIT_DATA and MOD_INIT_RODATA of ``enum mod_mem_type``."""

MODULE_REF_BASE = 1
"""``refcnt`` of a live module that nobody uses."""

THIS_MODULE = ".gnu.linkonce.this_module"

_TABLES = (
    ("kp", "num_kp", "__param", 40),
    ("syms", "num_syms", "__ksymtab", KERNEL_SYMBOL_SIZE),
    ("gpl_syms", "num_gpl_syms", "__ksymtab_gpl", KERNEL_SYMBOL_SIZE),
    ("crcs", "", "__kcrctab", 4),
    ("gpl_crcs", "", "__kcrctab_gpl", 4),
    ("noinstr_text_start", "noinstr_text_size", ".noinstr.text", 1),
    ("tracepoints_ptrs", "num_tracepoints", "__tracepoints_ptrs", 4),
    ("srcu_struct_ptrs", "num_srcu_structs", "___srcu_struct_ptrs", 8),
    ("bpf_raw_events", "num_bpf_raw_events", "__bpf_raw_tp_map", 32),
    ("jump_entries", "num_jump_entries", "__jump_table", 16),
    ("trace_events", "num_trace_events", "_ftrace_events", 8),
    ("trace_evals", "num_trace_evals", "_ftrace_eval_map", 8),
    ("trace_bprintk_fmt_start", "num_trace_bprintk_fmt", "__trace_printk_fmt", 8),
    ("ftrace_callsites", "num_ftrace_callsites", "__mcount_loc", 8),
    ("kprobes_text_start", "kprobes_text_size", ".kprobes.text", 1),
    ("kprobe_blacklist", "num_kprobe_blacklist", "_kprobe_blacklist", 8),
    ("static_call_sites", "num_static_call_sites", ".static_call_sites", 8),
    ("extable", "num_exentries", "__ex_table", EXTABLE_ENTRY_SIZE),
    ("bug_table", "num_bugs", "__bug_table", BUG_ENTRY_SIZE),
)
"""Pointer member, count member, section and record size of each table (``find_module_sections``)."""


def _part(base: int, region: Region, first: str, last: str) -> tuple[int, int]:
    """Base and size of a part of *region*, between two of its sizes; no address for one that is empty."""
    start = int(getattr(region, first)) if first else 0
    size = int(getattr(region, last)) - start
    return (base + start if size else 0), size


def init_members(layout: Layout) -> list[tuple[int, Member]]:
    """What ``struct module`` knows of its init memory: offset of a struct in it, and the struct's member."""
    module = layout["module"]
    if "mem" in module.members:
        memory = layout["module_memory"]
        at = [module.offset("mem") + kind * memory.size for kind in MOD_INIT_TYPES]
        return [(offset, memory[name]) for offset in at for name in ("base", "size")]
    names = ("base", "size", "text_size", "ro_size", "ro_after_init_size")
    return [(module.offset("init_layout"), layout["module_layout"][name]) for name in names]


class ThisModule:
    """Writes members of one ``struct module`` in a module that is being linked."""

    def __init__(self, staging: Staging, layout: Layout, name: str) -> None:
        section = staging.section(THIS_MODULE)
        self.struct = layout["module"]
        self._layout = layout
        if section is None or section.size != self.struct.size:
            got = section.size if section else 0
            raise malformed(
                f"{name}: {THIS_MODULE} section size is {got}, should be {self.struct.size}: built for another kernel",
                "rebuild the module for the modelled release: `kmem run FILE.c`, or see `kmem headers`",
            )
        if "core_layout" not in self.struct.members and "mem" not in self.struct.members:
            raise InternalError(
                "this release's struct module is unknown to the loader",
                remedy="choose a release that `kmem doctor` lists",
            )
        in_init, offset = staging.placement.sections[section.index]
        if in_init or offset < staging.placement.core.ro_after_init_size:
            raise malformed(f"{name}: {THIS_MODULE} section is not writable data")
        self.address = staging.addresses[section.index]
        self._staging = staging
        self._buffer, self._at = staging.buffer(section)

    def get(self, member: str) -> int:
        """The value of an integer or pointer member; 0 if the release has none."""
        found = self.struct.members.get(member)
        if found is None:
            return 0
        at = self._at + found.offset
        return int.from_bytes(self._buffer[at : at + found.size], "little")

    def set(self, member: str, value: int, inner: str = "", struct: str = "") -> None:
        """Write *value* into *member*, or into member *inner* of the *struct* embedded there."""
        found = self.struct.members.get(member)
        if found is None:
            return
        at, size = self._at + found.offset, found.size
        if inner:
            if struct not in self._layout.structs or inner not in self._layout[struct].members:
                return
            part = self._layout[struct][inner]
            at, size = at + part.offset, part.size
        self._buffer[at : at + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")

    def list_head(self, member: str, inner: str = "", struct: str = "") -> None:
        """Make a ``struct list_head`` empty (``INIT_LIST_HEAD``)."""
        found = self.struct.members.get(member)
        if found is None:
            return
        offset = found.offset
        if inner:
            if struct not in self._layout.structs:
                return
            offset += self._layout[struct].offset(inner)
        at, head = self._at + offset, self.address + offset
        self._buffer[at : at + 16] = head.to_bytes(8, "little") * 2

    def memories(self) -> None:
        """Fill ``mem[MOD_MEM_NUM_TYPES]``: a part of core or init each."""
        members = self._layout.structs.get("module_memory")
        if members is None or "mem" not in self.struct.members:
            return
        staging, place = self._staging, self._staging.placement
        core, init = (staging.core_base, place.core), (staging.init_base, place.init)
        parts = (
            _part(*core, "", "text_size"),
            _part(*core, "ro_after_init_size", "size"),
            _part(*core, "text_size", "ro_size"),
            _part(*core, "ro_size", "ro_after_init_size"),
            _part(*init, "", "text_size"),
            _part(*init, "ro_size", "size"),
            _part(*init, "text_size", "ro_size"),
        )
        for kind, (base, size) in enumerate(parts):
            at = self._at + self.struct["mem"].offset + kind * members.size
            for name, value in (("base", base), ("size", size)):
                member = members[name]
                self._buffer[at + member.offset : at + member.offset + member.size] = value.to_bytes(
                    member.size, "little"
                )

    def region(self, member: str, base: int, region: Region) -> None:
        """Fill a ``struct module_layout``."""
        self.set(member, base, "base", "module_layout")
        for part in ("size", "text_size", "ro_size", "ro_after_init_size"):
            self.set(member, getattr(region, part), part, "module_layout")

    def fill(self, taints: int, percpu: int, percpu_size: int, signed: bool) -> None:
        """Everything that load_module sets before init runs; the module is COMING and holds a reference to itself."""
        staging, place = self._staging, self._staging.placement
        self.set("state", MODULE_STATE_COMING)
        for head in ("list", "bug_list", "source_list", "target_list"):
            self.list_head(head)
        self.list_head("param_lock", "wait_list", "mutex")
        self.set("refcnt", MODULE_REF_BASE + 1)
        self.set("taints", taints)
        self.set("sig_ok", signed)
        self.region("core_layout", staging.core_base, place.core)
        self.region("init_layout", staging.init_base, place.init)
        self.memories()
        self.set("percpu", percpu)
        self.set("percpu_size", percpu_size)
        for pointer, number, section, size in _TABLES:
            address, count = staging.table(section, size)
            self.set(pointer, address)
            if number:
                self.set(number, count)
        orc_ip, orcs = staging.table(".orc_unwind_ip", 4)
        self.set("arch", orcs, "num_orcs", "mod_arch_specific")
        self.set("arch", orc_ip, "orc_unwind_ip", "mod_arch_specific")
        self.set("arch", staging.address(".orc_unwind"), "orc_unwind", "mod_arch_specific")
        self._fill_kallsyms()

    def _fill_kallsyms(self) -> None:
        staging, at = self._staging, self._staging.placement.symtab
        core, init = staging.core_base, staging.init_base
        self.set("kallsyms", init + at.mod_kallsyms)
        whole = (init + at.symtab, len(staging.elf.symbols), init + at.strtab, init + at.typetab)
        kept = (
            core + at.core_symtab,
            len(staging.placement.core_symbols),
            core + at.core_strtab,
            core + at.core_typetab,
        )
        struct = self._layout["mod_kallsyms"]
        for member, value, core_value in zip(("symtab", "num_symtab", "strtab", "typetab"), whole, kept, strict=True):
            part = struct[member]
            where = at.mod_kallsyms + part.offset
            staging.init[where : where + part.size] = value.to_bytes(part.size, "little")
            self.set("core_kallsyms", core_value, member, "mod_kallsyms")
