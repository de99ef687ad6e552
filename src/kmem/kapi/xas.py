"""The advanced interface of the XArray (lib/xarray.c), 6.1: functions on the caller's ``struct xa_state``."""

from __future__ import annotations

from kmem.kapi import xa_store
from kmem.kapi.export import export, faithful
from kmem.kapi.host import Guest, Host
from kmem.kapi.xa_entry import Nodes
from kmem.kapi.xa_state import Xas


def _read(k: Host, at: int) -> Xas:
    return Xas.read(Nodes(k), at)


@export(faithful)
def xas_load(k: Host, xas: int) -> int:
    """``void *xas_load(struct xa_state *xas)``

    lib/xarray.c, 6.1.
    """
    state = _read(k, xas)
    entry = state.load()
    state.write(xas)
    return entry


@export(faithful)
def xas_store(k: Host, xas: int, entry: int) -> Guest:
    """``void *xas_store(struct xa_state *xas, void *entry)``

    lib/xarray.c, 6.1.
    """
    state = _read(k, xas)
    before = yield from xa_store.store(state, entry)
    state.write(xas)
    return before


@export(faithful)
def xas_find(k: Host, xas: int, max: int) -> int:
    """``void *xas_find(struct xa_state *xas, unsigned long max)``

    lib/xarray.c, 6.1.
    """
    state = _read(k, xas)
    entry = state.find(max)
    state.write(xas)
    return entry


@export(faithful)
def xas_find_marked(k: Host, xas: int, max: int, mark: int) -> int:
    """``void *xas_find_marked(struct xa_state *xas, unsigned long max, xa_mark_t mark)``

    lib/xarray.c, 6.1.
    """
    state = _read(k, xas)
    entry = state.find_marked(max, mark)
    state.write(xas)
    return entry


@export(faithful)
def xas_find_conflict(k: Host, xas: int) -> int:
    """``void *xas_find_conflict(struct xa_state *xas)``

    lib/xarray.c, 6.1.
    """
    state = _read(k, xas)
    entry = state.find_conflict()
    state.write(xas)
    return entry


@export(faithful)
def __xas_next(k: Host, xas: int) -> int:
    """``void *__xas_next(struct xa_state *xas)``

    lib/xarray.c, 6.1.
    """
    state = _read(k, xas)
    entry = state.step(1)
    state.write(xas)
    return entry


@export(faithful)
def __xas_prev(k: Host, xas: int) -> int:
    """``void *__xas_prev(struct xa_state *xas)``

    lib/xarray.c, 6.1.
    """
    state = _read(k, xas)
    entry = state.step(-1)
    state.write(xas)
    return entry


@export(faithful)
def xas_pause(k: Host, xas: int) -> None:
    """``void xas_pause(struct xa_state *xas)``

    lib/xarray.c, 6.1.
    """
    state = _read(k, xas)
    state.pause()
    state.write(xas)


@export(faithful)
def xas_create_range(k: Host, xas: int) -> Guest:
    """``void xas_create_range(struct xa_state *xas)``

    lib/xarray.c, 6.1.
    """
    state = _read(k, xas)
    yield from xa_store.create_range(state)
    state.write(xas)
    return 0


@export(faithful)
def xas_nomem(k: Host, xas: int, gfp: int) -> bool:
    """``bool xas_nomem(struct xa_state *xas, gfp_t gfp)``

    lib/xarray.c, 6.1.
    """
    state = _read(k, xas)
    again = xa_store.nomem(state, gfp)
    state.write(xas)
    return again


@export(faithful)
def xas_split_alloc(k: Host, xas: int, entry: int, order: int, gfp: int) -> None:
    """``void xas_split_alloc(struct xa_state *xas, void *entry, unsigned int order, gfp_t gfp)``

    lib/xarray.c, 6.1.
    """
    state = _read(k, xas)
    xa_store.split_alloc(state, entry, order, gfp)
    state.write(xas)


@export(faithful)
def xas_split(k: Host, xas: int, entry: int, order: int) -> Guest:
    """``void xas_split(struct xa_state *xas, void *entry, unsigned int order)``

    lib/xarray.c, 6.1.
    """
    state = _read(k, xas)
    yield from xa_store.split(state, entry, order)
    state.write(xas)
    return 0


@export(faithful)
def xas_get_order(k: Host, xas: int) -> int:
    """``int xas_get_order(struct xa_state *xas)``

    lib/xarray.c, 6.1.
    """
    return _read(k, xas).order()


@export(faithful)
def xas_get_mark(k: Host, xas: int, mark: int) -> bool:
    """``bool xas_get_mark(const struct xa_state *xas, xa_mark_t mark)``

    lib/xarray.c, 6.1.
    """
    return _read(k, xas).get_mark(mark)


@export(faithful)
def xas_set_mark(k: Host, xas: int, mark: int) -> None:
    """``void xas_set_mark(const struct xa_state *xas, xa_mark_t mark)``

    lib/xarray.c, 6.1.
    """
    _read(k, xas).set_mark(mark)


@export(faithful)
def xas_clear_mark(k: Host, xas: int, mark: int) -> None:
    """``void xas_clear_mark(const struct xa_state *xas, xa_mark_t mark)``

    lib/xarray.c, 6.1.
    """
    _read(k, xas).clear_mark(mark)


@export(faithful)
def xas_init_marks(k: Host, xas: int) -> None:
    """``void xas_init_marks(const struct xa_state *xas)``

    lib/xarray.c, 6.1.
    """
    _read(k, xas).init_marks()
