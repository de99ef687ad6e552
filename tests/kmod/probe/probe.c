// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * probe - what each allocator answers, size by size
 *
 * First the constants of the build, then for sizes on both sides of each limit
 * one line with kmalloc, vmalloc, kvmalloc, kmalloc(GFP_DMA) and kzalloc, then
 * overflows, krealloc, reuse, whole pages, requests that cannot be met, caches
 * and I/O memory. Everything that is allocated is freed before init returns.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/io.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

#ifndef NR_PAGE_ORDERS	/* "mm, treewide: introduce NR_PAGE_ORDERS" */
#define NR_PAGE_ORDERS MAX_ORDER
#endif

static const size_t sizes[] = {
	0, 1, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65, 80, 95, 96,
	97, 112, 127, 128, 129, 160, 191, 192, 193, 255, 256, 257, 384, 511,
	512, 513, 768, 1023, 1024, 1025, 1536, 2047, 2048, 2049, 3000, 4095,
	4096, 4097, 6000, 8191, 8192, 8193, 12288, 16383, 16384, 16385, 32768,
	32769, 65536, 65537, 131072, 131073, 262144, 262145, 524288, 1048576,
	1048577, 2097152, 2097153, 4194303, 4194304, 4194305, 8388608,
};

static void __init probe_constants(void)
{
	pr_info("PAGE_SIZE %lu KMALLOC_MAX_SIZE %lu KMALLOC_MAX_CACHE_SIZE %lu KMALLOC_MIN_SIZE %d ARCH_KMALLOC_MINALIGN %d MAX_ORDER %d PAGE_ALLOC_COSTLY_ORDER %d pageblock_order %d\n",
		PAGE_SIZE, KMALLOC_MAX_SIZE, KMALLOC_MAX_CACHE_SIZE,
		KMALLOC_MIN_SIZE, (int)ARCH_KMALLOC_MINALIGN, NR_PAGE_ORDERS,
		PAGE_ALLOC_COSTLY_ORDER, (int)pageblock_order);
	pr_info("sizeof page %zu zone %zu pglist_data %zu vm_struct %zu list_head %zu spinlock %zu kmem_cache(opaque) ZERO_SIZE_PTR %px GFP_KERNEL %x GFP_ATOMIC %x GFP_NOWAIT %x GFP_USER %x GFP_HIGHUSER_MOVABLE %x GFP_NOIO %x GFP_NOFS %x\n",
		sizeof(struct page), sizeof(struct zone),
		sizeof(struct pglist_data), sizeof(struct vm_struct),
		sizeof(struct list_head), sizeof(spinlock_t), ZERO_SIZE_PTR,
		GFP_KERNEL, GFP_ATOMIC, GFP_NOWAIT, GFP_USER,
		GFP_HIGHUSER_MOVABLE, GFP_NOIO, GFP_NOFS);
}

/* Physically contiguous runs of pages behind a vmalloc address. */
static unsigned long __init count_runs(const void *addr, unsigned long pages)
{
	unsigned long i, pfn, last = 0, runs = 0;

	for (i = 0; i < pages; i++) {
		pfn = vmalloc_to_pfn(addr + i * PAGE_SIZE);
		if (!i || pfn != last + 1)
			runs++;
		last = pfn;
	}
	return runs;
}

static const char * __init kv_name(const void *p)
{
	if (!p)
		return "NULL";
	if (ZERO_OR_NULL_PTR(p))
		return "ZERO";
	return is_vmalloc_addr(p) ? "vmalloc" : "kmalloc";
}

/*
 * One size. All five allocations live at the same time and are freed in the
 * order in which they were made. kmalloc's objects are dirtied before they are
 * freed, so that kzalloc of the next size meets stale bytes.
 */
static void __init probe_size(size_t n)
{
	void *p = kmalloc(n, GFP_KERNEL | __GFP_NOWARN);
	void *v = n ? vmalloc(n) : NULL;
	void *kv = kvmalloc(n, GFP_KERNEL | __GFP_NOWARN);
	void *dma = kmalloc(n, GFP_KERNEL | GFP_DMA | __GFP_NOWARN);
	void *z = kzalloc(n, GFP_KERNEL | __GFP_NOWARN);
	unsigned long pages = DIV_ROUND_UP(n, PAGE_SIZE);
	u64 dma_phys = ZERO_OR_NULL_PTR(dma) ? 0 : virt_to_phys(dma);
	char km[96], vm[64];

	if (ZERO_OR_NULL_PTR(p)) {
		snprintf(km, sizeof(km), "%s ksize %zu",
			 p ? "ZERO_SIZE_PTR" : "NULL", ksize(p));
	} else {
		struct page *head = virt_to_head_page(p);

		snprintf(km, sizeof(km), "ok addr %px ksize %zu slab %d order %u align %lu",
			 p, ksize(p), !!PageSlab(head), compound_order(head),
			 (unsigned long)p & -(unsigned long)p);
	}
	if (v)
		snprintf(vm, sizeof(vm), "ok addr %px pages %lu runs %lu", v,
			 pages, count_runs(v, pages));
	else
		strscpy(vm, "NULL", sizeof(vm));

	pr_info("size %zu kmalloc %s | vmalloc %s | kvmalloc %s | dma %s %llx %s | kzalloc %s zeroed %d\n",
		n, km, vm, kv_name(kv), dma ? "ok" : "NULL", dma_phys,
		dma_phys + n <= SZ_16M ? "<16M" : ">=16M", z ? "ok" : "NULL",
		ZERO_OR_NULL_PTR(z) || !memchr_inv(z, 0, n));

	if (!ZERO_OR_NULL_PTR(p))
		memset(p, 0xa5, n);
	kfree(p);
	vfree(v);
	kvfree(kv);
	kfree(dma);
	if (!ZERO_OR_NULL_PTR(z))
		memset(z, 0xa5, n);
	kfree(z);
}

/* n * size that does not fit, and n * size that is 0. */
static void __init probe_overflow(void)
{
	size_t huge = SIZE_MAX / 2 + 1;
	void *c = kcalloc(huge, 2, GFP_KERNEL);
	void *m = kmalloc_array(huge, 2, GFP_KERNEL);
	void *kv = kvmalloc_array(huge, 2, GFP_KERNEL);
	void *c0 = kcalloc(0, 8, GFP_KERNEL);
	void *m0 = kmalloc_array(3, 0, GFP_KERNEL);

	pr_info("kcalloc(huge,2) %px kmalloc_array(huge,2) %px kvmalloc_array(huge,2) %px kcalloc(0,8) %px kmalloc_array(3,0) %px\n",
		c, m, kv, c0, m0);
	kfree(c);
	kfree(m);
	kvfree(kv);
	kfree(c0);
	kfree(m0);
}

static void * __init resize(void *old, size_t from, size_t to)
{
	/* Kept as a number: the old pointer is not ours after krealloc. */
	unsigned long was = (unsigned long)old;
	void *p = krealloc(old, to, GFP_KERNEL);

	if (!p) {
		kfree(old);
		return NULL;
	}
	pr_info("krealloc %zu->%zu same %d ksize %zu\n", from, to,
		(unsigned long)p == was, ksize(p));
	return p;
}

static void __init probe_krealloc(void)
{
	void *p = kmalloc(20, GFP_KERNEL);

	p = resize(p, 20, 30);
	p = resize(p, 30, 100);
	p = resize(p, 100, 10);
	p = krealloc(p, 0, GFP_KERNEL);
	pr_info("krealloc ->0 %px\n", p);
}

/* Is a freed object handed out again at once, and with what in it? */
static void __init probe_reuse(void)
{
	u8 *p = kmalloc(64, GFP_KERNEL);
	unsigned long was = (unsigned long)p;

	if (!p)
		return;
	memset(p, 0xa5, 64);
	kfree(p);
	p = kmalloc(64, GFP_KERNEL);
	if (!p)
		return;
	pr_info("reuse same %d bytes0-15 %*ph bytes32-47 %*ph (init_on_alloc check)\n",
		(unsigned long)p == was, 16, p, 16, p + 32);
	kfree(p);
}

static void __init probe_pages(void)
{
	unsigned int order;

	for (order = 0; order <= NR_PAGE_ORDERS; order++) {
		struct page *page = alloc_pages(GFP_KERNEL | __GFP_NOWARN, order);

		if (!page) {
			pr_info("alloc_pages order %u NULL\n", order);
			continue;
		}
		pr_info("alloc_pages order %u pfn %lx zone %s refcount %d\n",
			order, page_to_pfn(page), page_zone(page)->name,
			page_ref_count(page));
		__free_pages(page, order);
	}
}

/* Requests that no kernel meets, and what the kernel says of each. */
static void __init probe_refused(void)
{
	void *p = vmalloc(SZ_1G * 1024UL);

	pr_info("vmalloc(1T) %px\n", p);
	vfree(p);
	p = vmalloc(0);
	pr_info("vmalloc(0) %px\n", p);
	vfree(p);
	/* volatile: a constant size would be turned away by the compiler. */
	p = kmalloc(*(volatile const size_t *)&sizes[ARRAY_SIZE(sizes) - 2], GFP_KERNEL);
	pr_info("kmalloc(MAX+1) no NOWARN %px\n", p);
	kfree(p);
	p = kvmalloc(SZ_2G, GFP_KERNEL);
	pr_info("kvmalloc(2G) %px\n", p);
	kvfree(p);
	p = kvmalloc(SZ_8M, GFP_ATOMIC);
	pr_info("kvmalloc(8M,GFP_ATOMIC) %px\n", p);
	kvfree(p);
}

static const struct {
	const char *name;
	unsigned int size;
	slab_flags_t flags;
} caches[] = {
	{ "probe_40", 40, SLAB_HWCACHE_ALIGN },
	{ "probe_56", 56, 0 },
	{ "probe_1000", 1000, 0 },
};

static void __init probe_caches(void)
{
	struct kmem_cache *cache[ARRAY_SIZE(caches)];
	size_t usable[ARRAY_SIZE(caches)] = { 0 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(caches); i++) {
		void *object;

		cache[i] = kmem_cache_create(caches[i].name, caches[i].size, 0,
					     caches[i].flags, NULL);
		if (!cache[i])
			goto out;
		object = kmem_cache_alloc(cache[i], GFP_KERNEL);
		if (!object)
			continue;
		usable[i] = ksize(object);
		kmem_cache_free(cache[i], object);
	}
	pr_info("kmem_cache 40/HWALIGN size %u ksize %zu; 56 size %u ksize %zu; 1000 size %u ksize %zu\n",
		kmem_cache_size(cache[0]), usable[0], kmem_cache_size(cache[1]),
		usable[1], kmem_cache_size(cache[2]), usable[2]);
out:
	while (i--)
		kmem_cache_destroy(cache[i]);
}

static const struct {
	const char *name;
	phys_addr_t phys;
	size_t size;
} io[] = {
	{ "b8000", 0xb8000, PAGE_SIZE },
	{ "fee00000", 0xfee00000, PAGE_SIZE },
	{ "ram100000", 0x100000, PAGE_SIZE },
	{ "fed00010", 0xfed00010, 16 },
	{ "ram1000000", 0x1000000, PAGE_SIZE },
};

/*
 * Legacy VGA, the APIC, RAM, an unaligned address, and the kernel's own text,
 * which is RAM too, but reserved. RAM is refused only where a whole page of it
 * is asked for.
 */
static void __init probe_ioremap(void)
{
	void __iomem *map[ARRAY_SIZE(io)];
	char text[200];
	unsigned int i;
	int len = 0;

	for (i = 0; i < ARRAY_SIZE(io); i++) {
		map[i] = ioremap(io[i].phys, io[i].size);
		len += scnprintf(text + len, sizeof(text) - len, " %s %px",
				 io[i].name, (void __force *)map[i]);
	}
	pr_info("ioremap%s\n", text);
	for (i = 0; i < ARRAY_SIZE(io); i++)
		if (map[i])
			iounmap(map[i]);
}

static int __init probe_init(void)
{
	unsigned int i;

	probe_constants();
	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		probe_size(sizes[i]);
	probe_overflow();
	probe_krealloc();
	probe_reuse();
	probe_pages();
	probe_refused();
	probe_caches();
	probe_ioremap();
	return 0;
}

static void __exit probe_exit(void)
{
}

module_init(probe_init);
module_exit(probe_exit);
MODULE_DESCRIPTION("What each allocator answers, size by size");
MODULE_LICENSE("GPL");
