// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A driver with a cache of pages and a shrinker that gives them back; then it asks for more than is free.
 *
 * mask: the GFP mask of what it asks for; held: pages in the cache; wanted: pages to ask for.
 */
#include <linux/module.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/shrinker.h>
#include <linux/swap.h>

static unsigned int held = 2000;
module_param(held, uint, 0444);
static unsigned int wanted = 100000;
module_param(wanted, uint, 0444);
static unsigned int mask = GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN;
module_param(mask, uint, 0444);

static LIST_HEAD(cache);
static LIST_HEAD(taken);
static unsigned long cached, counts, scans, refused, kswapd, most;

static unsigned long count(struct shrinker *shrinker, struct shrink_control *sc)
{
	counts++;
	return cached;
}

static unsigned long scan(struct shrinker *shrinker, struct shrink_control *sc)
{
	unsigned long freed = 0;

	scans++;
	if (current_is_kswapd())
		kswapd++;
	if (!(sc->gfp_mask & __GFP_FS)) {
		refused++;
		return SHRINK_STOP;
	}
	if (sc->nr_to_scan > most)
		most = sc->nr_to_scan;
	while (freed < sc->nr_to_scan && !list_empty(&cache)) {
		struct page *page = list_first_entry(&cache, struct page, lru);

		list_del(&page->lru);
		__free_page(page);
		cached--;
		freed++;
	}
	return freed;
}

#ifdef SHRINKER_ALLOCATED
static struct shrinker *shrinker;

static int start(void)
{
	shrinker = shrinker_alloc(0, "shrink-test");
	if (!shrinker)
		return -ENOMEM;
	shrinker->count_objects = count;
	shrinker->scan_objects = scan;
	shrinker_register(shrinker);
	return 0;
}

static void stop(void)
{
	shrinker_free(shrinker);
}
#else
static struct shrinker shrinker = {
	.count_objects = count,
	.scan_objects = scan,
	.seeks = DEFAULT_SEEKS,
};

static int start(void)
{
	return register_shrinker(&shrinker, "shrink-test");
}

static void stop(void)
{
	unregister_shrinker(&shrinker);
}
#endif

static void drop(struct list_head *list)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, list, lru) {
		list_del(&page->lru);
		__free_page(page);
	}
}

static int __init shrink_init(void)
{
	unsigned long got = 0;
	struct page *page;
	int err;

	while (cached < held) {
		page = alloc_page(GFP_KERNEL);
		if (!page)
			break;
		list_add(&page->lru, &cache);
		cached++;
	}
	err = start();
	if (err)
		return err;
	while (got < wanted) {
		page = alloc_page(mask);
		if (!page)
			break;
		list_add(&page->lru, &taken);
		got++;
	}
	pr_info("shrink: held %u cached %lu refused %lu most %lu counted %d scanned %d kswapd %d\n", held, cached,
		refused, most, counts > 0, scans > 0, kswapd > 0);
	drop(&taken);
	return 0;
}

static void __exit shrink_exit(void)
{
	stop();
	drop(&cache);
}

module_init(shrink_init);
module_exit(shrink_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A cache that a shrinker empties");
