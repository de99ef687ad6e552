"""The structs that the model works on: the release's own by layout, and a few of ours.

``kdata`` holds the kernel's global variables, in the data section of the simulated kernel image: a module that links
against ``kmalloc_caches`` or ``node_data`` reads these very words. ``private`` is outside RAM: bounds, fault record,
event ring.

Private layout: ``page->mapping`` of a page of the page cache leads to ``kdata.page_cache``, a ``struct
kmem_page_cache``.

Private layout: kernel variables are the members of one struct, on the first 2 MiB boundary behind the kernel image, not
at their addresses in the real image; ``struct kmem_event`` records lie outside the machine; the per-cpu variables of
vmalloc (``ne_fit_preload_node``, ``vfree_deferred``, ``vmap_block_queue``) are arrays in it;
``task->signal`` leads to a ``struct kmem_signal``, ``vma->anon_vma`` and ``page->mapping`` of an anonymous page to a
``struct kmem_anon_vma``, one for a process and the children that it forked.
"""

from __future__ import annotations

from kmem.lib import kstructs
from kmem.lib.cstruct import DIRECT, IMAGE, PRIVATE, PRIVATE_SIZE, Struct, private_struct, s64

_known = Struct.registry
RELEASE = kstructs.RELEASE
page = _known["page"]
folio = _known["folio"]
slab = _known["slab"]
zone = _known["zone"]
free_area = _known["free_area"]
zonelist = _known["zonelist"]
zoneref = _known["zoneref"]
pglist_data = _known["pglist_data"]
per_cpu_pages = _known["per_cpu_pages"]
per_cpu_zonestat = _known["per_cpu_zonestat"]
per_cpu_nodestat = _known["per_cpu_nodestat"]
kmem_cache = _known["kmem_cache"]
kmem_cache_cpu = _known["kmem_cache_cpu"]
kmem_cache_node = _known["kmem_cache_node"]
kmem_cache_order_objects = _known["kmem_cache_order_objects"]
track = _known["track"]
vm_struct = _known["vm_struct"]
vmap_area = _known["vmap_area"]
vmap_block = _known["vmap_block"]
mm_struct = _known["mm_struct"]
vm_area_struct = _known["vm_area_struct"]
task_struct = _known["task_struct"]
resource = _known["resource"]
task_struct = _known["task_struct"]

event = private_struct(
    "kmem_event",
    [
        ("time", "u64"),
        ("kind", "u32"),
        ("cpu", "u16"),
        ("context", "u16"),
        ("task", "u64"),
        ("call_site", "u64"),
        ("ptr", "u64"),
        ("requested", "u64"),
        ("allocated", "u64"),
        ("gfp", "u32"),
        ("node", "s32"),
        ("cache", "u64"),
        ("order", "u64"),
    ],
    PRIVATE,
)
"""One event (DESIGN: the same schema whether a run or a recording made it). *cache* is the address of the
kmem_cache.
"""

memtype = private_struct(
    "memtype",
    [("start", "u64"), ("end", "u64"), ("subtree_max_end", "u64"), ("type", "u64"), ("list", "struct list_head")],
    DIRECT,
)
"""A range of physical addresses and how it is cached (arch/x86/mm/pat/memtype.h)."""
RLIM_NLIMITS = 16

kmem_anon_vma = private_struct("kmem_anon_vma", [("refcount", "u64"), ("members", "struct list_head")], DIRECT)
"""What ``page->mapping`` of an anonymous page leads to: the address spaces that may map it, as records of
``kmem_signal``.
"""

kmem_signal = private_struct(
    "kmem_signal",
    [
        ("rlim", f"[{RLIM_NLIMITS}]u64"),
        ("rlim_max", f"[{RLIM_NLIMITS}]u64"),
        ("mm", "*mm_struct"),
        ("anon_vma", "*kmem_anon_vma"),
        ("member", "struct list_head"),
        ("oom_score_adj", "s64"),
    ],
    DIRECT,
)
"""What ``task->signal`` leads to: resource limits, and what the model knows of the address space besides."""

scan_control = private_struct(
    "kmem_scan_control",
    [
        (name, "s64")
        for name in (
            "nr_to_reclaim",
            "gfp_mask",
            "order",
            "priority",
            "reclaim_idx",
            "may_deactivate",
            "force_deactivate",
            "skipped_deactivate",
            "compaction_ready",
            "kswapd",
            "nr_scanned",
            "nr_reclaimed",
        )
    ],
    PRIVATE,
)
"""``struct scan_control`` (mm/vmscan.c): what one reclaim wants. The kernel has it on the stack."""

compact_control = private_struct(
    "kmem_compact_control",
    [
        (name, "s64")
        for name in (
            "nr_freepages",
            "nr_migratepages",
            "free_pfn",
            "migrate_pfn",
            "total_migrate_scanned",
            "total_free_scanned",
            "gfp_mask",
            "order",
            "migratetype",
            "alloc_flags",
            "highest_zoneidx",
            "sync",
            "ignore_skip_hint",
            "ignore_block_suitable",
            "whole_zone",
            "rescan",
            "result",
        )
    ],
    PRIVATE,
)
"""``struct compact_control`` (mm/internal.h): where one compaction stands. The kernel has it on the stack."""

kmem_page_cache = private_struct("kmem_page_cache", [("nrpages", "u64"), ("read", "u64")], IMAGE)
"""What ``page->mapping`` of a page of the cache leads to: pages there are, and pages ever read."""

EVENT_RING = 16384
WORDS = 8192
"""Room for an array that a call takes or gives."""

private = private_struct(
    "kmem_private",
    [
        ("ram_size", "u64"),
        ("mem_map_phys", "u64"),
        ("mem_map_size", "u64"),
        ("fault_address", "u64"),
        ("fault_size", "u64"),
        ("fault_write", "u64"),
        ("upcall", "u64"),
        ("upcall_failed", "u64"),
        ("gave_up", "u64"),
        ("listening", "u64"),
        ("events", "u64"),
        ("call_site", "u64"),
        ("time", "u64"),
        ("task", "u64"),
        ("cpu", "u32"),
        ("context", "u32"),
        ("fail_after", "s64"),
        ("allocations", "u64"),
        ("fail_inner", "s64"),
        ("fail_persist", "u64"),
        ("inner_failures", "u64"),
        ("task_flags", "u64"),
        ("reclaimed_slab", "u64"),
        ("sc", "struct kmem_scan_control"),
        ("cc", "struct kmem_compact_control"),
        ("ring", f"[{EVENT_RING}]struct kmem_event"),
        ("words", f"[{WORDS}]u64"),
    ],
    PRIVATE,
)
assert private.size <= PRIVATE_SIZE
PRIVATE_AT = -PRIVATE_SIZE

MAX_KMALLOC_TYPES, KMALLOC_SLOTS = 20, 14
"""Room for the kmalloc caches of any release: ``kmalloc_caches[NR_KMALLOC_TYPES][KMALLOC_SHIFT_HIGH + 1]``."""
MAX_NODES = 64
MAX_CPUS = 64
NR_VM_EVENTS = 64
NR_VM_EVENT_ITEMS = 192
"""Room for every release's ``enum vm_event_item``."""

KDATA_ADDRESS = 0xFFFFFFFF84600000
KDATA = s64(KDATA_ADDRESS)
"""Where ``kdata`` lies: on the first 2 MiB boundary behind the kernel image."""

kdata = private_struct(
    "kmem_kdata",
    [
        ("page_offset_base", "u64"),
        ("vmalloc_base", "u64"),
        ("vmemmap_base", "u64"),
        ("phys_base", "u64"),
        ("high_memory", "u64"),
        ("max_pfn", "u64"),
        ("nr_cpu_ids", "u32"),
        ("nr_node_ids", "u32"),
        ("slab_state", "u32"),
        ("page_group_by_mobility_disabled", "u32"),
        ("totalram_pages", "s64"),
        ("swapper_pg_dir", "u64"),
        ("pageblock_flags", "u64"),
        # the boot's configuration
        ("slub_debug", "u32"),
        ("slab_nomerge", "u32"),
        ("slub_min_order", "u32"),
        ("slub_max_order", "u32"),
        ("slub_min_objects", "u32"),
        ("hardened", "u32"),
        ("freelist_random", "u32"),
        ("init_on_alloc", "u32"),
        ("init_on_free", "u32"),
        ("disable_higher_order_debug", "u32"),
        ("slub_cpu_partial", "u32"),
        ("slub_tiny", "u32"),
        ("shuffle_page_alloc", "u32"),
        ("min_free_kbytes", "s32"),
        ("user_min_free_kbytes", "s32"),
        ("watermark_scale_factor", "s32"),
        ("watermark_boost_factor", "s32"),
        ("shuffle_rand", "u64"),
        ("shuffle_rand_bits", "u64"),
        ("random_state", "u64"),
        # slab
        ("kmem_cache", "*kmem_cache"),
        ("kmem_cache_node", "*kmem_cache"),
        ("slab_caches", "struct list_head"),
        ("size_index", "[24]u8"),
        ("slab_caches_to_rcu_destroy", "struct list_head"),
        ("kmalloc_caches", f"[{MAX_KMALLOC_TYPES}][{KMALLOC_SLOTS}]*kmem_cache"),
        # vmalloc
        ("vmap_area_list", "struct list_head"),
        ("free_vmap_area_list", "struct list_head"),
        ("purge_vmap_area_list", "struct list_head"),
        ("vmap_area_root", "struct rb_root"),
        ("free_vmap_area_root", "struct rb_root"),
        ("purge_vmap_area_root", "struct rb_root"),
        ("vmap_area_cachep", "*kmem_cache"),
        ("vmap_lazy_nr", "s64"),
        ("nr_vmalloc_pages", "s64"),
        ("drain_vmap_work", "u64"),
        ("ne_fit_preload_node", f"[{MAX_CPUS}]*vmap_area"),
        ("vfree_deferred", f"[{MAX_CPUS}]u64"),
        ("vmap_block_queue", f"[{MAX_CPUS}]struct list_head"),
        ("vmap_blocks", "struct list_head"),
        ("memtype_list", "struct list_head"),
        # processes
        ("mm_cachep", "*kmem_cache"),
        ("vm_area_cachep", "*kmem_cache"),
        ("task_struct_cachep", "*kmem_cache"),
        ("signal_cachep", "*kmem_cache"),
        ("anon_vma_cachep", "*kmem_cache"),
        ("pgd_list", "struct list_head"),
        ("empty_zero_page", "u64"),
        ("vm_committed_as", "s64"),
        ("last_pid", "s32"),
        ("sysctl_overcommit_memory", "s32"),
        ("sysctl_overcommit_ratio", "s32"),
        ("sysctl_max_map_count", "s32"),
        # reclaim and compaction
        ("current_task", "u64"),
        ("tasks", "struct list_head"),
        ("kswapd_wake", "u64"),
        ("page_cache", "struct kmem_page_cache"),
        ("isolated", "struct list_head"),
        ("freed", "struct list_head"),
        ("migratepages", "struct list_head"),
        ("freepages", "struct list_head"),
        ("vm_event_states", f"[{NR_VM_EVENT_ITEMS}]u64"),
        # counters: work done, for `kmem compare` and /proc/vmstat
        ("vm_events", f"[{NR_VM_EVENTS}]u64"),
        ("vm_zone_stat", "[16]s64"),
        ("vm_node_stat", "[64]s64"),
        ("vm_numa_event", "[6]s64"),
        ("totalreserve_pages", "u64"),
        ("alias_list", "u64"),
        ("report", "[8]u64"),
        ("might_sleep_reported", "u64"),
        # physical addresses
        ("iomem_resource", "struct resource"),
        ("ioport_resource", "struct resource"),
        # per-cpu
        ("pcpu_base_addr", "u64"),
        ("pcpu_unit_size", "u64"),
        ("pcpu_static_size", "u64"),
        ("pcpu_free_bytes", "u64"),
        ("pcpu_map", "*"),
        # nodes
        ("numa_node_offset", "u64"),
        ("numa_distance", f"[{MAX_NODES * MAX_NODES}]u8"),
        ("node_load", f"[{MAX_NODES}]s32"),
        ("deferred_end", f"[{MAX_NODES}]s64"),
        # large
        ("node_data", f"[{MAX_NODES}]*pglist_data"),
        ("__per_cpu_offset", "[8192]u64"),
        ("strings", "[65536]u8"),
        ("strings_used", "u64"),
    ],
    IMAGE,
    KDATA,
)
"""Kernel variables. Names are the kernel's where it has them; the configuration block and the counters are ours."""
