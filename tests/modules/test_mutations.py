"""Thousands of damaged modules: each is refused with an error of ours or loads, quickly, in little memory, and is
freed again."""

from __future__ import annotations

import random
import struct
import time
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from kmem.errors import InputError, ModuleFormatError
from kmem.modules.kbuild import build
from kmem.modules.loader import load_module
from tests.modules.elfmaker import (
    ALLOC,
    EXEC,
    LOCAL,
    NOBITS,
    R_64,
    R_PC32,
    R_PLT32,
    SECTION,
    UNDEF,
    WRITE,
    Maker,
    tiny,
)  # fmt: skip
from tests.modules.fake_kernel import FakeKernel
from tests.modules.test_lines import COPY, END, SET_ADDRESS, unit, v4_files

INTERESTING = (
    0,
    1,
    2,
    3,
    7,
    8,
    0x7F,
    0xFF,
    0x100,
    0xFFF,
    0x1000,
    0xFFFF,
    0x7FFFFFFF,
    1 << 31,
    (1 << 32) - 1,
    1 << 40,
    1 << 63,
    (1 << 64) - 1,
)
HEADER_FIELDS = ((0, 4), (4, 4), (8, 8), (24, 8), (32, 8), (40, 4), (44, 4), (48, 8), (56, 8))
MEMORY = 16 << 20


def rich() -> Maker:
    """A module with every table that the loader reads."""
    maker = tiny()
    here = maker.symbol("", 1, 0, 0, LOCAL, SECTION)
    thunk = maker.symbol("__x86_indirect_thunk_rax", UNDEF)
    pv_ops = maker.symbol("pv_ops", UNDEF)
    code = maker.section(".text.sites", b"\xe8\0\0\0\0\xff\x15\0\0\0\0\xe8\0\0\0\0" + b"\x90" * 16, ALLOC | EXEC)
    maker.rela(code, 1, R_PLT32, thunk, -4)
    maker.rela(code, 7, R_PC32, pv_ops, -4)
    sites = maker.symbol("sites", code, 0, 32)
    names = maker.section(".rodata", b"count\0drv.c\0exported\0\0", ALLOC)
    text = maker.symbol("", names, 0, 0, LOCAL, SECTION)
    key = maker.symbol("key", maker.section(".data.key", bytes(16), ALLOC | WRITE, align=8))

    def table(name: str, data: bytes, *relas: tuple[int, int, int, int], flags: int = ALLOC, align: int = 4) -> None:
        number = maker.section(name, data, flags, align=align)
        for rela in relas:
            maker.rela(number, *rela)

    table(".return_sites", bytes(4), (0, R_PC32, here, 7))
    table(".retpoline_sites", bytes(4), (0, R_PC32, sites, 0))
    table("__mcount_loc", bytes(8), (0, R_64, here, 0))
    table(".parainstructions", bytes(8) + b"\0\6" + bytes(6), (0, R_64, sites, 5), align=8)
    alternative = struct.pack("<iiHBB", 0, 0, 117, 5, 5)
    table(".altinstructions", alternative, (0, R_PC32, sites, 16), (4, R_PC32, sites, 11))
    table(".static_call_sites", bytes(8), (0, R_PC32, sites, 11), (4, R_PC32, key, 0), flags=ALLOC | WRITE)
    table(
        "__bug_table", struct.pack("<iiHH", 0, 0, 9, 1), (0, R_PC32, here, 5), (4, R_PC32, text, 6), flags=ALLOC | WRITE
    )
    table("__ex_table", bytes(24), *((at, R_PC32, here, 20 - at) for at in (0, 4, 12, 16)))
    table("__ksymtab", bytes(12), (0, R_PC32, here, 0), (4, R_PC32, text, 12), (8, R_PC32, text, 20))
    table(
        "__param", struct.pack("<QQQHbBxxxxQ", 0, 0, 0, 420, -1, 0, 0), (0, R_64, text, 0), (32, R_64, key, 0), align=8
    )
    table(".orc_unwind_ip", bytes(12), (0, R_PC32, here, 16), (4, R_PC32, here, 4), (8, R_PC32, sites, 8))
    table(".orc_unwind", struct.pack("<hhH", 8, 0, 5) * 3)
    table(".init_array", bytes(8), (0, R_64, here, 0), flags=ALLOC | WRITE, align=8)
    table("__versions", struct.pack("<Q56s", 1, b"module_layout"))
    maker.section(".data..percpu", bytes(16), ALLOC | WRITE, align=64)
    maker.section(".bss", b"", ALLOC | WRITE, type=NOBITS, size=5000, align=32)
    data = unit(4, v4_files(), SET_ADDRESS + bytes((COPY, 2, 32)) + END)
    line = maker.section(".debug_line", data, 0)
    maker.rela(line, data.index(SET_ADDRESS) + 3, R_64, here)
    return maker


def mutant(image: bytes, random_: random.Random) -> bytes:
    """*image* with one to four fields damaged: anywhere, in a section header, in the ELF header; or cut off."""
    raw = bytearray(image)
    headers = struct.unpack_from("<Q", raw, 40)[0]
    count = (len(raw) - headers) // 64
    for _ in range(random_.randint(1, 4)):
        kind = random_.randrange(8)
        value = random_.choice((*INTERESTING, random_.randrange(count + 2), random_.randrange(len(image))))
        if kind == 0:
            raw[random_.randrange(64)] = random_.randrange(256)
        elif kind == 1 and random_.random() < 0.2:
            return bytes(raw[: random_.randrange(len(raw))])
        elif kind < 4:
            offset, size = random_.choice(HEADER_FIELDS)
            at = headers + 64 * random_.randrange(count) + offset
            raw[at : at + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
        elif kind < 6:
            at, size = random_.randrange(64, len(raw) - 8), random_.choice((2, 4, 8))
            raw[at : at + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
        else:
            raw[random_.randrange(64, len(raw))] = random_.randrange(256)
    return bytes(raw)


def survives(image: bytes) -> str:
    """Load *image*, ask for everything, unload it. Returns "loaded" or the kind of the refusal."""
    kernel = FakeKernel(limit=MEMORY)
    try:
        module = load_module(image, kernel, params={"count": "1"})
    except InputError as error:
        return type(error).__name__ if error.message and error.remedy else "without a remedy"
    else:
        for addr in (module.init_function, module.exit_function, module.core.base, module.core.base + 9):
            module.source(addr)
            module.bug_at(addr)
            module.search_extable(addr)
            module.function(addr)
            module.orc.find(addr)
            kernel.kallsyms.sprint(addr)
        module.source_frames(module.init_function)
        module.init_done()
        module.free()
        return "loaded"
    finally:
        assert not kernel.mem.ranges
        assert not kernel.percpu


def hunt(image: bytes, count: int, seed: int) -> Counter[str]:
    random_ = random.Random(seed)
    worst = 0.0
    seen: Counter[str] = Counter()
    for _ in range(count):
        start = time.process_time()
        seen[survives(mutant(image, random_))] += 1
        worst = max(worst, time.process_time() - start)
    # Half a second is a hundred times what a module of this size takes.
    assert worst < 0.5
    return seen


def test_whole_module_loads() -> None:
    image = rich().build()
    assert survives(image) == "loaded"
    module = load_module(image, FakeKernel())
    done = module.patched
    assert (done.returns, done.retpolines, done.fentry, done.paravirt, done.alternatives, done.static_calls) == (1,) * 6
    assert [len(rows) for rows in (module.exports, module.params, module.constructors, module.orc)] == [1, 1, 1, 3]  # type: ignore[arg-type]


def test_damaged_modules_are_refused_or_run() -> None:
    seen = hunt(rich().build(), 3000, seed=1)
    assert seen[ModuleFormatError.__name__] > 500
    assert seen["loaded"] > 500


def test_every_cut_off_module_is_refused() -> None:
    image = rich().build()
    for size in range(0, len(image), 5):
        assert survives(image[:size]) == "ModuleFormatError"


def test_damaged_modules_take_little_memory() -> None:
    image, random_ = rich().build(), random.Random(2)
    tracemalloc.start()
    try:
        for _ in range(300):
            survives(mutant(image, random_))
        assert tracemalloc.get_traced_memory()[1] < 6 * MEMORY
    finally:
        tracemalloc.stop()


@pytest.mark.needs_headers
def test_damaged_real_modules_are_refused_or_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With real debugging information, which nothing but the line reader and pyelftools looks at."""
    monkeypatch.setenv("KMEM_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "real.c"
    source.write_text(
        "#include <linux/module.h>\n#include <linux/slab.h>\n"
        "static int __init i(void) { void *p = kmalloc(8, GFP_KERNEL); WARN_ON(!p); kfree(p); return 0; }\n"
        'static void __exit e(void) { }\nmodule_init(i);\nmodule_exit(e);\nMODULE_LICENSE("GPL");\n'
    )
    (path,) = build(source, version="6.1.0-56-amd64").modules
    image = path.read_bytes()
    assert survives(image) == "loaded"
    assert hunt(image, 60, seed=3)["loaded"] > 10
