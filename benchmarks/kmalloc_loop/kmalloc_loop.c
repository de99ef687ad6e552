// SPDX-License-Identifier: GPL-2.0-or-later
/* Allocates and frees in a loop: what a pair costs from module code. */
#include <linux/module.h>
#include <linux/slab.h>

static uint count;
module_param(count, uint, 0444);

static int __init loop_init(void)
{
	uint i;

	for (i = 0; i < count; i++) {
		void *p = kmalloc(256, GFP_KERNEL);

		if (!p)
			return -ENOMEM;
		kfree(p);
	}
	return 0;
}

static void __exit loop_exit(void)
{
}

module_init(loop_init);
module_exit(loop_exit);
MODULE_LICENSE("GPL");
