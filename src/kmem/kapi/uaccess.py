"""Copies between kernel and user memory (lib/usercopy.c, mm/maccess.c, mm/usercopy.c), 6.1.

There are no user processes yet, so every user address faults.
"""

from __future__ import annotations

from kmem.kapi.errno import EFAULT, ERANGE
from kmem.kapi.export import export, faithful, stub
from kmem.kapi.host import Host
from kmem.kapi.util import NO_USER
from kmem.machine.fault import AccessFault

TASK_SIZE_MAX = (1 << 47) - 4096


@export(NO_USER)
def _copy_from_user(k: Host, to: int, from_: int, n: int) -> int:
    """``unsigned long _copy_from_user(void *to, const void __user *from, unsigned long n)``

    lib/usercopy.c, 6.1. The number of bytes not copied, all of them; the destination is zeroed.
    """
    if n:
        k.mem.fill(to, 0, n)
    return n


@export(NO_USER)
def _copy_to_user(k: Host, to: int, from_: int, n: int) -> int:
    """``unsigned long _copy_to_user(void __user *to, const void *from, unsigned long n)``

    lib/usercopy.c, 6.1. The number of bytes not copied, all of them.
    """
    return n


@export(NO_USER)
def strncpy_from_user(k: Host, dst: int, src: int, count: int) -> int:
    """``long strncpy_from_user(char *dst, const char __user *src, long count)``

    lib/strncpy_from_user.c, 6.1.
    """
    return -EFAULT if count > 0 else 0


@export(NO_USER)
def strnlen_user(k: Host, str: int, count: int) -> int:
    """``long strnlen_user(const char __user *str, long count)``

    lib/strnlen_user.c, 6.1. 0 is a fault.
    """
    return 0


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


@export(stub)
def __check_object_size(k: Host, ptr: int, n: int, to_user: bool) -> None:
    """``void __check_object_size(const void *ptr, unsigned long n, bool to_user)``

    mm/usercopy.c, 6.1. The check of hardened usercopy, which precedes a copy that fails anyway.
    """
