"""Calling the compiled model from Python, and being called by it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from kmem.abi.release import MODEL
from kmem.errors import UsageError
from kmem.lib.build import FAULTED, loaded
from kmem.lib.cstruct import PRIVATE_SIZE, CoreFault, u64
from kmem.lib.jit import INTERPRETED
from kmem.lib.raw import Unwind
from kmem.machine.ram import Ram

UpcallHandler = Callable[[int, int, int, int, int], int]


class PrivateArea(ctypes.Structure):
    """The head of ``struct kmem_private`` (:mod:`kmem.mm.mm_types`), for quick access from Python."""

    _fields_ = [
        ("ram_size", ctypes.c_uint64),
        ("mem_map_phys", ctypes.c_uint64),
        ("mem_map_size", ctypes.c_uint64),
        ("fault_address", ctypes.c_uint64),
        ("fault_size", ctypes.c_uint64),
        ("fault_write", ctypes.c_uint64),
        ("upcall", ctypes.c_uint64),
        ("upcall_failed", ctypes.c_uint64),
        ("gave_up", ctypes.c_uint64),
        ("listening", ctypes.c_uint64),
        ("events", ctypes.c_uint64),
        ("call_site", ctypes.c_uint64),
        ("time", ctypes.c_uint64),
        ("task", ctypes.c_uint64),
        ("cpu", ctypes.c_uint32),
        ("context", ctypes.c_uint32),
        ("fail_after", ctypes.c_int64),
        ("allocations", ctypes.c_uint64),
        ("fail_inner", ctypes.c_int64),
        ("fail_persist", ctypes.c_uint64),
        ("inner_failures", ctypes.c_uint64),
        ("task_flags", ctypes.c_uint64),
    ]


_UPCALL = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 5)


def load_core(release: str) -> None:
    """Load the compiled model, once a process. Interpreted, a process has the model of one release: UsageError for
    another.
    """
    if not INTERPRETED:
        loaded(release)
    elif release != MODEL:
        raise UsageError(
            f"release {release} cannot be booted: model code is interpreted, as that of {MODEL}",
            remedy=f"set KMEM_RELEASE={release}, or leave NUMBA_DISABLE_JIT out",
        )


class Core:
    """The model on one RAM. Attributes are the entries: ``core.k_kmalloc(size, gfp, node)``; addresses come back
    unsigned.

    A wild pointer that the model followed raises :class:`CoreFault`; an exception of the upcall handler passes through.
    """

    def __init__(self, ram: Ram, release: str, on_upcall: UpcallHandler) -> None:
        self.ram = ram
        self.private = PrivateArea.from_address(ram.base - PRIVATE_SIZE)
        self._on_upcall = on_upcall
        self._pending: BaseException | None = None
        self.inside = 0
        """Upcalls that are being served: the model is in the middle of something."""
        if INTERPRETED:
            from kmem.lib.jit import ENTRIES
            from kmem.mm import core as _core

            assert _core.MODULES
            ram.upcall = self._upcall
            self._entries: Any = ENTRIES
            self._loaded = None
        else:
            self._loaded = loaded(release)
            self._callback = _UPCALL(self._upcall)
            self.private.upcall = ctypes.cast(self._callback, ctypes.c_void_p).value or 0

    def _upcall(self, code: int, a: int, b: int, c: int, d: int) -> int:
        self.inside += 1
        try:
            return self._on_upcall(code, a, b, c, d)
        except BaseException as error:  # carried over compiled frames, which know no exceptions
            self._pending = error
            self.private.upcall_failed = 1
            if INTERPRETED:
                raise Unwind from error
            return 0
        finally:
            self.inside -= 1

    def __getattr__(self, name: str) -> Callable[..., int]:
        if name.startswith("_"):
            raise AttributeError(name)
        made = self._interpreted(name) if self._loaded is None else self._compiled(name)
        setattr(self, name, made)
        return made

    def _compiled(self, name: str) -> Callable[..., int]:
        assert self._loaded is not None
        return self._loaded.python_function(name, self.ram.base, self._odd)

    def _odd(self) -> int:
        """An entry returned FAULTED: it gave up, or that is its result."""
        if self.private.gave_up:
            self._raise()
        return FAULTED

    def _interpreted(self, name: str) -> Callable[..., int]:
        function = self._entries[name][0]

        def call(*args: int) -> int:
            signed = [arg - (1 << 64) if arg >> 63 > 0 else arg for arg in args]
            try:
                return u64(int(function(self.ram, *signed)))
            except CoreFault as fault:
                self.private.fault_address = fault.address
                self.private.fault_size = fault.size
                self.private.fault_write = int(fault.write)
                self._raise()
            except Unwind:
                self._raise()
            raise AssertionError("not reached")

        return call

    def _raise(self) -> None:
        pending, self._pending = self._pending, None
        self.private.upcall_failed = self.private.gave_up = 0
        if pending is not None:
            raise pending
        private = self.private
        raise CoreFault(private.fault_address, private.fault_size, bool(private.fault_write))
