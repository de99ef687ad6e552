"""docs/api.md is up to date, complete, and every test that it names exists."""

from __future__ import annotations

import ast
from pathlib import Path

from kmem.report import api
from kmem.report.api_names import rows
from kmem.report.api_prototypes import prototype

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "api.md").read_text() == api.text(), (
        "run `.venv/bin/python -m kmem.report.api > docs/api.md`"
    )


def test_every_name_has_a_test_that_exists() -> None:
    tests: dict[str, set[str]] = {}
    for file in {row.test.partition("::")[0] for row in rows()}:
        tree = ast.parse((ROOT / file).read_text())
        tests[file] = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    lost = [row.test for row in rows() if row.test.partition("::")[2] not in tests[row.test.partition("::")[0]]]
    assert lost == []


def test_no_name_stands_there_twice() -> None:
    names = [row.name for row in rows()]
    assert len(names) == len(set(names))


def test_every_link_symbol_is_exported_by_some_release_or_belongs_to_a_later_one() -> None:
    """A candidate that no release has is a typing mistake; names of 6.12 have a form of their own."""
    from kmem.abi.exports import exports

    known = {name for release in api.releases() for name in exports(release)}
    strange = {
        symbol
        for row in rows()
        for symbol in row.symbols
        if symbol not in known and not symbol.endswith("_noprof") and symbol not in LATER
    }
    assert strange == set()


LATER = {"__kmem_cache_create_args", "__page_frag_alloc_align", "kvmemdup"}
"""Exports of 6.12 without the suffix of the profiled ones."""


def test_every_name_has_its_c_prototype() -> None:
    """Of every row but flags, which are in capitals; the prototype is of the name."""
    written = {row.name: prototype(row.name) for row in rows()}
    assert [name for name, text in written.items() if not text] == [
        name for name in written if name.startswith("SLAB_")
    ]
    assert [name for name, text in written.items() if text and f"{name}(" not in text] == []
    assert written["kfree"] == "void kfree(const void *objp)"
    assert written["kcalloc"] == "void *kcalloc(size_t n, size_t size, gfp_t flags)"


def test_what_is_missing_is_named_as_missing() -> None:
    assert {row.name for row in rows() if api.missing(row)} == {
        line.split("`")[1] for line in api.text().splitlines() if "| missing: " in line
    }


REQUIRED = """
kmalloc kzalloc kmalloc_array kcalloc kmalloc_node kzalloc_node kmalloc_array_node kcalloc_node krealloc krealloc_array
kmalloc_track_caller kmalloc_size_roundup ksize kfree kfree_sensitive kfree_const kfree_bulk kfree_rcu
kfree_rcu_mightsleep kmem_dump_obj kmalloc_obj kmalloc_objs kmalloc_flex kmem_buckets_create kmem_buckets_alloc
kmemdup kmemdup_nul kstrdup kstrdup_const kstrndup kasprintf kvasprintf memdup_user vmemdup_user memdup_user_nul
strndup_user kvmemdup
kvmalloc kvzalloc kvmalloc_node kvzalloc_node kvmalloc_array kvcalloc kvfree kvfree_sensitive kvfree_rcu kvrealloc
kmem_cache_create kmem_cache_create_usercopy KMEM_CACHE kmem_cache_destroy kmem_cache_shrink kmem_cache_size
kmem_cache_alloc kmem_cache_zalloc kmem_cache_alloc_node kmem_cache_alloc_lru kmem_cache_free kmem_cache_alloc_bulk
kmem_cache_free_bulk SLAB_HWCACHE_ALIGN SLAB_CACHE_DMA SLAB_CACHE_DMA32 SLAB_PANIC SLAB_TYPESAFE_BY_RCU SLAB_MEM_SPREAD
SLAB_RECLAIM_ACCOUNT SLAB_ACCOUNT SLAB_NOLEAKTRACE SLAB_RED_ZONE SLAB_POISON SLAB_STORE_USER SLAB_TRACE
mempool_init mempool_create mempool_create_node mempool_exit mempool_destroy mempool_resize mempool_alloc mempool_free
mempool_create_slab_pool mempool_create_kmalloc_pool mempool_create_page_pool
alloc_pages alloc_pages_node alloc_page __get_free_pages get_zeroed_page __get_dma_pages alloc_pages_exact
free_pages_exact split_page alloc_pages_bulk_array alloc_pages_bulk_list folio_alloc folio_put alloc_contig_range
alloc_contig_pages free_contig_range page_frag_alloc page_frag_free free_pages __free_pages
vmalloc vzalloc vmalloc_node vzalloc_node vmalloc_user vmalloc_32 vmalloc_32_user vmalloc_huge vmalloc_array vcalloc
__vmalloc __vmalloc_node vfree vfree_atomic vmap vunmap vm_map_ram vm_unmap_ram vm_unmap_aliases remap_vmalloc_range
is_vmalloc_addr is_vmalloc_or_module_addr vmalloc_to_page vmalloc_to_pfn vrealloc
virt_to_page page_to_virt page_address virt_to_phys phys_to_virt virt_addr_valid virt_to_head_page pfn_to_page
page_to_pfn check_object_size
ioremap ioremap_wc ioremap_wt ioremap_uc ioremap_np ioremap_cache ioremap_prot iounmap memremap memunmap readb readw
readl readq writeb writew writel writeq request_mem_region release_mem_region devm_ioremap devm_ioremap_uc
devm_ioremap_wc devm_ioremap_resource
dma_alloc_coherent dma_alloc_attrs dma_alloc_wc dma_alloc_noncoherent dma_alloc_pages dma_map_single dma_map_page
dma_map_sg dma_unmap_single dma_unmap_page dma_unmap_sg dma_pool_create dma_pool_alloc dma_pool_zalloc dma_pool_free
dma_pool_destroy
devm_kmalloc devm_kzalloc devm_kcalloc devm_kmalloc_array devm_krealloc devm_kfree devm_kmemdup devm_kstrdup
devm_kasprintf devm_get_free_pages devm_alloc_percpu devm_add_action devres_open_group devres_close_group
devres_release_group
alloc_percpu __alloc_percpu free_percpu alloc_percpu_gfp gen_pool_create gen_pool_add gen_pool_alloc gen_pool_free
gen_pool_destroy memblock_alloc memblock_free memblock_reserve memalloc_noio_save memalloc_noio_restore
memalloc_nofs_save memalloc_nofs_restore memalloc_noreclaim_save memalloc_noreclaim_restore might_alloc kmemleak_alloc
kmemleak_free kmemleak_not_leak kmemleak_ignore
"""
"""What the page has a row for, whatever else it has."""


def test_no_name_of_the_groups_is_missing() -> None:
    assert set(REQUIRED.split()) - {row.name for row in rows()} == set()


def test_every_row_works() -> None:
    assert {row.name: api.missing(row) for row in rows() if api.missing(row)} == {}


def test_ioremap_np_is_null_on_this_machine() -> None:
    """x86 has no mapping without posted writes: an inline that gives NULL."""
    from kmem.kapi.calls import INLINES

    assert INLINES["ioremap_np"](None, 0xFEB00000, 4096) == 0


def test_names_are_calls_on_the_kernel() -> None:
    silent = [row.name for row in rows() if not api.python_name(row) and not row.name.isupper()]
    assert silent == ["memblock_alloc", "memblock_free", "memblock_reserve"]
