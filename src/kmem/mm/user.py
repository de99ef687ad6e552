"""User memory as the rest of the kernel calls it, from Python: tasks, address spaces, and copies in and out.

Addresses of tasks, address spaces and areas are kernel addresses; what a call refuses comes back as a negative errno.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kmem.abi.address import TASK_SIZE_MAX, VMEMMAP_START
from kmem.abi.exports import export
from kmem.abi.slab_flags import slab_flags
from kmem.lib.cstruct import s64, u64
from kmem.mm.codes import ACCESS_EXEC, ACCESS_READ, ACCESS_WRITE, EDRIVER, EFAULT
from kmem.mm.mm_types import mm_struct, task_struct, vm_area_struct
from kmem.mm.usercopy import Refusal, check_object_size

if TYPE_CHECKING:
    from random import Random

    from kmem.mm.api import Mm

__all__ = ["ACCESS_EXEC", "ACCESS_READ", "ACCESS_WRITE", "UserMemory"]

PAGE = 4096
STACK_RND_PAGES, MMAP_RND_BITS, BRK_RND = 0x3FFFFF, 28, 0x2000000
ELF_ET_DYN_BASE = (1 << 47) // 3 * 2 & -PAGE
IMAGE_PAGES = 256
"""Room for the program's own image, below the heap; it is not mapped."""
FIRST_PID = 96
"""The last one that boot took; the task that loads modules is number 97."""

DriverFault = Callable[[int, int, int], int]
"""Asks a driver's fault handler: area, address, access; a negative errno, or 0 to try again."""


class UserMemory:
    """The processes of one machine."""

    def __init__(self, mm: Mm) -> None:
        self.mm, self.core, self.view = mm, mm.core, mm.view
        self.driver_fault: DriverFault = lambda vma, addr, access: -7
        self.current: Callable[[], int] = lambda: 0
        """``current``."""
        self.atomic: Callable[[], bool] = lambda: False
        """``in_atomic()``."""
        self.stack_pointer: Callable[[], int] = lambda: 0
        """``current_stack_pointer``, as far as callers of exported functions see it."""
        self.adopt: Callable[[int], None] = lambda task: None
        """Told of every new task."""

    def start(self) -> None:
        """``proc_caches_init()``. The caches are made for the first process."""
        zero = export("empty_zero_page", self.mm.config.release)
        assert zero is not None
        of = slab_flags(self.mm.config.release)
        flags = of.SLAB_PANIC | of.SLAB_ACCOUNT
        sizes = {
            "mm_struct": (self.view.struct(mm_struct).size + 1024 & ~63, 0, flags | of.SLAB_HWCACHE_ALIGN),
            "vm_area_struct": (self.view.struct(vm_area_struct).size, 0, flags),
            "task_struct": (self.view.struct(task_struct).size, 64, flags),
            "signal_cache": (1152, 0, flags | of.SLAB_HWCACHE_ALIGN),
            "anon_vma": (104, 0, flags),
        }
        made = [
            self.core.k_kmem_cache_create(self.mm.boot.string(n), s, a, f, 0, 0, 0) for n, (s, a, f) in sizes.items()
        ]
        self.core.k_processes_init(*made, zero.address - 0xFFFFFFFF80000000, FIRST_PID)

    def new_task(self, comm: str) -> int:
        """A task without an address space; 0 without memory."""
        task = self.core.k_new_task()
        if task:
            self.set_comm(task, comm)
            self.adopt(task)
        return task

    def set_comm(self, task: int, comm: str) -> None:
        """``__set_task_comm()``: cut off after 15 bytes."""
        raw = comm.encode()[:15].ljust(16, b"\0")
        at = self.mm.virt_to_phys(task) + self.view.struct(task_struct).field("comm").offset
        self.mm.ram.mem[at : at + 16] = raw

    def exec(self, task: int, random: Random | None = None) -> int:
        """A fresh address space for *task*, at random places if *random* is given: 0, or an errno."""
        stack = random.randrange(STACK_RND_PAGES + 1) if random else 0
        rnd = random.getrandbits(MMAP_RND_BITS) if random else 0
        load = random.getrandbits(MMAP_RND_BITS) if random else 0
        heap = random.randrange(BRK_RND // PAGE) if random else 0
        top = TASK_SIZE_MAX - stack * PAGE
        heap_at = ELF_ET_DYN_BASE + (load + heap) * PAGE + IMAGE_PAGES * PAGE
        error = s64(self.core.k_exec(task, top, heap_at, rnd * PAGE, random is not None))
        if not error:
            self.access(self.mm_of(task), top - 16, ACCESS_WRITE)  # the arguments
        return error

    def fork(self, task: int) -> int:
        """``fork(2)``: the child's task, 0 without memory."""
        child = self.core.k_fork(task)
        if child:
            self.adopt(child)
        return child

    def exit(self, task: int) -> None:
        """``exit(2)``: everything that the task has is given back."""
        self.core.k_exit(task)

    def mm_of(self, task: int) -> int:
        """``task->mm``."""
        return u64(self.view.ptr(task_struct, task).mm._addr)

    def pid(self, task: int) -> int:
        """``task->pid``."""
        return int(self.view.ptr(task_struct, task).pid)

    # the address space

    def mmap(self, mm: int, addr: int, length: int, prot: int, flags: int, pgoff: int = 0, file: int = 0) -> int:
        """``mmap(2)``: the address, or a negative errno."""
        if length >> 63 or addr >> 63:
            return -12 if length >> 63 else -22
        return s64(self.core.k_do_mmap(mm, addr, length, prot, flags, pgoff, file))

    def munmap(self, mm: int, addr: int, length: int) -> int:
        """``munmap(2)``."""
        if length >> 63 or addr >> 63:
            return -22
        return s64(self.core.k_do_munmap(mm, addr, length))

    def brk(self, mm: int, brk: int) -> int:
        """``brk(2)``: the end of the heap afterwards."""
        return self.core.k_brk(mm, min(brk, (1 << 62)))

    def mprotect(self, mm: int, addr: int, length: int, prot: int) -> int:
        """``mprotect(2)``."""
        return s64(self.core.k_mprotect(mm, addr, length, prot))

    def mlock(self, mm: int, addr: int, length: int, lock: bool = True) -> int:
        """``mlock(2)``, or with *lock* false ``munlock(2)``."""
        return s64(self.core.k_mlock(mm, addr, length, lock))

    def find_vma(self, mm: int, addr: int) -> int:
        """``find_vma()``: the first area that ends above *addr*, 0."""
        return self.core.k_find_vma(mm, addr)

    def is_mapped(self, addr: int) -> bool:
        """Whether *addr* lies in an area of the running task."""
        mm = self.mm_of(self.current())
        vma = self.find_vma(mm, addr) if mm else 0
        return bool(vma) and int(self.view.ptr(vm_area_struct, vma).vm_start) <= addr

    # access

    def access(self, mm: int, addr: int, access: int) -> int:
        """The physical address behind a user address, brought in if need be; a negative errno (-EFAULT is SIGSEGV)."""
        if not 0 <= addr < TASK_SIZE_MAX:
            return EFAULT
        for _ in range(8):
            got = s64(self.core.k_user_access(mm, addr, access))
            if got != EDRIVER:
                return got
            error = self.driver_fault(self.find_vma(mm, addr), addr, access)
            if error:
                return error
        return EFAULT

    def kernel_access(self, mm: int, addr: int, access: int) -> int:
        """As :meth:`access` by the kernel on a task's behalf: where faults are not served only what is there counts."""
        if not mm or not 0 <= addr < TASK_SIZE_MAX:
            return EFAULT
        if self.faulthandler_disabled():
            found = s64(self.core.k_user_phys(mm, addr, access))
            return found if found >= 0 else EFAULT
        return self.access(mm, addr, access)

    def faulthandler_disabled(self) -> bool:
        """``faulthandler_disabled()``: no page fault is served now."""
        return self.atomic() or bool(self.view.ptr(task_struct, self.current()).pagefault_disabled)

    @contextmanager
    def pagefault_disabled(self) -> Iterator[None]:
        """``pagefault_disable()`` until the block ends."""
        task = self.view.ptr(task_struct, self.current())
        task.pagefault_disabled = task.pagefault_disabled + 1
        try:
            yield
        finally:
            task.pagefault_disabled = task.pagefault_disabled - 1

    def check_object(self, ptr: int, n: int) -> Refusal | None:
        """``__check_object_size()``: what hardened usercopy has against the kernel's side of a copy."""
        stack = u64(self.view.ptr(task_struct, self.current()).stack)
        return check_object_size(self.mm, ptr, n, stack, self.stack_pointer())

    def translate(self, mm: int, addr: int) -> int:
        """The physical address that the tables give, -1 if there is none; touches nothing."""
        entries = self.walk(mm, addr)
        leaf = entries[-1][1]
        return (leaf & 0x000FFFFFFFFFF000) | addr & 4095 if len(entries) == 4 and leaf & 1 else -1

    def walk(self, mm: int, addr: int) -> list[tuple[str, int]]:
        """The entries that translate a user address, from the top, as far as they exist."""
        from kmem.machine.paging import AddressSpace

        return AddressSpace(self.mm.ram, self.cr3(mm)).walk(addr)

    def cr3(self, mm: int) -> int:
        """Physical address of the top table."""
        return self.mm.virt_to_phys(u64(self.view.ptr(mm_struct, mm).pgd))

    def pieces(self, mm: int, addr: int, n: int, access: int) -> tuple[list[tuple[int, int]], int]:
        """Physical (start, length) of each part of a user range as far as it is accessible, and the errno that ended
        it.
        """
        found: list[tuple[int, int]] = []
        while n > 0:
            length = min(n, PAGE - addr % PAGE)
            phys = self.kernel_access(mm, addr, access)
            if phys < 0:
                return found, phys
            found.append((phys, length))
            addr, n = addr + length, n - length
        return found, 0

    # pages

    def get_user_page(self, mm: int, addr: int, write: bool, pin: bool = False) -> int:
        """One page of ``get_user_pages()`` or, with *pin*, ``pin_user_pages()``: its struct page, or a negative
        errno.
        """
        for _ in range(8):
            got = s64(self.core.k_get_user_page(mm, addr, write, pin))
            if got != EDRIVER:
                return u64(got) if got < -4095 else got
            error = self.driver_fault(self.find_vma(mm, addr), addr, ACCESS_WRITE if write else ACCESS_READ)
            if error:
                return error
        return EFAULT

    def pfn_of(self, page: int) -> int:
        """``page_to_pfn()``."""
        return (page - VMEMMAP_START) // 64

    def unpin_user_page(self, page: int) -> None:
        """``unpin_user_page()``."""
        self.core.k_unpin_user_page(page)

    def put_page(self, page: int) -> None:
        """``put_page()``."""
        self.core.k_put_page(page)

    def mmput(self, mm: int) -> None:
        """``mmput()``."""
        self.core.k_mmput(mm)

    def mmdrop(self, mm: int) -> None:
        """``__mmdrop()``: the last reference is gone."""
        self.core.k_mmdrop(mm)

    # driver mappings

    def insert_page(self, vma: int, addr: int, page: int) -> int:
        """``vm_insert_page()``."""
        return s64(self.core.k_vm_insert_page(vma, addr, page))

    def insert_pfn(self, vma: int, addr: int, pfn: int, prot: int = 0) -> int:
        """``vmf_insert_pfn_prot()`` with an errno for a result; *prot* 0 is the area's."""
        return s64(self.core.k_insert_pfn(vma, addr, pfn, prot))

    def remap_pfn_range(self, vma: int, addr: int, pfn: int, size: int, prot: int) -> int:
        """``remap_pfn_range()``."""
        return s64(self.core.k_remap_pfn_range(vma, addr, pfn, size, prot))

    def zap(self, vma: int, addr: int, size: int) -> None:
        """``zap_page_range_single()``."""
        area = self.view.ptr(vm_area_struct, vma)
        self.core.k_zap_range(u64(area.vm_mm._addr), addr, size)
