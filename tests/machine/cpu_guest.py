"""A small guest for the tests of the CPU: RAM, page tables built here by hand, one stack, a mailbox, and machine code.

IMAGE        all RAM, 2 MiB pages, writable and executable (where the tests' code runs)
DIRECT       all RAM, 2 MiB pages, writable, not executable
PAGES        4 KiB pages: 0 and 4 writable, 1 read-only, 3 read-only and executable, the others not present
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from kmem.machine.clock import Clock
from kmem.machine.cpu import Cpu
from kmem.machine.outcome import Outcome
from kmem.machine.ram import Ram
from kmem.machine.trap import Handler, Traps

RAM_SIZE = 16 << 20
DIRECT = 0xFFFF_8880_0000_0000
IMAGE = 0xFFFF_FFFF_8000_0000
PAGES = 0xFFFF_C900_0000_0000
CR3 = 0x1000
NX = 1 << 63
COMMON, STUBS, CODE = 0x10_0000, 0x11_0000, 0x12_0000
PERCPU, MAILBOX = 0x20_0000, 0x20_0100
STACK_TOP, STACK2_TOP = 0x31_0000, 0x33_0000
PAGES_PHYS = 0x40_0000
HEAP = 0x50_0000


class Guest:
    """One machine with traps."""

    def __init__(self) -> None:
        self.ram = Ram(RAM_SIZE)
        self._page_tables()
        self.clock = Clock()
        self.cpu = Cpu(self.ram, cr3=CR3, gs_base=DIRECT + PERCPU, clock=self.clock)
        self.traps = Traps(self.cpu, common_addr=IMAGE + COMMON, mailbox_gs_offset=0x100, mailbox_phys=MAILBOX)
        self.write(COMMON, self.traps.code)
        self._stubs = 0

    def _page_tables(self) -> None:
        def entry(table: int, index: int, value: int) -> None:
            struct.pack_into("<Q", self.ram.mem, table + 8 * index, value)

        for address, pdpt in ((DIRECT, 0x2000), (IMAGE, 0x3000), (PAGES, 0x4000)):
            entry(CR3, address >> 39 & 511, pdpt | 3)
        entry(0x2000, DIRECT >> 30 & 511, 0x5003)
        entry(0x3000, IMAGE >> 30 & 511, 0x6003)
        entry(0x4000, PAGES >> 30 & 511, 0x7003)
        entry(0x7000, PAGES >> 21 & 511, 0x8003)
        for index in range(RAM_SIZE >> 21):
            entry(0x5000, index, index << 21 | 0x83 | NX)
            entry(0x6000, index, index << 21 | 0x83)
        for page, bits in enumerate((3 | NX, 1 | NX, 0, 1, 3 | NX)):
            self.set_page(page, (PAGES_PHYS + page * 0x1000) | bits if bits else 0)

    def set_page(self, page: int, entry: int) -> None:
        """The page table entry of 4 KiB page *page* of PAGES."""
        struct.pack_into("<Q", self.ram.mem, 0x8000 + 8 * page, entry)

    def write(self, phys: int, data: bytes) -> None:
        self.ram.mem[phys : phys + len(data)] = data

    def u64(self, phys: int) -> int:
        return int(struct.unpack_from("<Q", self.ram.mem, phys)[0])

    def code(self, machine_code: str | bytes, at: int = CODE) -> int:
        """Put code at physical *at*; returns the address to run it at."""
        data = bytes.fromhex(machine_code) if isinstance(machine_code, str) else machine_code
        self.write(at, data)
        self.cpu.code_written(IMAGE + at, len(data))
        return IMAGE + at

    def export(self, handler: Handler, *, exact: bool = False) -> int:
        """A new exported function served by *handler*; returns its address."""
        at = STUBS + 16 * self._stubs
        self._stubs += 1
        self.write(at, self.traps.add(handler, IMAGE + at, exact=exact))
        return IMAGE + at

    def run(self, machine_code: str | bytes, args: Sequence[int] = (), **options: int) -> Outcome:
        """Run code as a function of *args*."""
        options.setdefault("stack", DIRECT + STACK_TOP)
        return self.cpu.run(self.code(machine_code), args, **options)

    def call(self, target: int, args: Sequence[int] = (), **options: int) -> Outcome:
        """Run the function at *target*."""
        options.setdefault("stack", DIRECT + STACK_TOP)
        return self.cpu.run(target, args, **options)

    def close(self) -> None:
        self.cpu.close()
        self.ram.close()


def movabs(register: int, value: int) -> bytes:
    """movabs $value,%register (number 0 to 15)"""
    return bytes((0x49 if register > 7 else 0x48, 0xB8 | register & 7)) + value.to_bytes(8, "little")


def call_to(target: int) -> bytes:
    """movabs $target,%r10; call *%r10"""
    return movabs(10, target) + bytes.fromhex("41ffd2")


def calling(*targets: int) -> bytes:
    """A function that calls each of *targets* and returns what the last one returned; first arguments are kept in rbx.

    push %rbx; mov %rdi,%rbx; (mov %rbx,%rdi; call)…; pop %rbx; ret
    """
    body = b"".join(bytes.fromhex("4889df") + call_to(target) for target in targets)
    return bytes.fromhex("53 4889fb") + body + bytes.fromhex("5b c3")
