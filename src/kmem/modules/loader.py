"""Loading a module: ``load_module`` of kernel/module/main.c (6.1), from the bytes of the file to code that is ready to
run.

In the kernel's order: format, version magic and licence, layout, memory, symbols, relocations, code patching, page
permissions, parameters. Nothing of the module runs here: the caller applies `Module.settings`, calls init, then
`Module.init_done`.

Not modelled: live patches (refused), the check for two exports of one name, the warning about modules without
retpolines (the CPU of the model needs none).
"""

from __future__ import annotations

from collections.abc import Mapping

from kmem.errors import InputError, ModuleFormatError
from kmem.machine.fault import AccessFault
from kmem.modules.alternatives import CPU_FEATURES
from kmem.modules.elf import SHF_EXECINSTR, SHF_WRITE, SHN_LORESERVE, SHN_UNDEF, SHT_NOBITS, SHT_RELA, Elf
from kmem.modules.env import KERN_ERR, KERN_NOTICE, KERN_WARNING, LoadEnv
from kmem.modules.fixups import apply_fixups
from kmem.modules.kallsyms import TextRegion
from kmem.modules.layout import PERCPU, Placement, Region, place
from kmem.modules.modinfo import ModInfo, read_modinfo, read_versions
from kmem.modules.module import Memory, Module, ModuleSymbol
from kmem.modules.orc import is_typed, sort_orc
from kmem.modules.params import match
from kmem.modules.relocation import apply_relocations
from kmem.modules.staging import Staging
from kmem.modules.symtab import UnknownSymbols, final_values, named_values, write_tables
from kmem.modules.tables import exports, parameters, sort_extable
from kmem.modules.taint import TAINT_CRAP, TAINT_OOT_MODULE, TAINT_PROPRIETARY_MODULE, TAINT_TEST, TAINT_UNSIGNED_MODULE
from kmem.modules.this_module import THIS_MODULE, ThisModule
from kmem.modules.vermagic import check_vermagic


class ModuleMemoryError(InputError):
    """The kernel has no memory for the module."""

    slug = "module-memory"


def load_module(
    image: bytes,
    env: LoadEnv,
    *,
    params: Mapping[str, str | None] | None = None,
    features: frozenset[int] = CPU_FEATURES,
) -> Module:
    """Load the module file *image* (uncompressed) into *env*'s kernel.

    *params* are the arguments of insmod by name; a value of None is an argument without ``=``. *features* are the CPU
    features that decide on alternative instructions.

    Raises ModuleFormatError for what is not a module for this release, UnknownSymbols when it wants symbols that nobody
    exports, ModuleMemoryError when there is no memory; nothing stays allocated then.
    """
    elf = Elf(image)
    info = read_modinfo(elf)
    versions = read_versions(elf)
    name = info.name or _name_in_file(elf, env)
    try:
        note = check_vermagic(name, info, versions, env.release)
    except ModuleFormatError as error:
        env.printk(KERN_ERR, error.message)
        raise
    if info.get("livepatch") is not None:
        raise ModuleFormatError(f"{name}: a live patch, which kmem does not apply", remedy="give a driver, not a patch")
    _check_writable_code(elf, name)
    taints = _taint(env, name, info, elf.signed)
    placement = place(elf)
    loading = _Loading(elf, env, placement, name, info)
    try:
        return loading.load(versions, taints, note, dict(params or {}), features)
    except BaseException:
        loading.release()
        raise


def _name_in_file(elf: Elf, env: LoadEnv) -> str:
    """``mod->name`` as kbuild put it into the file, for a module whose ``.modinfo`` has no name."""
    section = elf.find(THIS_MODULE)
    member = env.layout["module"]["name"]
    raw = bytes(elf.content(section)[member.offset : member.offset + member.size]) if section else b""
    return raw.split(b"\0")[0].decode("ascii", "backslashreplace") or "(missing .modinfo name field)"


def _check_writable_code(elf: Elf, name: str) -> None:
    """``module_enforce_rwx_sections``."""
    both = SHF_WRITE | SHF_EXECINSTR
    for section in elf.sections:
        if section.flags & both == both:
            raise ModuleFormatError(
                f"{name}: section {section.name} (index {section.index}) has invalid WRITE|EXEC flags",
                remedy="code must not be writable: put data into another section",
            )


def _taint(env: LoadEnv, name: str, info: ModInfo, signed: bool) -> int:
    """Taint the kernel as the module's licence and origin ask for, with the kernel's messages; return the module's
    taints.

    Simplified: a signature counts as valid, its key is not checked.
    """
    taints = 0

    def add(flag: int, level: int, line: str, always: bool = False) -> None:
        nonlocal taints
        taints |= 1 << flag
        if always or not env.tainted >> flag & 1:
            env.printk(level, f"{name}: {line}")
        env.add_taint(flag)

    if not info.intree:
        add(TAINT_OOT_MODULE, KERN_WARNING, "loading out-of-tree module taints kernel.")
    if info.get("staging") is not None:
        text = "module is from the staging directory, the quality is unknown, you have been warned."
        add(TAINT_CRAP, KERN_WARNING, text, always=True)
    if not info.gpl_compatible:
        text = f"module license '{info.license or 'unspecified'}' taints kernel."
        add(TAINT_PROPRIETARY_MODULE, KERN_WARNING, text)
    if info.get("test") is not None:
        add(TAINT_TEST, KERN_WARNING, "loading test module taints kernel.")
    if not signed:
        text = "module verification failed: signature and/or required key missing - tainting kernel"
        add(TAINT_UNSIGNED_MODULE, KERN_NOTICE, text)
    return taints


class _Loading:
    """One load in progress: holds what must be given back when it fails."""

    def __init__(self, elf: Elf, env: LoadEnv, placement: Placement, name: str, info: ModInfo) -> None:
        self.elf, self.env, self.placement, self.name, self.info = elf, env, placement, name, info
        self.core_base = self.init_base = self.percpu = 0

    def release(self) -> None:
        """Free everything (``module_deallocate``)."""
        if self.percpu:
            self.env.percpu_modfree(self.percpu)
        for base in (self.init_base, self.core_base):
            if base:
                self.env.module_memfree(base)

    def load(
        self,
        versions: dict[str, int] | None,
        taints: int,
        note: str,
        params: dict[str, str | None],
        features: frozenset[int],
    ) -> Module:
        """The steps from move_module on."""
        elf, env, name, info, placement = self.elf, self.env, self.name, self.info, self.placement
        self.core_base = self._alloc(placement.core.size)
        self.init_base = self._alloc(placement.init.size)
        staging = Staging(elf, placement, self.core_base, self.init_base)
        this_module = ThisModule(staging, env.layout, name)
        percpu_size = self._percpu()
        values, imports = self._symbols(staging)
        self._relocate(staging, values)
        sort_extable(staging)
        write_tables(elf, staging, values)
        patched = apply_fixups(staging, imports, self._read_u64, features, env.layout["alt_instr"].size)
        orc = sort_orc(staging, is_typed(env.layout))
        this_module.fill(taints, self.percpu, percpu_size, elf.signed)
        known, exported = parameters(staging), exports(staging)
        env.mem.write(self.core_base, bytes(staging.core))
        env.mem.write(self.init_base, bytes(staging.init))
        _protect(env, self.core_base, placement.core, init=False)
        _protect(env, self.init_base, placement.init, init=True)
        settings, unknown = match(known, params)
        for argument in unknown:
            env.printk(KERN_WARNING, f"{name}: unknown parameter '{argument}' ignored")
        kept = [(elf.symbols[number].name, values[number]) for number in placement.core_symbols[1:]]
        module = Module(
            name=name,
            address=this_module.address,
            core=Memory(self.core_base, placement.core),
            init=Memory(self.init_base, placement.init),
            init_function=this_module.get("init"),
            exit_function=this_module.get("exit"),
            elf=elf,
            info=info,
            versions=versions,
            taints=taints,
            note=note,
            sections={elf.sections[index].name: address for index, address in reversed(staging.addresses.items())},
            symbols=self._module_symbols(values),
            exports=exported,
            imports=imports,
            params=known,
            settings=settings,
            patched=patched,
            orc=orc,
            constructors=_constructors(staging),
            percpu=self.percpu,
            percpu_size=percpu_size,
            values=named_values(elf, values),
            core_values=kept,
            section_addresses=staging.addresses,
            env=env,
        )
        regions = [TextRegion(part.base, part.size, part.text_size) for part in (module.core, module.init)]
        env.kallsyms.add_module(name, regions, module.values)
        return module

    def _alloc(self, size: int) -> int:
        base = self.env.module_alloc(size)
        if not base:
            raise ModuleMemoryError(
                f"{self.name}: cannot allocate {size} bytes of module memory",
                remedy="give the machine more memory (--ram), or unload other modules",
            )
        return base

    def _percpu(self) -> int:
        """Allocate the module's per-cpu data (``percpu_modalloc``); returns their size. As in the kernel they are not
        relocated.
        """
        section = self.elf.find(PERCPU)
        if section is None or not section.size:
            return 0
        image = bytes(section.size) if section.type == SHT_NOBITS else bytes(self.elf.content(section))
        self.percpu = self.env.percpu_modalloc(section.size, max(section.align, 1), image)
        if not self.percpu:
            raise ModuleMemoryError(
                f"{self.name}: Could not allocate {section.size} bytes percpu data",
                remedy="give the machine more memory (--ram), or unload other modules",
            )
        return section.size

    def _symbols(self, staging: Staging) -> tuple[list[int], dict[str, int]]:
        try:
            values, imports = final_values(self.elf, staging, self.percpu, self._resolve, self.name, self.info.depends)
        except UnknownSymbols as error:
            for line in error.lines:
                self.env.printk(KERN_WARNING, line)
            raise
        return values, imports

    def _resolve(self, name: str) -> int | None:
        """A symbol that the module may use: one exported for GPL modules only is unknown to the others
        (``find_symbol``).
        """
        if not self.info.gpl_compatible:
            from kmem.abi.exports import export

            kernels = export(name, self.env.release.name)
            if kernels is not None and kernels.gpl_only:
                return None
        return self.env.resolve(name)

    def _relocate(self, staging: Staging, values: list[int]) -> None:
        for section in self.elf.sections:
            if section.type != SHT_RELA or section.info not in staging.addresses:
                continue
            buffer, at = staging.buffer(self.elf.sections[section.info])
            apply_relocations(self.elf, section, buffer, at, staging.addresses[section.info], values)

    def _read_u64(self, address: int) -> int:
        """A number in the kernel's memory; 0 where there is none."""
        try:
            return self.env.mem.u64(address)
        except AccessFault:
            return 0

    def _module_symbols(self, values: list[int]) -> list[ModuleSymbol]:
        sections = self.elf.sections
        return [
            ModuleSymbol(
                symbol.name,
                value,
                symbol.size,
                symbol.bind,
                symbol.type,
                sections[symbol.shndx].name if symbol.shndx < SHN_LORESERVE else "",
            )
            for symbol, value in zip(self.elf.symbols, values, strict=True)
            if symbol.name and symbol.shndx != SHN_UNDEF
        ]


def _constructors(staging: Staging) -> list[int]:
    for section in (".ctors", ".init_array"):
        table, count = staging.table(section, 8)
        if count:
            return [staging.u64(table + 8 * number, section) for number in range(count)]
    return []


def _protect(env: LoadEnv, base: int, region: Region, *, init: bool) -> None:
    """Code may run and not change, constants neither, data may change (``module_enable_ro``, ``_nx``, ``_x``)."""
    if region.text_size:
        env.set_memory(base, region.text_size, False, True)
    if region.ro_size > region.text_size:
        env.set_memory(base + region.text_size, region.ro_size - region.text_size, False, False)
    if region.size > region.ro_size:
        env.set_memory(base + region.ro_size, region.size - region.ro_size, True, False)
