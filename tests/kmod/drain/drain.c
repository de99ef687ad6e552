// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Takes memory with one GFP mask until it is refused, and says what is left.
 *
 * A step is "MASK.ORDER.FLAGS", hexadecimal, several separated by commas: blocks of 2^ORDER pages are taken with MASK
 * until one is refused or the limit is reached. Bits of FLAGS:
 *   1  leave what was taken to the next steps (else it is freed)
 *   2  run with PF_MEMALLOC
 *   4  free every second block before the next step
 *   8  take one block only, and free it at once
 *  10  give back one block in sixteen before the next step
 *  20  in a memalloc_noio scope
 *  40  in a memalloc_nofs scope
 *  80  take at most `limit` blocks
 */
#include <linux/module.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/vmstat.h>
#include <linux/sched/mm.h>

static char *s = "";
module_param(s, charp, 0444);
static int id;
module_param(id, int, 0444);
static unsigned int limit = 1u << 30;
module_param(limit, uint, 0444);

static LIST_HEAD(kept);
static LIST_HEAD(taken);

static void zones(const char *when)
{
	pg_data_t *pgdat = NODE_DATA(0);
	int i;

	for (i = 0; i < MAX_NR_ZONES; i++) {
		struct zone *z = pgdat->node_zones + i;

		if (!managed_zone(z))
			continue;
		pr_info("drain: %s zone %d free %lu min %lu low %lu high %lu reserve %ld %ld %ld boost %lu highatomic %lu\n",
			when, i, zone_page_state_snapshot(z, NR_FREE_PAGES), z->_watermark[WMARK_MIN],
			z->_watermark[WMARK_LOW], z->_watermark[WMARK_HIGH], z->lowmem_reserve[ZONE_DMA],
			z->lowmem_reserve[ZONE_DMA32], z->lowmem_reserve[ZONE_NORMAL],
			z->watermark_boost, z->nr_reserved_highatomic);
	}
}

static unsigned long release(struct list_head *list, unsigned int order, unsigned int every)
{
	struct page *page, *next;
	unsigned long n = 0, freed = 0;

	list_for_each_entry_safe(page, next, list, lru) {
		if (n++ % every)
			continue;
		list_del(&page->lru);
		__free_pages(page, order);
		freed++;
	}
	return freed;
}

static void step(int number, unsigned int mask, unsigned int order, unsigned int flags)
{
	unsigned int was = 0, most = flags & 0x80 ? limit : (1u << 30);
	unsigned long n = 0, freed = 0;
	struct page *page;

	if (flags & 2)
		was = memalloc_noreclaim_save();
	if (flags & 0x20)
		was = memalloc_noio_save();
	if (flags & 0x40)
		was = memalloc_nofs_save();
	while (n < most) {
		page = alloc_pages(mask, order);
		if (!page)
			break;
		n++;
		if (flags & 8) {
			__free_pages(page, order);
			break;
		}
		list_add_tail(&page->lru, &taken);
	}
	if (flags & 2)
		memalloc_noreclaim_restore(was);
	if (flags & 0x20)
		memalloc_noio_restore(was);
	if (flags & 0x40)
		memalloc_nofs_restore(was);
	pr_info("drain: step %d mask %x order %u flags %x took %lu\n", number, mask, order, flags, n);
	zones("then");
	if (flags & 1) {
		/* each list holds blocks of one order: only order 0 may be kept over steps */
		if (!order)
			list_splice_tail_init(&taken, &kept);
	}
	if (flags & 4)
		freed = release(order ? &taken : &kept, order, 2);
	if (flags & 0x10)
		freed = release(order ? &taken : &kept, order, 16);
	if (freed)
		pr_info("drain: step %d freed %lu\n", number, freed);
	release(&taken, order, 1);
}

static int __init drain_init(void)
{
	unsigned int mask, order, flags;
	const char *at = s;
	int number = 0, read;

	zones("first");
	while (sscanf(at, "%x.%x.%x%n", &mask, &order, &flags, &read) == 3) {
		step(number++, mask, order, flags);
		at += read;
		if (*at == ',')
			at++;
	}
	release(&kept, 0, 1);
	pr_info("drain: end\n");
	return 0;
}

static void __exit drain_exit(void)
{
}

module_init(drain_init);
module_exit(drain_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Takes memory with GFP masks until it is refused");
