// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * burst - in which order a kmalloc cache hands out its objects
 *
 * A: allocate count objects. Free every second one, the second first.
 * B: allocate half as many again; say how many of the freed ones came back.
 *    Free the first two of B, allocate two: did they come back last-in
 *    first-out? The two new ones take their places in B.
 * C: free all that is left of A, oldest first, then all of B, oldest first;
 *    allocate count objects. Free them.
 *
 * Each phase prints its objects in the order of their allocation, a line for
 * each run of objects from the same slab: the number of the run's first object,
 * the slab, and each object's offset in the slab in units of the size. Nothing
 * is printed while a phase allocates, and the tables are static, so that the
 * module itself allocates nothing else.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>

#define MAX_OBJECTS	512

static unsigned int size = 64;
module_param(size, uint, 0444);
MODULE_PARM_DESC(size, "bytes an object");

static unsigned int count = 300;
module_param(count, uint, 0444);
MODULE_PARM_DESC(count, "objects in phases A and C, at most 512");

static void *a[MAX_OBJECTS];
static void *b[MAX_OBJECTS / 2];
static char line[800];

static void __init show(const char *phase, void **objects, unsigned int n)
{
	unsigned int i = 0;

	while (i < n) {
		struct page *slab = virt_to_head_page(objects[i]);
		unsigned int first = i;
		int len = 0;

		while (i < n && virt_to_head_page(objects[i]) == slab &&
		       len < sizeof(line) - 8) {
			size_t offset = objects[i] - page_address(slab);

			len += scnprintf(line + len, sizeof(line) - len, " %zu",
					 offset / size);
			i++;
		}
		printk(KERN_INFO KBUILD_MODNAME " %s[%u] slab %px order %u:%s\n",
		       phase, first, page_address(slab), compound_order(slab),
		       line);
	}
}

static int __init fill(void **objects, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		objects[i] = kmalloc(size, GFP_KERNEL);
		if (!objects[i])
			return -ENOMEM;
	}
	return 0;
}

static void __init drain(void **objects, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		kfree(objects[i]);
		objects[i] = NULL;
	}
}

/* How many of B's n objects are among those of A that were freed? */
static unsigned int __init came_back(unsigned int n)
{
	unsigned int i, j, found = 0;

	for (i = 0; i < n; i++)
		for (j = 1; j < count; j += 2)
			if (b[i] == a[j])
				found++;
	return found;
}

static int __init burst(void)
{
	unsigned int i, half = count / 2;
	void *first, *second;

	if (fill(a, count))
		return -ENOMEM;
	show("A", a, count);

	/* Freed entries stay in the table: came_back() looks them up. */
	for (i = 1; i < count; i += 2)
		kfree(a[i]);
	if (fill(b, half)) {
		for (i = 1; i < count; i += 2)
			a[i] = NULL;
		return -ENOMEM;
	}
	show("B", b, half);
	pr_info("%u of %u freed objects came back\n", came_back(half), half);
	for (i = 1; i < count; i += 2)
		a[i] = NULL;

	kfree(b[0]);
	kfree(b[1]);
	first = kmalloc(size, GFP_KERNEL);
	second = kmalloc(size, GFP_KERNEL);
	pr_info("LIFO %d %d\n", first == b[1], second == b[0]);
	b[0] = first;
	b[1] = second;

	drain(a, count);
	drain(b, half);
	if (fill(a, count))
		return -ENOMEM;
	show("C", a, count);
	return 0;
}

static int __init burst_init(void)
{
	int err;

	if (count < 4 || count > MAX_OBJECTS || !size || size > KMALLOC_MAX_CACHE_SIZE)
		return -EINVAL;

	err = burst();
	drain(a, count);
	drain(b, count / 2);
	return err;
}

static void __exit burst_exit(void)
{
}

module_init(burst_init);
module_exit(burst_exit);
MODULE_DESCRIPTION("In which order a kmalloc cache hands out its objects");
MODULE_LICENSE("GPL");
