"""The memory management as the rest of the kernel calls it, from Python: C names, integers, NULL is 0.

Each call sets what the model needs to know about its caller (call site, context, time) and goes straight into compiled
code.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct

from kmem.abi.address import PAGE_OFFSET, START_KERNEL_MAP, VMEMMAP_START
from kmem.abi.gfp import GFP_KERNEL
from kmem.lib.cstruct import u64
from kmem.machine.ram import Ram
from kmem.mm.api_iomem import IomemCalls
from kmem.mm.api_pages import PageCalls
from kmem.mm.api_vmap import VmapCalls
from kmem.mm.binding import Core, PrivateArea, UpcallHandler, load_core
from kmem.mm.boot import MemoryBoot, ram_end
from kmem.mm.config import BootConfig
from kmem.mm.inlines import Inlines
from kmem.mm.mm_types import kmem_cache, kmem_signal, task_struct
from kmem.mm.provenance import Provenance
from kmem.mm.resource import Resources
from kmem.mm.view import View

GFP_ZERO, GFP_DIRECT_RECLAIM = 0x100, 0x400
_CALLER = Struct("<QQQII")
"""``call_site`` … ``context`` of the private area."""


class Mm(VmapCalls, IomemCalls, Inlines, PageCalls, Provenance):
    """The mm of one machine. *caller* of an allocation is its call site; *moment* says what holds now.

    ``moment()`` returns (call site, preempt count, task, CPU, nanoseconds since boot).
    """

    def __init__(self, config: BootConfig, on_upcall: UpcallHandler) -> None:
        self.config = config
        load_core(config.release)  # a mapping of many gibibytes must not part it from the libraries that it calls
        self.ram = Ram(ram_end(config.ram), config.release)
        self.view = View(self.ram)
        self.core = Core(self.ram, config.release, on_upcall)
        self._private = self.ram.whole
        self.moment: Callable[[], tuple[int, int, int, int, int]] = lambda: (0, 0, 0, 0, 0)
        self.sleep_forbidden: Callable[[], bool] = lambda: False
        """Whether something besides the preempt count forbids sleeping: interrupts off, an RCU reader."""
        self.might_sleep: Callable[[str, str, int], None] = lambda function, file, line: None
        self.warn: Callable[[int, str], None] = lambda place, message: None
        self.printk: Callable[[int, str], None] = lambda level, text: None
        self.dump_stack: Callable[[], None] = lambda: None
        self.hash_pointer: Callable[[int], str] = hex
        """``%p``."""
        self.migrate_user_page: Callable[[int, int], bool] = lambda old, new: False
        """Moves a page that processes map from one pfn to another: contents, ``mapping``, ``index``, ``_mapcount`` and
        the references of its mappings; False if it is pinned. Afterwards the old page has one reference.
        """
        self.oom_reap: Callable[[int], None] = lambda task: None
        """Frees the user memory of a task that the OOM killer chose, and lets it exit."""
        self.symbol: Callable[[int], str] = hex
        """``%pS``."""
        self.boot = MemoryBoot(self.ram, self.core, config)
        self.resources = Resources(
            self.view,
            lambda size, gfp: self.kmalloc(size, gfp),
            lambda p: self.kfree(p),
            lambda level, text: self.printk(level, text),
        )

    def start(self) -> None:
        """Boot the memory."""
        self.boot.run()
        core = self.core
        self._kmalloc, self._kfree = core.k_kmalloc, core.k_kfree

    def _here(self, caller: int = 0, gfp: int = 0) -> None:
        """Tell the model who calls, and from which context; complain if *gfp* may sleep where that is forbidden."""
        site, context, task, cpu, time = self.moment()
        _CALLER.pack_into(self._private, PrivateArea.call_site.offset, caller or site, time, task, cpu, context)
        if gfp & GFP_DIRECT_RECLAIM and (context or self.sleep_forbidden()):
            self.might_sleep("might_alloc", "include/linux/sched/mm.h", 274)

    def enter(self) -> None:
        """What is called on the core next is called now, in this context; the functions below say so themselves."""
        self._here()

    # kmalloc

    def kmalloc(self, size: int, gfp: int = GFP_KERNEL, node: int = -1, caller: int = 0) -> int:
        """``void *kmalloc_node(size_t size, gfp_t flags, int node)``."""
        self._here(caller, gfp)
        return self._kmalloc(size, gfp, node)

    def kmalloc_trace(self, s: int, gfp: int, node: int, size: int) -> int:
        """``void *kmalloc_node_trace(struct kmem_cache *s, gfp_t gfpflags, int node, size_t size)``: kmalloc of a
        constant size.
        """
        self._here(0, gfp)
        return self.core.k_kmalloc_trace(s, gfp, node, size)

    def kmalloc_large(self, size: int, gfp: int = GFP_KERNEL, node: int = -1) -> int:
        """``void *kmalloc_large_node(size_t size, gfp_t flags, int node)``."""
        return self.kmalloc(max(size, 8193), gfp, node)

    def kfree(self, p: int) -> None:
        """``void kfree(const void *object)``."""
        self._here()
        self._kfree(p)

    def ksize(self, p: int) -> int:
        """``size_t ksize(const void *object)``."""
        return self.core.k_ksize(p)

    def krealloc(self, p: int, size: int, gfp: int = GFP_KERNEL) -> int:
        """``void *krealloc(const void *p, size_t new_size, gfp_t flags)``."""
        self._here(0, gfp)
        return self.core.k_krealloc(p, size, gfp)

    # caches

    def kmem_cache_create(
        self,
        name: str,
        size: int,
        align: int = 0,
        flags: int = 0,
        ctor: int = 0,
        useroffset: int = 0,
        usersize: int = 0,
        caller: int = 0,
    ) -> int:
        """``struct kmem_cache *kmem_cache_create_usercopy(…)``: the name is copied, as the kernel does."""
        self._here(caller, GFP_KERNEL)
        raw = name.encode() + b"\0"
        where = self.core.k_scratch(len(raw))
        if not where:
            return 0
        self.ram.mem[where - PAGE_OFFSET : where - PAGE_OFFSET + len(raw)] = raw
        made = self.core.k_kmem_cache_create(where, size, align, flags, ctor, useroffset, usersize)
        self.core.k_scratch_free(where)
        return made

    def kmem_cache_destroy(self, s: int) -> None:
        """``void kmem_cache_destroy(struct kmem_cache *s)``."""
        self._here()
        if s:
            self.core.k_kmem_cache_destroy(s)

    def kmem_cache_alloc(self, s: int, gfp: int = GFP_KERNEL, node: int = -1) -> int:
        """``void *kmem_cache_alloc_node(struct kmem_cache *s, gfp_t gfpflags, int node)``."""
        self._here(0, gfp)
        return self.core.k_kmem_cache_alloc(s, gfp, node)

    def kmem_cache_free(self, s: int, p: int) -> None:
        """``void kmem_cache_free(struct kmem_cache *s, void *x)``."""
        self._here()
        self.core.k_kmem_cache_free(s, p)

    def kmem_cache_shrink(self, s: int) -> int:
        """``int kmem_cache_shrink(struct kmem_cache *s)``."""
        return self.core.k_kmem_cache_shrink(s)

    def rcu_free_slab(self, slab: int) -> None:
        """``rcu_free_slab()``: the grace period of an empty SLAB_TYPESAFE_BY_RCU slab is over."""
        self.core.k_rcu_free_slab(slab)

    def rcu_destroy_caches(self) -> int:
        """``slab_caches_to_rcu_destroy_workfn()``: forget the destroyed SLAB_TYPESAFE_BY_RCU caches; how many."""
        return self.core.k_rcu_destroy_caches()

    def validate_slab_cache(self, s: int) -> int:
        """``long validate_slab_cache(struct kmem_cache *s)``."""
        return self.core.k_validate_slab_cache(s)

    def kmem_cache_size(self, s: int) -> int:
        """``unsigned int kmem_cache_size(struct kmem_cache *s)``."""
        return int(self.view.ptr(kmem_cache, s).object_size)

    def slab_of(self, p: int) -> int:
        """The ``struct kmem_cache`` that the object at *p* belongs to, 0 if it is no slab memory."""
        offset = p - PAGE_OFFSET
        if not 0 <= offset < self.ram.size:
            return 0
        head = self.view.page_of(p)
        return u64(self.view.slab(head).slab_cache._addr) if self.view.is_slab(head) else 0

    # pages

    def alloc_pages(self, gfp: int, order: int, node: int = -1) -> int:
        """``struct page *alloc_pages_node(int nid, gfp_t gfp_mask, unsigned int order)``."""
        self._here(0, gfp)
        return self.core.k_alloc_pages(gfp, order, node)

    def alloc_pages_nodemask(self, gfp: int, order: int, node: int, nodes: int = -1) -> int:
        """``struct page *__alloc_pages(gfp_t gfp, unsigned int order, int preferred_nid, nodemask_t *nodemask)``;
        bit *n* of *nodes* allows node *n*, -1 all.
        """
        self._here(0, gfp)
        return self.core.k_alloc_pages_nodemask(gfp, order, node, nodes)

    def free_pages(self, page: int, order: int) -> None:
        """``void __free_pages(struct page *page, unsigned int order)``."""
        self._here()
        self.core.k_free_pages(page, order)

    def get_free_pages(self, gfp: int, order: int) -> int:
        """``unsigned long __get_free_pages(gfp_t gfp_mask, unsigned int order)``."""
        self._here(0, gfp)
        return self.core.k_get_free_pages(gfp, order)

    def free_pages_addr(self, addr: int, order: int) -> None:
        """``void free_pages(unsigned long addr, unsigned int order)``."""
        self._here()
        self.core.k_free_pages_addr(addr, order)

    # page cache

    def fill_page_cache(self, size: int, *, active: bool = False) -> int:
        """Read *size* bytes of a file into the page cache, as far as memory goes; how many bytes. *active*: pages that
        were used twice, which reclaim takes last.
        """
        self._here(0, GFP_KERNEL)
        return self.core.k_fill_page_cache(-(-size // 4096), int(active)) * 4096

    def drop_caches(self) -> int:
        """``echo 1 > /proc/sys/vm/drop_caches``: free all of the page cache; how many bytes."""
        self._here()
        return self.core.k_drop_pagecache() * 4096

    # kvmalloc

    def kvmalloc(self, size: int, gfp: int = GFP_KERNEL, node: int = -1) -> int:
        """``void *kvmalloc_node(size_t size, gfp_t flags, int node)``."""
        self._here(0, gfp)
        return self.core.k_kvmalloc(size, gfp, node)

    def kvfree(self, p: int, caller: int = 0) -> None:
        """``void kvfree(const void *addr)``."""
        self._here(caller)
        self.core.k_kvfree(p)

    # per-cpu

    def alloc_percpu(self, size: int, align: int = 8, gfp: int = GFP_KERNEL) -> int:
        """``void __percpu *__alloc_percpu_gfp(size_t size, size_t align, gfp_t gfp)``."""
        self._here(0, gfp)
        return self.core.k_alloc_percpu(size, align, gfp)

    def free_percpu(self, p: int) -> None:
        """``void free_percpu(void __percpu *ptr)``."""
        self._here()
        self.core.k_free_percpu(p)

    # addresses

    def virt_to_page(self, p: int) -> int:
        """``struct page *virt_to_page(const void *x)``: the direct map and the kernel image."""
        return VMEMMAP_START + (self.virt_to_phys(p) >> 12) * 64

    def virt_to_phys(self, p: int) -> int:
        """``phys_addr_t virt_to_phys(volatile void *address)``."""
        return p - START_KERNEL_MAP if p >= START_KERNEL_MAP else p - PAGE_OFFSET

    def phys_to_virt(self, phys: int) -> int:
        """``void *phys_to_virt(phys_addr_t address)``."""
        return PAGE_OFFSET + phys

    def page_to_virt(self, page: int) -> int:
        """``void *page_to_virt(struct page *page)``."""
        return PAGE_OFFSET + (self.page_to_pfn(page) << 12)

    def page_to_pfn(self, page: int) -> int:
        """``unsigned long page_to_pfn(struct page *page)``."""
        return (page - VMEMMAP_START) // 64

    def nr_node_ids(self) -> int:
        """``nr_node_ids``."""
        return int(self.view.kdata.nr_node_ids)

    def mems_allowed(self) -> str:
        """``current->mems_allowed`` as a list: every node."""
        last = self.nr_node_ids() - 1
        return f"0-{last}" if last else "0"

    def oom_score_adj(self, task: int) -> int:
        """``task->signal->oom_score_adj``."""
        signal = self.view.ptr(task_struct, task).signal
        return int(self.view.ptr(kmem_signal, signal).oom_score_adj) if signal else 0

    def set_oom_score_adj(self, task: int, adj: int) -> None:
        """``/proc/PID/oom_score_adj``: -1000 (never killed) to 1000 (killed first)."""
        signal = self.view.ptr(task_struct, task).signal
        self.view.ptr(kmem_signal, signal).oom_score_adj = adj

    def max_pfn(self) -> int:
        """``max_pfn``: one above the highest page frame."""
        return self.ram.size >> 12

    def phys_of(self, p: int) -> int:
        """The physical address behind any mapped kernel address, or -1."""
        found = self.core.k_lookup(p)
        return found if found >> 63 == 0 else -1
