"""What the loader needs of the kernel that it loads a module into."""

from __future__ import annotations

from typing import Protocol

from kmem.abi.layout import Layout
from kmem.modules.kallsyms import Kallsyms
from kmem.modules.vermagic import ReleaseInfo

KERN_ERR, KERN_WARNING, KERN_NOTICE = 3, 4, 5


class Memory(Protocol):
    """Virtual memory of the kernel (``machine.paging.AddressSpace``). Unmapped addresses raise AccessFault."""

    def read(self, addr: int, n: int) -> bytes:
        """*n* bytes."""
        ...

    def write(self, addr: int, data: bytes) -> None:
        """Store bytes."""
        ...

    def u64(self, addr: int) -> int:
        """An unsigned 64-bit number."""
        ...

    def u16(self, addr: int) -> int:
        """An unsigned 16-bit number."""
        ...


class LoadEnv(Protocol):
    """The kernel, seen from the loader."""

    @property
    def mem(self) -> Memory:
        """The kernel's address space."""
        ...

    @property
    def kallsyms(self) -> Kallsyms:
        """The symbol table that the module's names are added to."""
        ...

    @property
    def layout(self) -> Layout:
        """Struct layouts of the release."""
        ...

    @property
    def release(self) -> ReleaseInfo:
        """The release itself."""
        ...

    def module_alloc(self, size: int) -> int:
        """Pages for *size* bytes in the module area, writable and not executable; 0 when there are none
        (``module_alloc``).
        """
        ...

    def module_memfree(self, addr: int) -> None:
        """Free what module_alloc gave, permissions reset (``module_memfree``)."""
        ...

    def set_memory(self, addr: int, size: int, write: bool, execute: bool) -> None:
        """Set page permissions, and flush what the CPU has cached of them (``set_memory_ro``, ``_nx``, ``_x``)."""
        ...

    def resolve(self, name: str) -> int | None:
        """Address of an exported symbol, None if nobody exports it (``find_symbol``)."""
        ...

    def percpu_modalloc(self, size: int, align: int, image: bytes) -> int:
        """A per-cpu area with *image* copied into it for each CPU; its per-cpu offset, 0: no memory."""
        ...

    def percpu_modfree(self, offset: int) -> None:
        """Free what percpu_modalloc gave."""
        ...

    @property
    def tainted(self) -> int:
        """The kernel's taint flags, by bit (``tainted_mask``)."""
        ...

    def add_taint(self, flag: int) -> None:
        """Set the taint flag with the TAINT_* number *flag*."""
        ...

    def printk(self, level: int, text: str) -> None:
        """Log one line."""
        ...
