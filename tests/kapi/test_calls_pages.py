"""Pages: blocks, exact sizes, in bulk, fragments, ranges of frames; addresses; from Python."""

from __future__ import annotations

import pytest

from kmem.kernel import Kernel
from tests.kapi.booted import GFP_COMP, GFP_HIGHMEM, GFP_KERNEL, GFP_ZERO, PAGE, consistent, free_pages

MOVABLE = 1
DIRECT = 0xFFFF888000000000


def refs(k: Kernel, page: int) -> int:
    return k.mem.s32(page + k.layout["page"].offset("_refcount"))


def order_of(k: Kernel, page: int) -> int:
    return int(k.mem.u8(page + 64 + k.layout["page"].offset("compound_order")))


@pytest.mark.parametrize("order", [0, 3, 10])
def test_alloc_pages_gives_a_block(order: int, kernel: Kernel) -> None:
    before = free_pages(kernel)
    page = kernel.alloc_pages(GFP_KERNEL, order)
    assert kernel.page_to_pfn(page) % (1 << order) == 0
    assert before - free_pages(kernel) == 1 << order
    kernel.free_pages(page, order)
    assert free_pages(kernel) == before


def test_one_page_and_a_page_of_a_node(kernel: Kernel) -> None:
    page, local = kernel.alloc_page(), kernel.alloc_pages_node(0, GFP_KERNEL, 1)
    assert (refs(kernel, page), refs(kernel, local)) == (1, 1)
    kernel.__free_page(page)
    kernel.__free_pages(local, 1)
    assert kernel.is_free_buddy_page(page) in (0, 1)
    consistent(kernel)


def test_too_large_an_order_is_null_with_a_warning(kernel: Kernel) -> None:
    assert kernel.alloc_pages(GFP_KERNEL, 11) == 0
    assert "at mm/page_alloc.c:5634 __alloc_pages" in kernel.dmesg()


def test_free_pages_by_address(kernel: Kernel) -> None:
    before = free_pages(kernel)
    addr = kernel.__get_free_pages(GFP_KERNEL, 2)
    assert addr >= DIRECT
    assert addr % PAGE == 0
    kernel.free_pages_addr(addr, 2)
    single = kernel.__get_free_page(GFP_KERNEL)
    kernel.free_page(single)
    assert free_pages(kernel) == before


def test_get_zeroed_page_is_zeroed(kernel: Kernel) -> None:
    addr = kernel.get_free_page()
    kernel.write(addr, b"\xa5" * PAGE)
    kernel.free_page(addr)
    assert kernel.get_zeroed_page() == addr
    assert kernel.read(addr, PAGE) == bytes(PAGE)


def test_dma_pages_lie_low(kernel: Kernel) -> None:
    assert kernel.virt_to_phys(kernel.__get_dma_pages(GFP_KERNEL, 3)) < 16 << 20


def test_a_compound_page_lives_until_its_last_reference(kernel: Kernel) -> None:
    before = free_pages(kernel)
    page = kernel.alloc_pages(GFP_KERNEL | GFP_COMP, 2)
    assert order_of(kernel, page) == 2
    tail = page + 3 * 64
    assert kernel.virt_to_head_page(kernel.page_address(tail)) == page
    kernel.get_page(tail)
    assert refs(kernel, page) == 2
    kernel.put_page(page)
    assert before - free_pages(kernel) == 4
    kernel.put_page(tail)
    assert free_pages(kernel) == before
    consistent(kernel)


def test_folios_are_compound(kernel: Kernel) -> None:
    before = free_pages(kernel)
    folio = kernel.folio_alloc(GFP_KERNEL, 3)
    assert order_of(kernel, folio) == 3
    kernel.folio_put(folio)
    other = kernel.__folio_alloc(GFP_KERNEL, 1, 0, 0)
    kernel.mem.set_u32(other + kernel.layout["page"].offset("_refcount"), 0)  # as the inline folio_put() leaves it
    kernel.__folio_put(other)
    assert free_pages(kernel) == before


def test_exact_sizes_take_no_more_pages_than_they_need(kernel: Kernel) -> None:
    before = free_pages(kernel)
    addr = kernel.alloc_pages_exact(5 * PAGE - 1, GFP_KERNEL | GFP_ZERO)
    assert before - free_pages(kernel) == 5
    assert kernel.read(addr, 5 * PAGE) == bytes(5 * PAGE)
    consistent(kernel)
    kernel.free_pages_exact(addr, 5 * PAGE - 1)
    assert free_pages(kernel) == before
    assert kernel.alloc_pages_exact_nid(0, 3 * PAGE)


def test_exact_pages_are_never_compound(kernel: Kernel) -> None:
    addr = kernel.alloc_pages_exact(2 * PAGE, GFP_KERNEL | GFP_COMP | GFP_HIGHMEM)
    assert not kernel.mem.u64(kernel.virt_to_page(addr)) >> 16 & 1
    assert "at mm/page_alloc.c:5930 alloc_pages_exact" in kernel.dmesg()


def test_split_page_makes_pages_of_a_block(kernel: Kernel) -> None:
    before = free_pages(kernel)
    page = kernel.alloc_pages(GFP_KERNEL, 3)
    kernel.split_page(page, 3)
    assert [refs(kernel, page + 64 * n) for n in range(8)] == [1] * 8
    for n in (5, 0, 1, 7, 3, 2, 6, 4):
        kernel.free_pages(page + 64 * n, 0)
    assert free_pages(kernel) == before
    consistent(kernel)


def test_pages_in_bulk_are_single_pages(kernel: Kernel) -> None:
    before = free_pages(kernel)
    pages = kernel.alloc_pages_bulk(GFP_KERNEL | GFP_ZERO, 100)
    assert len(set(pages)) == 100
    assert before - free_pages(kernel) == 100
    for page in pages:
        kernel.put_page(page)
    assert free_pages(kernel) == before


def test_pages_in_bulk_into_an_array_or_a_list(kernel: Kernel) -> None:
    array, head = kernel.kzalloc(64), kernel.kmalloc(16)
    kernel.mem.set_u64(array + 16, 1)
    assert kernel.__alloc_pages_bulk(GFP_KERNEL, 0, 0, 5, 0, array) == 5
    assert kernel.mem.u64(array + 16) == 1
    assert kernel.mem.u64(array + 40) == 0
    kernel.mem.write(head, head.to_bytes(8, "little") * 2)
    before = free_pages(kernel)
    assert kernel.__alloc_pages_bulk(GFP_KERNEL, 0, 0, 5, head, 0) == 5
    kernel.put_pages_list(head)
    assert free_pages(kernel) == before


def test_is_free_buddy_page(kernel: Kernel) -> None:
    page = kernel.alloc_pages(GFP_KERNEL, 10)
    inside = page + 700 * 64
    assert not kernel.is_free_buddy_page(inside)
    kernel.free_pages(page, 10)
    assert kernel.is_free_buddy_page(inside)


def test_contiguous_frames_by_number(kernel: Kernel) -> None:
    page = kernel.alloc_pages(GFP_KERNEL, 10)
    kernel.free_pages(page, 10)
    before, pfn = free_pages(kernel), kernel.page_to_pfn(page)
    assert kernel.alloc_contig_range(pfn + 3, pfn + 700) == 0
    assert before - free_pages(kernel) == 697
    assert not kernel.is_free_buddy_page(page + 64 * 3)
    assert kernel.is_free_buddy_page(page + 64 * 2)
    consistent(kernel)
    assert kernel.alloc_contig_range(pfn + 100, pfn + 101) == -16
    consistent(kernel)
    kernel.free_contig_range(pfn + 3, 697)
    assert free_pages(kernel) == before
    consistent(kernel)


def test_contiguous_pages_are_found(kernel: Kernel) -> None:
    before = free_pages(kernel)
    page = kernel.alloc_contig_pages(2048)
    assert kernel.page_to_pfn(page) % 2048 == 0
    assert before - free_pages(kernel) == 2048
    kernel.free_contig_range(kernel.page_to_pfn(page), 2048)
    assert free_pages(kernel) == before
    consistent(kernel)


def test_frames_in_use_are_not_given_and_not_freed_in_silence(kernel: Kernel) -> None:
    pfn = kernel.page_to_pfn(kernel.alloc_contig_pages(4))
    kernel.get_page(kernel.pfn_to_page(pfn + 1))
    kernel.free_contig_range(pfn, 4)
    assert "1 pages are still in use!" in kernel.dmesg()


def test_fragments_share_a_block(kernel: Kernel) -> None:
    before = free_pages(kernel)
    nc = kernel.kzalloc(24)
    first, second = (kernel.page_frag_alloc(nc, 1000, GFP_KERNEL) for _ in range(2))
    assert first - second == 1000
    assert kernel.page_frag_alloc_align(nc, 100, GFP_KERNEL, -64 & (1 << 64) - 1) % 64 == 0
    assert before - free_pages(kernel) == 8
    assert kernel.page_frag_alloc(nc, 40000, GFP_KERNEL) == 0


def test_a_block_whose_fragments_are_all_free_is_used_again(kernel: Kernel) -> None:
    nc = kernel.kzalloc(24)
    block = kernel.page_frag_alloc(nc, 32768, GFP_KERNEL)
    kernel.page_frag_free(block)
    assert kernel.page_frag_alloc(nc, 32768, GFP_KERNEL) == block
    assert kernel.page_frag_alloc(nc, 32768, GFP_KERNEL) != block


def test_draining_a_fragment_cache_frees_its_block(kernel: Kernel) -> None:
    nc = kernel.kzalloc(24)
    before = free_pages(kernel)
    p = kernel.page_frag_alloc(nc, 1000, GFP_KERNEL)
    kernel.page_frag_free(p)
    layout = kernel.layout["page_frag_cache"]
    bias = kernel.mem.u32(nc + layout.offset("pagecnt_bias"))
    kernel.__page_frag_cache_drain(kernel.virt_to_head_page(p), bias)
    assert free_pages(kernel) == before
    consistent(kernel)


# addresses


def test_addresses_of_a_page(kernel: Kernel) -> None:
    addr = kernel.get_free_page()
    page = kernel.virt_to_page(addr + 5)
    assert kernel.page_to_virt(page) == kernel.page_address(page) == addr
    assert kernel.pfn_to_page(kernel.page_to_pfn(page)) == page
    assert kernel.phys_to_virt(kernel.virt_to_phys(addr)) == addr
    assert kernel.virt_to_pfn(addr) == kernel.page_to_pfn(page)
    assert kernel.virt_to_head_page(addr) == page


def test_virt_addr_valid_is_for_the_direct_map(kernel: Kernel) -> None:
    assert kernel.virt_addr_valid(kernel.kmalloc(8))
    assert not kernel.virt_addr_valid(kernel.vmalloc(8))
    assert not kernel.virt_addr_valid(0x1000)
    assert not kernel.virt_addr_valid(DIRECT + (128 << 20))
