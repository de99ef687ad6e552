"""User pages pinned for the kernel (mm/gup.c, mm/page-writeback.c), 6.1. The work is done by `Host.user`.

A page that cannot be had ends the list: the number of those before it is the result, or the error if there are none.
"""

from __future__ import annotations

from kmem.abi.address import TASK_SIZE_MAX
from kmem.kapi.errno import EFAULT, EINVAL
from kmem.kapi.export import export, faithful, family, simplified
from kmem.kapi.host import Host
from kmem.kapi.uaccess import current_mm

PAGE = 4096
FOLL_WRITE = 0x01
PG_DIRTY = 3
REMOTE = simplified("FOLL_FORCE and the other flags besides FOLL_WRITE are not looked at; *vmas* must be NULL")


def pages_of(k: Host, mm: int, start: int, count: int, flags: int, pages: int, pin: bool) -> int:
    """``__get_user_pages()``: struct pages into the array at *pages* (0: none wanted)."""
    start &= -PAGE
    if count and (start + count * PAGE > TASK_SIZE_MAX or not mm):
        return -EFAULT
    for n in range(count):
        page = k.user.get_user_page(mm, start + n * PAGE, bool(flags & FOLL_WRITE), pin)
        if page < 0:
            return n or page
        if pages:
            k.mem.set_u64(pages + 8 * n, page)
        elif not pin:
            k.user.put_page(page)
    return count


def _family(verb: str, pin: bool) -> None:
    def fast(k: Host, start: int, nr_pages: int, gup_flags: int, pages: int) -> int:
        return pages_of(k, current_mm(k), start, nr_pages, gup_flags, pages, pin) if nr_pages >= 0 else -EINVAL

    def here(k: Host, start: int, nr_pages: int, gup_flags: int, pages: int, vmas: int) -> int:
        return pages_of(k, current_mm(k), start, nr_pages, gup_flags, pages, pin)

    def unlocked(k: Host, start: int, nr_pages: int, pages: int, gup_flags: int) -> int:
        return pages_of(k, current_mm(k), start, nr_pages, gup_flags, pages, pin)

    def remote(k: Host, mm: int, start: int, nr: int, flags: int, pages: int, vmas: int, locked: int) -> int:
        return pages_of(k, mm, start, nr, flags, pages, pin)

    name, text = f"{verb}_user_pages", "mm/gup.c, 6.1. The number of pages, or a negative errno."
    array = "struct page **pages"
    family(faithful, f"int {name}_fast(unsigned long start, int nr_pages, unsigned int gup_flags, {array})", text, fast)
    family(
        REMOTE,
        f"long {name}(unsigned long start, unsigned long nr_pages, unsigned int gup_flags, {array}, "
        "struct vm_area_struct **vmas)",
        text,
        here,
    )
    family(
        REMOTE,
        f"long {name}_unlocked(unsigned long start, unsigned long nr_pages, {array}, unsigned int gup_flags)",
        text,
        unlocked,
    )
    family(
        REMOTE,
        f"long {name}_remote(struct mm_struct *mm, unsigned long start, unsigned long nr_pages, "
        f"unsigned int gup_flags, {array}, struct vm_area_struct **vmas, int *locked)",
        text,
        remote,
    )


_family("get", False)
_family("pin", True)


def _dirty(k: Host, page: int) -> None:
    at = page + k.layout["page"].offset("flags")
    k.mem.set_u64(at, k.mem.u64(at) | 1 << PG_DIRTY)


@export(faithful)
def unpin_user_page(k: Host, page: int) -> None:
    """``void unpin_user_page(struct page *page)``

    mm/gup.c, 6.1.
    """
    k.user.unpin_user_page(page)


@export(faithful)
def unpin_user_pages(k: Host, pages: int, npages: int) -> None:
    """``void unpin_user_pages(struct page **pages, unsigned long npages)``

    mm/gup.c, 6.1.
    """
    for n in range(npages):
        k.user.unpin_user_page(k.mem.u64(pages + 8 * n))


@export(faithful)
def unpin_user_pages_dirty_lock(k: Host, pages: int, npages: int, make_dirty: bool) -> None:
    """``void unpin_user_pages_dirty_lock(struct page **pages, unsigned long npages, bool make_dirty)``

    mm/gup.c, 6.1.
    """
    for n in range(npages):
        page = k.mem.u64(pages + 8 * n)
        if make_dirty:
            _dirty(k, page)
        k.user.unpin_user_page(page)


def _set_page_dirty(k: Host, page: int) -> bool:
    was = k.mem.u64(page + k.layout["page"].offset("flags")) >> PG_DIRTY & 1
    _dirty(k, page)
    return not was


for _name, _result in (("set_page_dirty", "bool"), ("set_page_dirty_lock", "int")):

    def _set(k: Host, page: int) -> int:
        return int(_set_page_dirty(k, page))

    family(
        simplified("there is no writeback: the flag is all"),
        f"{_result} {_name}(struct page *page)",
        "mm/folio-compat.c, mm/page-writeback.c, 6.1. Whether it was clean.",
        _set,
    )
