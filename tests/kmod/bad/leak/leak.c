// SPDX-License-Identifier: GPL-2.0-or-later
/* leak - a module that frees nothing of what it allocates, four kinds of it. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/gfp.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

static struct kmem_cache *cache;

static int __init leak_init(void)
{
	void *object = NULL;
	void *small = kmalloc(100, GFP_KERNEL);
	void *area = vmalloc(10000);
	unsigned long pages = __get_free_pages(GFP_KERNEL, 1);

	cache = kmem_cache_create("leak_cache", 72, 0, 0, NULL);
	if (cache)
		object = kmem_cache_alloc(cache, GFP_KERNEL);

	pr_info("kmalloc %px vmalloc %px pages %lx object %px\n", small, area,
		pages, object);
	return 0;
}

/* The cache is not destroyed: its object is still in it. */
static void __exit leak_exit(void)
{
	pr_info("exit frees nothing\n");
}

module_init(leak_init);
module_exit(leak_exit);
MODULE_DESCRIPTION("A module that frees nothing");
MODULE_LICENSE("GPL");
