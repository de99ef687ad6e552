// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * access - one access to memory a load
 *
 * from=   where the memory is: kmalloc, kzalloc, cache, pages, vmalloc, percpu, global, ioremap
 * size=   its bytes
 * at=     where in it the access is, from its start
 * width=  bytes of the access: 1, 2, 4 or 8; any number for set, copy, text and user
 * op=     read, write, set (memset), copy (memcpy from it), text (strscpy of that many characters to it),
 *         user (copy_to_user from it), none
 * freed=  whether it was freed before
 * again=  whether as much was allocated again after that
 * fault=  a wrong free in place of the right one: double, inside, vfree, kfree, cache, order, errptr, stack, global,
 *         destroy (the cache is destroyed twice)
 * fill=   whether it was written before
 */
#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

static char *from = "kmalloc", *op = "none", *fault = "";
static unsigned int size = 64, width = 1;
static int at;
static bool freed, fill, again;
module_param(from, charp, 0444);
module_param(op, charp, 0444);
module_param(fault, charp, 0444);
module_param(size, uint, 0444);
module_param(width, uint, 0444);
module_param(at, int, 0444);
module_param(freed, bool, 0444);
module_param(fill, bool, 0444);
module_param(again, bool, 0444);

static struct kmem_cache *cache, *other;
static char room[256], text[512];
static unsigned long user;
module_param(user, ulong, 0444);

static void __percpu *area;

static bool is(const char *what)
{
	return !strcmp(from, what);
}

static noinline void *take(void)
{
	if (is("cache"))
		return kmem_cache_alloc(cache, GFP_KERNEL);
	if (is("pages"))
		return (void *)__get_free_pages(GFP_KERNEL, get_order(size));
	if (is("vmalloc"))
		return vmalloc(size);
	if (is("percpu")) {
		area = __alloc_percpu(size, 8);
		return area ? per_cpu_ptr(area, 1) : NULL;
	}
	if (is("global"))
		return room;
	if (is("ioremap"))
		return (void __force *)ioremap(0xfeb00000, size);
	return is("kzalloc") ? kzalloc(size, GFP_KERNEL) : kmalloc(size, GFP_KERNEL);
}

static noinline void give(void *p)
{
	if (is("cache"))
		kmem_cache_free(cache, p);
	else if (is("pages"))
		free_pages((unsigned long)p, get_order(size));
	else if (is("vmalloc"))
		vfree(p);
	else if (is("percpu"))
		free_percpu(area);
	else if (is("ioremap"))
		iounmap((void __iomem __force *)p);
	else if (!is("global"))
		kfree(p);
}

static noinline void give_wrongly(void *p)
{
	char local[16];

	if (!strcmp(fault, "double")) {
		give(p);
		give(p);
	} else if (!strcmp(fault, "inside")) {
		kfree(p + 8);
	} else if (!strcmp(fault, "vfree")) {
		vfree(p);
	} else if (!strcmp(fault, "kfree")) {
		kfree(p);
	} else if (!strcmp(fault, "cache")) {
		kmem_cache_free(other, p);
	} else if (!strcmp(fault, "order")) {
		free_pages((unsigned long)p, get_order(size) + 1);
	} else if (!strcmp(fault, "errptr")) {
		kfree(ERR_PTR(-ENOMEM));
	} else if (!strcmp(fault, "stack")) {
		OPTIMIZER_HIDE_VAR(p);
		kfree(local);
	} else if (!strcmp(fault, "global")) {
		kfree(room);
	} else if (!strcmp(fault, "destroy")) {
		struct kmem_cache *gone = kmem_cache_create("access_gone", 700, 0, SLAB_ACCOUNT | SLAB_POISON, NULL);

		give(p);
		kmem_cache_destroy(gone);
		kmem_cache_destroy(gone);
	}
}

static noinline void touch(volatile void *p)
{
	if (!strcmp(op, "read")) {
		switch (width) {
		case 1: (void)*(volatile u8 *)p; break;
		case 2: (void)*(volatile u16 *)p; break;
		case 4: (void)*(volatile u32 *)p; break;
		default: (void)*(volatile u64 *)p;
		}
	} else if (!strcmp(op, "write")) {
		switch (width) {
		case 1: *(volatile u8 *)p = 1; break;
		case 2: *(volatile u16 *)p = 1; break;
		case 4: *(volatile u32 *)p = 1; break;
		default: *(volatile u64 *)p = 1;
		}
	} else if (!strcmp(op, "set")) {
		memset((void *)p, 1, width);
	} else if (!strcmp(op, "copy")) {
		memcpy(text, (void *)p, width);
	} else if (!strcmp(op, "text")) {
		memset(text, 'x', width);
		strscpy((char *)p, text, width + 1);
	} else if (!strcmp(op, "user")) {
		if (copy_to_user((void __user *)user, (void *)p, width))
			pr_info("access: not all was copied\n");
	}
	barrier(); /* the calls above return here */
}

static int __init access_init(void)
{
	void *p, *next = NULL;

	cache = kmem_cache_create("access_one", size, 0, SLAB_ACCOUNT, NULL);
	other = kmem_cache_create("access_two", size + 64, 0, SLAB_ACCOUNT, NULL);
	p = cache && other ? take() : NULL;
	if (!p)
		return -ENOMEM;
	if (fill)
		memset(p, 0, size);
	if (freed)
		give(p);
	if (again)
		next = take();
	touch(p + at);
	if (*fault)
		give_wrongly(p);
	else if (!freed)
		give(p);
	if (next)
		give(next);
	return 0;
}

static void __exit access_exit(void)
{
	kmem_cache_destroy(cache);
	kmem_cache_destroy(other);
}

module_init(access_init);
module_exit(access_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("One access to memory");
