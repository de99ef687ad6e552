"""Duplicating memory and strings (mm/util.c), 6.1."""

from __future__ import annotations

from kmem.abi.gfp import __GFP_NOWARN, GFP_KERNEL, GFP_USER
from kmem.kapi.errno import EFAULT, EINVAL, ENOMEM, err_ptr, is_err
from kmem.kapi.export import export, faithful, simplified
from kmem.kapi.host import Host
from kmem.kapi.string import text_at
from kmem.kapi.uaccess import _copy_from_user, strnlen_user


def _duplicate(k: Host, content: bytes, gfp: int) -> int:
    p = k.mm.kmalloc(len(content), gfp, caller=k.caller)
    if p and content:
        k.mem.write(p, content)
    return p


@export(faithful)
def kmemdup(k: Host, src: int, len_: int, gfp: int) -> int:
    """``void *kmemdup(const void *src, size_t len, gfp_t gfp)``

    mm/util.c, 6.1.
    """
    # Allocate first: a length that is too large fails, it does not fault.
    p = k.mm.kmalloc(len_, gfp, caller=k.caller)
    if p and len_:
        k.mem.write(p, k.mem.read(src, len_))
    return p


@export(faithful)
def kvmemdup(k: Host, src: int, len_: int, gfp: int) -> int:
    """``void *kvmemdup(const void *src, size_t len, gfp_t gfp)``

    mm/util.c, 6.12. A copy in memory of kvmalloc(); an inline of no module's in 6.1, which has no such name.
    """
    p = k.mm.kvmalloc(len_, gfp)
    if p and len_:
        k.mem.write(p, k.mem.read(src, len_))
    return p


@export(faithful)
def kmemdup_nul(k: Host, s: int, len_: int, gfp: int) -> int:
    """``char *kmemdup_nul(const char *s, size_t len, gfp_t gfp)``

    mm/util.c, 6.1. Exactly *len* bytes and a NUL; NULL for NULL.
    """
    p = k.mm.kmalloc((len_ + 1) & ((1 << 64) - 1), gfp, caller=k.caller) if s else 0
    if p:
        k.mem.write(p, (k.mem.read(s, len_) if len_ else b"") + b"\0")
    return p


@export(faithful)
def kstrdup(k: Host, s: int, gfp: int) -> int:
    """``char *kstrdup(const char *s, gfp_t gfp)``

    mm/util.c, 6.1. NULL for NULL.
    """
    return _duplicate(k, text_at(k, s) + b"\0", gfp) if s else 0


@export(simplified("no string lies in the kernel's own read-only data: every one is copied"))
def kstrdup_const(k: Host, s: int, gfp: int) -> int:
    """``const char *kstrdup_const(const char *s, gfp_t gfp)``

    mm/util.c, 6.1. To be freed with kfree_const().
    """
    return kstrdup(k, s, gfp)


@export(faithful)
def kstrndup(k: Host, s: int, max: int, gfp: int) -> int:
    """``char *kstrndup(const char *s, size_t max, gfp_t gfp)``

    mm/util.c, 6.1. At most *max* characters and a NUL.
    """
    return _duplicate(k, text_at(k, s, max) + b"\0", gfp) if s else 0


def _from_user(k: Host, p: int, src: int, len_: int) -> bool:
    """Fill *p* from user memory; False if not all of it can be had."""
    return not _copy_from_user(k, p, src, len_)


@export(faithful)
def memdup_user(k: Host, src: int, len_: int) -> int:
    """``void *memdup_user(const void __user *src, size_t len)``

    mm/util.c, 6.1. -ENOMEM or -EFAULT as a pointer.
    """
    p = k.mm.kmalloc(len_, GFP_USER | __GFP_NOWARN, caller=k.caller)
    if not p:
        return err_ptr(-ENOMEM)
    if _from_user(k, p, src, len_):
        return p
    k.mm.kfree(p)
    return err_ptr(-EFAULT)


@export(faithful)
def vmemdup_user(k: Host, src: int, len_: int) -> int:
    """``void *vmemdup_user(const void __user *src, size_t len)``

    mm/util.c, 6.1. To be freed with kvfree().
    """
    p = k.mm.kvmalloc(len_, GFP_USER)
    if not p:
        return err_ptr(-ENOMEM)
    if _from_user(k, p, src, len_):
        return p
    k.mm.kvfree(p)
    return err_ptr(-EFAULT)


@export(faithful)
def memdup_user_nul(k: Host, src: int, len_: int) -> int:
    """``void *memdup_user_nul(const void __user *src, size_t len)``

    mm/util.c, 6.1. A NUL follows the bytes.
    """
    p = k.mm.kmalloc((len_ + 1) & ((1 << 64) - 1), GFP_KERNEL, caller=k.caller)
    if not p:
        return err_ptr(-ENOMEM)
    if _from_user(k, p, src, len_):
        k.mem.set_u8(p + len_, 0)
        return p
    k.mm.kfree(p)
    return err_ptr(-EFAULT)


@export(faithful)
def strndup_user(k: Host, s: int, n: int) -> int:
    """``char *strndup_user(const char __user *s, long n)``

    mm/util.c, 6.1. -EFAULT, -EINVAL if the string with its NUL is longer than *n*.
    """
    length = strnlen_user(k, s, n)
    if not length:
        return err_ptr(-EFAULT)
    if length > n:
        return err_ptr(-EINVAL)
    p = memdup_user(k, s, length)
    if not is_err(p):
        k.mem.set_u8(p + length - 1, 0)
    return p


def _pointers(k: Host, array: int) -> bytes:
    """The pointers of an array that NULL ends, without the NULL."""
    end = array
    while k.mem.u64(end):
        end += 8
    return k.mem.read(array, end - array) if end > array else b""


@export(faithful)
def __memcat_p(k: Host, a: int, b: int) -> int:
    """``void **__memcat_p(void **a, void **b)``

    lib/memcat_p.c, 6.1. Both arrays, which NULL ends, one after the other in a new one.
    """
    return _duplicate(k, _pointers(k, a) + _pointers(k, b) + bytes(8), GFP_KERNEL)
