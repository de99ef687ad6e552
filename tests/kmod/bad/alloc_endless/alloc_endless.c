// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * alloc_endless - a module that allocates without end
 *
 * It keeps what it gets and tries again when it gets nothing.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/slab.h>

static unsigned int size = 4096;
module_param(size, uint, 0444);
MODULE_PARM_DESC(size, "bytes an allocation, at least 8");

static void **last;
static bool stop;

static int __init alloc_endless_init(void)
{
	if (size < sizeof(*last))
		return -EINVAL;
	pr_info("allocating %u bytes at a time\n", size);
	while (!READ_ONCE(stop)) {
		void **p = kmalloc(size, GFP_KERNEL);

		if (!p)
			continue;
		*p = last;
		last = p;
	}
	return 0;
}

static void __exit alloc_endless_exit(void)
{
	while (last) {
		void **next = *last;

		kfree(last);
		last = next;
	}
}

module_init(alloc_endless_init);
module_exit(alloc_endless_exit);
MODULE_DESCRIPTION("A module that allocates without end");
MODULE_LICENSE("GPL");
