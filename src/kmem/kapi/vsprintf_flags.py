"""``%pG``: page flags, GFP flags and VMA flags by name (lib/vsprintf.c, 6.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kmem.abi.flags import format_flags
from kmem.kapi.printf_spec import Spec, error_string

if TYPE_CHECKING:
    from kmem.kapi.host import Host

_VMA_NAMES = """ read=0 write=1 exec=2 shared=3 mayread=4 maywrite=5 mayexec=6 mayshare=7 growsdown=8 uffd_missing=9
uffd_minor=37 pfnmap=10 uffd_wp=12 locked=13 io=14 seqread=15 randread=16 dontcopy=17 dontexpand=18 lockonfault=19
account=20 noreserve=21 hugetlb=22 sync=23 pat=24 wipeonfork=25 dontdump=26 softdirty=27 mixedmap=28 hugepage=29
nohugepage=30 mergeable=31
"""
"""Bits of ``vm_flags`` in the order in which they are printed (include/trace/events/mmflags.h, x86-64)."""

_vma_flags: dict[str, int] = {}


def vma_flags(flags: int) -> str:
    """The names of *flags*: ``read|exec|mayread``."""
    if not _vma_flags:
        for pair in _VMA_NAMES.split():
            name, _, bit = pair.partition("=")
            _vma_flags[name] = 1 << int(bit)
    return format_flags(flags, _vma_flags)


def flags_string(k: Host, suffix: bytes, ptr: int, spec: Spec) -> bytes:
    """``%pGp``, ``%pGg``, ``%pGv``; flags are given by reference."""
    kind = suffix[1:2]
    if kind == b"p":
        from kmem.abi import page_flags

        return page_flags.decode(k.mem.u64(ptr), k.layout.release).encode()
    if kind == b"g":
        from kmem.abi import gfp

        return gfp.pgg(k.mem.u32(ptr), k.layout.release).encode()
    if kind == b"v":
        return vma_flags(k.mem.u64(ptr)).encode()
    return error_string(b"(%pG?)", spec)
