"""Per-cpu areas: where each CPU's copy of the per-cpu variables lies (arch/x86/kernel/setup_percpu.c, release 6.1).

A per-cpu symbol is a small number, its offset in the area; ``%gs:symbol`` is this CPU's copy, because the base of
gs is the address of the CPU's area. The first variable is ``fixed_percpu_data``, whose stack canary the compiler
expects at ``%gs:40``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

PAGE = 4096
CANARY_OFFSET = 40


class Memory(Protocol):
    """Guest virtual memory (`kmem.machine.paging.AddressSpace`)."""

    def read(self, addr: int, n: int) -> bytes: ...
    def write(self, addr: int, data: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class Variable:
    """A static per-cpu variable: *offset* is the value of its symbol."""

    name: str
    offset: int
    size: int


class PerCpu:
    """The areas of *cpus* CPUs, one behind the other from the virtual address *base*, *unit_size* bytes each (whole
    pages).
    """

    def __init__(self, base: int, cpus: int, unit_size: int = 16 * PAGE) -> None:
        if base % PAGE or unit_size % PAGE or cpus < 1:
            raise ValueError(f"per-cpu areas are whole pages for at least one CPU: {base:#x}, {cpus} of {unit_size:#x}")
        self.base = base
        self.cpus = cpus
        self.unit_size = unit_size
        self._used = 0
        self._variables: dict[str, Variable] = {}
        self.allocate("fixed_percpu_data", CANARY_OFFSET + 8, PAGE)
        self.allocate("this_cpu_off", 8, 8)
        self.allocate("cpu_number", 4, 4)

    @property
    def size(self) -> int:
        """Bytes of all areas together."""
        return self.cpus * self.unit_size

    @property
    def used(self) -> int:
        """Bytes of an area that static variables take; what follows is free for ``alloc_percpu``."""
        return self._used

    @property
    def variables(self) -> tuple[Variable, ...]:
        """All static variables, by offset."""
        return tuple(self._variables.values())

    def allocate(self, name: str, size: int, align: int = 8) -> int:
        """Place the static variable *name*; returns its offset, which is the value of its symbol."""
        if name in self._variables:
            raise ValueError(f"per-cpu variable {name} is there already")
        if align < 1 or align & (align - 1):
            raise ValueError(f"alignment {align} of per-cpu variable {name} is not a power of two")
        offset = -(-self._used // align) * align
        if offset + size > self.unit_size:
            raise MemoryError(f"no room for per-cpu variable {name}: {size} of {self.unit_size - self._used} bytes")
        self._used = offset + size
        self._variables[name] = Variable(name, offset, size)
        return offset

    def offset(self, name: str) -> int:
        """Value of the symbol *name*. Raises KeyError."""
        return self._variables[name].offset

    def gs_base(self, cpu: int) -> int:
        """Address of the area of *cpu*: the base of gs there, and ``__per_cpu_offset[cpu]``."""
        if not 0 <= cpu < self.cpus:
            raise ValueError(f"there is no CPU {cpu}, only {self.cpus}")
        return self.base + cpu * self.unit_size

    def address(self, name: str, cpu: int) -> int:
        """``per_cpu_ptr(&name, cpu)``"""
        return self.gs_base(cpu) + self.offset(name)

    def per_cpu_offset(self, nr_cpus: int) -> bytes:
        """Contents of ``unsigned long __per_cpu_offset[nr_cpus]``; 0 for CPUs that are not there."""
        bases = [self.gs_base(cpu) if cpu < self.cpus else 0 for cpu in range(nr_cpus)]
        return b"".join(base.to_bytes(8, "little") for base in bases)

    def read(self, memory: Memory, name: str, cpu: int) -> int:
        """The variable of *cpu*, as an unsigned number of its size."""
        return int.from_bytes(memory.read(self.address(name, cpu), self._variables[name].size), "little")

    def write(self, memory: Memory, name: str, cpu: int, value: int) -> None:
        """Set the variable of *cpu*; *value* is cut to its size."""
        size = self._variables[name].size
        memory.write(self.address(name, cpu), (value & (1 << 8 * size) - 1).to_bytes(size, "little"))

    def initialise(self, memory: Memory, canary: int = 0) -> None:
        """Fill in what every area begins with: the stack canary, ``this_cpu_off`` and ``cpu_number``."""
        for cpu in range(self.cpus):
            memory.write(self.gs_base(cpu) + CANARY_OFFSET, (canary & (1 << 64) - 1).to_bytes(8, "little"))
            self.write(memory, "this_cpu_off", cpu, self.gs_base(cpu))
            self.write(memory, "cpu_number", cpu, cpu)
