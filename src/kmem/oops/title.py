"""The title of a report: one line, as syzkaller's dashboards write it, the same for the same crash."""

from __future__ import annotations

import re

from kmem.oops.patterns import FAULTS
from kmem.oops.report import Frame, Report

UNKNOWN = "corrupted"
"""What stands in a title for the function when the log names none that can be trusted."""

_SUFFIX = re.compile(r"\.(?:constprop|isra|part|cold|llvm|lto_priv)(?:\.\d+)*|\.\d+$")
_TOOLS = re.compile(
    r"""^(?:
    (?:__)?dump_(?:stack|backtrace)\w* | show_(?:stack|regs|trace)\w* | show_trace_log_lvl | print_\w+ | panic |
    (?:__)?warn\w* | report_bug | fixup_bug | handle_bug | bug_handler | (?:exc_)?invalid_op | asm_exc_\w+ |
    exc_\w+ | do_(?:error_)?trap\w* | do_invalid_op | error_(?:entry|exit|code) | do_page_fault | page_fault |
    __do_kernel_fault | do_DataAbort | __dabt_svc | el1_\w+ | \w*brk_handler\w* | call_break_hook |
    do_debug_exception | \w*kasan\w* | \w*asan_\w+ | check_memory_region\w* | kmsan\w* | __msan\w* | kfence\w* |
    \w*ubsan\w* | __sanitizer_\w+ | write_comp_data | __cov\w+ | describe_\w+ | end_report |
    check_(?:bytes\w* | object | slab) | slab_(?:err|bug|pad_check|fix|free\w*|alloc\w*|post_alloc_hook) |
    object_err | free_debug_processing | alloc_debug_processing | save_(?:stack|trace)\w* | set_track\w* |
    stack_trace_\w+ | init_object |
    (?:___)?(?:__)?(?:kmem_cache_(?:alloc|free)|kmalloc|kzalloc|kcalloc|kfree|krealloc|kvmalloc|kvfree|kmemdup|
        kstrdup| vmalloc|vzalloc|vfree|vmap|kzfree|ksize)\w* |
    (?:___|__)?slab_(?:alloc|free)\w* | new_slab\w* | allocate_slab | cache_(?:grow|free|alloc)\w* |
    ____cache_\w+ | kmem_\w+ | setup_cpu_cache | kmalloc_\w+ | sk?b?_?alloc_pages\w* |
    (?:__)?alloc_(?:frozen_)?pages?\w* | (?:__)?get_free_pages?\w* | get_page_from_freelist | get_zeroed_page |
    prep_new_page | bad_page\w* | (?:__)?free_pages?\w* |
    free_(?:page_is_bad|unref|hot_cold|pcp|the|large|frozen)\w* | release_pages | folios_put\w* | __folio_put\w* |
    put_page\w* | __put_page | __put_single_page | destroy_\w*compound\w* | post_alloc_hook | clear_page_\w+ |
    (?:_)?(?:_)?(?:raw_)?(?:spin|read|write)_(?:un)?(?:try)?lock\w* | do_raw_\w+ |
    (?:__)?lock_(?:acquire|release|downgrade)\w* | register_lock_class | mark_lock\w* | validate_chain |
    __mutex_\w+ | mutex_(?:un)?(?:try)?lock\w* | down_(?:read|write)\w* | up_(?:read|write)\w* |
    (?:rwsem|rt_mutex|osq|queued_spin)_\w+ | debug_spin_\w+ | queued_\w+slowpath | ww_mutex\w* |
    mem(?:cpy|set|cmp|move|dup\w*|chr)\w* | __mem(?:cpy|set|move)\w* |
    str(?:n?len|n?cmp|n?cpy|n?cat|r?chr|str|scpy|lcpy|n?casecmp)\w* | (?:v|v?sn?|v?scn)printf | v?printk\w* |
    string(?:_nocheck)? | seq_printf | format_decode | list_(?:add|del)\w* | __list_\w+ | hlist_\w+ |
    refcount_\w+ | kref_\w+ | debug_object\w* | __debug_\w+ |
    debug_(?:check|print|show|timer|hrtimer|work|rcu|mutex)\w* | debug_lockdep\w* | work_is_static_object |
    activate_work | queue_(?:delayed_)?work\w* | __queue_(?:delayed_)?work |
    (?:___|__)?might_(?:sleep|resched|fault)\w* | __cant_\w+ | copy_(?:to|from)_(?:user|iter)\w* |
    _copy_(?:to|from)_\w+ | \w*check_(?:object_size|heap_object|stack_object)\w* | usercopy_abort |
    csum_partial\w* | put_user\w* | get_user\w* | clear_user\w* | fault_in\w* | read_word_at_a_time | kthread |
    kthread_worker_fn | ret_from_fork\w* | (?:do_)?sys_\w+ | entry_\w+ | do_syscall_\w+ | schedule\w* |
    __schedule\w* | preempt_\w+ | wait_for_completion\w* | do_wait_\w+ | complete | (?:__)?wake_up\w* |
    io_schedule\w* | check_preemption_disabled | msleep\w* |
    usleep\w* |
    check_(?:noncircular|prevs?_add|\w*usage\w*|deadlock) | valid_state |
    __this_cpu_preempt_check | debug_smp_processor_id |
    fortify_panic | __fortify\w* | __bug\w* | rcu_\w+ | _*call_rcu\w* |
    (?:drain|flush|destroy|cancel)_(?:delayed_)?work\w* | kthread_\w+ | (?:un)?lock_page\w* |
    folio_(?:un)?lock\w* | (?:__)?folio_alloc\w* | (?:__)?filemap_(?:get|add|alloc)\w* | pagecache_get\w* |
    kasan\w* | \w+_noprof | handle_\w*irq\w* | do_IRQ | need_resched | restore_nocheck | mark_held_locks |
    ret_from_\w+ | find_lock_delay | atomic\w*_(?:read|inc|dec|add|sub|cmpxchg|set)\w* | __raw_\w+ | _raw_\w+ |
    arch_atomic\w* | instrument_\w+ | test_and_\w+ | (?:dequeue|enqueue)_task\w* | idr_get_free\w* | idr_alloc\w* |
    idr_pre_get | radix_tree_node_alloc | xas_alloc | skb_clone | __alloc_skb | alloc_skb\w* | dev_alloc_skb |
    __napi_alloc_skb | page_frag_alloc | create_object | free_to_partial_list | on_freelist |
    \w+_debug_processing | del_timer\w* | mempool_\w+ | sock_kmalloc | mm_populate | warn_slowpath\w* |
    bust_spinlocks | oops_end | die\w* | no_context | bad_area\w* | __bad_area\w* | new_inode_\w+ |
    swiotlb_alloc\w* | dma_alloc\w* | free_\w*hook\w*
    )$""",
    re.VERBOSE,
)


def bare(name: str) -> str:
    """*name* without what compilers append."""
    return _SUFFIX.sub("", name)


_ROOTS = re.compile(
    r"^(?:start_kernel|x86_64_start_\w+|secondary_startup\w*|kernel_init\w*|worker_thread|process_one_work|"
    r"do_one_initcall|rest_init|cpu_startup_entry|do_idle|cpu_idle\w*|smpboot_thread_fn)$"
)


def blamed(frames: list[Frame]) -> str:
    """The first function of *frames* that is not a reporting tool, an allocator, a lock or a library routine."""
    for frame in frames:
        name = bare(frame.name)
        if name and not _TOOLS.match(name):
            return name
    return ""


def title(report: Report) -> tuple[str, str]:
    """The blamed function (may be empty) and the title of *report*."""
    function = _function(report)
    return function, _TITLES.get(report.kind, _plain)(report, function or UNKNOWN)


def _function(report: Report) -> str:
    reliable = [frame for frame in report.frames if frame.reliable]
    if report.kind == "stack-end" or report.fact("stack-end"):
        return bare(report.value("workqueue", "fn")) or blamed(reliable)
    if report.kind in ("kasan", "kmsan", "kfence", "ubsan"):
        return _sanitizer_function(report, reliable)
    if report.kind in FAULTS | {"double-fault", "stack-guard"} and report.pc is not None:
        first = blamed([report.pc])
        if report.kind in ("unhandled",) and first == "":
            return bare(report.pc.name)
        below = blamed(reliable)
        return first or (bare(report.pc.name) if _ROOTS.match(below) else below) or bare(report.pc.name)
    if report.kind in ("slub", "slab-corruption"):
        return blamed(reliable) or blamed(report.free_frames) or blamed(report.alloc_frames)
    if report.pc is not None and report.kind not in ("warning", "bug", "list", "refcount", "odebug", "usercopy"):
        return blamed([report.pc, *reliable])
    if report.kind in ("alloc-failure", "vmap-failure", "sleep"):
        return blamed(reliable) or blamed(report.frames) or (bare(reliable[-1].name) if reliable else "")
    where = report.value("warn-at", "where").split("+")[0].removesuffix("()")
    warned = [Frame(0, where, None, None, "", True, "", "")] if where else []
    return blamed([*warned, *([report.pc] if report.pc else []), *reliable])


def _sanitizer_function(report: Report, reliable: list[Frame]) -> str:
    where = bare(report.value(report.kind, "where").split("+")[0])
    if where and "/" not in where and not _TOOLS.match(where):
        return where
    frames = reliable
    names = [bare(frame.name) for frame in reliable]
    if where in names:
        frames = reliable[names.index(where) :]
    return blamed(frames) or ("" if "/" in where else where)


def _plain(report: Report, function: str) -> str:
    names = {
        "sched": "BUG: scheduling while atomic",
        "bug": "kernel BUG",
        "warning": "WARNING",
        "lockdep": "lockdep report",
        "insufficient": "kernel stack overflow",
        "double-fault": "PANIC: double fault",
        "soft-lockup": "BUG: soft lockup",
        "hard-lockup": "hard lockup",
        "rcu-stall": "RCU stall",
        "hung": "INFO: task hung",
        "oom": "out of memory",
        "spinlock": "BUG: spinlock misuse",
        "preempt": "BUG: using per-cpu data in preemptible code",
        "trace": "call trace",
        "fortify": "fortify: buffer overflow",
        "ubsan": "UBSAN",
        "kcsan": "KCSAN: data-race",
        "oops": "Oops",
        "alloc-failure": "page allocation failure",
        "vmap-failure": "vmalloc failure",
        "stack-guard": "BUG: stack guard page was hit",
        "unhandled": "Unhandled fault",
    }
    return f"{names.get(report.kind, report.kind)} in {function}"


def _kasan(report: Report, function: str) -> str:
    what = report.value("kasan", "what").strip()
    what = "invalid-free" if what.startswith("double-free or") else what
    access = report.value("access", "rw")
    return f"KASAN: {what}{f' {access}' if access and 'free' not in what.split('-after-')[0] else ''} in {function}"


def _fault(report: Report, function: str) -> str:
    if report.kind == "null" or (report.kind == "paging" and report.address is not None and report.address < 4096):
        return f"BUG: unable to handle kernel NULL pointer dereference in {function}"
    return f"BUG: unable to handle kernel paging request in {function}"


def _warning(report: Report, function: str) -> str:
    where = report.value("warn-at", "where") + (report.pc.name if report.pc else "")
    if re.match(r"kmalloc_slab|kvmalloc_node|__?kvmalloc|krealloc|__alloc_pages", where):
        return f"WARNING: kmalloc bug in {function}"
    if where.startswith(("__vmalloc_node", "vmalloc")):
        return f"WARNING: zero-size vmalloc in {function}"
    return f"WARNING in {function}"


def _slub(report: Report, function: str) -> str:
    what = re.sub(r" on __kmem_cache_shutdown\(\)| in \S+", "", report.value("slub", "what")).strip(" :")
    cache = report.value("slub", "cache")
    return f"BUG {cache}: {what[:60]}" if cache else f"slab corruption in {function}"


def _panic(report: Report, function: str) -> str:
    if report.fact("stack-end"):
        return f"kernel panic: corrupted stack end in {function}"
    what = report.headline.split("not syncing: ")[-1][:60].strip()
    return f"kernel panic: {what}"


_TITLES = {
    "kasan": _kasan,
    "kfence": lambda report, function: f"KFENCE: {report.value('kfence', 'what')} in {function}",
    "kmsan": lambda report, function: f"KMSAN: {report.value('kmsan', 'what')} in {function}",
    "null": _fault,
    "paging": _fault,
    "oops": lambda report, function: (
        f"Internal error in {function}" if "Internal" in report.headline else f"Oops in {function}"
    ),
    "gpf": lambda report, function: f"general protection fault in {function}",
    "warning": _warning,
    "refcount": lambda report, function: f"WARNING: refcount bug in {function}",
    "odebug": lambda report, function: f"WARNING: ODEBUG bug in {function}",
    "list": lambda report, function: f"BUG: corrupted list in {function}",
    "usercopy": lambda report, function: f"BUG: bad usercopy in {function}",
    "sleep": lambda report, function: f"BUG: sleeping function called from invalid context in {function}",
    "bad-page": lambda report, function: f"BUG: Bad page state in {function}",
    "kmemleak": lambda report, function: f"memory leak in {function}",
    "slub": _slub,
    "slab-corruption": lambda report, function: f"slab corruption in {function}",
    "panic": _panic,
}
