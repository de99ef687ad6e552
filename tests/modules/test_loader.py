"""load_module on hand-made modules, with a kernel that keeps books."""

from __future__ import annotations

import pytest

from kmem.errors import ModuleFormatError, UnknownSymbol
from kmem.modules.loader import ModuleMemoryError, load_module
from kmem.modules.symtab import UnknownSymbols
from kmem.modules.taint import TAINT_OOT_MODULE, TAINT_PROPRIETARY_MODULE, TAINT_UNSIGNED_MODULE
from tests.modules.elfmaker import (
    ABS,
    ALLOC,
    COMMON,
    EXEC,
    EXIT_AT,
    GLOBAL,
    INIT_AT,
    NAME_AT,
    OBJECT,
    R_64,
    R_PC32,
    UNDEF,
    VERMAGIC,
    WEAK,
    WRITE,
    modinfo,
    tiny,
)  # fmt: skip
from tests.modules.fake_kernel import MODULES_VADDR, PAGE, FakeKernel

CORE, INIT = MODULES_VADDR, MODULES_VADDR + 4 * PAGE
OUT_OF_TREE = "tiny: loading out-of-tree module taints kernel."
UNSIGNED = "tiny: module verification failed: signature and/or required key missing - tainting kernel"


def test_functions_and_regions_are_where_the_layout_puts_them() -> None:
    kernel = FakeKernel()
    module = load_module(tiny().build(), kernel)
    assert (module.name, module.core.base, module.core.size, module.core.text_size) == ("tiny", CORE, 3 * PAGE, PAGE)
    assert (module.init.base, module.init.size, module.init.text_size) == (INIT, 2 * PAGE, PAGE)
    assert module.init_function == INIT
    assert module.exit_function == CORE + 16
    assert module.symbol("counter") == CORE + PAGE + 8
    assert module.sections[".data"] == CORE + PAGE
    assert module.contains(CORE)
    assert module.is_text(INIT + 1)
    assert not module.is_text(CORE + PAGE)
    assert not module.contains(CORE - 1)


def test_code_is_linked_and_lies_in_memory() -> None:
    kernel = FakeKernel()
    load_module(tiny().build(), kernel)
    code = kernel.mem.read(CORE, 13)
    assert code[5:7] == b"\x31\xc0"
    assert int.from_bytes(code[1:5], "little", signed=True) + CORE + 5 == kernel.exported["__fentry__"]
    assert int.from_bytes(code[8:12], "little", signed=True) + CORE + 12 == kernel.exported["__x86_return_thunk"]


def test_pages_get_the_kernels_permissions() -> None:
    maker = tiny()
    maker.section(".rodata", bytes(16), ALLOC)
    maker.section(".data..ro_after_init", bytes(16), ALLOC | WRITE)
    kernel = FakeKernel()
    module = load_module(maker.build(), kernel)
    core = [kernel.mem.permissions[module.core.base + PAGE * page] for page in range(module.core.size // PAGE)]
    assert core == [(False, True), (False, False), (True, False), (True, False), (True, False)]
    init = [kernel.mem.permissions[module.init.base + PAGE * page] for page in range(module.init.size // PAGE)]
    assert init == [(False, True), (True, False)]
    module.init_done()
    core = [kernel.mem.permissions[module.core.base + PAGE * page] for page in range(module.core.size // PAGE)]
    assert core == [(False, True), (False, False), (False, False), (True, False), (True, False)]


def test_struct_module_is_filled() -> None:
    maker = tiny()
    maker.section("__ex_table", b"\x10\0\0\0\x20\0\0\0\0\0\0\0", ALLOC, align=4)
    maker.section("__bug_table", bytes(24), ALLOC | WRITE, align=4)
    kernel = FakeKernel()
    module = load_module(maker.build(), kernel)
    members = kernel.layout["module"]

    def at(name: str, size: int = 8) -> int:
        return int.from_bytes(kernel.mem.read(module.address + members.offset(name), size), "little")

    assert at("state", 4) == 1
    assert at("refcnt", 4) == module.refcount == 2
    assert kernel.mem.read(module.address + NAME_AT, 5) == b"tiny\0"
    assert (at("init"), at("exit")) == (module.init_function, module.exit_function)
    layout = kernel.layout["module_layout"]
    for name, part in (("core_layout", module.core), ("init_layout", module.init)):
        base = module.address + members.offset(name)
        assert kernel.mem.u64(base + layout.offset("base")) == part.base
        assert kernel.mem.u32(base + layout.offset("size")) == part.size
        assert kernel.mem.u32(base + layout.offset("text_size")) == part.text_size
        assert kernel.mem.u32(base + layout.offset("ro_size")) == part.region.ro_size
    assert (at("bug_table"), at("num_bugs", 4)) == (module.sections["__bug_table"], 2)
    assert (at("extable"), at("num_exentries", 4)) == (module.sections["__ex_table"], 1)
    assert at("taints") == 1 << TAINT_OOT_MODULE | 1 << TAINT_UNSIGNED_MODULE == module.taints
    for head in ("list", "bug_list", "source_list", "target_list"):
        address = module.address + members.offset(head)
        assert (kernel.mem.u64(address), kernel.mem.u64(address + 8)) == (address, address)


def test_symbol_tables_in_memory_name_final_addresses() -> None:
    kernel = FakeKernel()
    module = load_module(tiny().build(), kernel)
    members, tables = kernel.layout["module"], kernel.layout["mod_kallsyms"]

    def names(at: int) -> dict[str, tuple[int, str]]:
        symtab, count, strtab, types = (
            kernel.mem.u64(at + tables.offset(name)) for name in ("symtab", "num_symtab", "strtab", "typetab")
        )
        found = {}
        for number in range(count & 0xFFFFFFFF):
            start = strtab + kernel.mem.u32(symtab + 24 * number)
            name = kernel.mem.read(start, 16).split(b"\0")[0].decode()
            letter = kernel.mem.read(types + number, 1).decode()
            found[name] = (kernel.mem.u64(symtab + 24 * number + 8), letter)
        return found

    whole = names(kernel.mem.u64(module.address + members.offset("kallsyms")))
    kept = names(module.address + members.offset("core_kallsyms"))
    assert whole["tiny_init"] == (module.init_function, "t")
    assert whole["__fentry__"] == (kernel.exported["__fentry__"], "U")
    assert kept["counter"] == (CORE + PAGE + 8, "d")
    assert kept["work"] == (CORE, "t")
    assert "tiny_init" not in kept
    assert "__fentry__" not in kept


def test_names_are_known_until_their_memory_is_freed() -> None:
    kernel = FakeKernel()
    module = load_module(tiny().build(), kernel)
    assert kernel.kallsyms.sprint(INIT + 1) == "tiny_init+0x1/0x1000 [tiny]"
    assert kernel.kallsyms.sprint(CORE + 17) == "tiny_exit+0x1/0xff0 [tiny]"
    module.init_done()
    assert kernel.kallsyms.sprint(INIT + 1) == f"{INIT + 1:#x}"
    assert kernel.kallsyms.sprint(CORE + 17) == "tiny_exit+0x1/0xff0 [tiny]"
    module.free()
    assert kernel.kallsyms.sprint(CORE + 17) == f"{CORE + 17:#x}"


def test_module_comes_lives_and_goes() -> None:
    kernel = FakeKernel()
    module = load_module(tiny().build(), kernel)
    assert module.flags() == "(OE+)"
    assert len(kernel.mem.ranges) == 2
    module.init_done()
    assert module.flags() == "(OE)"
    assert module.refcount == 1
    assert len(kernel.mem.ranges) == 1
    assert kernel.mem.read(module.address + kernel.layout["module"].offset("init_layout"), 24) == bytes(24)
    module.set_state(2)
    assert module.flags() == "(OE-)"
    module.free()
    assert not kernel.mem.ranges
    assert not kernel.mem.permissions


def test_init_that_failed_leaves_nothing_either() -> None:
    kernel = FakeKernel()
    load_module(tiny().build(), kernel).free()
    assert not kernel.mem.ranges


def test_loading_taints_the_kernel_once() -> None:
    kernel = FakeKernel()
    load_module(tiny().build(), kernel)
    load_module(tiny().build(), kernel)
    assert kernel.log == [(4, OUT_OF_TREE), (5, UNSIGNED)]
    assert kernel.tainted == 1 << TAINT_OOT_MODULE | 1 << TAINT_UNSIGNED_MODULE


def test_signed_module_of_the_kernel_taints_nothing() -> None:
    signature = b"S" * 40 + bytes(8) + (40).to_bytes(4, "big") + b"~Module signature appended~\n"
    kernel = FakeKernel()
    module = load_module(tiny(intree="Y").build() + signature, kernel)
    assert (kernel.tainted, kernel.log, module.flags()) == (0, [], "(+)")


def test_proprietary_module_taints_and_loses_gpl_symbols() -> None:
    kernel = FakeKernel()
    maker = tiny(license="MIT")
    maker.symbol("kfree", UNDEF)
    module = load_module(maker.build(), kernel)
    assert "tiny: module license 'MIT' taints kernel." in kernel.lines
    assert kernel.tainted >> TAINT_PROPRIETARY_MODULE & 1
    assert module.flags() == "(POE+)"
    maker.symbol("__symbol_get", UNDEF)
    with pytest.raises(UnknownSymbols) as caught:
        load_module(maker.build(), FakeKernel())
    assert caught.value.names == ("__symbol_get",)


def test_all_unknown_symbols_are_told_in_the_kernels_words() -> None:
    maker = tiny(depends="usbcore,cfg80211")
    for name in ("foo", "known", "bar"):
        maker.symbol(name, UNDEF)
    kernel = FakeKernel(unknown=frozenset(("foo", "bar")))
    with pytest.raises(UnknownSymbol) as caught:
        load_module(maker.build(), kernel)
    lines = ["tiny: Unknown symbol foo (err -2)", "tiny: Unknown symbol bar (err -2)"]
    assert caught.value.message == "\n".join(lines)
    assert kernel.lines[-2:] == lines
    assert "usbcore, cfg80211" in caught.value.remedy
    assert not kernel.mem.ranges


def test_weak_symbol_may_be_unknown() -> None:
    maker = tiny()
    weak = maker.symbol("maybe", UNDEF, bind=WEAK)
    pointer = maker.section(".data.ptr", bytes(8), ALLOC | WRITE, align=8)
    maker.rela(pointer, 0, R_64, weak)
    kernel = FakeKernel(unknown=frozenset(("maybe",)))
    module = load_module(maker.build(), kernel)
    assert kernel.mem.u64(module.sections[".data.ptr"]) == 0


def test_absolute_symbol_keeps_its_value() -> None:
    maker = tiny()
    maker.symbol("magic", ABS, 0x1234)
    module = load_module(maker.build(), FakeKernel())
    assert module.symbol("magic") == 0x1234


def test_common_symbol_is_refused() -> None:
    maker = tiny()
    maker.symbol("shared", COMMON, 8, 8)
    kernel = FakeKernel()
    with pytest.raises(ModuleFormatError, match="please compile with -fno-common"):
        load_module(maker.build(), kernel)
    assert not kernel.mem.ranges


def test_writable_code_is_refused() -> None:
    maker = tiny()
    maker.section(".evil", b"\xc3", ALLOC | EXEC | WRITE)
    with pytest.raises(ModuleFormatError, match=r"section \.evil \(index 6\) has invalid WRITE\|EXEC flags"):
        load_module(maker.build(), FakeKernel())


def test_live_patch_is_refused() -> None:
    with pytest.raises(ModuleFormatError, match="tiny: a live patch"):
        load_module(tiny(livepatch="Y").build(), FakeKernel())


def test_module_of_another_kernel_is_refused_and_logged() -> None:
    kernel = FakeKernel()
    with pytest.raises(ModuleFormatError, match="version magic"):
        load_module(tiny(vermagic="6.12.9-amd64 SMP preempt mod_unload modversions ").build(), kernel)
    assert kernel.log == [
        (3, f"tiny: version magic '6.12.9-amd64 SMP preempt mod_unload modversions ' should be '{VERMAGIC}'")
    ]
    assert not kernel.mem.ranges


def test_module_of_another_update_carries_a_note() -> None:
    module = load_module(tiny(vermagic=VERMAGIC.replace("-56-", "-40-")).build(), FakeKernel())
    assert "built for 6.1.0-40-amd64" in module.note


@pytest.mark.parametrize("size", [0, 64, 895, 1024])
def test_struct_module_of_another_size_is_refused(size: int) -> None:
    maker = tiny()
    maker.relas.pop(4)
    maker.sections[3].data = bytes(size)
    kernel = FakeKernel()
    with pytest.raises(ModuleFormatError, match=f"section size is {size}, should be 896"):
        load_module(maker.build(), kernel)
    assert not kernel.mem.ranges


def test_name_is_taken_from_struct_module_without_the_tag() -> None:
    maker = tiny("old_style")
    maker.sections[4].data = modinfo(license="GPL", vermagic=VERMAGIC)
    assert load_module(maker.build(), FakeKernel()).name == "old_style"


def test_no_memory_is_an_error_of_its_own() -> None:
    kernel = FakeKernel(limit=2 * PAGE)
    with pytest.raises(ModuleMemoryError, match="cannot allocate 12288 bytes of module memory") as caught:
        load_module(tiny().build(), kernel)
    assert "--ram" in caught.value.remedy


def test_no_memory_for_init_gives_core_back() -> None:
    kernel = FakeKernel(limit=3 * PAGE)
    maker = tiny()
    maker.section(".init.data", bytes(3 * PAGE), ALLOC | WRITE)
    with pytest.raises(ModuleMemoryError):
        load_module(maker.build(), kernel)
    assert not kernel.mem.ranges


def test_module_without_init_and_exit_has_no_functions() -> None:
    maker = tiny()
    maker.relas.pop(4)
    module = load_module(maker.build(), FakeKernel())
    assert (module.init_function, module.exit_function) == (0, 0)


def test_percpu_data_get_an_area_and_small_addresses() -> None:
    maker = tiny()
    section = maker.section(".data..percpu", b"percpu!!" * 2, ALLOC | WRITE, align=64)
    variable = maker.symbol("per_cpu_counter", section, 8, 8, GLOBAL, OBJECT)
    user = maker.section(".text.user", bytes(8), ALLOC | EXEC)
    maker.rela(user, 0, R_PC32, variable, -4)
    kernel = FakeKernel()
    module = load_module(maker.build(), kernel)
    assert kernel.percpu == {module.percpu: b"percpu!!" * 2}
    assert module.percpu % 64 == 0
    assert module.symbol("per_cpu_counter") == module.percpu + 8
    at = module.sections[".text.user"]
    assert int.from_bytes(kernel.mem.read(at, 4), "little") == (module.percpu + 8 - 4 - at) & 0xFFFFFFFF
    module.free()
    assert not kernel.percpu


def test_constructors_are_listed() -> None:
    maker = tiny()
    table = maker.section(".init_array", bytes(16), ALLOC | WRITE, align=8)
    maker.rela(table, 0, R_64, 1)
    maker.rela(table, 8, R_64, 2)
    assert load_module(maker.build(), FakeKernel()).constructors == [CORE, CORE + 16]


def test_arguments_find_parameters_and_others_are_told() -> None:
    maker = tiny()
    names = maker.section(".rodata", b"count\0", ALLOC)
    table = maker.section("__param", bytes(40), ALLOC, align=8)
    maker.rela(table, 0, R_64, maker.symbol("", names))
    maker.rela(table, 32, R_64, 4)
    kernel = FakeKernel()
    module = load_module(maker.build(), kernel, params={"count": "3", "nope": "x"})
    ((param, value),) = module.settings
    assert (param.name, param.arg, value) == ("count", module.symbol("counter"), "3")
    assert (4, "tiny: unknown parameter 'nope' ignored") in kernel.log


def test_init_and_exit_offsets_of_the_tests_are_the_releases() -> None:
    members = FakeKernel().layout["module"]
    assert (members.offset("init"), members.offset("exit"), members.offset("name")) == (INIT_AT, EXIT_AT, NAME_AT)


def test_loading_twice_gives_the_same_memory() -> None:
    images = []
    for _ in range(2):
        kernel = FakeKernel()
        load_module(tiny().build(), kernel)
        images.append({base: bytes(data) for base, data in kernel.mem.ranges.items()})
    assert images[0] == images[1]
