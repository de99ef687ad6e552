"""Whose fault a trace shows: the first function that is not there for everybody.

Reporting code, sanitizers, allocators, locks, the scheduler and library routines stand in most traces; the function
that a report is named after is the first one that is none of these.
"""

from __future__ import annotations

import re

from kmem.oops.report import Frame

_SUFFIX = re.compile(r"\.(?:constprop|isra|part|cold|llvm|lto_priv)(?:\.\d+)*|\.\d+$")

_REPORTING = r"""
    (?:__)?dump_(?:stack|backtrace|header)\w* unwind_backtrace show_(?:stack|regs|trace)\w*
    show_trace_log_lvl print_\w+ panic
    (?:__)?warn\w* report_bug fixup_bug handle_bug bug_handler __bug\w* (?:exc_)?invalid_op asm_exc_\w+ exc_\w+
    do_(?:error_)?trap\w* do_invalid_op error_(?:entry|exit|code) do_page_fault page_fault __do_kernel_fault
    do_DataAbort __dabt_svc el1_\w+ \w*brk_handler\w* call_break_hook do_debug_exception bust_spinlocks oops_end die\w*
    no_context (?:__)?bad_area\w* describe_\w+ end_report object_err slab_(?:err|bug|pad_check|fix)\w* bad_page\w*
    save_(?:stack|trace)\w* set_track\w* stack_trace_\w+ check_(?:bytes\w*|object|slab) \w+_debug_processing
    init_object on_freelist debug_object\w* __debug_\w+ work_is_static_object
    debug_(?:check|print|show|timer|hrtimer|work|rcu|mutex|lockdep|smp_processor_id)\w*
    nmi_\w*backtrace\w* arch_trigger_\w*backtrace rcu_dump_cpu_stacks
"""
_SANITIZERS = r"""
    \w*kasan\w* \w*asan_\w+ check_memory_region\w* kmsan\w* __msan\w* kfence\w* \w*ubsan\w* __sanitizer_\w+
    write_comp_data __cov\w+ \w*check_(?:object_size|heap_object|stack_object)\w* usercopy_abort fortify_panic
    __fortify\w* instrument_\w+ read_word_at_a_time create_object
"""
_ALLOCATORS = r"""
    (?:___)?(?:__)?(?:kmem_cache_(?:alloc|free)|kmalloc|kzalloc|kcalloc|kfree|krealloc|kvmalloc|kvfree|kzfree|ksize)\w*
    (?:___)?(?:__)?(?:vmalloc|vzalloc|vfree|vmap)\w* kv?(?:mem|str)n?dup\w* (?:v?mem|str)n?dup_user\w*
    (?:___|__)?slab_(?:alloc|free|post_alloc)\w* new_slab\w* allocate_slab cache_(?:grow|free|alloc)\w* ____cache_\w+
    kmem_\w+ setup_cpu_cache \w+_noprof free_to_partial_list mempool_\w+ sock_kmalloc
    idr_get_free\w* idr_alloc\w* idr_pre_get ida_alloc\w* radix_tree_node_alloc xas_alloc
    skb_clone (?:__)?alloc_skb\w* (?:__)?(?:dev|netdev|napi)_alloc_\w+ (?:__)?(?:alloc_)?page_frag\w*
    swiotlb_alloc\w* dma_alloc\w* new_inode_\w+
"""
_PAGES = r"""
    sk?b?_?alloc_pages\w* (?:__)?alloc_(?:frozen_)?pages?\w* (?:__)?get_free_pages?\w*
    get_page_from_freelist get_zeroed_page
    prep_new_page post_alloc_hook clear_page_\w+ (?:__)?free_(?:frozen_)?(?:compound_)?pages?\w*
    free_(?:page_is_bad|unref|hot_cold|pcp|the|large|frozen)\w* free_\w*hook\w* release_pages folios_put\w*
    __folio_put\w* (?:__)?put_(?:compound_|single_)?page\w* __put_(?:compound_|single_)?page destroy_\w*compound\w*
    (?:un)?lock_page\w* __lock_page\w* folio_(?:un)?lock\w* (?:__)?folio_alloc\w* (?:__)?filemap_(?:get|add|alloc)\w*
    pagecache_get\w* mm_populate fault_in\w*
    oom_kill_\w+ out_of_memory mem_cgroup_(?:out_of_memory|oom|try_charge|charge)\w* \w*charge\w*mem\w* charge_memcg
    obj_cgroup_charge\w* (?:__)?memcg_\w*(?:charge|alloc)\w* try_charge\w* (?:__)?fs_reclaim_\w+
"""
_LOCKS = r"""
    (?:_)?(?:_)?(?:raw_)?(?:spin|read|write)_(?:un)?(?:try)?lock\w* do_raw_\w+ _raw_\w+ __raw_\w+
    (?:__)?lock_(?:acquire|release|downgrade)\w* register_lock_class mark_lock\w* mark_held_locks validate_chain
    __mutex_\w+ mutex_(?:un)?(?:try)?lock\w* down_(?:read|write)\w* up_(?:read|write)\w* ww_mutex\w*
    (?:rwsem|rt_mutex|rt_spin|rt_read|rt_write|osq|queued_spin|rwbase|percpu_(?:down|up))_\w+ rtlock_\w+
    debug_spin_\w+ queued_\w+slowpath check_(?:noncircular|prevs?_add|\w*usage\w*|deadlock) valid_state find_lock_delay
"""
_SCHEDULER = r"""
    schedule\w* __schedule\w* io_schedule\w* _*cond_resched preempt_\w+ __switch_to wait_for_co?mm?\w*
    do_wait_\w+ complete
    (?:__)?wake_up\w* bit_wait\w* __wait_on_bit\w* out_of_line_wait_on_bit\w* __?wait_on_page\w* msleep\w* usleep\w*
    (?:___|__)?might_(?:sleep|resched|fault)\w* __cant_\w+ check_preemption_disabled __this_cpu_preempt_check
    need_resched (?:dequeue|enqueue)_task\w* kthread kthread_worker_fn kthread_\w+ ret_from_\w+ restore_nocheck
    (?:do_)?sys_\w+ entry_\w+ do_syscall_\w+ handle_\w*irq\w* do_IRQ rcu_\w+ _*call_rcu\w*
    (?:drain|flush|destroy|cancel)_(?:delayed_)?work\w* activate_work queue_(?:delayed_)?work\w*
    __queue_(?:delayed_)?work del_timer\w*
"""
_LIBRARY = r"""
    mem(?:cpy|set|cmp|move|dup\w*|chr)\w* __mem(?:cpy|set|move)\w* (?:v|v?sn?|v?scn)printf v?printk\w* seq_printf
    str(?:n?len|n?cmp|n?cpy|n?cat|r?chr|str|scpy|lcpy|n?casecmp)\w* string(?:_nocheck)? format_decode
    list_(?:add|del)\w* __list_\w+ hlist_\w+ refcount_\w+ kref_\w+ atomic\w*_(?:read|inc|dec|add|sub|cmpxchg|set)\w*
    arch_atomic\w* test_and_\w+ copy_(?:to|from)_(?:user|iter)\w* _copy_(?:to|from)_\w+ csum_partial\w*
    put_user\w* get_user\w* clear_user\w* usb_submit_urb usb_start_wait_urb usb_(?:bulk|control|interrupt)_msg\w*
"""
_ALL = [
    pattern
    for group in (_REPORTING, _SANITIZERS, _ALLOCATORS, _PAGES, _LOCKS, _SCHEDULER, _LIBRARY)
    for pattern in group.split()
]
_NAMES = frozenset(pattern for pattern in _ALL if pattern.isidentifier())
_PATTERNS = re.compile("|".join(pattern for pattern in _ALL if not pattern.isidentifier()))


def bare(name: str) -> str:
    """*name* without what compilers append."""
    return _SUFFIX.sub("", name)


def blamed(frames: list[Frame]) -> str:
    """The first function of *frames* that is not a reporting tool, an allocator, a lock or a library routine."""
    for frame in frames:
        name = bare(frame.name)
        if name and not is_tool(name):
            return name
    return ""


def is_tool(name: str) -> bool:
    """Whether *name* is code that stands in everybody's traces."""
    return name in _NAMES or _PATTERNS.fullmatch(name) is not None
