"""Drivers and user memory on the emulated CPU: mmap handlers, copies for a process, SMAP, hardened usercopy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import kmem
from kmem.kapi.executor import TaskDied
from kmem.kapi.insmod import LoadedModule
from kmem.kapi.process import MAP_SHARED, PROT_READ, PROT_WRITE, Process, SegmentationFault, SystemCallFailed
from kmem.kernel import Kernel
from kmem.mm.validate import check
from kmem.modules.kbuild import build

KMOD = Path(__file__).resolve().parent.parent / "kmod"
PAGE = 4096

pytestmark = [pytest.mark.needs_headers]


@pytest.fixture(scope="module")
def driver() -> Path:
    [path] = build(KMOD / "userdrv").modules
    return path


@pytest.fixture(scope="module")
def machine(driver: Path) -> Iterator[tuple[Kernel, LoadedModule]]:
    with kmem.boot(ram="128M") as kernel:
        loaded = kernel.insmod(driver)
        kernel.snapshot()
        yield kernel, loaded


@pytest.fixture
def k(machine: tuple[Kernel, LoadedModule]) -> Iterator[Kernel]:
    kernel, _ = machine
    kernel.rollback()
    yield kernel
    assert check(kernel.mm) == []


def function(k: Kernel, name: str) -> int:
    found = k.kallsyms.address(name)
    assert found
    return found


def mapped(k: Kernel, p: Process, handler: str, pages: int = 4, offset: int = 0) -> int:
    return p.mmap(
        pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file=1 << 32, handler=function(k, handler), offset=offset
    )


@pytest.mark.parametrize("handler", ["pfn", "pages", "fault", "pfn_fault"])
def test_a_program_sees_what_the_driver_maps(k: Kernel, handler: str) -> None:
    p = k.process("app")
    rss = p.rss
    a = mapped(k, p, f"userdrv_mmap_{handler}")
    assert p.read(a + 2 * PAGE, 4) == b"2222"
    p.write(a + PAGE, b"from the program")
    first = p.read(a, 1)
    assert first == b"0"
    assert check(k.mm) == []
    assert p.rss - rss == {"pfn": 0, "pages": 4, "fault": 3, "pfn_fault": 0}[handler]
    other = k.process("other")
    b = mapped(k, other, f"userdrv_mmap_{handler}")
    assert other.read(b + PAGE, 16) == b"from the program"
    p.munmap(a, 4 * PAGE)
    assert p.rss == rss
    p.exit()
    assert other.read(b + PAGE, 16) == b"from the program"
    other.exit()


def test_a_driver_that_refuses_a_mapping(k: Kernel) -> None:
    p = k.process("app")
    before = p.proc("maps")
    with pytest.raises(SystemCallFailed, match="ENXIO"):
        mapped(k, p, "userdrv_mmap_pages", pages=5)
    assert p.proc("maps") == before


@pytest.mark.parametrize("handler", ["fault", "pfn_fault"])
def test_a_fault_behind_the_end_of_the_device_is_a_bus_error(k: Kernel, handler: str) -> None:
    p = k.process("app")
    a = mapped(k, p, f"userdrv_mmap_{handler}", pages=6)
    assert p.read(a + 3 * PAGE, 1) == b"3"
    with pytest.raises(SegmentationFault):
        p.read(a + 4 * PAGE, 1)


def test_a_driver_copies_to_and_from_the_process_that_calls_it(k: Kernel) -> None:
    p, q = k.process("p"), k.process("q")
    a, b = p.mmap(PAGE), q.mmap(PAGE)
    p.write(a, b"by p")
    with p:
        assert k.executor.run(function(k, "userdrv_write"), a, 4) == 4
    with q:
        assert k.executor.run(function(k, "userdrv_read"), b, 4) == 4
        assert k.executor.run(function(k, "userdrv_read"), 0, 4) == (1 << 64) - 14
    assert q.read(b, 5) == b"by p\0"


def test_the_cpu_sees_user_memory_as_the_tables_say(k: Kernel) -> None:
    """P3 and P6: every mapped page, and the bytes on both sides of each edge, by an access between stac and clac."""
    load = k.symbols._text  # room behind the kernel's own code
    code = bytes.fromhex("4889f8 0f01cb 0fb600 0f01ca c3 0f01ca 48c7c0ffffffff c3")
    k.symbols.write_code(load, code)
    k.symbols.fixups[load + 6] = load + 13
    p = k.process("app")
    a = p.mmap(8 * PAGE)
    p.write(a, bytes(range(1, 9)) * (8 * PAGE // 8))
    p.munmap(a + 2 * PAGE, PAGE)
    p.mprotect(a + 4 * PAGE, PAGE, 0)
    with p:
        for page in range(-1, 9):
            for offset in (0, 1, PAGE - 1):
                addr = a + page * PAGE + offset
                try:
                    expected = p.read(addr, 1)[0]
                except SegmentationFault:
                    expected = (1 << 64) - 1
                assert k.executor.run(load, addr) == expected, hex(addr)
        k.user.munmap(p.mm, a, 2 * PAGE)
        assert k.executor.run(load, a) == (1 << 64) - 1
    del k.symbols.fixups[load + 6]


def oops(driver: Path, mode: str) -> Kernel:
    kernel = kmem.boot(ram="128M")
    with pytest.raises(TaskDied):
        kernel.insmod(driver, mode=mode)
    return kernel


@pytest.mark.parametrize(
    ("mode", "access", "code", "why"),
    [
        ("peek", "read", 1, "permissions violation"),
        ("poke", "write", 3, "permissions violation"),
        ("untouched", "read", 0, "not-present page"),
    ],
)
def test_a_user_pointer_that_is_followed_is_an_oops(driver: Path, mode: str, access: str, code: int, why: str) -> None:
    with oops(driver, mode) as kernel:
        log = kernel.dmesg()
        assert "BUG: unable to handle page fault for address: 00000100" in log
        assert f"#PF: supervisor {access} access in kernel mode" in log
        assert f"#PF: error_code({code:#06x}) - {why}" in log
        [finding] = kernel.findings
        assert finding.kind == "wild-pointer"
        assert "(user space)" in finding.message
        assert finding.function == "err"


@pytest.mark.parametrize(("mode", "what"), [("overread", "exposure"), ("overwrite", "overwrite")])
def test_a_copy_over_the_end_of_an_object_ends_the_task(driver: Path, mode: str, what: str) -> None:
    with oops(driver, mode) as kernel:
        way = "from" if what == "exposure" else "to"
        text = f"Kernel memory {what} attempt detected {way} SLUB object 'kmalloc-64' (offset 0, size 80)!"
        assert f"usercopy: {text}" in kernel.dmesg()
        assert "kernel BUG at mm/usercopy.c:101!" in kernel.dmesg()
        [finding] = kernel.findings
        assert finding.kind == "out-of-bounds"
        assert text in finding.message
