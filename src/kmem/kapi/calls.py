"""The exported functions as calls of `Kernel` from Python: ``k.kmemdup(p, 16, GFP_KERNEL)``, ``k.kasprintf(…)``.

`kmem.mm.api.Mm` answers first; what it does not have is looked for among the exports here. Arguments are those of the C
function. A ``str`` or ``bytes`` argument is a C string in memory of the kernel for as long as the call lasts; a ``str``
for a parameter that is a name, which functions may keep the pointer of, stays, as a string literal of a driver would.
Integers are addresses or numbers; ``kmem.GFP_ATOMIC`` and its like mean the same on every release (`abi.gfp_by_name`).
Results are as the handler gives them: addresses unsigned, errors negative.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from kmem.abi.gfp import __GFP_DIRECT_RECLAIM
from kmem.abi.gfp_by_name import by_name, resolve
from kmem.abi.legacy import FUNCTIONS
from kmem.kapi import calls_device
from kmem.kapi.export import Export, lookup
from kmem.kapi.varargs import VaArgs

if TYPE_CHECKING:
    from kmem.kernel import Kernel

PF_MEMALLOC, PF_MEMALLOC_NOFS, PF_MEMALLOC_NOIO = 0x800, 0x40000, 0x80000


def call_of(k: Kernel, name: str) -> Callable[..., Any] | None:
    """The function *name* for Python, None if there is none."""
    scope = SCOPES.get(name)
    if scope is not None:
        save, flag = scope
        return lambda *flags: _save(k, flag) if save else _restore(k, flag, *flags)
    inline = INLINES.get(name)
    if inline is not None:
        return by_name(partial(inline, k), k.release.name)
    entry = lookup(name)
    if not isinstance(entry, Export) or entry.private:
        return None
    variadic = entry.prototype.rstrip(")").endswith("...")
    found = entry

    def call(*args: Any) -> Any:
        return _call(k, found, variadic, args)

    call.__name__ = name
    call.__doc__ = f"``{entry.prototype}``\n\n{entry.doc}"
    return call


def old_name(name: str) -> str:
    """What to do about a name of the past, "" for any other."""
    return FUNCTIONS[name].advice(name) if name in FUNCTIONS else ""


def _call(k: Kernel, entry: Export, variadic: bool, args: tuple[Any, ...]) -> Any:
    texts: list[int] = []
    try:
        parameters = entry.handler.__code__.co_varnames[1 : entry.handler.__code__.co_argcount]
        given = [_argument(k, arg, name, texts) for arg, name in zip_longest(args, parameters[: len(args)])]
        if variadic:
            named = entry.handler.__code__.co_argcount - 2
            given[named:] = [VaArgs(k.mem, given[named:], 0)]
        result = entry.handler(k, *given)
        if hasattr(result, "send"):
            result = k.executor.drive(result)
        if entry.prototype.startswith("bool "):
            result = bool(result)
    finally:
        for text in texts:
            k.mm.core.k_scratch_free(text)
    k.drain()
    return result


def _argument(k: Kernel, arg: Any, parameter: str | None, texts: list[int]) -> Any:
    if not isinstance(arg, str | bytes):
        return resolve(arg, k.release.name)
    if isinstance(arg, str) and parameter and parameter.endswith("name"):
        return k.mm.boot.string(arg)
    raw = (arg.encode() if isinstance(arg, str) else arg) + b"\0"
    texts.append(k.mm.core.k_scratch(len(raw)))
    k.mem.write(texts[-1], raw)
    return texts[-1]


# current->flags (include/linux/sched/mm.h)


def _save(k: Kernel, flag: int) -> int:
    """``memalloc_…_save()``: what the scope was before."""
    at = k.current + k.layout["task_struct"].offset("flags")
    flags = k.mem.u32(at)
    k.mem.set_u32(at, flags | flag)
    return flags & flag


def _restore(k: Kernel, flag: int, flags: int = 0) -> None:
    """``memalloc_…_restore()``."""
    at = k.current + k.layout["task_struct"].offset("flags")
    k.mem.set_u32(at, k.mem.u32(at) & ~flag | flags)


SCOPES: dict[str, tuple[bool, int]] = {
    f"memalloc_{name}_{verb}": (verb == "save", flag)
    for name, flag in (("noio", PF_MEMALLOC_NOIO), ("nofs", PF_MEMALLOC_NOFS), ("noreclaim", PF_MEMALLOC))
    for verb in ("save", "restore")
}
"""The scopes: what the allocator makes of these flags is its own business."""


def _might_alloc(k: Kernel, gfp: int) -> None:
    if gfp & __GFP_DIRECT_RECLAIM:
        k.context.might_sleep("might_alloc", "include/linux/sched/mm.h", 274)


def _kfree_rcu(k: Kernel, p: int, offset: int) -> None:
    """``kfree_rcu(ptr, rhf)``: *offset* is that of the rcu_head in the object."""
    if p:
        _export(k, "kvfree_call_rcu", p + offset, offset)


def _kvfree_rcu_mightsleep(k: Kernel, p: int) -> None:
    """``kfree_rcu(ptr)`` without a head, ``kfree_rcu_mightsleep(ptr)`` of later releases."""
    if p:
        _export(k, "kvfree_call_rcu", 0, p)


def _pool(k: Kernel, min_nr: int, backend: tuple[str, str], data: int) -> int:
    """``mempool_create_…_pool()``: a pool on one of the kernel's own pairs of functions."""
    alloc, free = (k.address_of(name) for name in backend)
    return int(_export(k, "mempool_create", min_nr, alloc, free, data))


_SLAB_BACKEND = ("mempool_alloc_slab", "mempool_free_slab")
_KMALLOC_BACKEND = ("mempool_kmalloc", "mempool_kfree")
_PAGE_BACKEND = ("mempool_alloc_pages", "mempool_free_pages")


def _put_folio(k: Kernel, folio: int) -> None:
    k.mm.put_page(folio)


def _nothing(k: Kernel, *args: Any) -> None:
    """kmemleak's annotations in a kernel without CONFIG_DEBUG_KMEMLEAK."""


def _export(k: Kernel, name: str, *args: Any) -> Any:
    call = call_of(k, name)
    assert call is not None, name
    return call(*args)


INLINES: dict[str, Callable[..., Any]] = {
    **calls_device.INLINES,
    "might_alloc": _might_alloc,
    "kfree_rcu": _kfree_rcu,
    "kvfree_rcu": _kfree_rcu,
    "kfree_rcu_mightsleep": _kvfree_rcu_mightsleep,
    "kvfree_rcu_mightsleep": _kvfree_rcu_mightsleep,
    "folio_put": _put_folio,
    "check_object_size": lambda k, p, n, to_user: _export(k, "__check_object_size", p, n, to_user),
    "page_frag_alloc": lambda k, nc, size, gfp: _export(k, "page_frag_alloc_align", nc, size, gfp, -1),
    "mempool_create_slab_pool": lambda k, min_nr, s: _pool(k, min_nr, _SLAB_BACKEND, s),
    "mempool_create_kmalloc_pool": lambda k, min_nr, size: _pool(k, min_nr, _KMALLOC_BACKEND, size),
    "mempool_create_page_pool": lambda k, min_nr, order: _pool(k, min_nr, _PAGE_BACKEND, order),
    "alloc_percpu": lambda k, size, align=8: k.mm.alloc_percpu(size, align),
    "alloc_percpu_gfp": lambda k, size, align, gfp: k.mm.alloc_percpu(size, align, gfp),
    "__get_dma_pages": lambda k, gfp, order: k.mm.get_dma_pages(gfp, order),
    "__get_free_page": lambda k, gfp: k.mm.get_free_page(gfp),
    "__free_page": lambda k, page: k.mm.free_pages(page, 0),
    "virt_to_pfn": lambda k, p: k.mm.virt_to_phys(p) >> 12,
    **dict.fromkeys(
        (
            "kmemleak_alloc",
            "kmemleak_alloc_percpu",
            "kmemleak_free",
            "kmemleak_free_part",
            "kmemleak_free_percpu",
            "kmemleak_ignore",
            "kmemleak_not_leak",
            "kmemleak_scan_area",
            "kmemleak_no_scan",
            "kmemleak_erase",
            "kmemleak_update_trace",
        ),
        _nothing,
    ),
}
"""Inline functions that need more than the mm; those of the mm are in `kmem.mm.inlines`."""
