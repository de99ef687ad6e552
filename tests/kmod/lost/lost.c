// SPDX-License-Identifier: GPL-2.0-or-later
/* Allocations that are held in every way there is, and with lost= one that nothing points to any more. */
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

struct item {
	struct list_head node;
	char *text;
	void *area;
	u64 inside;
};

static char *lost = "nothing";
module_param(lost, charp, 0444);

static LIST_HEAD(items);
static struct item *volatile single;
static struct platform_device *device;
static struct kmem_cache *cache;
static void *volatile from_cache;

static bool is(const char *what)
{
	return !strcmp(lost, what);
}

static struct item *make(void)
{
	struct item *item = kzalloc(sizeof(*item), GFP_KERNEL);

	item->text = kstrdup("something", GFP_KERNEL);
	item->area = vmalloc(5000);
	return item;
}

static int __init lost_init(void)
{
	struct item *item = make();

	list_add(&item->node, &items);
	single = make();
	device = platform_device_register_simple("lost", -1, NULL, 0);
	platform_set_drvdata(device, kmalloc(300, GFP_KERNEL));
	cache = kmem_cache_create("lost_cache", 72, 0, SLAB_ACCOUNT, NULL);
	from_cache = kmem_cache_alloc(cache, GFP_KERNEL);
	item->inside = (u64)kmalloc(1000, GFP_KERNEL) + 500;
	if (is("list"))
		INIT_LIST_HEAD(&items);
	if (is("single"))
		single = NULL;
	if (is("text"))
		item->text = NULL;
	if (is("area"))
		item->area = NULL;
	if (is("drvdata"))
		platform_set_drvdata(device, NULL);
	if (is("cache"))
		from_cache = NULL;
	if (is("inside"))
		item->inside = 0;
	return 0;
}

static void __exit lost_exit(void)
{
	platform_device_unregister(device);
}

module_init(lost_init);
module_exit(lost_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Memory that is lost");
