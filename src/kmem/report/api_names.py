"""The allocation API by group: what a C programmer writes, what a module links to, which test shows it.

A line, which may go on indented, is ``names : link symbols : test``. *Link symbols* are candidates of all
releases; which of them a release has is looked up in its exports. None: an inline or a macro that links to nothing of
the group. A test without a file is in the group's.
"""

from __future__ import annotations

from dataclasses import dataclass

_GROUPS = """
# 1 kmalloc (include/linux/slab.h) : tests/kapi/test_calls_kmalloc.py
kmalloc : kmalloc_caches kmalloc_trace __kmalloc kmalloc_large __kmalloc_cache_noprof __kmalloc_noprof
    __kmalloc_large_noprof : test_kmalloc_gives_a_class_that_holds_the_size
kzalloc : kmalloc_caches kmalloc_trace __kmalloc kmalloc_large __kmalloc_cache_noprof __kmalloc_noprof
    __kmalloc_large_noprof : test_kzalloc_wipes
kmalloc_array : __kmalloc kmalloc_trace __kmalloc_noprof : test_arrays_check_their_product
kcalloc : __kmalloc kmalloc_trace __kmalloc_noprof : test_kcalloc_wipes
kmalloc_node kzalloc_node kmalloc_array_node kcalloc_node : __kmalloc_node kmalloc_node_trace kmalloc_large_node
    __kmalloc_node_noprof __kmalloc_cache_node_noprof __kmalloc_large_node_noprof : test_node_forms_take_a_node
krealloc : krealloc krealloc_noprof : test_krealloc_moves_only_what_is_too_small
krealloc_array : krealloc krealloc_noprof : test_krealloc_array_checks_the_product
kmalloc_track_caller : __kmalloc_node_track_caller __kmalloc_node_track_caller_noprof :
    test_kmalloc_track_caller_charges_another
kmalloc_size_roundup : kmalloc_size_roundup : test_kmalloc_size_roundup
ksize : ksize : test_ksize_of_nothing
kfree : kfree : test_kfree_takes_null_and_zero_size
kfree_sensitive : kfree_sensitive : test_kfree_sensitive_wipes_the_whole_object
kfree_const : kfree_const : test_kfree_const_frees_what_is_no_constant
kfree_bulk : kmem_cache_free_bulk : test_kfree_bulk_frees_each_to_its_own_cache
kfree_rcu : kvfree_call_rcu : test_kfree_rcu_waits_for_the_grace_period
kfree_rcu_mightsleep : kvfree_call_rcu : test_kfree_rcu_without_a_head_frees_at_once
kmem_dump_obj : kmem_dump_obj : test_kmem_dump_obj_names_cache_and_offset
mem_dump_obj : mem_dump_obj : test_mem_dump_obj_names_every_kind_of_memory
kmem_buckets_create kmem_buckets_alloc : kmem_buckets_create __kmalloc_node_noprof :
    tests/kapi/test_calls_devices.py::test_a_set_of_caches_of_ones_own
kmalloc_obj kmalloc_objs kmalloc_flex : kmalloc_trace __kmalloc __kmalloc_cache_noprof __kmalloc_noprof :
    test_objects_by_size_and_number
# 2 dup and format (include/linux/string.h) : tests/kapi/test_calls_dup.py
kmemdup : kmemdup kmemdup_noprof : test_kmemdup_copies_bytes
kmemdup_nul : kmemdup_nul : test_kmemdup_nul_ends_the_copy
kstrdup : kstrdup : test_kstrdup
kstrdup_const : kstrdup_const : tests/kapi/test_calls_kmalloc.py::test_kfree_const_frees_what_is_no_constant
kstrndup : kstrndup : test_kstrndup_stops_early
kasprintf : kasprintf : test_kasprintf_formats_into_a_new_object
kvasprintf : kvasprintf : tests/kapi/test_sprintf.py::test_kasprintf_allocates_exactly
kasprintf_strarray kfree_strarray : kasprintf_strarray kfree_strarray : test_kasprintf_strarray_numbers_its_strings
kvmemdup : kvmemdup : test_kvmemdup_falls_back_as_kvmalloc_does
memdup_user vmemdup_user memdup_user_nul : memdup_user vmemdup_user memdup_user_nul :
    test_a_copy_from_an_unmapped_user_address_is_efault
strndup_user : strndup_user : test_strndup_user_of_an_unmapped_address_is_efault
# 3 kvmalloc (include/linux/slab.h) : tests/kapi/test_calls_kmalloc.py
kvmalloc : kvmalloc_node __kvmalloc_node_noprof : test_kvmalloc_falls_back_to_vmalloc
kvzalloc kvmalloc_node kvzalloc_node : kvmalloc_node __kvmalloc_node_noprof : test_kvzalloc_and_node_forms
kvmalloc_array kvcalloc : kvmalloc_node __kvmalloc_node_noprof : test_kvmalloc_arrays_check_their_product
kvrealloc : kvrealloc kvrealloc_noprof : test_kvrealloc_copies_and_never_shrinks
kvfree : kvfree : test_kvmalloc_falls_back_to_vmalloc
kvfree_sensitive : kvfree_sensitive : test_kvfree_sensitive_wipes
kvfree_rcu : kvfree_call_rcu : test_kvfree_rcu_frees_both_kinds
kvfree_rcu_mightsleep : kvfree_call_rcu : test_kfree_rcu_without_a_head_frees_at_once
# 4 caches (include/linux/slab.h) : tests/kapi/test_calls_caches.py
kmem_cache_create : kmem_cache_create __kmem_cache_create_args : test_kmem_cache_create_sizes_its_objects
kmem_cache_create_usercopy : kmem_cache_create_usercopy __kmem_cache_create_args :
    test_usercopy_regions_outside_the_object_are_not_used
KMEM_CACHE : kmem_cache_create __kmem_cache_create_args : test_a_cache_that_fits_is_an_alias
kmem_cache_destroy : kmem_cache_destroy : test_destroying_a_cache_with_objects_warns_and_keeps_it
kmem_cache_shrink : kmem_cache_shrink : test_kmem_cache_shrink_gives_empty_slabs_back
kmem_cache_size : kmem_cache_size : test_kmem_cache_create_sizes_its_objects
kmem_cache_alloc kmem_cache_free : kmem_cache_alloc kmem_cache_alloc_noprof kmem_cache_free :
    test_kmem_cache_create_sizes_its_objects
kmem_cache_zalloc : kmem_cache_alloc kmem_cache_alloc_noprof : test_kmem_cache_zalloc_wipes
kmem_cache_alloc_node kmem_cache_alloc_lru : kmem_cache_alloc_node kmem_cache_alloc_node_noprof kmem_cache_alloc_lru
    kmem_cache_alloc_lru_noprof : test_kmem_cache_alloc_node_and_lru
kmem_cache_alloc_bulk : kmem_cache_alloc_bulk kmem_cache_alloc_bulk_noprof : test_bulk_gives_all_or_nothing
kmem_cache_free_bulk : kmem_cache_free_bulk : test_bulk_frees_objects_of_one_slab_as_one_chain
SLAB_HWCACHE_ALIGN : : test_hwcache_align_rounds_to_a_line
SLAB_TYPESAFE_BY_RCU : : test_typesafe_by_rcu_keeps_pages_for_a_grace_period
SLAB_CACHE_DMA SLAB_CACHE_DMA32 : : test_zone_flags_choose_the_memory
SLAB_RECLAIM_ACCOUNT SLAB_ACCOUNT : : test_some_flags_must_be_the_same_to_merge
SLAB_NOLEAKTRACE SLAB_RED_ZONE SLAB_POISON SLAB_STORE_USER SLAB_TRACE : : test_some_flags_forbid_merging
SLAB_PANIC : : test_slab_panic_stops_the_machine
SLAB_MEM_SPREAD SLAB_NO_USER_FLAGS : : test_flags_that_change_nothing_here
# 5 mempool (include/linux/mempool.h) : tests/kapi/test_calls_others.py
mempool_create mempool_create_node mempool_init mempool_init_node mempool_exit : mempool_create mempool_create_noprof
    mempool_create_node mempool_create_node_noprof mempool_init mempool_init_noprof mempool_init_node mempool_exit :
    test_a_pool_of_ones_own_functions
mempool_create_slab_pool : mempool_create mempool_create_noprof mempool_alloc_slab mempool_free_slab :
    test_a_slab_pool_keeps_objects_in_reserve
mempool_create_kmalloc_pool : mempool_create mempool_create_noprof mempool_kmalloc mempool_kfree :
    test_a_kmalloc_pool_gives_its_reserve_when_memory_fails
mempool_create_page_pool mempool_destroy : mempool_create mempool_create_noprof mempool_alloc_pages mempool_free_pages
    mempool_destroy : test_a_page_pool_holds_blocks
mempool_alloc mempool_free : mempool_alloc mempool_alloc_noprof mempool_free :
    test_a_kmalloc_pool_gives_its_reserve_when_memory_fails
mempool_resize : mempool_resize : test_a_pool_is_resized
# 6 pages (include/linux/gfp.h) : tests/kapi/test_calls_pages.py
alloc_pages : alloc_pages alloc_pages_noprof : test_alloc_pages_gives_a_block
alloc_page alloc_pages_node __free_page __free_pages : alloc_pages alloc_pages_noprof __alloc_pages
    __alloc_pages_noprof __free_pages : test_one_page_and_a_page_of_a_node
__get_free_pages __get_free_page free_pages free_page : __get_free_pages get_free_pages_noprof free_pages :
    test_free_pages_by_address
get_zeroed_page : get_zeroed_page get_zeroed_page_noprof : test_get_zeroed_page_is_zeroed
__get_dma_pages : __get_free_pages get_free_pages_noprof : test_dma_pages_lie_low
get_page put_page : __folio_put : test_a_compound_page_lives_until_its_last_reference
folio_alloc __folio_alloc folio_put : folio_alloc folio_alloc_noprof __folio_alloc __folio_alloc_noprof __folio_put :
    test_folios_are_compound
alloc_pages_exact free_pages_exact : alloc_pages_exact alloc_pages_exact_noprof free_pages_exact :
    test_exact_sizes_take_no_more_pages_than_they_need
alloc_pages_exact_nid : : test_exact_sizes_take_no_more_pages_than_they_need
split_page : split_page : test_split_page_makes_pages_of_a_block
__alloc_pages_bulk : __alloc_pages_bulk alloc_pages_bulk_noprof : test_pages_in_bulk_into_an_array_or_a_list
alloc_pages_bulk_array alloc_pages_bulk_list : __alloc_pages_bulk alloc_pages_bulk_noprof :
    test_pages_in_bulk_are_single_pages
put_pages_list : put_pages_list : test_pages_in_bulk_into_an_array_or_a_list
alloc_contig_range free_contig_range : alloc_contig_range alloc_contig_range_noprof free_contig_range :
    test_contiguous_frames_by_number
alloc_contig_pages : : test_contiguous_pages_are_found
page_frag_alloc page_frag_alloc_align : page_frag_alloc_align __page_frag_alloc_align : test_fragments_share_a_block
page_frag_free : page_frag_free : test_a_block_whose_fragments_are_all_free_is_used_again
__page_frag_cache_drain : __page_frag_cache_drain : test_draining_a_fragment_cache_frees_its_block
is_free_buddy_page : is_free_buddy_page : test_is_free_buddy_page
# 7 vmalloc (include/linux/vmalloc.h) : tests/mm/test_vmalloc.py
vmalloc vzalloc : vmalloc vmalloc_noprof vzalloc vzalloc_noprof : test_vzalloc_is_zeroed_and_vmalloc_is_not
vmalloc_node vzalloc_node __vmalloc : vmalloc_node vmalloc_node_noprof vzalloc_node vzalloc_node_noprof __vmalloc
    __vmalloc_noprof : tests/kapi/test_slab.py::test_an_allocation_asks_the_mm
__vmalloc_node : : tests/kapi/test_calls_devices.py::test_vmalloc_node_with_an_alignment
vmalloc_huge : vmalloc_huge vmalloc_huge_noprof : test_vmalloc_huge_maps_2_mib_pages_and_small_ones_as_always
vmalloc_user : vmalloc_user vmalloc_user_noprof : test_vmalloc_user_is_zeroed_and_says_so_in_vmallocinfo
vmalloc_32 vmalloc_32_user : vmalloc_32 vmalloc_32_noprof vmalloc_32_user vmalloc_32_user_noprof :
    test_vmalloc_32_takes_pages_below_4_gib
vmalloc_array vcalloc __vmalloc_array __vcalloc : vmalloc_array vmalloc_array_noprof vcalloc vcalloc_noprof
    __vmalloc_array __vmalloc_array_noprof __vcalloc __vcalloc_noprof :
    test_vmalloc_array_and_vcalloc_refuse_an_overflow
vrealloc : : tests/kapi/test_calls_devices.py::test_vrealloc_moves_only_what_is_too_small
vfree : vfree : test_addresses_are_not_reused_before_the_purge
vfree_atomic : : test_vfree_atomic_waits_too
vmap vunmap : vmap vunmap : test_vmap_maps_the_same_pages_twice
vmap_pfn : vmap_pfn : test_vmap_pfn_takes_only_what_is_not_ram
vm_map_ram vm_unmap_ram : vm_map_ram vm_unmap_ram : test_vm_map_ram_cuts_powers_of_two_from_a_block_of_the_cpu
vm_unmap_aliases : vm_unmap_aliases : test_a_block_goes_when_all_of_it_is_dirty_or_a_purge_finds_nothing_in_use
remap_vmalloc_range : remap_vmalloc_range :
    tests/kapi/test_calls_others.py::test_vmalloc_memory_is_mapped_into_a_process
is_vmalloc_addr is_vmalloc_or_module_addr vmalloc_to_page vmalloc_to_pfn : is_vmalloc_addr is_vmalloc_or_module_addr
    vmalloc_to_page vmalloc_to_pfn : test_addresses_are_told_apart
# 8 addresses (include/asm/page.h) : tests/kapi/test_calls_pages.py
virt_to_page page_to_virt page_address virt_to_phys phys_to_virt pfn_to_page page_to_pfn virt_to_pfn virt_to_head_page
    : page_offset_base vmemmap_base phys_base : test_addresses_of_a_page
virt_addr_valid : __virt_addr_valid : test_virt_addr_valid_is_for_the_direct_map
check_object_size : __check_object_size :
    tests/kapi/test_calls_caches.py::test_hardened_usercopy_refuses_what_crosses_an_object
# 9 I/O memory (include/linux/io.h) : tests/kapi/test_calls_devices.py
ioremap ioremap_wc ioremap_wt ioremap_uc ioremap_cache ioremap_prot iounmap : ioremap ioremap_wc ioremap_wt ioremap_uc
    ioremap_cache ioremap_prot iounmap : test_each_ioremap_has_its_caching
ioremap_np : : tests/report/test_api.py::test_ioremap_np_is_null_on_this_machine
ioremap_encrypted : ioremap_encrypted : tests/kapi/test_slab.py::test_an_allocation_asks_the_mm
memremap memunmap : memremap memunmap : test_memremap_of_memory_and_of_a_device
readb readw readl readq writeb writew writel writeq : : test_registers_are_read_and_written_by_width
ioread8 ioread16 ioread32 iowrite8 iowrite16 iowrite32 : ioread8 ioread16 ioread32 iowrite8 iowrite16 iowrite32 :
    test_registers_are_read_and_written_by_width
memcpy_fromio memcpy_toio memset_io : memcpy_fromio memcpy_toio memset_io : test_io_memory_is_copied_and_set
request_mem_region release_mem_region : __request_region __release_region iomem_resource :
    test_a_region_belongs_to_one
devm_request_mem_region : __devm_request_region iomem_resource : test_a_region_belongs_to_one
devm_ioremap devm_ioremap_uc devm_ioremap_wc devm_iounmap : devm_ioremap devm_ioremap_uc devm_ioremap_wc devm_iounmap :
    test_a_device_unmaps_what_it_mapped
devm_ioremap_resource : devm_ioremap_resource : test_devm_ioremap_resource_claims_and_maps
devm_memremap devm_memunmap : devm_memremap devm_memunmap : test_devm_memremap
# 10 DMA (include/linux/dma-mapping.h) : tests/kapi/test_calls_devices.py
dma_alloc_coherent dma_free_coherent dma_alloc_attrs dma_free_attrs : dma_alloc_attrs dma_free_attrs :
    test_a_coherent_buffer_is_zeroed_and_contiguous
dma_alloc_wc dma_free_wc : dma_alloc_attrs dma_free_attrs : test_write_combining_and_noncoherent_buffers
dma_alloc_noncoherent dma_free_noncoherent dma_alloc_pages dma_free_pages : dma_alloc_pages dma_free_pages :
    test_write_combining_and_noncoherent_buffers
dma_map_single dma_unmap_single dma_map_page dma_unmap_page dma_map_page_attrs dma_unmap_page_attrs :
    dma_map_page_attrs dma_unmap_page_attrs : test_a_mapping_is_the_physical_address
dma_mapping_error : : test_vmalloc_memory_cannot_be_mapped_for_a_device
dma_map_resource : dma_map_resource : test_a_mapping_is_the_physical_address
dma_map_sg dma_unmap_sg dma_map_sg_attrs dma_unmap_sg_attrs : dma_map_sg_attrs dma_unmap_sg_attrs :
    test_scatterlists_are_mapped_entry_by_entry
dma_map_sgtable dma_unmap_sgtable : dma_map_sgtable dma_unmap_sg_attrs : test_scatterlists_are_mapped_entry_by_entry
dma_sync_single_for_cpu dma_sync_single_for_device : dma_sync_single_for_cpu dma_sync_single_for_device :
    test_a_mapping_is_the_physical_address
dma_sync_sg_for_cpu : dma_sync_sg_for_cpu : test_scatterlists_are_mapped_entry_by_entry
dma_set_mask dma_set_coherent_mask dma_set_mask_and_coherent : dma_set_mask dma_set_coherent_mask :
    test_a_mask_is_refused_or_obeyed
dmam_alloc_coherent dmam_free_coherent : dmam_alloc_attrs dmam_free_coherent :
    test_a_managed_buffer_and_a_managed_pool
dma_pool_create dma_pool_alloc dma_pool_free dma_pool_destroy : dma_pool_create dma_pool_alloc dma_pool_free
    dma_pool_destroy : test_blocks_of_a_pool_keep_apart_and_within_boundaries
dma_pool_zalloc : dma_pool_alloc : test_a_managed_buffer_and_a_managed_pool
dmam_pool_create dmam_pool_destroy : dmam_pool_create dmam_pool_destroy : test_a_managed_buffer_and_a_managed_pool
# 11 what a device owns (include/linux/device.h) : tests/kapi/test_calls_devices.py
devm_kmalloc devm_kzalloc devm_kmalloc_array devm_kcalloc devm_kfree : devm_kmalloc devm_kfree : test_managed_memory
devm_krealloc : devm_krealloc : test_managed_memory
devm_kmemdup devm_kstrdup devm_kstrdup_const devm_kasprintf : devm_kmemdup devm_kstrdup devm_kstrdup_const
    devm_kasprintf : test_managed_copies
devm_get_free_pages devm_free_pages : devm_get_free_pages devm_free_pages : test_managed_pages_and_per_cpu_memory
devm_alloc_percpu devm_free_percpu : __devm_alloc_percpu devm_free_percpu : test_managed_pages_and_per_cpu_memory
devm_add_action devm_add_action_or_reset devm_remove_action devm_release_action : devm_add_action __devm_add_action
    devm_remove_action devm_release_action : test_actions_run_when_they_are_released
devres_open_group devres_close_group devres_remove_group devres_release_group : devres_open_group devres_close_group
    devres_remove_group devres_release_group : test_a_group_is_released_alone
devres_alloc devres_free devres_add devres_find devres_get devres_remove devres_destroy devres_release :
    __devres_alloc_node devres_free devres_add devres_find devres_get devres_remove devres_destroy devres_release :
    test_resources_of_ones_own_are_found_by_their_release_function
# 12 per-cpu memory, scopes, annotations : tests/kapi/test_calls_others.py
alloc_percpu __alloc_percpu free_percpu : __alloc_percpu pcpu_alloc_noprof free_percpu :
    test_per_cpu_memory_is_there_for_each_cpu
alloc_percpu_gfp __alloc_percpu_gfp : __alloc_percpu_gfp pcpu_alloc_noprof :
    test_per_cpu_memory_is_aligned_and_limited
per_cpu_ptr : __per_cpu_offset : test_per_cpu_memory_is_there_for_each_cpu
per_cpu_ptr_to_phys is_kernel_percpu_address : : test_a_per_cpu_address_is_recognised
memalloc_noio_save memalloc_noio_restore memalloc_nofs_save memalloc_nofs_restore memalloc_noreclaim_save
    memalloc_noreclaim_restore : : test_scopes_nest
gen_pool_create gen_pool_destroy gen_pool_add_virt gen_pool_add_owner gen_pool_alloc gen_pool_alloc_algo_owner
    gen_pool_free gen_pool_free_owner gen_pool_virt_to_phys gen_pool_has_addr gen_pool_avail gen_pool_size
    gen_pool_set_algo : gen_pool_create gen_pool_destroy gen_pool_add_owner gen_pool_alloc_algo_owner
    gen_pool_free_owner gen_pool_virt_to_phys gen_pool_has_addr gen_pool_avail gen_pool_size gen_pool_set_algo :
    tests/kapi/test_calls_devices.py::test_a_pool_of_special_memory
gen_pool_add gen_pool_alloc_algo gen_pool_first_fit gen_pool_best_fit gen_pool_first_fit_align gen_pool_fixed_alloc
    gen_pool_first_fit_order_align : gen_pool_add_owner gen_pool_alloc_algo_owner gen_pool_first_fit gen_pool_best_fit
    gen_pool_first_fit_align gen_pool_fixed_alloc gen_pool_first_fit_order_align :
    tests/kapi/test_calls_devices.py::test_where_an_algorithm_puts_128_bytes
gen_pool_dma_alloc gen_pool_dma_zalloc : gen_pool_dma_alloc gen_pool_dma_zalloc :
    tests/kapi/test_calls_devices.py::test_special_memory_for_dma
devm_gen_pool_create gen_pool_get : devm_gen_pool_create gen_pool_get :
    tests/kapi/test_calls_devices.py::test_a_pool_is_found_by_device_and_name
memblock_alloc memblock_free memblock_reserve : :
    tests/mm/test_numa.py::test_zonelists_and_zones_are_those_of_a_real_kernel
might_alloc : : test_might_alloc_complains_in_atomic_context
kmemleak_alloc kmemleak_free kmemleak_not_leak kmemleak_ignore kmemleak_no_scan kmemleak_erase kmemleak_scan_area : :
    test_kmemleak_annotations_do_nothing_without_kmemleak
"""


NOT_EXPORTED = frozenset(("vfree_atomic", "vrealloc", "memblock_alloc", "memblock_free", "memblock_reserve"))
"""Functions of the kernel's own that no module can link to."""
NOTES = {
    **dict.fromkeys(
        ("memblock_alloc", "memblock_free", "memblock_reserve"),
        "simplified: while the machine boots, by `kmem.mm.boot`; not a call",
    ),
    "vrealloc": "faithful; of 6.12",
    "kmalloc_obj": "faithful; a macro of later releases",
    "kmalloc_objs": "faithful; a macro of later releases",
    "kmalloc_flex": "faithful; a macro of later releases",
}
"""What stands in the column of fidelity where the symbols do not say it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One name: its group, candidates for its link symbols, the id of the test that shows it."""

    group: str
    name: str
    symbols: tuple[str, ...]
    test: str


def rows() -> list[Row]:
    """Every name, group by group."""
    found: list[Row] = []
    group = file = ""
    for line in _GROUPS.strip().replace("\n    ", " ").splitlines():
        if line.startswith("# "):
            group, _, file = (part.strip() for part in line[2:].partition(" : "))
            continue
        names, symbols, test = (part.strip() for part in line.replace(" : : ", " :  : ").split(" : "))
        node = test if "::" in test else f"{file}::{test}"
        found += [Row(group, name, tuple(symbols.split()), node) for name in names.split()]
    return found
