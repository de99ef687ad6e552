"""A thin layer over libunicorn, by ctypes and without the Python modules of the ``unicorn`` package.

Only the shared library inside the installed package is used: loading it takes 5 ms, ``import unicorn`` 60 ms; and
hooks that are plain ``CFUNCTYPE`` functions cost less than half of the package's. Nothing here knows about kmem's
CPU: see `kmem.machine.cpu`.

Facts about Unicorn 2.1 that callers rely on:

- The engine translates code once. What Python writes into simulated RAM does not reach code that was already
  translated: say so with `Engine.forget_code`, or drop everything with `Engine.flush_code`, which is forbidden
  while guest code runs.
- A hook must be there before the code that it concerns is translated.
- `emu_start` is called with the GIL held (PyDLL): a hook then costs 0.04 us less. Other Python threads wait, and an
  interrupt from the keyboard is noticed in the next hook or when the run ends.
- With no stop address (``until`` = 0) a run ends by ``hlt``, by `Engine.stop` or by an exception.
- Never call uc_vmem_read, uc_vmem_write or uc_ctl_remove_cache from a hook: a translation that fails leaves an
  exception pending.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from ctypes import POINTER, byref, c_char, c_int, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from typing import TYPE_CHECKING, Any, ClassVar

from kmem.errors import KmemError

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = (2, 1)
"""Major and minor version of the library that the model was measured with."""

ARCH_ARM64, ARCH_X86, MODE_ARM, MODE_64 = 2, 4, 0, 8
PROT_ALL = 7
HOOK_INTR, HOOK_INSN, HOOK_BLOCK, HOOK_MEM_READ, HOOK_MEM_WRITE = 1 << 0, 1 << 1, 1 << 3, 1 << 10, 1 << 11
INS_IN, INS_OUT, INS_RDTSC, INS_SYSCALL, INS_SYSENTER = 218, 500, 608, 699, 700
CPU_X86_WESTMERE = 16
ERR_INSN_INVALID = 10

_CTL_WRITE = 1 << 30
_CTL_CPU_MODEL = 7 | 1 << 26 | _CTL_WRITE
_CTL_TB_REMOVE_CACHE = 9 | 2 << 26 | _CTL_WRITE
_CTL_TB_FLUSH = 10 | _CTL_WRITE
_CTL_TLB_FLUSH = 11 | _CTL_WRITE
_CTL_TCG_BUFFER_SIZE = 13 | 1 << 26 | _CTL_WRITE

BLOCK_HOOK = ctypes.CFUNCTYPE(None, c_void_p, c_uint64, c_uint32, c_void_p)
"""``void (*)(uc_engine *, uint64_t address, uint32_t size, void *user_data)``"""
INTR_HOOK = ctypes.CFUNCTYPE(None, c_void_p, c_uint32)
"""``void (*)(uc_engine *, uint32_t intno, …)``

Trailing arguments that nobody uses are left out here and below; the C ABI allows it.
"""
IN_HOOK = ctypes.CFUNCTYPE(c_uint32, c_void_p, c_uint32, c_int)
"""``uint32_t (*)(uc_engine *, uint32_t port, int size, …)``"""
OUT_HOOK = ctypes.CFUNCTYPE(None, c_void_p, c_uint32, c_int, c_uint32)
"""``void (*)(uc_engine *, uint32_t port, int size, uint32_t value, …)``"""
MEM_HOOK = ctypes.CFUNCTYPE(None, c_void_p, c_int, c_uint64, c_int, c_int64)
"""``void (*)(uc_engine *, uc_mem_type, uint64_t address, int size, int64_t value, …)``; the address is physical"""
INSN_HOOK = ctypes.CFUNCTYPE(c_int, c_void_p)
"""``int (*)(uc_engine *, …)``: true to leave the instruction out."""
MMIO_READ = ctypes.CFUNCTYPE(c_uint64, c_void_p, c_uint64, c_uint32)
"""``uint64_t (*)(uc_engine *, uint64_t offset, unsigned size, …)``"""
MMIO_WRITE = ctypes.CFUNCTYPE(None, c_void_p, c_uint64, c_uint32, c_uint64)
"""``void (*)(uc_engine *, uint64_t offset, unsigned size, uint64_t value, …)``"""


class EngineMissing(KmemError):
    """libunicorn cannot be loaded, or is not a version that the model knows."""

    slug = "engine-missing"
    remedy_text: ClassVar[str] = "install it beside kmem: python -m pip install 'unicorn>=2.1.4,<2.2'"

    def __init__(self, message: str) -> None:
        super().__init__(message, remedy=self.remedy_text)


class EngineError(KmemError):
    """A call into libunicorn failed."""

    slug = "engine-error"

    def __init__(self, what: str, code: int) -> None:
        super().__init__(f"{what}: {_library().uc_strerror(code).decode()}", remedy="report this as a bug of kmem")
        self.code = code


class Msr(ctypes.Structure):
    """``uc_x86_msr``: the value type of the pseudo register UC_X86_REG_MSR."""

    _fields_ = (("rid", c_uint32), ("value", c_uint64))


def _candidates() -> Iterator[str]:
    """Paths that may be the library: what LIBUNICORN_PATH names, then the installed package."""
    override = os.environ.get("LIBUNICORN_PATH")
    if override:
        yield os.path.join(override, "libunicorn.so.2")
        return
    for entry in sys.path:
        yield os.path.join(entry or ".", "unicorn", "lib", "libunicorn.so.2")
    from importlib.util import find_spec

    spec = find_spec("unicorn")
    for folder in (spec and spec.submodule_search_locations) or ():
        yield os.path.join(folder, "lib", "libunicorn.so.2")


def find_library() -> str:
    """Path of libunicorn. Raises EngineMissing."""
    for path in _candidates():
        if os.path.isfile(path):
            return path
    raise EngineMissing("the CPU emulator library libunicorn.so.2 (Python package unicorn) is not installed")


_loaded: ctypes.CDLL | None = None
_emu_start: Any = None


def _library() -> ctypes.CDLL:
    global _loaded, _emu_start
    if _loaded is None:
        path = find_library()
        try:
            lib = ctypes.CDLL(path)
        except OSError as error:
            raise EngineMissing(f"the CPU emulator library cannot be loaded: {error}") from None
        check_version(lib)
        _emu_start = _declare(lib, path)
        _loaded = lib
    return _loaded


def check_version(lib: Any) -> None:
    """Raise EngineMissing unless *lib* is a Unicorn of the version that the model was measured with."""
    version = lib.uc_version(None, None)
    found = version >> 24 & 0xFF, version >> 16 & 0xFF
    if found != VERSION:
        wanted = f"{VERSION[0]}.{VERSION[1]}"
        raise EngineMissing(f"the CPU emulator library is Unicorn {found[0]}.{found[1]}; kmem needs {wanted}")


def _declare(lib: ctypes.CDLL, path: str) -> Any:
    """Argument types of what is used; returns uc_emu_start bound so that it keeps the GIL."""
    handle = c_void_p
    lib.uc_strerror.restype = ctypes.c_char_p
    lib.uc_context_size.restype = c_size_t
    for name, types in (
        ("uc_close", [handle]),
        ("uc_mem_map_ptr", [handle, c_uint64, c_size_t, c_uint32, c_void_p]),
        ("uc_mmio_map", [handle, c_uint64, c_size_t, MMIO_READ, c_void_p, MMIO_WRITE, c_void_p]),
        ("uc_reg_read", [handle, c_int, c_void_p]),
        ("uc_reg_write", [handle, c_int, c_void_p]),
        ("uc_reg_read_batch", [handle, POINTER(c_int), POINTER(c_void_p), c_int]),
        ("uc_reg_write_batch", [handle, POINTER(c_int), POINTER(c_void_p), c_int]),
        ("uc_context_size", [handle]),
        ("uc_context_alloc", [handle, POINTER(handle)]),
        ("uc_context_free", [handle]),
        ("uc_context_save", [handle, handle]),
        ("uc_context_restore", [handle, handle]),
        ("uc_context_reg_write", [handle, c_int, c_void_p]),
        ("uc_emu_stop", [handle]),
    ):
        getattr(lib, name).argtypes = types
    start = ctypes.PyDLL(path).uc_emu_start
    start.argtypes = [handle, c_uint64, c_uint64, c_uint64, c_size_t]
    return start


class RegBatch:
    """A fixed list of 64-bit registers that is read or written in one call."""

    __slots__ = ("_buffer", "_count", "_ids", "_pointers", "_struct")

    def __init__(self, ids: tuple[int, ...]) -> None:
        self._count = len(ids)
        self._struct = struct.Struct(f"<{len(ids)}Q")
        self._ids = (c_int * len(ids))(*ids)
        self._buffer = ctypes.create_string_buffer(8 * len(ids))
        at = ctypes.addressof(self._buffer)
        self._pointers = (c_void_p * len(ids))(*(at + 8 * index for index in range(len(ids))))

    def read(self, engine: Engine) -> tuple[int, ...]:
        """The registers' values."""
        engine.lib.uc_reg_read_batch(engine.handle, self._ids, self._pointers, self._count)
        return self._struct.unpack(self._buffer)

    def write(self, engine: Engine, values: tuple[int, ...]) -> None:
        """Set all of them."""
        self._struct.pack_into(self._buffer, 0, *values)
        engine.lib.uc_reg_write_batch(engine.handle, self._ids, self._pointers, self._count)


class Context:
    """Room for one copy of the registers (without memory, TLB or translated code)."""

    __slots__ = ("_engine", "handle")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        handle = c_void_p()
        engine.check(engine.lib.uc_context_alloc(engine.handle, byref(handle)), "uc_context_alloc")
        self.handle = handle.value

    def save(self) -> None:
        """Copy the engine's registers here."""
        self._engine.lib.uc_context_save(self._engine.handle, self.handle)

    def restore(self) -> None:
        """Give the engine the registers that were saved."""
        self._engine.lib.uc_context_restore(self._engine.handle, self.handle)

    def raw(self) -> Any:
        """The context's memory, header and all, as a ctypes array of characters."""
        size = self._engine.lib.uc_context_size(self._engine.handle)
        return (c_char * size).from_address(self.handle or 0)

    def __del__(self) -> None:
        if getattr(self, "handle", None):
            self._engine.lib.uc_context_free(self.handle)


class Engine:
    """One Unicorn machine.

    *tcg_buffer* is the room for translated code in bytes (the library's own default is 1 GiB).
    """

    def __init__(self, arch: int, mode: int, *, model: int | None = None, tcg_buffer: int = 32 << 20) -> None:
        self.lib = _library()
        self.handle: int | None = None
        self._keep: list[object] = []
        handle = c_void_p()
        self.check(self.lib.uc_open(arch, mode, byref(handle)), "uc_open")
        self.handle = handle.value
        self.running = 0
        self._ctl(_CTL_TCG_BUFFER_SIZE, c_uint32(tcg_buffer))
        if model is not None:
            self._ctl(_CTL_CPU_MODEL, c_int(model))

    def check(self, code: int, what: str) -> None:
        """Raise EngineError unless *code*, the result of the call *what*, is UC_ERR_OK."""
        if code:
            raise EngineError(what, code)

    def _ctl(self, control: int, *args: Any) -> None:
        self.check(self.lib.uc_ctl(c_void_p(self.handle), c_uint32(control), *args), f"uc_ctl({control:#x})")

    def map_ram(self, phys: int, size: int, host: int) -> None:
        """Make *size* bytes at the host address *host* the physical memory at *phys*."""
        self.check(self.lib.uc_mem_map_ptr(self.handle, phys, size, PROT_ALL, host), "uc_mem_map_ptr")

    def map_mmio(self, phys: int, size: int, read: Any, write: Any) -> None:
        """Call *read* and *write* (see MMIO_READ, MMIO_WRITE) for accesses to *size* bytes from physical *phys* on."""
        callbacks = MMIO_READ(read), MMIO_WRITE(write)
        self._keep.append(callbacks)
        self.check(self.lib.uc_mmio_map(self.handle, phys, size, callbacks[0], None, callbacks[1], None), "uc_mmio_map")

    def hook(self, kind: int, callback: Any, *, user_data: int = 0, insn: int | None = None) -> None:
        """Add a hook for all addresses.

        *callback* is an instance of one of the …_HOOK types, or the address of machine code.
        """
        self._keep.append(callback)
        pointer = c_void_p(callback) if isinstance(callback, int) else callback
        extra = () if insn is None else (c_int(insn),)
        hook = c_size_t()
        everywhere = c_uint64(1), c_uint64(0)
        code = self.lib.uc_hook_add(
            c_void_p(self.handle), byref(hook), c_int(kind), pointer, c_void_p(user_data), *everywhere, *extra
        )
        self.check(code, "uc_hook_add")

    def reg(self, register: int) -> int:
        """One 64-bit register."""
        value = c_uint64()
        self.check(self.lib.uc_reg_read(self.handle, register, byref(value)), f"read of register {register}")
        return value.value

    def set_reg(self, register: int, value: int) -> None:
        """Set one 64-bit register. (Not rip while guest code runs: that would end the run.)"""
        self.check(
            self.lib.uc_reg_write(self.handle, register, byref(c_uint64(value))), f"write of register {register}"
        )

    def msr(self, number: int) -> int:
        """A model-specific register."""
        msr = Msr(number, 0)
        self.check(self.lib.uc_reg_read(self.handle, 248, byref(msr)), f"read of MSR {number:#x}")
        return int(msr.value)

    def set_msr(self, number: int, value: int) -> None:
        """Set a model-specific register."""
        self.check(self.lib.uc_reg_write(self.handle, 248, byref(Msr(number, value))), f"write of MSR {number:#x}")

    def start(self, address: int, until: int = 0) -> int:
        """Run from *address* until something ends the run, or to *until* unless 0; returns the UC_ERR_… code."""
        self.running += 1
        try:
            return int(_emu_start(self.handle, address, until, 0, 0))
        finally:
            self.running -= 1

    def stop(self) -> None:
        """End the run at the next block boundary; for hooks."""
        self.lib.uc_emu_stop(self.handle)

    def forget_code(self, address: int, size: int) -> None:
        """Forget what was translated from *size* bytes at virtual *address*, within a page that is mapped executable.

        Allowed while guest code runs. (Where it is not executable the engine would leave a page fault pending.)
        """
        self._ctl(_CTL_TB_REMOVE_CACHE, c_uint64(address), c_uint64(address + size))

    def flush_tlb(self) -> None:
        """Forget cached page table entries (1 us)."""
        self._ctl(_CTL_TLB_FLUSH)

    def flush_code(self) -> None:
        """Forget all translated code (14 us, and it must be translated again). Never while guest code runs."""
        if self.running:
            raise RuntimeError("flush_code while guest code runs would free the code under it: use forget_code")
        self._ctl(_CTL_TB_FLUSH)

    def function(self, name: str) -> int:
        """Address of the C function *name*, for machine code that calls it."""
        return ctypes.cast(getattr(self.lib, name), c_void_p).value or 0

    def close(self) -> None:
        """Give the engine's memory back. It must not be running; nothing may use it afterwards."""
        if self.handle is not None:
            self.lib.uc_close(self.handle)
            self.handle = None
            self._keep.clear()

    def __del__(self) -> None:
        if getattr(self, "handle", None) is not None:
            self.close()
