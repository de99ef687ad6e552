"""Hardened usercopy (mm/usercopy.c), 6.1: the kernel's side of a copy must be one object that users may see."""

from __future__ import annotations

from kmem.kapi.export import export, faithful
from kmem.kapi.host import Host


@export(faithful)
def __copy_overflow(k: Host, size: int, count: int) -> None:
    """``void __copy_overflow(int size, unsigned long count)``

    mm/maccess.c, 6.1. The compiler knew the object, and a copy to or from user memory would reach over its end: the
    caller copies nothing.
    """
    k.warn("mm/maccess.c", 228, "__copy_overflow", f"Buffer overflow detected ({size} < {count})!\n")


@export(faithful)
def __check_object_size(k: Host, ptr: int, n: int, to_user: bool) -> None:
    """``void __check_object_size(const void *ptr, unsigned long n, bool to_user)``

    mm/usercopy.c, 6.1. A copy that reaches over its object, outside the usercopy region of its cache, or into kernel
    text ends the task.
    """
    if not k.config.get("CONFIG_HARDENED_USERCOPY"):
        return
    refused = k.user.check_object(ptr, n)
    if refused is None:
        return
    name, detail, offset = refused
    what, way = ("exposure", "from") if to_user else ("overwrite", "to")
    shown = f"{name} '{detail}'" if detail else name
    text = f"Kernel memory {what} attempt detected {way} {shown} (offset {offset}, size {n})!"
    k.log.printk(f"usercopy: {text}\n", 0)
    k.bug("mm/usercopy.c", 101, "usercopy_abort")
