"""Address spaces for modules (mm/mmap.c, mm/util.c, kernel/fork.c), 6.1. The work is done by `Host.user`."""

from __future__ import annotations

from kmem.kapi.errno import EINVAL, ENOMEM
from kmem.kapi.export import export, faithful, simplified
from kmem.kapi.host import Host
from kmem.kapi.uaccess import current_mm

MASK64 = (1 << 64) - 1
PF_KTHREAD = 0x00200000
PROT_RW, MAP_PRIVATE_ANONYMOUS_FIXED = 3, 0x32
NO_FILE = simplified("a mapping of a file is refused; a driver's mmap handler is called by Process.mmap")


@export(NO_FILE)
def vm_mmap(k: Host, file: int, addr: int, len_: int, prot: int, flag: int, offset: int) -> int:
    """``unsigned long vm_mmap(struct file *file, unsigned long addr, unsigned long len, unsigned long prot,
    unsigned long flag, unsigned long offset)``

    mm/util.c, 6.1. The address, or a negative errno.
    """
    pages = (len_ + 4095) & MASK64 & -4096
    if (offset + pages) & MASK64 < offset or offset % 4096 or file:
        return -EINVAL & MASK64
    return k.user.mmap(current_mm(k), addr, len_, prot, flag, offset >> 12) & MASK64


@export(faithful)
def vm_munmap(k: Host, start: int, len_: int) -> int:
    """``int vm_munmap(unsigned long start, size_t len)``

    mm/mmap.c, 6.1.
    """
    return k.user.munmap(current_mm(k), start, len_)


@export(simplified("the flags are those of a private writable mapping, whatever is asked for"))
def vm_brk_flags(k: Host, addr: int, request: int, flags: int) -> int:
    """``int vm_brk_flags(unsigned long addr, unsigned long request, unsigned long flags)``

    mm/mmap.c, 6.1. Maps memory at *addr*, in place of what is there.
    """
    length = (request + 4095) & MASK64 & -4096
    if length < request:
        return -ENOMEM
    if not length:
        return 0
    got = k.user.mmap(current_mm(k), addr, length, PROT_RW | flags & 4, MAP_PRIVATE_ANONYMOUS_FIXED)
    return min(got, 0)


@export(faithful)
def vm_brk(k: Host, addr: int, len_: int) -> int:
    """``int vm_brk(unsigned long addr, unsigned long len)``

    mm/mmap.c, 6.1.
    """
    return vm_brk_flags(k, addr, len_, 0)


@export(faithful)
def find_vma(k: Host, mm: int, addr: int) -> int:
    """``struct vm_area_struct *find_vma(struct mm_struct *mm, unsigned long addr)``

    mm/mmap.c, 6.1. The first area that ends above *addr*, NULL.
    """
    return k.user.find_vma(mm, addr) if addr < 1 << 63 else 0


@export(faithful)
def find_vma_intersection(k: Host, mm: int, start_addr: int, end_addr: int) -> int:
    """``struct vm_area_struct *find_vma_intersection(struct mm_struct *mm, unsigned long start_addr,
    unsigned long end_addr)``

    mm/mmap.c, 6.1. The first area in the range, NULL.
    """
    vma = find_vma(k, mm, start_addr)
    return vma if vma and k.mem.u64(vma + k.layout["vm_area_struct"].offset("vm_start")) < end_addr else 0


def _users(k: Host, mm: int, member: str, change: int) -> int:
    at = mm + k.layout["mm_struct"].offset(member)
    count = k.mem.u32(at) + change
    k.mem.set_u32(at, count)
    return count


@export(faithful)
def get_task_mm(k: Host, task: int) -> int:
    """``struct mm_struct *get_task_mm(struct task_struct *task)``

    kernel/fork.c, 6.1. With one more user; NULL for a kernel thread.
    """
    mm = k.user.mm_of(task)
    if not mm or k.mem.u32(task + k.layout["task_struct"].offset("flags")) & PF_KTHREAD:
        return 0
    _users(k, mm, "mm_users", 1)
    return mm


@export(faithful)
def mmput(k: Host, mm: int) -> None:
    """``void mmput(struct mm_struct *mm)``

    kernel/fork.c, 6.1. The last user's going unmaps everything.
    """
    k.context.might_sleep("mmput", "kernel/fork.c", 1238)
    k.user.mmput(mm)


@export(faithful)
def __mmdrop(k: Host, mm: int) -> None:
    """``void __mmdrop(struct mm_struct *mm)``

    kernel/fork.c, 6.1. Frees an address space whose last reference the caller, an inline, has dropped.
    """
    _users(k, mm, "mm_count", 1)
    k.user.mmdrop(mm)
