"""Where exported symbols lie in the simulated kernel, and how a name becomes an address.

Functions have the addresses that they have in the release's own image (without KASLR), so that reports name them as a
real kernel does. At each lies either guest code or a 16-byte stub that traps to Python. Variables lie at their real
addresses too, except those that the mm keeps in ``kdata``. A symbol is placed when it is first asked for.

An exported function that kmem does not have yet gets a stub as well: loading a module that merely links to it is no
error, calling it ends the run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kmem.abi.address import KERNEL_TEXT, START_KERNEL_MAP
from kmem.abi.exports import export
from kmem.kapi.bind import Bound, bind_export
from kmem.kapi.export import Code, Data, Entry, Export, lookup
from kmem.mm.boot import TEXT_SIZE
from kmem.mm.mm_types import KDATA_ADDRESS, kdata

if TYPE_CHECKING:
    from kmem.machine.ram import Ram
    from kmem.modules.kallsyms import Kallsyms

STUB_SIZE = 16
_OWN_TEXT = KERNEL_TEXT + TEXT_SIZE - (1 << 20)
"""The last MiB of the text mapping: what has no address in the real image, or no room there."""
_OWN_DATA = KDATA_ADDRESS + (512 << 10)
"""Half a MiB for variables without an address of their own."""

_KDATA = (
    "kmalloc_caches page_offset_base vmalloc_base vmemmap_base phys_base high_memory nr_cpu_ids nr_node_ids node_data "
    "__per_cpu_offset iomem_resource ioport_resource"
).split()

AddStub = Callable[[str, Bound | None, int], bytes]
"""Called with name, handler (None: kmem has none) and address; returns the stub's bytes."""


class Symbols:
    """The exported symbols of one kernel of *release*. *initial* computes the first contents of a variable."""

    def __init__(
        self, ram: Ram, release: str, kallsyms: Kallsyms, add_stub: AddStub, initial: Callable[[Data], bytes]
    ) -> None:
        self._ram, self._release, self._kallsyms = ram, release, kallsyms
        self._add_stub, self._initial = add_stub, initial
        self._text, self._data = _OWN_TEXT, _OWN_DATA
        self._placed: dict[str, int] = {}
        self.code_written: Callable[[int, int], None] = lambda address, size: None
        """Told of every piece of code that is placed: address, size."""
        self.fixups: dict[int, int] = {}
        """The kernel's own exception table: where code goes on that faulted at an address."""
        self.missing: set[str] = set()
        """Exported functions that were linked to and that kmem does not have."""

    def address(self, name: str) -> int | None:
        """The address of *name*, None if no kernel of the release exports it."""
        found = self._placed.get(name)
        if found is None:
            found = self._place(name)
            if found is not None:
                self._placed[name] = found
        return found

    def mark(self) -> tuple[dict[str, int], int, int, set[str]]:
        """What is placed now, for :meth:`rewind`."""
        return dict(self._placed), self._text, self._data, set(self.missing)

    def rewind(self, mark: tuple[dict[str, int], int, int, set[str]]) -> None:
        """Forget what was placed since *mark*; the RAM that holds it is rolled back by the caller."""
        placed, self._text, self._data, missing = mark
        self._placed, self.missing = dict(placed), set(missing)

    def exported(self, name: str) -> int | None:
        """As `address`, for a module: what the model keeps for itself is not to be linked to."""
        return None if getattr(lookup(name), "private", False) else self.address(name)

    def placed(self, name: str) -> bool:
        """Whether anybody has asked for *name* yet."""
        return name in self._placed

    def _place(self, name: str) -> int | None:
        if name in _KDATA:
            return KDATA_ADDRESS + kdata.field(name).offset
        entry = lookup(name)
        real = export(name, self._release)
        if entry is None and real is None:
            return None
        if real is not None and real.kind == "A":
            return real.address
        if isinstance(entry, Data) or (entry is None and real is not None and real.kind in "DRBV"):
            return self._place_data(name, entry, real.address if real else 0, real.size if real else 0)
        return self._place_code(name, entry, real.address if real else 0, real.size if real else 0)

    def _place_data(self, name: str, entry: Entry | None, address: int, size: int) -> int:
        if isinstance(entry, Data):
            if not address or entry.size > size:
                self._data = -(-self._data // entry.align) * entry.align
                address, self._data = self._data, self._data + entry.size
            self._placed[name] = address  # its contents may point into itself
            self.write(address, self._initial(entry)[: entry.size])
            size = entry.size
        self._kallsyms.add(name, address, size)
        return address

    def _place_code(self, name: str, entry: Entry | None, address: int, size: int) -> int:
        need = len(entry.code) if isinstance(entry, Code) else STUB_SIZE
        if not KERNEL_TEXT <= address < _OWN_TEXT or (need > max(size, STUB_SIZE) and not isinstance(entry, Export)):
            self._text = -(-self._text // STUB_SIZE) * STUB_SIZE
            address, self._text = self._text, self._text + need
            size = need
        if isinstance(entry, Code):
            raw = entry.code
            self.fixups |= {address + insn: address + fixup for insn, fixup in entry.fixups}
        else:
            bound = bind_export(entry) if isinstance(entry, Export) else None
            if bound is None:
                self.missing.add(name)
            raw = self._add_stub(name, bound, address)
        self.write_code(address, raw)
        self._kallsyms.add(name, address, size)
        return address

    def write_code(self, address: int, raw: bytes) -> None:
        """Put code into the kernel image, which guest code cannot write."""
        self.write(address, raw)
        self.code_written(address, len(raw))

    def write(self, address: int, raw: bytes) -> None:
        """Store into the kernel image by physical address."""
        at = address - START_KERNEL_MAP
        self._ram.mem[at : at + len(raw)] = raw
