"""Copies between kernel and user memory (lib/usercopy.c, lib/strn*_user.c, mm/maccess.c, arch/x86/lib; 6.1).

The user's pages are those of ``current->mm``; a fault brings a page in, unless the context is atomic. Every copy stops
at the byte that cannot be had, and says how many are left.
"""

from __future__ import annotations

from collections.abc import Callable

from kmem.abi.address import PAGE_OFFSET, TASK_SIZE_MAX
from kmem.kapi.errno import EFAULT, ERANGE
from kmem.kapi.export import export, faithful, family
from kmem.kapi.host import Host
from kmem.machine.fault import AccessFault

READ, WRITE = 0, 1
PAGE = 4096
MASK64 = (1 << 64) - 1


def access_ok(addr: int, n: int) -> bool:
    """``access_ok()``."""
    return n <= TASK_SIZE_MAX and addr <= TASK_SIZE_MAX - n


def current_mm(k: Host) -> int:
    """``current->mm``."""
    return k.user.mm_of(k.current)


def _wild(k: Host, fault: AccessFault) -> None:
    """The kernel's side of a copy is not there: the exception table hides that from everybody but us."""
    what = f"{fault.access} of kernel memory at {fault.address:#x} in a copy to or from user memory: not mapped"
    k.finding("wild-pointer", what, address=fault.address, access=fault.access)


def to_user(k: Host, to: int, from_: int, n: int) -> int:
    """``raw_copy_to_user()``: the number of bytes that were not copied."""
    mm, done = current_mm(k), 0
    while done < n:
        length = min(n - done, PAGE - (to + done) % PAGE)
        phys = k.user.kernel_access(mm, to + done, WRITE)
        if phys < 0:
            break
        try:
            content = k.mem.read(from_ + done, length)
        except AccessFault as fault:
            length = max(fault.address - from_ - done, 0) if fault.address > from_ + done else 0
            k.mem.write(PAGE_OFFSET + phys, k.mem.read(from_ + done, length) if length else b"")
            _wild(k, fault)
            return n - done - length
        k.mem.write(PAGE_OFFSET + phys, content)
        done += length
    return n - done


def from_user(k: Host, to: int, from_: int, n: int) -> int:
    """``raw_copy_from_user()``: the number of bytes that were not copied."""
    mm, done = current_mm(k), 0
    while done < n:
        length = min(n - done, PAGE - (from_ + done) % PAGE)
        phys = k.user.kernel_access(mm, from_ + done, READ)
        if phys < 0:
            break
        content = k.mem.read(PAGE_OFFSET + phys, length)
        try:
            k.mem.write(to + done, content)
        except AccessFault as fault:
            length = max(fault.address - to - done, 0)
            if length:
                k.mem.write(to + done, content[:length])
            _wild(k, fault)
            return n - done - length
        done += length
    return n - done


def read_user(k: Host, addr: int, n: int) -> bytes | None:
    """*n* bytes of user memory for a function of the kernel's; None if not all of them can be had."""
    mm, found = current_mm(k), b""
    if not access_ok(addr, n):
        return None
    while len(found) < n:
        at = addr + len(found)
        phys = k.user.kernel_access(mm, at, READ)
        if phys < 0:
            return None
        found += k.mem.read(PAGE_OFFSET + phys, min(n - len(found), PAGE - at % PAGE))
    return found


def _fails(k: Host, function: str) -> bool:
    """``should_fail_usercopy()``."""
    return k.faults is not None and k.faults.usercopy(function)


def _might_fault(k: Host, function: str, file: str, line: int) -> None:
    """``might_fault()``: complains in atomic context, unless page faults are off on purpose."""
    if not k.mem.s32(k.current + k.layout["task_struct"].offset("pagefault_disabled")):
        k.context.might_sleep(function, file, line)


@export(faithful)
def _copy_from_user(k: Host, to: int, from_: int, n: int) -> int:
    """``unsigned long _copy_from_user(void *to, const void __user *from, unsigned long n)``

    lib/usercopy.c, 6.1. The number of bytes not copied; their place is zeroed.
    """
    _might_fault(k, "_copy_from_user", "lib/usercopy.c", 14)
    left = from_user(k, to, from_, n) if access_ok(from_, n) and not _fails(k, "_copy_from_user") else n
    if left:
        k.mem.fill((to + n - left) & MASK64, 0, left)
    return left


@export(faithful)
def _copy_to_user(k: Host, to: int, from_: int, n: int) -> int:
    """``unsigned long _copy_to_user(void __user *to, const void *from, unsigned long n)``

    lib/usercopy.c, 6.1. The number of bytes not copied.
    """
    _might_fault(k, "_copy_to_user", "lib/usercopy.c", 36)
    return to_user(k, to, from_, n) if access_ok(to, n) and not _fails(k, "_copy_to_user") else n


def _generic(k: Host, to: int, from_: int, len_: int) -> int:
    """Which side is the user's shows by the address; both may not be."""
    if to < TASK_SIZE_MAX:
        return to_user(k, to, from_, len_)
    return from_user(k, to, from_, len_)


for _name in ("copy_user_generic_unrolled", "copy_user_generic_string", "copy_user_enhanced_fast_string"):

    def _copy(k: Host, to: int, from_: int, len_: int) -> int:
        return _generic(k, to, from_, len_)

    family(
        faithful,
        f"unsigned long {_name}(void *to, const void *from, unsigned int len)",
        "arch/x86/lib/copy_user_64.S, 6.1. The number of bytes not copied; nothing is checked and nothing is zeroed.",
        _copy,
    )


@export(faithful)
def __copy_user_nocache(k: Host, dst: int, src: int, size: int, zerorest: int) -> int:
    """``long __copy_user_nocache(void *dst, const void __user *src, unsigned size, int zerorest)``

    arch/x86/lib/copy_user_64.S, 6.1. The number of bytes not copied. There is no cache to bypass.
    """
    return from_user(k, dst, src, size)


@export(faithful)
def check_zeroed_user(k: Host, from_: int, size: int) -> int:
    """``int check_zeroed_user(const void __user *from, size_t size)``

    lib/usercopy.c, 6.1. 1 if all bytes are 0, 0 if not, -EFAULT.
    """
    if not size:
        return 1
    mm = current_mm(k)
    align = from_ % 8
    if not access_ok(from_ - align, size + align):
        return -EFAULT
    end = from_ + size
    while from_ < end:
        length = min(end - from_, PAGE - from_ % PAGE)
        phys = k.user.kernel_access(mm, from_, READ)
        if phys < 0:
            return -EFAULT
        if any(k.mem.read(PAGE_OFFSET + phys, length)):
            return 0
        from_ += length
    return 1


def _available(k: Host, src: int, limit: int) -> bytes:
    """The bytes at *src*, at most *limit*, up to the first that cannot be had."""
    mm, found = current_mm(k), b""
    while len(found) < limit:
        at = src + len(found)
        phys = k.user.kernel_access(mm, at, READ)
        if phys < 0:
            break
        found += k.mem.read(PAGE_OFFSET + phys, min(limit - len(found), PAGE - at % PAGE))
        end = found.find(b"\0")
        if end >= 0 and (end & -8) + 8 <= len(found):
            break
    return found


@export(faithful)
def strncpy_from_user(k: Host, dst: int, src: int, count: int) -> int:
    """``long strncpy_from_user(char *dst, const char __user *src, long count)``

    lib/strncpy_from_user.c, 6.1. The length without the NUL, *count* if there is none within it, -EFAULT. By words of
    eight bytes while they can be had: those behind the NUL are zeroed.
    """
    _might_fault(k, "strncpy_from_user", "lib/strncpy_from_user.c", 117)
    if count <= 0:
        return 0
    if src >= TASK_SIZE_MAX or _fails(k, "strncpy_from_user"):
        return -EFAULT
    limit = min(count, TASK_SIZE_MAX - src)
    there = _available(k, src, limit)
    end = there.find(b"\0")
    if end < 0:
        k.mem.write(dst, there)
        return count if len(there) >= count else -EFAULT
    word = end & -8
    written = there[: end + 1]
    if word + 8 <= len(there):
        written += bytes(word + 7 - end)
    k.mem.write(dst, written)
    return end


@export(faithful)
def strnlen_user(k: Host, str: int, count: int) -> int:
    """``long strnlen_user(const char __user *str, long count)``

    lib/strnlen_user.c, 6.1. The length with the NUL; more than *count* if there is none within it; 0 for a fault. By
    aligned words, so that a NUL in the word of the limit counts.
    """
    if count <= 0 or str >= TASK_SIZE_MAX:
        return 0
    limit = min(count, TASK_SIZE_MAX - str)
    align = str % 8
    last = -(-(align + limit) // 8) * 8 - align
    there = _available(k, str, last)
    end = there.find(b"\0")
    if end >= 0:
        return end + 1
    if len(there) < last:
        return 0
    return count + 1 if last >= count else 0


def _nofault(k: Host, copy: Callable[[Host, int, int, int], int], user: int, args: tuple[int, int, int]) -> int:
    """A copy that brings nothing in."""
    if not access_ok(user, args[2]):
        return -EFAULT
    with k.user.pagefault_disabled():
        return -EFAULT if copy(k, *args) else 0


@export(faithful)
def copy_from_user_nofault(k: Host, dst: int, src: int, size: int) -> int:
    """``long copy_from_user_nofault(void *dst, const void __user *src, size_t size)``

    mm/maccess.c, 6.1. -EFAULT unless every page is there.
    """
    return _nofault(k, from_user, src, (dst, src, size))


@export(faithful)
def copy_to_user_nofault(k: Host, dst: int, src: int, size: int) -> int:
    """``long copy_to_user_nofault(void __user *dst, const void *src, size_t size)``

    mm/maccess.c, 6.1. -EFAULT unless every page is there and may be written.
    """
    return _nofault(k, to_user, dst, (dst, src, size))


@export(faithful)
def copy_from_kernel_nofault(k: Host, dst: int, src: int, size: int) -> int:
    """``long copy_from_kernel_nofault(void *dst, const void *src, size_t size)``

    mm/maccess.c, 6.1. -ERANGE for an address of user memory, -EFAULT where nothing is mapped.
    """
    if src < TASK_SIZE_MAX + 4096 or 1 << 47 <= src < (1 << 64) - (1 << 47):
        return -ERANGE
    try:
        k.mem.write(dst, k.mem.read(src, size))
    except AccessFault:
        return -EFAULT
    return 0


def _fault_in(k: Host, uaddr: int, size: int, access: int) -> int:
    end = (uaddr + size + PAGE - 1) & -PAGE
    if not size:
        return 0
    if end > TASK_SIZE_MAX:
        end = 0 if uaddr >= TASK_SIZE_MAX else TASK_SIZE_MAX & -PAGE
    at, mm = uaddr, current_mm(k)
    while at < end:
        if k.user.kernel_access(mm, at, access) < 0:
            break
        at = (at & -PAGE) + PAGE
    return max(uaddr + size - max(at, uaddr), 0)


@export(faithful)
def fault_in_readable(k: Host, uaddr: int, size: int) -> int:
    """``size_t fault_in_readable(const char __user *uaddr, size_t size)``

    mm/gup.c, 6.1. Brings pages in; the number of bytes behind the last one.
    """
    return _fault_in(k, uaddr, size, READ)


@export(faithful)
def fault_in_writeable(k: Host, uaddr: int, size: int) -> int:
    """``size_t fault_in_writeable(char __user *uaddr, size_t size)``

    mm/gup.c, 6.1. Brings pages in to be written; the number of bytes behind the last one.
    """
    return _fault_in(k, uaddr, size, WRITE)
