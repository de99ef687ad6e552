// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * cache_list_driver - a queue of requests: a cache, a list and a spinlock
 *
 * Each request is allocated before the lock is taken, because kmem_cache_alloc
 * with GFP_KERNEL may sleep and a holder of a spinlock may not.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/list.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

static unsigned int count = 8;
module_param(count, uint, 0444);
MODULE_PARM_DESC(count, "how many requests to queue");

struct request_entry {
	struct list_head node;
	unsigned int id;
	char payload[40];
};

static struct kmem_cache *request_cache;
static LIST_HEAD(requests);
static DEFINE_SPINLOCK(requests_lock);

static int queue_request(unsigned int id)
{
	struct request_entry *entry;

	entry = kmem_cache_zalloc(request_cache, GFP_KERNEL);
	if (!entry)
		return -ENOMEM;
	entry->id = id;

	spin_lock(&requests_lock);
	list_add_tail(&entry->node, &requests);
	spin_unlock(&requests_lock);
	return 0;
}

/* Take the whole list under the lock, free its entries without it. */
static unsigned int release_requests(void)
{
	struct request_entry *entry, *next;
	unsigned int released = 0;
	LIST_HEAD(taken);

	spin_lock(&requests_lock);
	list_splice_init(&requests, &taken);
	spin_unlock(&requests_lock);

	list_for_each_entry_safe(entry, next, &taken, node) {
		list_del(&entry->node);
		kmem_cache_free(request_cache, entry);
		released++;
	}
	return released;
}

static int __init cache_list_driver_init(void)
{
	unsigned int id;
	int err;

	request_cache = KMEM_CACHE(request_entry, 0);
	if (!request_cache)
		return -ENOMEM;

	for (id = 0; id < count; id++) {
		err = queue_request(id);
		if (err) {
			release_requests();
			kmem_cache_destroy(request_cache);
			return err;
		}
	}
	pr_info("queued %u requests of %zu bytes\n", count,
		sizeof(struct request_entry));
	return 0;
}

static void __exit cache_list_driver_exit(void)
{
	pr_info("released %u requests\n", release_requests());
	kmem_cache_destroy(request_cache);
}

module_init(cache_list_driver_init);
module_exit(cache_list_driver_exit);
MODULE_DESCRIPTION("A queue of requests from a cache, in a list, under a spinlock");
MODULE_LICENSE("GPL");
