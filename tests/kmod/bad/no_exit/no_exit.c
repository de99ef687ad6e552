// SPDX-License-Identifier: GPL-2.0-or-later
/* no_exit - a module that cannot be unloaded, with one allocation that it may keep. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/slab.h>

static void *kept;

static int __init no_exit_init(void)
{
	kept = kmalloc(64, GFP_KERNEL);
	pr_info("here to stay\n");
	return kept ? 0 : -ENOMEM;
}

module_init(no_exit_init);
MODULE_DESCRIPTION("A module without an exit function");
MODULE_LICENSE("GPL");
