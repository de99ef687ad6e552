"""C prototypes for docs/api.md: from the docstrings of what is called, and here of inlines and macros without one."""

from __future__ import annotations

import inspect
import re

from kmem.kapi.calls import INLINES
from kmem.kapi.export import Export, lookup
from kmem.mm.api import Mm


def prototype(name: str) -> str:
    """The C prototype of *name*, or how a macro is called; "" for a flag."""
    entry = lookup(name)
    if isinstance(entry, Export) and entry.prototype:
        return " ".join(entry.prototype.split())
    if name in _INLINE:
        return _INLINE[name]
    for found in (None if name.startswith("_") else getattr(Mm, name, None), INLINES.get(name)):
        for text in re.findall(r"``(.*?)``", inspect.getdoc(found) or "" if found else "", re.DOTALL):
            if re.search(rf"[\s*]{re.escape(name)}\(", text):
                return " ".join(text.split())
    return ""


_TEXT = """
void *kmalloc(size_t size, gfp_t flags)
kfree_rcu(ptr, rhf)
kfree_rcu_mightsleep(ptr)
void *kmem_buckets_alloc(kmem_buckets *b, size_t size, gfp_t flags)
kmalloc_obj(VAR_OR_TYPE, gfp)
kmalloc_objs(VAR_OR_TYPE, COUNT, gfp)
kmalloc_flex(VAR_OR_TYPE, FAM, COUNT, gfp)
KMEM_CACHE(__struct, __flags)
void *kvmalloc(size_t size, gfp_t flags)
kvfree_rcu(ptr, rhf)
kvfree_rcu_mightsleep(ptr)
mempool_t *mempool_create_slab_pool(int min_nr, struct kmem_cache *kc)
mempool_t *mempool_create_kmalloc_pool(int min_nr, size_t size)
mempool_t *mempool_create_page_pool(int min_nr, int order)
__free_page(page)
__get_free_page(gfp_mask)
__get_dma_pages(gfp_mask, order)
void folio_put(struct folio *folio)
unsigned long alloc_pages_bulk_array(gfp_t gfp, unsigned long nr_pages, struct page **page_array)
unsigned long alloc_pages_bulk_list(gfp_t gfp, unsigned long nr_pages, struct list_head *list)
void *page_frag_alloc(struct page_frag_cache *nc, unsigned int fragsz, gfp_t gfp_mask)
virt_to_pfn(kaddr)
void check_object_size(const void *ptr, unsigned long n, bool to_user)
void __iomem *ioremap_np(phys_addr_t offset, size_t size)
u8 readb(const volatile void __iomem *addr)
u16 readw(const volatile void __iomem *addr)
u32 readl(const volatile void __iomem *addr)
u64 readq(const volatile void __iomem *addr)
void writeb(u8 value, volatile void __iomem *addr)
void writew(u16 value, volatile void __iomem *addr)
void writel(u32 value, volatile void __iomem *addr)
void writeq(u64 value, volatile void __iomem *addr)
devm_request_mem_region(dev, start, n, name)
void *dma_alloc_coherent(struct device *dev, size_t size, dma_addr_t *dma_handle, gfp_t gfp)
void dma_free_coherent(struct device *dev, size_t size, void *cpu_addr, dma_addr_t dma_handle)
void *dma_alloc_wc(struct device *dev, size_t size, dma_addr_t *dma_addr, gfp_t gfp)
void dma_free_wc(struct device *dev, size_t size, void *cpu_addr, dma_addr_t dma_addr)
void *dma_alloc_noncoherent(struct device *dev, size_t size, dma_addr_t *dma_handle,
    enum dma_data_direction dir, gfp_t gfp)
void dma_free_noncoherent(struct device *dev, size_t size, void *vaddr, dma_addr_t dma_handle,
    enum dma_data_direction dir)
dma_map_single(d, a, s, r)
dma_unmap_single(d, a, s, r)
dma_map_page(d, p, o, s, r)
dma_unmap_page(d, a, s, r)
int dma_mapping_error(struct device *dev, dma_addr_t dma_addr)
dma_map_sg(d, s, n, r)
dma_unmap_sg(d, s, n, r)
void dma_unmap_sgtable(struct device *dev, struct sg_table *sgt, enum dma_data_direction dir, unsigned long attrs)
int dma_set_mask_and_coherent(struct device *dev, u64 mask)
void *dmam_alloc_coherent(struct device *dev, size_t size, dma_addr_t *dma_handle, gfp_t gfp)
void *dma_pool_zalloc(struct dma_pool *pool, gfp_t mem_flags, dma_addr_t *handle)
void *devm_kzalloc(struct device *dev, size_t size, gfp_t gfp)
void *devm_kmalloc_array(struct device *dev, size_t n, size_t size, gfp_t flags)
void *devm_kcalloc(struct device *dev, size_t n, size_t size, gfp_t flags)
devm_alloc_percpu(dev, type)
int devm_add_action_or_reset(struct device *dev, void (*action)(void *), void *data)
devres_alloc(release, size, gfp)
alloc_percpu(type)
alloc_percpu_gfp(type, gfp)
per_cpu_ptr(ptr, cpu)
unsigned int memalloc_noio_save(void)
void memalloc_noio_restore(unsigned int flags)
unsigned int memalloc_nofs_save(void)
void memalloc_nofs_restore(unsigned int flags)
unsigned int memalloc_noreclaim_save(void)
void memalloc_noreclaim_restore(unsigned int flags)
int gen_pool_add_virt(struct gen_pool *pool, unsigned long addr, phys_addr_t phys, size_t size, int nid)
unsigned long gen_pool_alloc(struct gen_pool *pool, size_t size)
void gen_pool_free(struct gen_pool *pool, unsigned long addr, size_t size)
int gen_pool_add(struct gen_pool *pool, unsigned long addr, size_t size, int nid)
unsigned long gen_pool_alloc_algo(struct gen_pool *pool, size_t size, genpool_algo_t algo, void *data)
void *memblock_alloc(phys_addr_t size, phys_addr_t align)
void memblock_free(void *ptr, size_t size)
int memblock_reserve(phys_addr_t base, phys_addr_t size)
void might_alloc(gfp_t gfp_mask)
void kmemleak_alloc(const void *ptr, size_t size, int min_count, gfp_t gfp)
void kmemleak_free(const void *ptr)
void kmemleak_not_leak(const void *ptr)
void kmemleak_ignore(const void *ptr)
void kmemleak_no_scan(const void *ptr)
void kmemleak_erase(void **ptr)
void kmemleak_scan_area(const void *ptr, size_t size, gfp_t gfp)
"""
_INLINE = {re.findall(r"(\w+)\(", line)[0]: line for line in _TEXT.strip().replace("\n    ", " ").splitlines()}
"""By name: inlines with their types, macros with their parameters."""
