// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * owned - I/O memory, DMA, pools, and what a device owns
 *
 * Prints no address, only what can be told of addresses.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/device.h>
#include <linux/dma-mapping.h>
#include <linux/dmapool.h>
#include <linux/genalloc.h>
#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <asm/pgtable.h>

#define HOLE 0xd0000000UL	/* between memory and firmware: nobody is there */

static unsigned int line;
static struct platform_device *pdev;
static struct device *dev;

#define say(fmt, ...) pr_info("%u " fmt "\n", ++line, ##__VA_ARGS__)

static void say_entry(const char *what, const volatile void __iomem *p)
{
	unsigned int level = 0;
	pte_t *pte = lookup_address((unsigned long)p, &level);

	if (!p || !pte || !(pte_val(*pte) & _PAGE_PRESENT))
		say("%s: not mapped", what);
	else
		say("%s: level %u flags %llx", what, level,
		    (unsigned long long)pte_flags(*pte) & ~(_PAGE_ACCESSED | _PAGE_DIRTY));
}

static void io_memory(void)
{
	void __iomem *p = ioremap(HOLE + 0x123, 0x1000), *q;
	struct resource *one, *two;
	void *m;

	say_entry("ioremap", p);
	say("offset %lx", (unsigned long)p & 0xfff);
	say_entry("ioremap guard page", p + 0x2000);
	say("reads of all widths agree %d %d", readb(p) == (u8)readl(p), readw(p) == (u16)readl(p));
	q = ioremap_wc(HOLE, 0x1000);
	say_entry("ioremap_wc of what is mapped uncached", q);
	iounmap(q);
	iounmap(p);
	p = ioremap_wc(HOLE, 0x1000);
	say_entry("ioremap_wc", p);
	iounmap(p);
	p = ioremap_wt(HOLE, 0x1000);
	say_entry("ioremap_wt", p);
	iounmap(p);
	p = ioremap_uc(HOLE, 0x1000);
	say_entry("ioremap_uc", p);
	iounmap(p);
	p = ioremap_cache(HOLE, 0x1000);
	say_entry("ioremap_cache", p);
	iounmap(p);
	p = ioremap(HOLE, 4 << 20);
	say_entry("ioremap of 4M", p);
	iounmap(p);
	say("ioremap of nothing %d", !!ioremap(HOLE, 0));
	m = memremap(4 << 20, 0x1000, MEMREMAP_WB);
	say("memremap of memory is the direct map %d", m == phys_to_virt(4 << 20));
	memunmap(m);
	m = memremap(HOLE, 0x1000, MEMREMAP_WC);
	say_entry("memremap", m);
	memunmap(m);
	one = request_mem_region(HOLE, 0x2000, "owned");
	two = request_mem_region(HOLE + 0x1000, 0x2000, "second");
	say("claimed %d, taken %d", !!one, !two);
	if (one)
		say("%s %d bytes", one->name, (int)resource_size(one));
	two = request_mem_region(HOLE + 0x2000, 0x1000, "second");
	say("beside %d", !!two);
	release_mem_region(HOLE + 0x2000, 0x1000);
	release_mem_region(HOLE, 0x2000);
	one = request_mem_region(HOLE, 0x3000, "whole");
	say("claimed again %d", !!one);
	release_mem_region(HOLE, 0x3000);
}

static void dma(void)
{
	struct scatterlist sg[2];
	dma_addr_t handle = 0, other;
	char *p = dma_alloc_coherent(dev, 5000, &handle, GFP_KERNEL), *q;
	struct page *page;

	say("coherent zeroed %d order %u physical %d", !memchr_inv(p, 0, 5000),
	    get_order(5000), virt_to_phys(p) == handle);
	dma_free_coherent(dev, 5000, p, handle);
	say("mask of 32 bits %d, of 20 bits %d", dma_set_mask_and_coherent(dev, DMA_BIT_MASK(32)),
	    dma_set_mask_and_coherent(dev, DMA_BIT_MASK(20)));
	say("mask of 24 bits %d", dma_set_mask_and_coherent(dev, DMA_BIT_MASK(24)));
	p = dma_alloc_coherent(dev, PAGE_SIZE, &handle, GFP_KERNEL);
	say("below 16M %d", p && handle < 16 << 20);
	dma_free_coherent(dev, PAGE_SIZE, p, handle);
	dma_set_mask_and_coherent(dev, DMA_BIT_MASK(64));
	q = kmalloc(1000, GFP_KERNEL);
	handle = dma_map_single(dev, q, 1000, DMA_TO_DEVICE);
	say("map error %d physical %d", dma_mapping_error(dev, handle), handle == virt_to_phys(q));
	dma_sync_single_for_cpu(dev, handle, 1000, DMA_TO_DEVICE);
	dma_unmap_single(dev, handle, 1000, DMA_TO_DEVICE);
	sg_init_table(sg, 2);
	sg_set_buf(&sg[0], q, 500);
	sg_set_buf(&sg[1], q + 500, 500);
	say("scattered %d", dma_map_sg(dev, sg, 2, DMA_FROM_DEVICE));
	say("lengths %u %u apart %d", sg_dma_len(&sg[0]), sg_dma_len(&sg[1]),
	    (int)(sg_dma_address(&sg[1]) - sg_dma_address(&sg[0])));
	dma_unmap_sg(dev, sg, 2, DMA_FROM_DEVICE);
	page = dma_alloc_pages(dev, 3 * PAGE_SIZE, &other, DMA_BIDIRECTIONAL, GFP_KERNEL);
	say("pages %d physical %d", !!page, page_to_phys(page) == other);
	dma_free_pages(dev, 3 * PAGE_SIZE, page, other, DMA_BIDIRECTIONAL);
	say("largest mapping %zx", dma_max_mapping_size(dev));
	kfree(q);
}

static void pool(void)
{
	struct dma_pool *p = dma_pool_create("blocks", dev, 100, 64, 0);
	dma_addr_t h[3];
	char *b[3];
	int i;

	for (i = 0; i < 3; i++)
		b[i] = dma_pool_zalloc(p, GFP_KERNEL, &h[i]);
	say("apart %ld %ld zeroed %d aligned %d", (long)(b[1] - b[0]), (long)(b[2] - b[1]),
	    !memchr_inv(b[0], 0, 100), !(h[1] & 63));
	dma_pool_free(p, b[1], h[1]);
	b[1] = dma_pool_alloc(p, GFP_KERNEL, &h[1]);
	say("the last one again %ld", (long)(b[1] - b[0]));
	for (i = 0; i < 3; i++)
		dma_pool_free(p, b[i], h[i]);
	dma_pool_destroy(p);
	p = dma_pool_create("bounded", dev, 1000, 1, 2048);
	for (i = 0; i < 3; i++)
		b[i] = dma_pool_alloc(p, GFP_KERNEL, &h[i]);
	say("within boundaries %ld %ld", (long)(b[1] - b[0]), (long)(b[2] - b[1]));
	for (i = 0; i < 3; i++)
		dma_pool_free(p, b[i], h[i]);
	dma_pool_destroy(p);
	say("refused %d %d", !dma_pool_create("x", dev, 0, 0, 0), !dma_pool_create("x", dev, 8, 3, 0));
}

static void say_chunk(struct gen_pool *p, struct gen_pool_chunk *chunk, void *data)
{
	say("chunk of %lu bytes, %s", chunk->end_addr - chunk->start_addr + 1, (char *)data);
}

static void special(void)
{
	struct gen_pool *p = gen_pool_create(6, -1);
	struct genpool_data_align align = { .align = 1024 };
	unsigned long a, b, c, d;
	dma_addr_t phys;

	say("added %d", gen_pool_add_virt(p, 0x10000, 0xa0010000, 8192, -1));
	a = gen_pool_alloc(p, 100);
	b = gen_pool_alloc(p, 1000);
	c = gen_pool_alloc(p, 64);
	say("first fit %lx %lx %lx", a, b, c);
	gen_pool_free(p, b, 1000);
	gen_pool_free(p, a, 100);
	d = gen_pool_alloc(p, 3000);
	say("behind %lx, available %zu of %zu", d, gen_pool_avail(p), gen_pool_size(p));
	gen_pool_set_algo(p, gen_pool_best_fit, NULL);
	a = gen_pool_alloc(p, 1100);
	say("best fit %lx", a);
	b = gen_pool_alloc_algo(p, 64, gen_pool_first_fit_align, &align);
	say("aligned %lx", b);
	say("physical %llx", (u64)gen_pool_virt_to_phys(p, b));
	gen_pool_free(p, b, 64);
	gen_pool_set_algo(p, gen_pool_first_fit_order_align, NULL);
	b = (unsigned long)gen_pool_dma_alloc(p, 200, &phys);
	say("by order %lx %llx", b, (u64)phys);
	say("has %d %d", gen_pool_has_addr(p, b, 200), gen_pool_has_addr(p, 0x10000, 9000));
	say("too much %lx", gen_pool_alloc(p, 10000));
	gen_pool_for_each_chunk(p, say_chunk, "the only one");
	gen_pool_free(p, a, 1100);
	gen_pool_free(p, b, 200);
	gen_pool_free(p, c, 64);
	gen_pool_free(p, d, 3000);
	gen_pool_destroy(p);
}

static void action(void *what)
{
	say("action %s", (char *)what);
}

static void released(struct device *of, void *res)
{
	say("released %d", *(int *)res);
}

static int is_number(struct device *of, void *res, void *number)
{
	return *(int *)res == *(int *)number;
}

static void add_number(int number)
{
	int *res = devres_alloc(released, sizeof(int), GFP_KERNEL);

	*res = number;
	devres_add(dev, res);
}

static void owned(void)
{
	char *p = devm_kzalloc(dev, 100, GFP_KERNEL), *q = devm_kstrdup(dev, "text", GFP_KERNEL);
	int number = 2;
	void *group;

	say("zeroed %d text %s", !memchr_inv(p, 0, 100), q);
	q = devm_krealloc(dev, p, 5000, GFP_KERNEL);
	say("moved %d zeroed %d", q != p, !memchr_inv(q, 0, 100));
	say("%s", devm_kasprintf(dev, GFP_KERNEL, "%s-%d", "printed", 7));
	devm_kfree(dev, q);
	say("memdup %c", *(char *)devm_kmemdup(dev, "x", 2, GFP_KERNEL));
	say("pages %d", !!devm_get_free_pages(dev, GFP_KERNEL, 1));
	say("percpu %d", !!devm_alloc_percpu(dev, int));
	say("nothing %d", devm_kmalloc(dev, 0, GFP_KERNEL) == ZERO_SIZE_PTR);
	add_number(1);
	add_number(2);
	add_number(3);
	say("found %d", *(int *)devres_find(dev, released, is_number, &number));
	say("destroyed %d again %d", devres_destroy(dev, released, is_number, &number),
	    devres_destroy(dev, released, is_number, &number));
	group = devres_open_group(dev, NULL, GFP_KERNEL);
	add_number(4);
	devm_add_action(dev, action, "in the group");
	devres_close_group(dev, group);
	add_number(5);
	say("of the group %d", devres_release_group(dev, group));
	devm_add_action(dev, action, "of the device");
	devm_add_action(dev, action, "removed");
	devm_remove_action(dev, action, "removed");
	say("region %d", !!devm_request_mem_region(dev, HOLE, 0x1000, "owned"));
	say("mapped %d", !!devm_ioremap(dev, HOLE, 0x1000));
	say("managed buffer %d", !!dmam_alloc_coherent(dev, 4096, &(dma_addr_t){ 0 }, GFP_KERNEL));
	say("managed pool %d", !!dmam_pool_create("managed", dev, 64, 64, 0));
	add_number(6);
}

static int __init owned_init(void)
{
	struct resource *again;

	pdev = platform_device_alloc("owned", PLATFORM_DEVID_NONE);
	if (!pdev || platform_device_add(pdev))
		return -ENODEV;
	dev = &pdev->dev;
	say("device %s", dev_name(dev));
	io_memory();
	dma();
	pool();
	special();
	owned();
	platform_device_unregister(pdev);
	again = request_mem_region(HOLE, 0x1000, "after");
	say("the region is free again %d", !!again);
	release_mem_region(HOLE, 0x1000);
	pr_info("end\n");
	return 0;
}

static void __exit owned_exit(void)
{
}

module_init(owned_init);
module_exit(owned_exit);
MODULE_DESCRIPTION("Says what I/O memory, DMA and a device's resources answer");
MODULE_LICENSE("GPL");
