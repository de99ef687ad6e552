// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * numa - where memory comes from when a node is asked for, and when none is
 *
 * Every line is one question: what was asked, the node asked for (-1: none) and
 * the node that the memory lies on.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/module.h>
#include <linux/nodemask.h>
#include <linux/slab.h>
#include <linux/topology.h>
#include <linux/vmalloc.h>

#define BURST	600

static int nid_of(const void *p)
{
	if (!p)
		return -1;
	if (is_vmalloc_addr(p))
		return page_to_nid(vmalloc_to_page(p));
	return page_to_nid(virt_to_page(p));
}

static void say(const char *what, int node, const void *p)
{
	pr_info("%s node %d: nid %d\n", what, node, nid_of(p));
}

static void small(int node)
{
	static const size_t sizes[] = { 8, 64, 96, 256, 1024, 4096, 8192, 20000 };
	void *p;
	int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		p = kmalloc_node(sizes[i], GFP_KERNEL, node);
		pr_info("kmalloc %zu node %d: nid %d\n", sizes[i], node, nid_of(p));
		kfree(p);
	}
	p = kmalloc_node(64, GFP_KERNEL | __GFP_THISNODE, node);
	say("kmalloc thisnode", node, p);
	kfree(p);
	p = kvmalloc_node(8000000, GFP_KERNEL, node);
	say("kvmalloc", node, p);
	kvfree(p);
	p = vmalloc_node(3 * PAGE_SIZE, node);
	say("vmalloc", node, p);
	vfree(p);
}

static void pages(int node)
{
	static const unsigned int orders[] = { 0, 1, 3, 5, 9, 10 };
	struct page *page;
	int i;

	for (i = 0; i < ARRAY_SIZE(orders); i++) {
		page = alloc_pages_node(node, GFP_KERNEL, orders[i]);
		pr_info("pages %u node %d: nid %d zone %d\n", orders[i], node,
			page ? page_to_nid(page) : -1, page ? (int)page_zonenum(page) : -1);
		if (page)
			__free_pages(page, orders[i]);
	}
	page = alloc_pages_node(node, GFP_KERNEL | GFP_DMA, 0);
	pr_info("dma pages node %d: nid %d zone %d\n", node, page ? page_to_nid(page) : -1,
		page ? (int)page_zonenum(page) : -1);
	if (page)
		__free_page(page);
	page = alloc_pages_node(node, GFP_KERNEL | GFP_DMA | __GFP_THISNODE | __GFP_NOWARN | __GFP_NORETRY, 0);
	pr_info("dma pages thisnode node %d: nid %d\n", node, page ? page_to_nid(page) : -1);
	if (page)
		__free_page(page);
}

/* A mask of one node beats the preferred one. */
static void masked(int node)
{
	int other;

	for_each_online_node(other) {
		nodemask_t mask = nodemask_of_node(other);
		struct page *page = __alloc_pages(GFP_KERNEL, 0, node, &mask);

		pr_info("mask %d node %d: nid %d\n", other, node, page ? page_to_nid(page) : -1);
		if (page)
			__free_page(page);
	}
}

/* Objects of one cache, taken from each node in turn: each stays on its own. */
static void caches(void)
{
	struct kmem_cache *cache;
	static void *objects[BURST];
	int wrong = 0, node = first_online_node, i;

	cache = kmem_cache_create("numa_objects", 400, 0, SLAB_TYPESAFE_BY_RCU, NULL);
	if (!cache)
		return;
	for (i = 0; i < BURST; i++) {
		objects[i] = kmem_cache_alloc_node(cache, GFP_KERNEL, node);
		wrong += nid_of(objects[i]) != node;
		node = next_online_node(node);
		if (node == MAX_NUMNODES)
			node = first_online_node;
	}
	pr_info("cache: %d objects, %d not where they were asked for\n", BURST, wrong);
	for (i = 0; i < BURST; i++)
		kmem_cache_free(cache, objects[i]);
	kmem_cache_destroy(cache);
}

static void distances(void)
{
	int a, b;

	for_each_online_node(a)
		for_each_online_node(b)
			pr_info("distance %d to %d: %d\n", a, b, node_distance(a, b));
}

static int __init numa_init(void)
{
	int node, cpu;

	pr_info("nodes %d online %d memory %d here %d\n", nr_node_ids, num_online_nodes(),
		(int)nodes_weight(node_states[N_MEMORY]), numa_node_id());
	for_each_online_cpu(cpu)
		pr_info("cpu %d: node %d\n", cpu, cpu_to_node(cpu));
	for_each_online_node(node)
		pr_info("node %d: %d zones, present %lu, start %lu\n", node,
			NODE_DATA(node)->nr_zones, NODE_DATA(node)->node_present_pages,
			NODE_DATA(node)->node_start_pfn);
	distances();
	for_each_online_node(node) {
		struct zoneref *ref = NODE_DATA(node)->node_zonelists[ZONELIST_FALLBACK]._zonerefs;

		for (; ref->zone; ref++)
			pr_info("zonelist %d: node %d zone %d\n", node, zone_to_nid(ref->zone), ref->zone_idx);
		ref = NODE_DATA(node)->node_zonelists[ZONELIST_NOFALLBACK]._zonerefs;
		for (; ref->zone; ref++)
			pr_info("thisnode %d: node %d zone %d\n", node, zone_to_nid(ref->zone), ref->zone_idx);
	}
	small(NUMA_NO_NODE);
	pages(NUMA_NO_NODE);
	for_each_online_node(node) {
		small(node);
		pages(node);
		masked(node);
	}
	caches();
	return 0;
}

static void __exit numa_exit(void)
{
}

module_init(numa_init);
module_exit(numa_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Asks for memory of nodes and says which node it got");
