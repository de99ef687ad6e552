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
    page_free,
    percpu,
    shuffle,
    slub_geometry,
    swap,
    util,
    vmalloc,
    vmap,
)

MODULES = (
    *(page_free, page_alloc, percpu, shuffle, slub_geometry, kmalloc, vmalloc, vmap, ioremap, util, mm_init),
    *(filemap, migrate, swap, mmap, fork, gup),
)
