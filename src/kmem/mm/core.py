"""Everything that is compiled. Importing this registers every entry (:data:`kmem.lib.jit.ENTRIES`)."""

from __future__ import annotations

from kmem.mm import (
    filemap,
    fork,
    gup,
    ioremap,
    kmalloc,
    migrate,
    mm_init,
    mmap,
    page_alloc,
    page_exact,
    page_free,
    page_isolation,
    percpu,
    shuffle,
    slub_bulk,
    slub_geometry,
    slub_validate,
    swap,
    util,
    vmalloc,
    vmap,
)

MODULES = (
    *(page_free, page_alloc, page_exact, page_isolation, percpu, shuffle, slub_geometry, kmalloc, slub_bulk),
    *(slub_validate, vmalloc, vmap, ioremap, util, mm_init, filemap, migrate, swap, mmap, fork, gup),
)
