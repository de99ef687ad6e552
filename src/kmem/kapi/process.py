"""A process for tests and examples: it maps memory, touches it as a program does, and lends its pages to drivers.

    p = kernel.process("app")
    a = p.mmap(8192); p.write(a, b"hello"); p.malloc(100_000)
    with p:                                    # current: what a module copies from user memory comes from here
        kernel.insmod("driver.ko")
    p.exit()

Simplified: nothing of a program is there but its memory; `Process.read` and `Process.write` are its loads and stores. A
SIGSEGV is an exception, as for a program that catches it.
"""

from __future__ import annotations

from random import Random
from types import TracebackType
from typing import Any

from kmem.abi.address import PAGE_OFFSET
from kmem.errors import KmemError, UsageError
from kmem.kapi.errno import ENOMEM, errname
from kmem.lib.cstruct import u64
from kmem.mm.mm_types import kmem_signal, mm_struct, task_struct, vm_area_struct
from kmem.mm.user import ACCESS_EXEC, ACCESS_READ, ACCESS_WRITE

PAGE = 4096
PROT_NONE, PROT_READ, PROT_WRITE, PROT_EXEC = 0, 1, 2, 4
MAP_SHARED, MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS = 0x01, 0x02, 0x10, 0x20
MAP_GROWSDOWN, MAP_LOCKED, MAP_NORESERVE, MAP_POPULATE = 0x0100, 0x2000, 0x4000, 0x8000
MAP_FIXED_NOREPLACE = 0x100000
RLIMITS = {"DATA": 2, "STACK": 3, "MEMLOCK": 8, "AS": 9}
M_MMAP_THRESHOLD, TOP_PAD = 128 << 10, 128 << 10
"""What glibc's malloc starts with: from here on it maps, and the heap grows by so much more than is asked for."""
MALLOC_HEADER, MALLOC_ALIGN, MINSIZE = 8, 16, 32
VM_FAULT_ERROR, VM_FAULT_OOM, VM_FAULT_NOPAGE, VM_FAULT_LOCKED = 0x8F3, 1, 0x100, 0x200


class SegmentationFault(KmemError):
    """SIGSEGV: an access to memory that is not mapped, or not so."""

    slug = "segmentation-fault"
    status = 1

    def __init__(self, comm: str, pid: int, address: int, access: str) -> None:
        self.address, self.access = address, access
        super().__init__(
            f"{comm}[{pid}]: segmentation fault: {access} at {address:#x}",
            remedy="map the memory first, with the permission that the access needs",
        )


class SystemCallFailed(KmemError, OSError):
    """A system call returned an error; *errno* is positive."""

    slug = "system-call-failed"
    status = 1

    def __init__(self, call: str, error: int) -> None:
        super().__init__(
            f"{call} failed: {errname(-error) or error}",
            remedy="see the man page of the call; limits are those of Process.rlimit and of the machine's memory",
        )
        self.errno = -error


def aslr(seed: int, pid: int) -> Random:
    """The randomness that a process' addresses come from."""
    return Random(f"aslr {seed} {pid}")


class Process:
    """A process of *kernel* by the address of its task. Start one with `Kernel.process`."""

    def __init__(self, kernel: Any, task: int) -> None:
        self.k, self.task = kernel, task
        self.user = kernel.user
        self._entered: list[int] = []
        self._top = self._bin = 0

    @classmethod
    def start(cls, kernel: Any, comm: str, *, randomize: bool = True) -> Process:
        """fork and exec. SystemCallFailed without memory."""
        task = kernel.user.new_task(comm)
        if not task:
            raise SystemCallFailed("fork", -ENOMEM)
        error = kernel.user.exec(task, aslr(kernel.boot_config.seed, kernel.user.pid(task)) if randomize else None)
        if error:
            kernel.user.exit(task)
            raise SystemCallFailed("execve", error)
        return cls(kernel, task)

    # who it is

    @property
    def mm(self) -> int:
        """``task->mm``."""
        found: int = self.user.mm_of(self._alive())
        return found

    @property
    def pid(self) -> int:
        """Its number."""
        return int(self.user.pid(self._alive()))

    @property
    def comm(self) -> str:
        """Its name."""
        return str(self.user.view.string(self._alive() + self.user.view.struct(task_struct).field("comm").offset, 16))

    @property
    def alive(self) -> bool:
        """Whether it has not exited."""
        return self.task != 0

    def _alive(self) -> int:
        if not self.task:
            raise UsageError("the process has exited", remedy="start another one with Kernel.process()")
        return self.task

    def __enter__(self) -> Process:
        self._entered.append(self.k.current)
        self.k.switch_to(self._alive())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.k.switch_to(self._entered.pop())

    def fork(self) -> Process:
        """``fork(2)``: a child that shares the pages until one of the two writes. SystemCallFailed without memory."""
        child = self.user.fork(self._alive())
        if not child:
            raise SystemCallFailed("fork", -ENOMEM)
        made = Process(self.k, child)
        made._top, made._bin = self._top, self._bin
        self._flush()
        return made

    def exit(self) -> None:
        """``exit(2)``: all memory is given back. UsageError for the process that runs."""
        if self.k.current == self._alive():
            raise UsageError("the running process cannot exit here", remedy="leave its with block first")
        self.user.exit(self.task)
        self.task = 0
        self._flush()

    def _flush(self) -> None:
        if self.k._executor:
            self.k._executor.cpu.flush_tlb()

    # system calls

    def _done(self, call: str, result: int) -> int:
        self._flush()
        if -4095 <= result < 0:
            raise SystemCallFailed(call, result)
        return result

    def mmap(
        self,
        length: int,
        prot: int = PROT_READ | PROT_WRITE,
        flags: int = MAP_PRIVATE | MAP_ANONYMOUS,
        addr: int = 0,
        *,
        file: int = 0,
        handler: int = 0,
        offset: int = 0,
    ) -> int:
        """``mmap(2)``: the address. SystemCallFailed with its errno.

        For a device: *file* is the ``struct file``, *handler* the driver's ``mmap`` of ``file_operations``, which is
        called with the new area; *offset* is in bytes.
        """
        result: int = self.user.mmap(self.mm, addr, length, prot, flags, offset >> 12, file)
        if result >= 0 and handler:
            vma = self.user.find_vma(self.mm, result)
            with self.k.run_as(self):
                error = _s32(self.k.executor.run(handler, file, vma))
            if error:
                self.user.munmap(self.mm, result, length)
                result = error
        return self._done("mmap", result)

    def munmap(self, addr: int, length: int) -> None:
        """``munmap(2)``."""
        self._done("munmap", self.user.munmap(self.mm, addr, length))

    def mprotect(self, addr: int, length: int, prot: int) -> None:
        """``mprotect(2)``."""
        self._done("mprotect", self.user.mprotect(self.mm, addr, length, prot))

    def mlock(self, addr: int, length: int) -> None:
        """``mlock(2)``: all pages are brought in, and stay."""
        self._done("mlock", self.user.mlock(self.mm, addr, length))

    def munlock(self, addr: int, length: int) -> None:
        """``munlock(2)``."""
        self._done("munlock", self.user.mlock(self.mm, addr, length, False))

    def brk(self, addr: int = 0) -> int:
        """``brk(2)``: the end of the heap afterwards, which stays if it cannot be moved."""
        found: int = self.user.brk(self.mm, addr)
        self._flush()
        return found

    def rlimit(self, name: str, limit: int | None = None) -> int:
        """``prlimit(2)``: the soft limit AS, DATA, STACK or MEMLOCK in bytes (-1: none), changed to *limit*."""
        if name not in RLIMITS:
            raise UsageError(f"there is no limit {name!r}", remedy=f"choose one of {', '.join(RLIMITS)}")
        signal = self.user.view.ptr(kmem_signal, self.user.view.ptr(task_struct, self._alive()).signal)
        if limit is not None:
            signal.rlim[RLIMITS[name]] = limit
        return int(signal.rlim[RLIMITS[name]])

    # malloc

    def malloc(self, size: int) -> int:
        """``malloc(3)`` as glibc's does it at first: from the heap, by brk; from 128 KiB on a mapping of its own.

        Simplified: nothing is ever reused; chunks carry no header in memory. 0 without memory.
        """
        chunk = max(-(-(size + MALLOC_HEADER) // MALLOC_ALIGN) * MALLOC_ALIGN, MINSIZE)
        try:
            if chunk >= M_MMAP_THRESHOLD:
                return self.mmap(-(-(size + 2 * MALLOC_HEADER) // PAGE) * PAGE) + 2 * MALLOC_HEADER
        except SystemCallFailed:
            return 0
        if not self._top:
            self._bin = self._top = self.brk()
        if self._bin + chunk > self._top:
            want = -(-(self._bin + chunk + TOP_PAD) // PAGE) * PAGE
            if self.brk(want) < want:
                return 0
            self._top = want
        self._bin += chunk
        return self._bin - chunk + 2 * MALLOC_HEADER

    # loads and stores

    def _phys(self, addr: int, access: int) -> int:
        phys: int = self.user.access(self.mm, addr, access)
        if phys < 0:
            if phys == -ENOMEM:
                raise SystemCallFailed("page fault", phys)
            what = {ACCESS_READ: "read", ACCESS_WRITE: "write", ACCESS_EXEC: "execution"}[access]
            raise SegmentationFault(self.comm, self.pid, addr, what)
        return phys

    def read(self, addr: int, n: int) -> bytes:
        """Load *n* bytes. SegmentationFault where the program would get one."""
        found = b""
        while len(found) < n:
            at = addr + len(found)
            length = min(n - len(found), PAGE - at % PAGE)
            found += self.k.mem.read(PAGE_OFFSET + self._phys(at, ACCESS_READ), length)
        return found

    def write(self, addr: int, data: bytes) -> None:
        """Store *data*. SegmentationFault where the program would get one; what comes before it is stored."""
        done = 0
        while done < len(data):
            at = addr + done
            length = min(len(data) - done, PAGE - at % PAGE)
            self.k.mem.write(PAGE_OFFSET + self._phys(at, ACCESS_WRITE), data[done : done + length])
            done += length

    def touch(self, addr: int, length: int, write: bool = True) -> None:
        """Access one byte of every page of a range."""
        for at in range(addr & -PAGE, addr + length, PAGE):
            self._phys(max(at, addr), ACCESS_WRITE if write else ACCESS_READ)

    # looking at it

    def phys_of(self, addr: int) -> int:
        """The physical address behind *addr*, -1 if no page is there; touches nothing."""
        return int(self.user.translate(self.mm, addr))

    @property
    def rss(self) -> int:
        """Pages that are present and counted (``get_mm_rss()``)."""
        from kmem.mm import proc_maps

        return proc_maps.rss(self.user.view, self.mm)

    @property
    def page_tables(self) -> int:
        """Pages of page tables, the top one apart (``mm_pgtables_bytes()``)."""
        return int(self.user.view.ptr(mm_struct, self.mm).pgtables_bytes) // PAGE

    def proc(self, name: str) -> str:
        """The text of /proc/PID/*name*: maps, smaps, status (the lines about memory) or statm."""
        from kmem.mm import proc_maps

        return proc_maps.text(self.user, self._alive(), name)

    def pagemap(self, addr: int, length: int = PAGE) -> bytes:
        """The bytes of /proc/PID/pagemap for the pages of a range."""
        from kmem.mm import proc_maps

        return proc_maps.pagemap(self.user, self.mm, addr, length)


def _s32(value: int) -> int:
    return ((value & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000


def driver_fault(k: Any, vma: int, addr: int, access: int) -> int:
    """``__do_fault()``: ask the ``fault`` of the area's ``vm_ops``; 0 if the access may be tried again, else an errno.

    Simplified: a page that the handler gives is mapped as it is; a private mapping does not copy it at once.
    """
    area = k.user.view.ptr(vm_area_struct, vma)
    handler = k.mem.u64(u64(area.vm_ops) + VM_OPS_FAULT)
    if not handler:
        return -7
    size = 96
    vmf = k.mm.core.k_scratch(size)
    k.mem.fill(vmf, 0, size)
    pgoff = ((addr & -PAGE) - u64(area.vm_start) >> 12) + u64(area.vm_pgoff)
    for offset, value in ((0, vma), (8, 0xCC0), (16, pgoff), (24, addr & -PAGE), (32, addr)):
        k.mem.set_u64(vmf + offset, value)
    k.mem.set_u32(vmf + VMF_FLAGS, 1 if access == ACCESS_WRITE else 0)
    try:
        result = k.executor.run(handler, vmf) & 0xFFFFFFFF
        page = k.mem.u64(vmf + VMF_PAGE)
    finally:
        k.mm.core.k_scratch_free(vmf)
    if result & VM_FAULT_ERROR:
        return -ENOMEM if result & VM_FAULT_OOM else -7
    if result & VM_FAULT_NOPAGE:
        return 0
    error = int(k.user.insert_page(vma, addr & -PAGE, page))
    if not error:
        k.user.put_page(page)  # the handler's reference has become the mapping's
    return 0 if error in (0, -16) else error


VM_OPS_FAULT, VMF_FLAGS, VMF_PAGE = 40, 40, 80
"""Offsets in ``struct vm_operations_struct`` and ``struct vm_fault``."""
